internal import FoundationEssentials
internal import GRPCCore
internal import GRPCNIOTransportHTTP2Posix
internal import GRPCProtobuf
internal import NIOCore
internal import NIOSSL
internal import ObjectStore
internal import SwiftProtobuf
internal import Synchronization

/// Connections to the servers of one etcd, and calls to the one that answers.
///
/// Calls suspend and never block the thread. One that gets no answer turns to the next server for the calls after it, and is
/// not repeated here.
final class EtcdClient: Sendable {
  private struct Connection: Sendable {
    let name: String
    let grpc: GRPCClient<HTTP2ClientTransport.Posix>
  }

  /// Bytes of one answer: a page of objects, or what a watch has to tell at once.
  private static let answerBytesMax = 256 << 20
  /// etcd ends connections that are pinged more often than each 5 s.
  private static let keepalive = HTTP2ClientTransport.Config.Keepalive(
    time: .seconds(10), timeout: .seconds(5), allowWithoutCalls: false)
  /// A server that lost its cluster answers with an error instead of keeping silent.
  private static let metadata: Metadata = ["hasleader": "true"]

  private let connections: [Connection]
  private let requestTimeout: Duration
  private let current = Atomic<Int>(0)

  /// Prepares connections; opens nothing before `run()`. - Throws: `.io` where certificates cannot be used.
  init(_ options: EtcdOptions) throws(StoreError) {
    requestTimeout = .seconds(options.requestSeconds)
    var connections: [Connection] = []
    for server in options.servers {
      do {
        let transport = try HTTP2ClientTransport.Posix(
          target: Self.target(server), transportSecurity: Self.security(server, options), config: Self.configuration())
        connections.append(Connection(name: server.description, grpc: GRPCClient(transport: transport)))
      } catch {
        throw .io("connect to \(server): \(error)")
      }
    }
    self.connections = connections
  }

  private static func target(_ server: EtcdOptions.Server) -> any ResolvableTarget {
    if server.host.contains(":") { return .ipv6(address: server.host, port: server.port) }
    let isAddress = server.host.utf8.allSatisfy { $0 == UInt8(ascii: ".") || (0x30...0x39).contains($0) }
    return isAddress
      ? .ipv4(address: server.host, port: server.port) : .dns(host: server.host, port: server.port)
  }

  private static func security(
    _ server: EtcdOptions.Server, _ options: EtcdOptions
  ) -> HTTP2ClientTransport.Posix.TransportSecurity {
    guard server.usesTLS else { return .plaintext }
    return .tls { tls in
      if let file = options.authorityFile { tls.trustRoots = .certificates([.file(path: file, format: .pem)]) }
      if let certificate = options.certificateFile, let key = options.keyFile {
        tls.certificateChain = [.file(path: certificate, format: .pem)]
        tls.privateKey = .file(path: key, format: .pem)
      }
    }
  }

  private static func configuration() -> HTTP2ClientTransport.Posix.Config {
    var config = HTTP2ClientTransport.Posix.Config.defaults
    config.backoff = .init(initial: .milliseconds(50), max: .seconds(1), multiplier: 1.6, jitter: 0.2)
    config.connection.keepalive = keepalive
    config.connection.maxIdleTime = nil
    // Flushes that wait for company cost latency.
    config.connection.flushCoalescing = nil
    config.channelDebuggingCallbacks.onCreateTCPConnection = { channel in
      channel.eventLoop.makeCompletedFuture {
        let pipeline = channel.pipeline.syncOperations
        if let tls = try? pipeline.handler(type: NIOSSLClientHandler.self) {
          try pipeline.addHandler(PingAnswers(), position: .after(tls))
        } else {
          try pipeline.addHandler(PingAnswers(), position: .first)
        }
      }
    }
    return config
  }

  /// Holds the connections until cancelled.
  func run() async {
    await withTaskGroup(of: Void.self) { group in
      for connection in connections { group.addTask { try? await connection.grpc.runConnections() } }
      await group.waitForAll()
    }
  }

  /// Turns to the next server, if nobody has since.
  private func turn(from index: Int) {
    _ = current.compareExchange(
      expected: index, desired: (index + 1) % connections.count, ordering: .relaxed)
  }

  private func callOptions(_ timeout: Duration?) -> CallOptions {
    var options = CallOptions.defaults
    options.timeout = timeout
    options.waitForReady = false
    options.maxResponseMessageBytes = Self.answerBytesMax
    // The transport takes its limit on what it receives from this one too.
    options.maxRequestMessageBytes = Self.answerBytesMax
    return options
  }

  private func call<Request: Message, Response: Message>(
    _ method: MethodDescriptor, _ request: Request
  ) async throws(EtcdFailure) -> Response {
    let index = current.load(ordering: .relaxed)
    do {
      return try await connections[index].grpc.unary(
        request: ClientRequest(message: request, metadata: Self.metadata), descriptor: method,
        serializer: ProtobufSerializer<Request>(), deserializer: ProtobufDeserializer<Response>(),
        options: callOptions(requestTimeout)
      ) { response in try response.message }
    } catch {
      let failure = EtcdFailure(error, call: method.method, server: connections[index].name)
      if failure.kind == .unanswered { turn(from: index) }
      throw failure
    }
  }

  func range(_ request: EtcdRangeRequest) async throws(EtcdFailure) -> EtcdRangeResponse {
    try await call(EtcdKV.Method.Range.descriptor, request)
  }

  func transact(_ request: EtcdTxnRequest) async throws(EtcdFailure) -> EtcdTxnResponse {
    try await call(EtcdKV.Method.Txn.descriptor, request)
  }

  func compact(_ revision: Int64) async throws(EtcdFailure) {
    let request = EtcdCompactionRequest.with {
      $0.revision = revision
      $0.physical = true
    }
    let _: EtcdCompactionResponse = try await call(EtcdKV.Method.Compact.descriptor, request)
  }

  /// Follows what happens; each answer is handed over before the next is read. Returns when etcd ends it or `body` says
  /// so by returning false.
  /// - Throws: `EtcdFailure`, and what `body` throws.
  func watch(
    _ create: EtcdWatchCreateRequest, _ body: @Sendable @escaping (EtcdWatchResponse) async throws -> Bool
  ) async throws {
    let index = current.load(ordering: .relaxed)
    let request = StreamingClientRequest<EtcdWatchRequest>(metadata: Self.metadata) { writer in
      try await writer.write(EtcdWatchRequest.with { $0.createRequest = create })
      // The stream lives as long as this side of it; cancelled when the other side has ended.
      let (never, end) = AsyncStream<Void>.makeStream()
      defer { end.finish() }
      for await _ in never {}
    }
    do {
      try await connections[index].grpc.bidirectionalStreaming(
        request: request, descriptor: EtcdWatch.Method.Watch.descriptor,
        serializer: ProtobufSerializer<EtcdWatchRequest>(), deserializer: ProtobufDeserializer<EtcdWatchResponse>(),
        options: callOptions(nil)
      ) { response in
        for try await message in response.messages {
          if try await !body(message) { return }
        }
      }
      turn(from: index)
    } catch let error as RPCError {
      let failure = EtcdFailure(error, call: "Watch", server: connections[index].name)
      if failure.kind == .unanswered { turn(from: index) }
      throw failure
    }
  }
}
