internal import Kernel
internal import Logging
internal import NIOCore
internal import NIOPosix
internal import NIOWebSocket

/// Carries connections to ports of a pod over one SPDY connection (`portforward.k8s.io`): for each a pair of streams with the
/// same `requestid`, one for its bytes and one for the reason why there is no connection.
///
/// Bytes are held by the two sockets alone: while one side does not take them, the other is not read.
final class PortForwardHandler: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  static let protocolName = "portforward.k8s.io"
  /// As a subprotocol of WebSocket, whose messages carry the SPDY connection.
  static let tunnelName = "SPDY/3.1+portforward.k8s.io"
  /// Connections through one client at one time.
  static let connectionsMax = 256
  /// What a client may send before its connection to the pod is there.
  static let earlyBytesMax = 1 << 20

  /// One connection: its two streams, and the pod's side once it is there.
  private final class Forward {
    let requestID: String
    var data: UInt32?
    var errors: UInt32?
    var port: UInt16 = 0
    var pod: (any Channel)?
    var early = ByteBuffer()
    var inputEnded = false
    var isDialling = false

    init(_ requestID: String) { self.requestID = requestID }
  }

  private let dial: @Sendable (UInt16) async throws -> CInt
  private let logger: Logger
  private let describe: String
  private var decoder: SPDYDecoder
  private let encoder: SPDYEncoder
  private var forwards: [String: Forward] = [:]
  private var streams: [UInt32: Forward] = [:]
  private var stalled = 0

  /// - Parameter dial: connects to a port of the pod, and gives a socket for the handler to own.
  init(_ describe: String, logger: Logger, dial: @escaping @Sendable (UInt16) async throws -> CInt) throws {
    self.describe = describe
    self.logger = logger
    self.dial = dial
    decoder = try SPDYDecoder()
    encoder = try SPDYEncoder()
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    decoder.append(unwrapInboundIn(data))
    do {
      while let frame = try decoder.next() { try receive(frame, context) }
    } catch {
      logger.info("port-forward \(describe): \(error)")
      context.close(promise: nil)
    }
  }

  private func receive(_ frame: SPDYFrame, _ context: ChannelHandlerContext) throws {
    switch frame {
    case .open(let stream, let headers, let isLast): try open(stream, headers, isLast, context)
    case .data(let stream, let bytes, let isLast):
      guard let forward = streams[stream], forward.data == stream else { return }
      if bytes.readableBytes > 0 { take(bytes, forward, context) }
      if isLast { endInput(forward) }
    case .reset(let stream): if let forward = streams[stream], forward.data == stream { drop(forward, context) }
    case .ping(let number): context.writeAndFlush(wrapOutboundOut(SPDYEncoder.ping(number)), promise: nil)
    case .goAway: context.close(promise: nil)
    case .other: break
    }
  }

  private func open(
    _ stream: UInt32, _ headers: [String: String], _ isLast: Bool, _ context: ChannelHandlerContext
  ) throws {
    let port = headers["port"].flatMap { UInt16($0) } ?? 0
    // Clients of the first version had no ids: a port is enough for their one connection.
    let requestID = headers["requestid"] ?? "port \(port)"
    guard port > 0, forwards[requestID] != nil || forwards.count < Self.connectionsMax,
      headers["streamtype"] == "data" || headers["streamtype"] == "error"
    else {
      context.writeAndFlush(wrapOutboundOut(SPDYEncoder.reset(stream)), promise: nil)
      return
    }
    let forward = forwards[requestID] ?? Forward(requestID)
    forwards[requestID] = forward
    streams[stream] = forward
    if headers["streamtype"] == "data" {
      (forward.data, forward.port, forward.inputEnded) = (stream, port, isLast)
    } else {
      forward.errors = stream
    }
    context.writeAndFlush(wrapOutboundOut(try encoder.reply(to: stream)), promise: nil)
    if forward.data != nil, forward.errors != nil, !forward.isDialling { connect(forward, context) }
  }

  // MARK: To the pod

  private func connect(_ forward: Forward, _ context: ChannelHandlerContext) {
    forward.isDialling = true
    let (loop, port, dial) = (context.eventLoop, forward.port, self.dial)
    let bound = NIOLoopBound((self, forward, context), eventLoop: loop)
    loop.makeFutureWithTask { try await dial(port) }.flatMap { descriptor in
      ClientBootstrap(group: loop)
        .channelOption(.allowRemoteHalfClosure, value: true)
        .channelInitializer { channel in
          channel.eventLoop.makeCompletedFuture {
            let (handler, forward, context) = bound.value
            try channel.pipeline.syncOperations.addHandler(PodSide(handler, forward, context))
          }
        }
        .withConnectedSocket(descriptor)
    }.whenComplete { result in
      let (handler, forward, context) = bound.value
      switch result {
      case .success(let channel): handler.connected(forward, channel, context)
      case .failure(let error): handler.failed(forward, error, context)
      }
    }
  }

  private func connected(_ forward: Forward, _ channel: any Channel, _ context: ChannelHandlerContext) {
    guard forwards[forward.requestID] === forward, context.channel.isActive else {
      channel.close(promise: nil)
      return
    }
    forward.pod = channel
    if forward.early.readableBytes > 0 { channel.writeAndFlush(forward.early, promise: nil) }
    forward.early = ByteBuffer()
    if forward.inputEnded { channel.close(mode: .output, promise: nil) }
  }

  private func failed(_ forward: Forward, _ error: any Error, _ context: ChannelHandlerContext) {
    guard forwards[forward.requestID] === forward else { return }
    logger.info("port-forward \(describe), port \(forward.port): \(error)")
    if let stream = forward.errors {
      let text = "error forwarding port \(forward.port) to pod \(describe): \(error)"
      context.write(wrapOutboundOut(SPDYEncoder.data(stream, ByteBuffer(string: text))), promise: nil)
    }
    finish(forward, context)
  }

  private func take(_ bytes: ByteBuffer, _ forward: Forward, _ context: ChannelHandlerContext) {
    if let pod = forward.pod {
      pod.writeAndFlush(bytes, promise: nil)
    } else if forward.early.readableBytes + bytes.readableBytes <= Self.earlyBytesMax {
      forward.early.writeImmutableBuffer(bytes)
    } else {
      drop(forward, context)
    }
  }

  private func endInput(_ forward: Forward) {
    forward.inputEnded = true
    forward.pod?.close(mode: .output, promise: nil)
  }

  // MARK: From the pod

  fileprivate func receivedFromPod(_ bytes: ByteBuffer, _ forward: AnyObject, _ context: ChannelHandlerContext) {
    guard let forward = forward as? Forward, let stream = forward.data else { return }
    context.writeAndFlush(wrapOutboundOut(SPDYEncoder.data(stream, bytes)), promise: nil)
    if !context.channel.isWritable { readPods(false) }
  }

  fileprivate func podEnded(_ forward: AnyObject, _ context: ChannelHandlerContext) {
    guard let forward = forward as? Forward, forwards[forward.requestID] === forward else { return }
    finish(forward, context)
  }

  /// One pod that does not take bytes holds up the client: its bytes cannot be read past one another.
  fileprivate func podWritabilityChanged(_ isWritable: Bool, _ context: ChannelHandlerContext) {
    stalled += isWritable ? -1 : 1
    context.channel.setOption(.autoRead, value: stalled == 0).whenFailure { _ in }
  }

  func channelWritabilityChanged(context: ChannelHandlerContext) {
    readPods(context.channel.isWritable)
    context.fireChannelWritabilityChanged()
  }

  private func readPods(_ reading: Bool) {
    for forward in forwards.values { forward.pod?.setOption(.autoRead, value: reading).whenFailure { _ in } }
  }

  // MARK: Ends

  /// Says on both streams that nothing follows.
  private func finish(_ forward: Forward, _ context: ChannelHandlerContext) {
    for stream in [forward.data, forward.errors] {
      guard let stream else { continue }
      context.write(wrapOutboundOut(SPDYEncoder.end(stream)), promise: nil)
    }
    context.flush()
    drop(forward, context)
  }

  private func drop(_ forward: Forward, _ context: ChannelHandlerContext) {
    for stream in [forward.data, forward.errors] { if let stream { streams[stream] = nil } }
    forwards[forward.requestID] = nil
    forward.pod?.close(promise: nil)
    forward.pod = nil
  }

  func channelInactive(context: ChannelHandlerContext) {
    for forward in Array(forwards.values) { drop(forward, context) }
    context.fireChannelInactive()
  }
}

/// The pod's end of one forwarded connection, on the client's event loop.
private final class PodSide: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer

  private let handler: PortForwardHandler
  private let forward: AnyObject
  private let client: ChannelHandlerContext
  private var isWritable = true

  init(_ handler: PortForwardHandler, _ forward: AnyObject, _ client: ChannelHandlerContext) {
    self.handler = handler
    self.forward = forward
    self.client = client
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    handler.receivedFromPod(unwrapInboundIn(data), forward, client)
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if case .some(.inputClosed) = event as? ChannelEvent { handler.podEnded(forward, client) }
  }

  func channelWritabilityChanged(context: ChannelHandlerContext) { noteWritability(context.channel.isWritable) }

  func channelInactive(context: ChannelHandlerContext) {
    noteWritability(true)
    handler.podEnded(forward, client)
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

  private func noteWritability(_ now: Bool) {
    guard now != isWritable else { return }
    isWritable = now
    handler.podWritabilityChanged(now, client)
  }
}

/// A WebSocket whose messages are pieces of one stream of bytes.
final class WebSocketTunnelHandler: ChannelDuplexHandler {
  typealias InboundIn = WebSocketFrame
  typealias InboundOut = ByteBuffer
  typealias OutboundIn = ByteBuffer
  typealias OutboundOut = WebSocketFrame

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    let frame = unwrapInboundIn(data)
    switch frame.opcode {
    case .binary, .text, .continuation: context.fireChannelRead(wrapInboundOut(frame.unmaskedData))
    case .ping:
      let pong = WebSocketFrame(fin: true, opcode: .pong, data: frame.unmaskedData)
      context.writeAndFlush(wrapOutboundOut(pong), promise: nil)
    case .connectionClose: context.close(promise: nil)
    default: break
    }
  }

  func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
    let frame = WebSocketFrame(fin: true, opcode: .binary, data: unwrapOutboundIn(data))
    context.write(wrapOutboundOut(frame), promise: promise)
  }
}
