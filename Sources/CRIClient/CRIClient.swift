internal import GRPCCore
internal import GRPCNIOTransportHTTP2Posix
internal import GRPCProtobuf
internal import NIOCore
internal import SwiftProtobuf

/// A typed client of a CRI v1 socket: RuntimeService, ImageService and Martlet's own image calls.
///
/// One client holds one HTTP/2 connection, connects when `run()` starts, and connects again by itself (with
/// backoff) when the server was away. Any number of calls may be in flight at once. Calls suspend and never block
/// the thread. Privilege: whoever may open the socket, which is mode 0600.
///
/// ```swift
/// try await CRIClient.connected(to: "/run/martlet/martlet.sock") { client in
///   let pods = try await client.listPodSandboxes()
/// }
/// ```
package final class CRIClient: Sendable {
  /// How long calls may take, and what they do while the server is away.
  package struct Options: Sendable {
    /// For calls that only look.
    package var queryTimeout: Duration = .seconds(30)
    /// For calls that change something. Added to the grace or time limit of those that carry one.
    package var changeTimeout: Duration = .seconds(240)
    /// For image pulls, imports and exports in all.
    package var imageTimeout: Duration = .seconds(3600)
    /// Whether a call waits (until its timeout) for a server that is not there yet, or fails at once.
    package var waitsForServer = false
    /// A list of some 50,000 containers fits; a broken server cannot fill memory.
    package var responseBytesMax = 64 << 20

    package init() {}
  }

  package let socketPath: String
  let options: Options
  private let grpc: GRPCClient<HTTP2ClientTransport.Posix>

  /// Prepares a client; nothing is opened before `run()`.
  ///
  /// - Throws: `CRIError` where the transport cannot be set up at all.
  package init(socketPath: String, options: Options = Options()) throws(CRIError) {
    self.socketPath = socketPath
    self.options = options
    do {
      var config = HTTP2ClientTransport.Posix.Config.defaults
      config.backoff = .init(initial: .milliseconds(50), max: .seconds(2), multiplier: 1.6, jitter: 0.2)
      // Flushes that wait for company cost latency, and a local socket gains nothing from bigger writes.
      config.connection.flushCoalescing = nil
      // The path itself is no valid authority; peers check for one.
      config.http2.authority = "localhost"
      config.channelDebuggingCallbacks.onCreateTCPConnection = { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandler(PingAnswers(), position: .first)
        }
      }
      let transport = try HTTP2ClientTransport.Posix(
        target: .unixDomainSocket(path: socketPath), transportSecurity: .plaintext, config: config)
      grpc = GRPCClient(transport: transport)
    } catch {
      throw CRIError(error, call: "connect", socketPath: socketPath)
    }
  }

  /// Holds the connection until `close()` or cancellation. Run it once, in a task of its own, beside the calls.
  package func run() async throws(CRIError) {
    do {
      try await grpc.runConnections()
    } catch {
      throw CRIError(error, call: "connect", socketPath: socketPath)
    }
  }

  /// Lets calls in flight finish, then ends `run()`.
  package func close() { grpc.beginGracefulShutdown() }

  /// Runs a client for as long as `body` runs, then closes it.
  package static func connected<Result: Sendable>(
    to socketPath: String, options: Options = Options(),
    _ body: (CRIClient) async throws -> Result
  ) async throws -> Result {
    let client = try CRIClient(socketPath: socketPath, options: options)
    return try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await client.run() }
      do {
        let result = try await body(client)
        client.close()
        // Streams that the body abandoned would keep the connection draining for ever.
        group.cancelAll()
        return result
      } catch {
        client.close()
        group.cancelAll()
        throw error
      }
    }
  }

  /// One request, one answer.
  func call<Request: Message, Response: Message>(
    _ method: MethodDescriptor, _ request: Request, timeout: Duration
  ) async throws(CRIError) -> Response {
    do {
      return try await grpc.unary(
        request: ClientRequest(message: request), descriptor: method,
        serializer: ProtobufSerializer<Request>(), deserializer: ProtobufDeserializer<Response>(),
        options: callOptions(timeout: timeout)
      ) { response in try response.message }
    } catch {
      throw CRIError(error, call: method.method, socketPath: socketPath)
    }
  }

  /// One request, a stream of answers, each handed to `body` before the next is read.
  func stream<Request: Message, Response: Message>(
    _ method: MethodDescriptor, _ request: Request, timeout: Duration?,
    _ body: @Sendable @escaping (Response) async throws -> Void
  ) async throws(CRIError) {
    do {
      try await grpc.serverStreaming(
        request: ClientRequest(message: request), descriptor: method,
        serializer: ProtobufSerializer<Request>(), deserializer: ProtobufDeserializer<Response>(),
        options: callOptions(timeout: timeout)
      ) { response in
        for try await message in response.messages { try await body(message) }
      }
    } catch {
      throw CRIError(error, call: method.method, socketPath: socketPath)
    }
  }

  private func callOptions(timeout: Duration?) -> CallOptions {
    var call = CallOptions.defaults
    call.timeout = timeout
    call.waitForReady = options.waitsForServer
    call.maxResponseMessageBytes = options.responseBytesMax
    // The transport takes its limit on what it receives from this one too.
    call.maxRequestMessageBytes = options.responseBytesMax
    return call
  }
}
