internal import NIOCore
internal import NIOSSL
internal import Logging

/// Ends HTTP/1 connections that send a request's head too slowly, or nothing at all. First in the pipeline after TLS.
///
/// One timer a connection, which looks when it fires whether it fired too early, so that a request costs no timer.
final class ConnectionClock: ChannelInboundHandler, RemovableChannelHandler {
  typealias InboundIn = ByteBuffer

  private enum Phase {
    /// Nothing came since then.
    case idle(NIODeadline)
    /// The first bytes of a head came then.
    case head(NIODeadline)
    case busy
  }

  private let headTimeout: TimeAmount
  private let idleTimeout: TimeAmount
  private var phase: Phase
  private var timer: Scheduled<Void>?
  private var isFresh = true

  init(_ limits: HTTPServerLimits) {
    headTimeout = .seconds(Int64(limits.headTimeoutSeconds))
    idleTimeout = .seconds(Int64(limits.idleTimeoutSeconds))
    phase = .idle(.now())
  }

  /// The head is whole: the rest is the exchange's to watch.
  func headCame() {
    phase = .busy
    isFresh = false
  }

  /// The answer is out.
  func exchangeEnded() { phase = .idle(.now()) }

  func handlerAdded(context: ChannelHandlerContext) { schedule(context, deadline: .now() + headTimeout) }
  func handlerRemoved(context: ChannelHandlerContext) { timer?.cancel() }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    if case .idle(let since) = phase { phase = .head(isFresh ? since : .now()) }
    context.fireChannelRead(data)
  }

  private var deadline: NIODeadline? {
    switch phase {
    case .idle(let since): since + (isFresh ? headTimeout : idleTimeout)
    case .head(let since): since + headTimeout
    case .busy: nil
    }
  }

  private func schedule(_ context: ChannelHandlerContext, deadline: NIODeadline) {
    let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
    timer = context.eventLoop.scheduleTask(deadline: deadline) {
      let (clock, context) = bound.value
      clock.fired(context)
    }
  }

  private func fired(_ context: ChannelHandlerContext) {
    let now = NIODeadline.now()
    guard let deadline else { return schedule(context, deadline: now + headTimeout) }
    if deadline <= now { return context.close(promise: nil) }
    // Looks again in a while even where the limit is far: a head may begin at any time.
    schedule(context, deadline: min(deadline, now + headTimeout))
  }
}

/// Closes connections that fail below HTTP: each is the client's business, so it is told only where one debugs.
final class ConnectionErrors: ChannelInboundHandler {
  typealias InboundIn = Any

  private let logger: Logger

  init(logger: Logger) { self.logger = logger }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    logger.debug("http: \(context.channel.remoteAddress?.description ?? "a client"): \(error)")
    context.close(promise: nil)
  }
}

/// The last handler of an HTTP/2 connection: has it say goodbye when the server stops, and takes it away when it fails or
/// its client has left.
final class HTTP2Ending: ChannelInboundHandler {
  typealias InboundIn = Any

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    switch event {
    case is ServerStops: context.pipeline.fireUserInboundEventTriggered(ChannelShouldQuiesceEvent())
    // Half a connection can carry neither window updates nor new requests: its streams are over.
    case ChannelEvent.inputClosed: context.close(promise: nil)
    default: context.fireUserInboundEventTriggered(event)
    }
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
