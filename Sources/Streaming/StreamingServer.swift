internal import Kernel
package import Logging
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import NIOWebSocket
internal import Synchronization

/// Serves the URLs that CRI's Exec, Attach and PortForward return: HTTP on the loopback interface, upgraded to a WebSocket
/// or to SPDY/3.1.
///
/// Anybody on the machine can connect, so a URL carries 128 random bits, works once and expires. A browser is
/// refused: a web page could otherwise connect to loopback.
package final class StreamingServer: Sendable {
  package struct Configuration: Sendable {
    /// A loopback address; others are for those who put a firewall before it.
    package var host = "127.0.0.1"
    /// 0 lets the kernel choose.
    package var port = 0
    /// URLs given out and not yet used.
    package var pendingMax = 1000
    package var pendingLifetime: Duration = .seconds(60)
    /// Connections at one time; more are closed at once.
    package var connectionsMax = 1024
    /// From connecting to the end of the upgrade.
    package var handshakeTimeout: Duration = .seconds(10)
    /// After the process exited, how long its streams may be silent before they are cut: a child that it left behind
    /// may hold them open for ever.
    package var drainQuiet: Duration = .seconds(2)
    /// How long a client may take to say goodbye after it got the exit status.
    package var farewellTimeout: Duration = .seconds(10)

    package init() {}
  }

  let configuration: Configuration
  let handlers: StreamingHandlers
  let logger: Logger
  let pending: PendingRequests
  private let connections = Atomic<Int>(0)
  private let listener: Listener

  private typealias Listener = NIOAsyncChannel<EventLoopFuture<StreamingConnection>, Never>

  /// `http://HOST:PORT`, without a slash at its end.
  package let baseURL: String

  /// Listens; connections are served once `run()` runs.
  ///
  /// - Throws: `StreamingError.bind`.
  package static func bind(
    _ configuration: Configuration = Configuration(), handlers: StreamingHandlers, logger: Logger
  ) async throws(StreamingError) -> StreamingServer {
    let pending = PendingRequests(limit: configuration.pendingMax, lifetime: configuration.pendingLifetime)
    do {
      let listener = try await ServerBootstrap(group: .singletonMultiThreadedEventLoopGroup)
        .serverChannelOption(.backlog, value: 128)
        .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
        .bind(
          host: configuration.host, port: configuration.port,
          serverBackPressureStrategy: nil
        ) { channel in
          channel.eventLoop.makeCompletedFuture {
            try configureHandshake(
              of: channel, pending: pending, timeout: configuration.handshakeTimeout, dial: handlers.dial,
              logger: logger)
          }
        }
      return StreamingServer(configuration, handlers, logger, pending, listener)
    } catch {
      throw .bind(address: "\(configuration.host):\(configuration.port)", reason: "\(error)")
    }
  }

  private init(
    _ configuration: Configuration, _ handlers: StreamingHandlers, _ logger: Logger, _ pending: PendingRequests,
    _ listener: Listener
  ) {
    self.configuration = configuration
    self.handlers = handlers
    self.logger = logger
    self.pending = pending
    self.listener = listener
    let host = configuration.host.contains(":") ? "[\(configuration.host)]" : configuration.host
    baseURL = "http://\(host):\(listener.channel.localAddress?.port ?? configuration.port)"
  }

  /// Gives out a URL that serves `request` once, until `pendingLifetime` from now.
  package func url(for request: StreamRequest) throws(StreamingError) -> String {
    guard listener.channel.isActive else { throw .notListening }
    let path =
      switch request.kind {
      case .exec: "exec"
      case .attach: "attach"
      case .portForward: "portforward"
      }
    return "\(baseURL)/\(path)/\(try pending.add(request))"
  }

  /// Serves until cancelled. On cancellation sessions end at once, and their processes are abandoned.
  package func run() async throws {
    // A task of its own, so that cancellation reaches it as the listener's end: an accept loop that is cancelled itself
    // would drop connections that it has accepted and not yet looked at, and a dropped NIOAsyncChannel is a crash.
    let accepting = Task {
      try await listener.executeThenClose { incoming in
        try await withThrowingDiscardingTaskGroup { group in
          for try await handshake in incoming {
            group.addTask { await self.serve(handshake) }
          }
          group.cancelAll()
        }
      }
    }
    try await withTaskCancellationHandler {
      try await accepting.value
    } onCancel: {
      listener.channel.close(promise: nil)
    }
  }

  private func serve(_ handshake: EventLoopFuture<StreamingConnection>) async {
    let open = connections.add(1, ordering: .relaxed).newValue
    defer { connections.subtract(1, ordering: .relaxed) }
    // A handshake that fails (the peer left, or sent no HTTP) has closed its connection and is nobody's loss.
    guard let connection = try? await handshake.get() else { return }
    guard open <= configuration.connectionsMax else {
      logger.warning("streaming: more than \(configuration.connectionsMax) connections, one refused")
      return await connection.close()
    }
    switch connection {
    case .session(let channel, let request, let proto):
      await StreamSession(server: self, request: request, proto: proto).run(channel)
    case .forwards(let channel):
      await withTaskCancellationHandler {
        try? await channel.closeFuture.get()
      } onCancel: {
        channel.close(promise: nil)
      }
    case .refused(let channel, let refusal):
      await refusal.answer(channel)
    }
  }
}
