package import Logging
internal import NIOCore

/// Where a server listens.
package enum HTTPListener: Sendable {
  /// A unix socket that this process alone owns; a stale one is replaced.
  case unix(path: String, mode: UInt32 = 0o600)
  /// An address, which need not exist yet. Port 0 lets the kernel choose. Without `tls` in plain text.
  case tcp(host: String, port: Int, tls: HTTPTLS?)
}

/// Why a server does not serve.
package enum HTTPServerError: Error, CustomStringConvertible {
  case bind(address: String, reason: String)
  case certificate(reason: String)

  package var description: String {
    switch self {
    case .bind(let address, let reason): "bind(\(address)): \(reason)"
    case .certificate(let reason): "TLS: \(reason)"
    }
  }
}

/// Bounds of a server.
package struct HTTPServerLimits: Sendable {
  /// Connections at one time; more are closed at once.
  package var connectionsMax = 8192
  /// From connecting, or from the last answer's successor's first byte, to the end of a request's head.
  package var headTimeoutSeconds = 10
  /// A connection without a request may stay this long.
  package var idleTimeoutSeconds = 180
  /// A body, or a client's reading of an answer, may stand still this long.
  package var stallTimeoutSeconds = 60
  /// From a request's head to the end of its body, however steadily it trickles.
  package var bodySecondsMax = 60
  /// Fields of a request's head, names and values together.
  package var headBytesMax = 64 << 10
  package var headFieldsMax = 128
  /// HTTP/2 requests at one time on one connection.
  package var streamsMax = 250
  /// When stopping, how long answers under way may take.
  package var shutdownGraceSeconds = 5
  /// Answers from this size are compressed for clients that ask for it.
  package var compressionBytesMin = 128 << 10

  package init() {}
}

/// An HTTP/1.1 and HTTP/2 server.
///
/// A handler runs on its connection's event loop, which saves two changes of thread for each request: it must not block.
/// Actors that it awaits run there, too. What computes for long moves itself to the pool with `offLoop`.
package final class HTTPServer: Sendable {
  package typealias Handler = @Sendable (HTTPRequest) async -> HTTPResponse

  /// Where it listens really: `127.0.0.1:40123`, or a path; in the order of the listeners.
  package let addresses: [String]
  /// The TCP ports, in the order of the TCP listeners.
  package let ports: [Int]
  private let core: ServerCore
  private let listeners: [any Channel]
  private let sockets: [OwnedUnixSocket]

  private init(_ core: ServerCore, _ bound: [BoundListener]) {
    self.core = core
    listeners = bound.map(\.channel)
    sockets = bound.compactMap(\.socket)
    addresses = bound.map(\.address)
    ports = bound.compactMap { $0.socket == nil ? $0.channel.localAddress?.port : nil }
  }

  /// Listens and serves: a connection that comes before `run()` is served as well, so that nothing is lost between.
  /// - Throws: `.bind` for the first listener that cannot be; the others are given back.
  package static func bind(
    _ listeners: [HTTPListener], limits: HTTPServerLimits = HTTPServerLimits(), logger: Logger,
    handler: @escaping Handler
  ) async throws(HTTPServerError) -> HTTPServer {
    let core = ServerCore(limits: limits, logger: logger, handler: handler)
    var bound: [BoundListener] = []
    do throws(HTTPServerError) {
      for listener in listeners { bound.append(try await core.listen(listener)) }
    } catch {
      for listener in bound { await listener.close() }
      throw error
    }
    return HTTPServer(core, bound)
  }

  /// Serves until cancelled; then accepts no more, ends streams and tunnels, lets answers under way finish for
  /// `shutdownGraceSeconds`, and returns when every handler has.
  package func run() async throws {
    let stopped = AsyncStream<Never> { _ in }
    for await _ in stopped {}
    for socket in sockets { socket.unlink() }
    for listener in listeners { try? await listener.close() }
    await core.drain()
    try Task.checkCancellation()
  }
}

/// Runs `body` on Swift's pool, off the event loop that a handler runs on: for what computes for more than a moment.
package func offLoop<Result: Sendable>(_ body: @Sendable () async -> Result) async -> Result {
  await withTaskExecutorPreference(globalConcurrentExecutor) { await body() }
}
