internal import NIOCore

/// The last handler of a connection that carries bytes, no HTTP.
final class TunnelHandler: ChannelDuplexHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  private var context: ChannelHandlerContext?
  private let incoming: HTTPIncomingBody
  private let resumption: Resumption
  private let loop: any EventLoop
  private let channel: any Channel
  private let stallTimeout: TimeAmount
  private let task: Task<Void, Never>?
  private var waiters: [CheckedContinuation<Void, Never>] = []
  private var isPaused = false
  private var isReadHeld = false
  private var isGone = false
  private var isOutputClosed = false
  private var stallTimer: Scheduled<Void>?

  init(channel: any Channel, stallTimeout: TimeAmount, task: Task<Void, Never>?) {
    self.channel = channel
    self.stallTimeout = stallTimeout
    self.task = task
    loop = channel.eventLoop
    let resumption = Resumption()
    self.resumption = resumption
    incoming = HTTPIncomingBody { [loop = channel.eventLoop] in
      loop.execute { resumption.handler?.value.resumeReading() }
    }
    resumption.handler = NIOLoopBound(self, eventLoop: channel.eventLoop)
  }

  /// The way back from the reader to the handler, and no longer than the handler is there. Set before anybody reads;
  /// used and taken away on the loop.
  private final class Resumption: @unchecked Sendable {
    var handler: NIOLoopBound<TunnelHandler>?
  }

  var link: TunnelLink { TunnelLink(self, loop, channel, incoming) }

  func handlerAdded(context: ChannelHandlerContext) {
    self.context = context
  }

  func handlerRemoved(context: ChannelHandlerContext) {
    end(.disconnected)
    resumption.handler = nil
    self.context = nil
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    if !incoming.deliver(Array(Self.unwrapInboundIn(data).readableBytesView)) { isPaused = true }
  }

  func read(context: ChannelHandlerContext) {
    if isPaused { isReadHeld = true } else { context.read() }
  }

  private func resumeReading() {
    isPaused = false
    guard isReadHeld else { return }
    isReadHeld = false
    context?.read()
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    switch event {
    case ChannelEvent.inputClosed: inputEnded()
    case is ServerStops:
      task?.cancel()
      context.close(promise: nil)
    default: context.fireUserInboundEventTriggered(event)
    }
  }

  /// The other side sends no more.
  func inputEnded() { incoming.finish() }

  func channelInactive(context: ChannelHandlerContext) {
    // The other side's end, where ours had ended before: then there is no event for half a connection.
    incoming.finish()
    end(.disconnected)
    context.fireChannelInactive()
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

  /// Closed by us, or broken: what was not read yet is no whole message.
  func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
    if case .all = mode { incoming.fail(.disconnected) }
    context.close(mode: mode, promise: promise)
  }

  private func end(_ error: HTTPBodyError) {
    isGone = true
    incoming.fail(error)
    stallTimer?.cancel()
    wake()
  }

  func channelWritabilityChanged(context: ChannelHandlerContext) {
    if context.channel.isWritable {
      stallTimer?.cancel()
      stallTimer = nil
      wake()
    }
    context.fireChannelWritabilityChanged()
  }

  private func wake() {
    let waiting = waiters
    waiters = []
    for waiter in waiting { waiter.resume() }
  }

  // MARK: for the link, on the loop

  /// - Returns: whether the next bytes are welcome; nil where nobody takes any.
  func write(_ bytes: [UInt8]) -> Bool? {
    guard let context, !isGone, !isOutputClosed else { return nil }
    context.writeAndFlush(Self.wrapOutboundOut(context.channel.allocator.buffer(bytes: bytes)), promise: nil)
    return context.channel.isWritable
  }

  func wait(_ continuation: CheckedContinuation<Void, Never>) {
    guard let context, !isGone, !context.channel.isWritable else { return continuation.resume() }
    waiters.append(continuation)
    guard stallTimer == nil else { return }
    let bound = NIOLoopBound(context, eventLoop: loop)
    stallTimer = loop.scheduleTask(in: stallTimeout) { bound.value.close(promise: nil) }
  }

  func closeOutput() {
    guard let context, !isGone, !isOutputClosed else { return }
    isOutputClosed = true
    context.close(mode: .output, promise: nil)
  }

  /// Calls back when everything written is with the kernel, or can never be.
  func flushed(_ continuation: CheckedContinuation<Void, Never>) {
    guard let context, !isGone, !isOutputClosed else { return continuation.resume() }
    let promise = loop.makePromise(of: Void.self)
    promise.futureResult.whenComplete { _ in continuation.resume() }
    let limit = loop.scheduleTask(in: stallTimeout) { [channel] in channel.close(promise: nil) }
    promise.futureResult.whenComplete { _ in limit.cancel() }
    context.writeAndFlush(Self.wrapOutboundOut(ByteBuffer()), promise: promise)
  }
}

/// A tunnel's handler as tasks see it.
struct TunnelLink: Sendable {
  private let loop: any EventLoop
  private let channel: any Channel
  private let bound: NIOLoopBound<TunnelHandler>
  private let incoming: HTTPIncomingBody

  init(_ handler: TunnelHandler, _ loop: any EventLoop, _ channel: any Channel, _ incoming: HTTPIncomingBody) {
    self.loop = loop
    self.channel = channel
    self.incoming = incoming
    bound = NIOLoopBound(handler, eventLoop: loop)
  }

  private func perform<Result: Sendable>(_ body: @escaping @Sendable (TunnelHandler) -> Result) async -> Result {
    if loop.inEventLoop { return body(bound.value) }
    return await withCheckedContinuation { continuation in
      loop.execute { continuation.resume(returning: body(bound.value)) }
    }
  }

  private func suspend(
    _ body: @escaping @Sendable (TunnelHandler, CheckedContinuation<Void, Never>) -> Void
  ) async {
    await withCheckedContinuation { continuation in
      if loop.inEventLoop { body(bound.value, continuation) } else { loop.execute { body(bound.value, continuation) } }
    }
  }

  func close() { channel.close(promise: nil) }

  /// Lets what is written get out, then closes.
  func finish() async {
    await suspend { $0.flushed($1) }
    close()
  }

  var tunnel: ByteTunnel {
    ByteTunnel(
      read: { () throws(HTTPBodyError) in try await incoming.next() },
      write: { bytes throws(HTTPBodyError) in
        guard !bytes.isEmpty else { return }
        guard let isWritable = await perform({ $0.write(bytes) }) else { throw .disconnected }
        if !isWritable { await suspend { $0.wait($1) } }
      },
      closeWriting: { await perform { $0.closeOutput() } }, close: { close() })
  }
}
