internal import Kernel
internal import Logging
internal import NIOCore
internal import NIOHTTP1
internal import NIOWebSocket
internal import Synchronization

typealias WebSocketChannel = NIOAsyncChannel<WebSocketFrame, WebSocketFrame>
typealias HTTPChannel = NIOAsyncChannel<HTTPServerRequestPart, HTTPServerResponsePart>

/// What became of a connection.
enum StreamingConnection: Sendable {
  /// Messages of channels, whatever carries them.
  case session(WebSocketChannel, StreamRequest, ChannelProtocol)
  /// Port-forwards, which their handler carries.
  case forwards(any Channel)
  case refused(HTTPChannel, HandshakeRefusal)

  func close() async {
    switch self {
    case .session(let channel, _, _): try? await channel.executeThenClose { _, _ in }
    case .forwards(let channel): try? await channel.close()
    case .refused(let channel, _): try? await channel.executeThenClose { _, _ in }
    }
  }
}

/// What is spoken after the upgrade.
enum StreamingProtocol: Equatable, Sendable {
  /// Channels over a WebSocket.
  case webSocket(ChannelProtocol)
  /// A stream of SPDY for each channel.
  case spdy(SPDYChannels)
  /// Port-forwards over SPDY, itself in the messages of a WebSocket or not.
  case forward(inWebSocket: Bool)

}

/// The protocols of exec and attach over SPDY, newest first. All have a stream for each channel and end it to close it.
enum SPDYChannels: String, CaseIterable, Sendable {
  /// The exit status is a `Status` document.
  case v4 = "v4.channel.k8s.io"
  /// Has sizes of terminals; the exit status is a line of text, or nothing.
  case v3 = "v3.channel.k8s.io"
  case v2 = "v2.channel.k8s.io"
  case v1 = "channel.k8s.io"

  /// How its session says the exit status.
  var session: ChannelProtocol { self == .v4 ? .v5 : .v1 }

  /// The newest of those a client offers; one that names none is as old as the first.
  static func best(of offered: [String]) -> SPDYChannels? {
    let names = ChannelProtocol.names(offered)
    return names.isEmpty ? .v1 : allCases.first { names.contains($0.rawValue) }
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
struct HandshakeRefusal: Error, Equatable, Sendable {
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
  case accepted(StreamRequest, StreamingProtocol)
  case refused(HandshakeRefusal)

  static func judge(_ head: HTTPRequestHead, pending: PendingRequests) -> HandshakeVerdict {
    guard head.method == .GET || head.method == .POST else {
      return .refused(HandshakeRefusal(status: .methodNotAllowed, message: "use GET or POST with an upgrade\n"))
    }
    guard originAllowed(head) else {
      return .refused(HandshakeRefusal(status: .forbidden, message: "cross-origin requests are refused\n"))
    }
    let upgrades = head.headers[canonicalForm: "upgrade"].map { $0.lowercased() }
    let isForward = head.uri.hasPrefix("/portforward/")
    let found: Result<StreamingProtocol, HandshakeRefusal> =
      if upgrades.contains("websocket") {
        webSocket(head.headers["sec-websocket-protocol"], isForward)
      } else if upgrades.contains(SPDY.name.lowercased()) {
        spdy(head.headers[canonicalForm: "x-stream-protocol-version"].map(String.init), isForward)
      } else {
        .failure(
          HandshakeRefusal(status: .badRequest, message: "this URL wants a WebSocket upgrade, or one to SPDY/3.1\n"))
      }
    let proto: StreamingProtocol
    switch found {
    case .success(let chosen): proto = chosen
    case .failure(let refusal): return .refused(refusal)
    }
    guard let request = take(head.uri, from: pending) else {
      return .refused(HandshakeRefusal(status: .notFound, message: "unknown, used or expired streaming URL\n"))
    }
    return .accepted(request, proto)
  }

  private static func webSocket(
    _ offered: [String], _ isForward: Bool
  ) -> Result<StreamingProtocol, HandshakeRefusal> {
    if isForward {
      if ChannelProtocol.names(offered).contains(PortForwardHandler.tunnelName) {
        return .success(.forward(inWebSocket: true))
      }
      return .failure(refusal(offer: "subprotocol", [PortForwardHandler.tunnelName]))
    }
    if let proto = ChannelProtocol.best(of: offered) { return .success(.webSocket(proto)) }
    return .failure(refusal(offer: "subprotocol", ChannelProtocol.allCases.map(\.rawValue)))
  }

  private static func spdy(
    _ offered: [String], _ isForward: Bool
  ) -> Result<StreamingProtocol, HandshakeRefusal> {
    let header = "X-Stream-Protocol-Version"
    if isForward {
      guard offered.contains(PortForwardHandler.protocolName) else {
        return .failure(refusal(offer: header, [PortForwardHandler.protocolName]))
      }
      return .success(.forward(inWebSocket: false))
    }
    guard let channels = SPDYChannels.best(of: offered) else {
      return .failure(refusal(offer: header, SPDYChannels.allCases.map(\.rawValue)))
    }
    return .success(.spdy(channels))
  }

  private static func refusal(offer: String, _ known: [String]) -> HandshakeRefusal {
    HandshakeRefusal(status: .badRequest, message: "offer a \(offer) of \(known.joined(separator: ", "))\n")
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
    guard path.count == 3, path[0].isEmpty, ["exec", "attach", "portforward"].contains(path[1]) else { return nil }
    return pending.take(String(path[2]))
  }
}

/// Carries the verdict from the upgrade's question to its answer, on one connection.
private final class HandshakeState: Sendable {
  let verdict = Mutex<HandshakeVerdict?>(nil)
}

typealias PortDialler = @Sendable (_ sandboxID: String, _ port: UInt16) async throws -> OwnedFD

/// Sets up HTTP with the upgrades to a WebSocket and to SPDY/3.1.
func configureHandshake(
  of channel: any Channel, pending: PendingRequests, timeout: Duration, dial: @escaping PortDialler, logger: Logger
) throws -> EventLoopFuture<StreamingConnection> {
  let state = HandshakeState()
  let webSocket = NIOTypedWebSocketServerUpgrader<StreamingConnection>(
    maxFrameSize: StreamingLimits.messageBytesMax,
    shouldUpgrade: { channel, head in
      let verdict = HandshakeVerdict.judge(head, pending: pending)
      state.verdict.withLock { $0 = verdict }
      guard case .accepted(_, let proto) = verdict, let name = proto.webSocketName else {
        return channel.eventLoop.makeSucceededFuture(nil)
      }
      return channel.eventLoop.makeSucceededFuture(HTTPHeaders([("Sec-WebSocket-Protocol", name)]))
    },
    upgradePipelineHandler: { channel, _ in
      channel.eventLoop.makeCompletedFuture { try upgraded(channel, state, dial, logger) }
    })
  let spdy = SPDYUpgrader(state: state, pending: pending, dial: dial, logger: logger)
  let upgrade = NIOTypedHTTPServerUpgradeConfiguration(upgraders: [webSocket, spdy]) { channel in
    channel.eventLoop.makeCompletedFuture {
      let refusal: HandshakeRefusal =
        if case .refused(let refusal) = state.verdict.withLock({ $0 }) {
          refusal
        } else {
          HandshakeRefusal(status: .badRequest, message: "this URL wants a WebSocket upgrade, or one to SPDY/3.1\n")
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

/// The upgrade to SPDY/3.1, which has no handshake of its own beyond the protocol's name.
private struct SPDYUpgrader: NIOTypedHTTPServerProtocolUpgrader {
  typealias UpgradeResult = StreamingConnection

  let state: HandshakeState
  let pending: PendingRequests
  let dial: PortDialler
  let logger: Logger
  let supportedProtocol = SPDY.name
  let requiredUpgradeHeaders: [String] = []

  func buildUpgradeResponse(
    channel: any Channel, upgradeRequest: HTTPRequestHead, initialResponseHeaders: HTTPHeaders
  ) -> EventLoopFuture<HTTPHeaders> {
    let verdict = HandshakeVerdict.judge(upgradeRequest, pending: pending)
    state.verdict.withLock { $0 = verdict }
    switch verdict {
    case .refused(let refusal): return channel.eventLoop.makeFailedFuture(refusal)
    case .accepted(_, let proto):
      var headers = initialResponseHeaders
      let name =
        if case .spdy(let channels) = proto { channels.rawValue } else { PortForwardHandler.protocolName }
      headers.add(name: "X-Stream-Protocol-Version", value: name)
      return channel.eventLoop.makeSucceededFuture(headers)
    }
  }

  func upgrade(channel: any Channel, upgradeRequest: HTTPRequestHead) -> EventLoopFuture<StreamingConnection> {
    channel.eventLoop.makeCompletedFuture { try upgraded(channel, state, dial, logger) }
  }
}

extension StreamingProtocol {
  fileprivate var webSocketName: String? {
    switch self {
    case .webSocket(let proto): proto.rawValue
    case .forward(inWebSocket: true): PortForwardHandler.tunnelName
    case .spdy, .forward: nil
    }
  }
}

/// Sets up what was agreed upon, after the upgrade.
private func upgraded(
  _ channel: any Channel, _ state: HandshakeState, _ dial: @escaping PortDialler, _ logger: Logger
) throws -> StreamingConnection {
  guard case .accepted(let request, let proto) = state.verdict.withLock({ $0 }) else {
    throw ChannelError.inappropriateOperationForState
  }
  let pipeline = channel.pipeline.syncOperations
  switch proto {
  case .webSocket(let channels):
    // Whole messages, whatever fragments they come in.
    try pipeline.addHandler(
      NIOWebSocketFrameAggregator(
        minNonFinalFragmentSize: 0, maxAccumulatedFrameCount: StreamingLimits.fragmentsMax,
        maxAccumulatedFrameSize: StreamingLimits.messageBytesMax))
    if channels.isBase64 { try pipeline.addHandler(Base64ChannelHandler()) }
    return .session(try webSocketChannel(channel), request, channels)
  case .spdy(let channels):
    try pipeline.addHandler(SPDYSessionHandler())
    return .session(try webSocketChannel(channel), request, channels.session)
  case .forward(let inWebSocket):
    if inWebSocket { try pipeline.addHandler(WebSocketTunnelHandler()) }
    try pipeline.addHandler(
      PortForwardHandler(request.containerID, logger: logger) { port in
        try await dial(request.containerID, port).release()
      })
    return .forwards(channel)
  }
}

/// Messages in, messages out, and no reading ahead of what the process takes.
private func webSocketChannel(_ channel: any Channel) throws -> WebSocketChannel {
  try WebSocketChannel(
    wrappingChannelSynchronously: channel,
    configuration: .init(
      backPressureStrategy: .init(lowWatermark: 1, highWatermark: StreamingLimits.messagesQueuedMax)))
}
