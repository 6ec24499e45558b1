internal import NIOCore
internal import NIOHTTP1
internal import NIOWebSocket
internal import Synchronization

typealias WebSocketChannel = NIOAsyncChannel<WebSocketFrame, WebSocketFrame>
typealias HTTPChannel = NIOAsyncChannel<HTTPServerRequestPart, HTTPServerResponsePart>

/// What became of a connection.
enum StreamingConnection: Sendable {
  case webSocket(WebSocketChannel, StreamRequest, ChannelProtocol)
  case refused(HTTPChannel, HandshakeRefusal)

  func close() async {
    switch self {
    case .webSocket(let channel, _, _): try? await channel.executeThenClose { _, _ in }
    case .refused(let channel, _): try? await channel.executeThenClose { _, _ in }
    }
  }
}

/// Limits of what a client may send.
enum StreamingLimits {
  /// One WebSocket message. Clients send what they read at once, most of them 32 KiB.
  static let messageBytesMax = 4 << 20
  /// Fragments of one message.
  static let fragmentsMax = 1024
  /// Messages decoded and not yet written to the process, per connection.
  static let messagesQueuedMax = 2
  /// What is read from a process at once, and the largest message that we send.
  static let outputChunkBytes = 32 << 10
}

/// Why a request is not served, in HTTP.
struct HandshakeRefusal: Equatable, Sendable {
  var status: HTTPResponseStatus
  var message: String

  /// Answers and closes. Whatever goes wrong, the connection is closed.
  func answer(_ channel: HTTPChannel) async {
    try? await channel.executeThenClose { _, outbound in
      var headers = HTTPHeaders([("content-type", "text/plain; charset=utf-8"), ("connection", "close")])
      headers.add(name: "content-length", value: "\(message.utf8.count)")
      try await outbound.write(.head(HTTPResponseHead(version: .http1_1, status: status, headers: headers)))
      try await outbound.write(.body(.byteBuffer(ByteBuffer(string: message))))
      // Awaited down to the kernel: closing would drop what is still queued.
      try await channel.channel.writeAndFlush(HTTPServerResponsePart.end(nil))
    }
  }
}

/// A request that may be upgraded, or the reason why not. Checks run from the harmless to the one that uses the URL up.
enum HandshakeVerdict: Equatable, Sendable {
  case accepted(StreamRequest, ChannelProtocol)
  case refused(HandshakeRefusal)

  static func judge(_ head: HTTPRequestHead, pending: PendingRequests) -> HandshakeVerdict {
    guard head.method == .GET || head.method == .POST else {
      return .refused(HandshakeRefusal(status: .methodNotAllowed, message: "use GET with a WebSocket upgrade\n"))
    }
    guard originAllowed(head) else {
      return .refused(HandshakeRefusal(status: .forbidden, message: "cross-origin requests are refused\n"))
    }
    guard head.headers[canonicalForm: "upgrade"].contains(where: { $0.lowercased() == "websocket" }) else {
      return .refused(HandshakeRefusal(status: .badRequest, message: "this URL wants a WebSocket upgrade\n"))
    }
    let offered = head.headers["sec-websocket-protocol"]
    guard let proto = ChannelProtocol.best(of: offered) else {
      let known = ChannelProtocol.allCases.map(\.rawValue).joined(separator: ", ")
      return .refused(HandshakeRefusal(status: .badRequest, message: "offer one of the subprotocols \(known)\n"))
    }
    guard let request = take(head.uri, from: pending) else {
      return .refused(HandshakeRefusal(status: .notFound, message: "unknown, used or expired streaming URL\n"))
    }
    return .accepted(request, proto)
  }

  /// Browsers always send an Origin with a WebSocket, and no page of ours exists. Other clients that send one repeat
  /// the host they connect to, which must then be a literal loopback address, so that no name can be rebound to it.
  private static func originAllowed(_ head: HTTPRequestHead) -> Bool {
    let origins = head.headers["origin"]
    guard let origin = origins.first else { return true }
    guard origins.count == 1, let host = head.headers["host"].first else { return false }
    let isLoopback = host.hasPrefix("127.0.0.1:") || host.hasPrefix("[::1]:")
    return isLoopback && (origin == "http://\(host)" || origin == "ws://\(host)")
  }

  private static func take(_ uri: String, from pending: PendingRequests) -> StreamRequest? {
    let path = uri.prefix { $0 != "?" }.split(separator: "/", omittingEmptySubsequences: false)
    guard path.count == 3, path[0].isEmpty, path[1] == "exec" || path[1] == "attach" else { return nil }
    return pending.take(String(path[2]))
  }
}

/// Carries the verdict from the upgrade's question to its answer, on one connection.
private final class HandshakeState: Sendable {
  let verdict = Mutex<HandshakeVerdict?>(nil)
}

/// Sets up HTTP with the upgrade to a WebSocket. SPDY/3.1 becomes a second upgrader in the list.
func configureHandshake(
  of channel: any Channel, pending: PendingRequests, timeout: Duration
) throws -> EventLoopFuture<StreamingConnection> {
  let state = HandshakeState()
  let webSocket = NIOTypedWebSocketServerUpgrader<StreamingConnection>(
    maxFrameSize: StreamingLimits.messageBytesMax,
    shouldUpgrade: { channel, head in
      let verdict = HandshakeVerdict.judge(head, pending: pending)
      state.verdict.withLock { $0 = verdict }
      guard case .accepted(_, let proto) = verdict else { return channel.eventLoop.makeSucceededFuture(nil) }
      return channel.eventLoop.makeSucceededFuture(HTTPHeaders([("Sec-WebSocket-Protocol", proto.rawValue)]))
    },
    upgradePipelineHandler: { channel, _ in
      channel.eventLoop.makeCompletedFuture {
        guard case .accepted(let request, let proto) = state.verdict.withLock({ $0 }) else {
          throw ChannelError.inappropriateOperationForState
        }
        return .webSocket(try webSocketChannel(channel), request, proto)
      }
    })
  let upgrade = NIOTypedHTTPServerUpgradeConfiguration(upgraders: [webSocket]) { channel in
    channel.eventLoop.makeCompletedFuture {
      let refusal: HandshakeRefusal =
        if case .refused(let refusal) = state.verdict.withLock({ $0 }) {
          refusal
        } else {
          HandshakeRefusal(status: .badRequest, message: "this URL wants a WebSocket upgrade\n")
        }
      return .refused(try HTTPChannel(wrappingChannelSynchronously: channel), refusal)
    }
  }
  var configuration = NIOUpgradableHTTPServerPipelineConfiguration(upgradeConfiguration: upgrade)
  configuration.enablePipelining = false
  let result = try channel.pipeline.syncOperations.configureUpgradableHTTPServerPipeline(configuration: configuration)
  let deadline = channel.eventLoop.scheduleTask(in: TimeAmount(timeout)) { channel.close(promise: nil) }
  result.whenComplete { _ in deadline.cancel() }
  return result
}

/// Whole messages in, frames out, and no reading ahead of what the process takes.
private func webSocketChannel(_ channel: any Channel) throws -> WebSocketChannel {
  try channel.pipeline.syncOperations.addHandler(
    NIOWebSocketFrameAggregator(
      minNonFinalFragmentSize: 0, maxAccumulatedFrameCount: StreamingLimits.fragmentsMax,
      maxAccumulatedFrameSize: StreamingLimits.messageBytesMax))
  return try WebSocketChannel(
    wrappingChannelSynchronously: channel,
    configuration: .init(
      backPressureStrategy: .init(lowWatermark: 1, highWatermark: StreamingLimits.messagesQueuedMax)))
}
