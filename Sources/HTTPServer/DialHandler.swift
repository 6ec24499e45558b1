internal import NIOCore
internal import NIOHTTP1

/// The client's end of one exchange: gives the answer's head to whoever waits for it, and then its body, or the bare
/// connection.
final class DialHandler: ChannelDuplexHandler, RemovableChannelHandler {
  typealias InboundIn = HTTPClientResponsePart
  typealias OutboundIn = HTTPClientRequestPart
  typealias OutboundOut = HTTPClientRequestPart

  private let promise: EventLoopPromise<HTTPDialedResponse>
  private let endpoint: String
  private var isAnswered = false
  private var body: HTTPIncomingBody?
  private var isBodyPaused = false
  private var isReadHeld = false
  private var context: ChannelHandlerContext?
  private var switching: HTTPResponseHead?

  /// A tunnel whose other side takes nothing is broken after this long.
  private static let stallTimeout = TimeAmount.seconds(60)

  init(_ promise: EventLoopPromise<HTTPDialedResponse>, endpoint: String) {
    self.promise = promise
    self.endpoint = endpoint
  }

  func handlerAdded(context: ChannelHandlerContext) { self.context = context }

  func handlerRemoved(context: ChannelHandlerContext) {
    self.context = nil
    fail("the connection ended before the answer")
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    switch Self.unwrapInboundIn(data) {
    case .head(let head) where head.status == .switchingProtocols: switching = head
    case .head(let head): beginBody(context, head)
    case .body(let bytes):
      if body?.deliver(Array(bytes.readableBytesView)) == false { isBodyPaused = true }
    case .end:
      if let head = switching { return becomeTunnel(context, head) }
      body?.finish()
      context.close(promise: nil)
    }
  }

  private func beginBody(_ context: ChannelHandlerContext, _ head: HTTPResponseHead) {
    let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
    let (loop, channel) = (context.eventLoop, context.channel)
    let body = HTTPIncomingBody { loop.execute { bound.value.resumeReading() } }
    self.body = body
    isAnswered = true
    let tunnel = ByteTunnel(
      read: { () throws(HTTPBodyError) in try await body.next() },
      write: { _ throws(HTTPBodyError) in throw .disconnected }, closeWriting: {},
      close: { channel.close(promise: nil) })
    promise.succeed(
      HTTPDialedResponse(status: Int(head.status.code), headers: HTTPFields(head.headers), tunnel: tunnel))
  }

  private func becomeTunnel(_ context: ChannelHandlerContext, _ head: HTTPResponseHead) {
    let pipeline = context.pipeline.syncOperations
    let tunnel = TunnelHandler(channel: context.channel, stallTimeout: Self.stallTimeout, task: nil)
    do {
      let decoder = try pipeline.handler(type: ByteToMessageHandler<HTTPResponseDecoder>.self)
      let encoder = try pipeline.handler(type: HTTPRequestEncoder.self)
      isAnswered = true
      try pipeline.addHandler(tunnel)
      pipeline.removeHandler(encoder, promise: nil)
      pipeline.removeHandler(context: context, promise: nil)
      // Last: it gives what came after the head to the tunnel.
      pipeline.removeHandler(decoder, promise: nil)
      promise.succeed(
        HTTPDialedResponse(status: 101, headers: HTTPFields(head.headers), tunnel: tunnel.link.tunnel))
    } catch {
      promise.fail(error)
      context.close(promise: nil)
    }
  }

  func read(context: ChannelHandlerContext) {
    if isBodyPaused { isReadHeld = true } else { context.read() }
  }

  private func resumeReading() {
    isBodyPaused = false
    guard isReadHeld else { return }
    isReadHeld = false
    context?.read()
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    // The decoder has seen the end, too: a body without a length is whole now, all others are broken.
    if case ChannelEvent.inputClosed = event { return context.close(promise: nil) }
    context.fireUserInboundEventTriggered(event)
  }

  func channelInactive(context: ChannelHandlerContext) {
    fail("the connection ended before the answer")
    context.fireChannelInactive()
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    fail("\(error)")
    context.close(promise: nil)
  }

  private func fail(_ reason: String) {
    body?.fail(.disconnected)
    guard !isAnswered else { return }
    isAnswered = true
    promise.fail(HTTPDialError.exchange(endpoint: endpoint, reason: reason))
  }
}
