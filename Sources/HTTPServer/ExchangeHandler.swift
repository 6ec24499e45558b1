internal import Logging
internal import NIOCore
internal import NIOHTTP1

/// One request and its answer under way. Belongs to the connection's event loop.
final class Exchange {
  let head: HTTPRequestHead
  let body: HTTPIncomingBody
  /// nil until the handler runs.
  var task: Task<Void, Never>?
  var requestEnded = false
  var headSent = false
  var isStreaming = false
  var asksToClose: Bool
  var expectsContinue: Bool
  /// Who waits until the client takes more.
  enum Waiter {
    case task(CheckedContinuation<Void, Never>)
    case call(@Sendable () -> Void)
  }
  var waiters: [Waiter] = []
  var lastProgress = NIODeadline.now()
  let began = NIODeadline.now()

  init(head: HTTPRequestHead, body: HTTPIncomingBody) {
    self.head = head
    self.body = body
    asksToClose = !head.isKeepAlive
    expectsContinue = head.headers[canonicalForm: "expect"].contains { $0.lowercased() == "100-continue" }
  }

  /// The client asks to leave HTTP: the decoder reads nothing after this request as HTTP.
  var asksToUpgrade: Bool {
    head.headers.contains(name: "upgrade")
      && head.headers[canonicalForm: "connection"].contains { $0.lowercased() == "upgrade" }
  }

  /// Older than HTTP/1.1: no chunks, no upgrade, and the connection ends unless asked otherwise.
  var isOld: Bool { head.version.major == 1 && head.version.minor == 0 || head.version.major == 0 }

  var announcesBody: Bool {
    head.headers.contains(name: "transfer-encoding")
      || head.headers.first(name: "content-length").map { $0 != "0" } ?? false
  }

  func wakeWaiters() {
    let waiting = waiters
    waiters = []
    for waiter in waiting {
      switch waiter {
      case .task(let continuation): continuation.resume()
      case .call(let call): call()
      }
    }
  }
}

/// The last handler of an HTTP/1 connection or an HTTP/2 stream: hands requests to the server's handler, and carries its
/// answers out. One exchange at a time; HTTP/1 pipelining is queued before it.
final class ExchangeHandler: ChannelDuplexHandler, RemovableChannelHandler {
  typealias InboundIn = HTTPServerRequestPart
  typealias OutboundIn = HTTPServerResponsePart
  typealias OutboundOut = HTTPServerResponsePart

  let core: ServerCore
  private let facts: ConnectionFacts
  let isHTTP2: Bool
  private let clock: ConnectionClock?
  private(set) var context: ChannelHandlerContext?
  private(set) var exchange: Exchange?
  /// Bytes are to be dropped until the client closes: the answer's end is the connection's.
  var isLingering = false
  private var isReadHeld = false
  private var isBodyPaused = false
  private var isInputClosed = false
  private var stallTimer: Scheduled<Void>?

  init(_ core: ServerCore, _ facts: ConnectionFacts, isHTTP2: Bool, clock: ConnectionClock?) {
    self.core = core
    self.facts = facts
    self.isHTTP2 = isHTTP2
    self.clock = clock
  }

  // MARK: life

  func handlerAdded(context: ChannelHandlerContext) {
    self.context = context
    if isHTTP2, !core.add(context.channel) { context.close(promise: nil) }
  }

  func handlerRemoved(context: ChannelHandlerContext) {
    stallTimer?.cancel()
    self.context = nil
    if isHTTP2 { core.remove(context.channel) }
  }

  func channelInactive(context: ChannelHandlerContext) {
    abandon()
    context.fireChannelInactive()
  }

  /// The client is gone: so is everything that worked for it.
  private func abandon() {
    guard let exchange else { return }
    self.exchange = nil
    exchange.body.fail(.disconnected)
    exchange.task?.cancel()
    exchange.wakeWaiters()
  }

  // MARK: the request

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    if isLingering { return }
    switch Self.unwrapInboundIn(data) {
    case .head(let head): begin(context, head)
    case .body(let bytes):
      guard let exchange else { return }
      exchange.lastProgress = .now()
      start(exchange)
      if !exchange.body.deliver(Array(bytes.readableBytesView)) { isBodyPaused = true }
      watchForStalls()
    case .end:
      guard let exchange else { return }
      exchange.requestEnded = true
      exchange.body.finish()
      start(exchange)
    }
  }

  private func begin(_ context: ChannelHandlerContext, _ head: HTTPRequestHead) {
    clock?.headCame()
    let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
    let loop = context.eventLoop
    let body = HTTPIncomingBody { loop.execute { bound.value.resumeReading() } }
    let exchange = Exchange(head: head, body: body)
    self.exchange = exchange
    if let refusal = Self.refusal(of: exchange, isHTTP2: isHTTP2) {
      exchange.asksToClose = true
      body.abandon()
      answer(refusal, exchange)
      return
    }
    // Its task runs once what has come by now is looked through, so that a short body is there already.
    if exchange.announcesBody { start(exchange) }
  }

  /// What is wrong with a head that the decoder let through.
  private static func refusal(of exchange: Exchange, isHTTP2: Bool) -> HTTPResponse? {
    let head = exchange.head
    let headers = head.headers
    if !isHTTP2, headers.contains(name: "transfer-encoding") {
      if headers.contains(name: "content-length") || exchange.isOld
        || headers[canonicalForm: "transfer-encoding"].map({ $0.lowercased() }) != ["chunked"]
      {
        return .text("400 Bad Request: the length of the body is ambiguous\n", status: 400)
      }
    }
    if !isHTTP2, !exchange.isOld, headers["host"].count != 1 {
      return .text("400 Bad Request: one Host is needed\n", status: 400)
    }
    if head.method == .CONNECT { return .text("405 Method Not Allowed\n", status: 405) }
    return nil
  }

  private func start(_ exchange: Exchange) {
    guard exchange.task == nil, !exchange.headSent, let context else { return }
    let head = exchange.head
    guard let target = HTTPTarget(head.uri) else {
      exchange.asksToClose = true
      exchange.body.abandon()
      answer(.text("400 Bad Request: the target cannot be read\n", status: 400), exchange)
      return
    }
    let request = HTTPRequest(
      method: head.method.rawValue, target: target, headers: HTTPFields(head.headers), peer: facts.peer,
      isSecure: facts.isSecure, majorVersion: isHTTP2 ? 2 : 1, remoteAddress: facts.remoteAddress,
      incoming: exchange.body)
    let link = ExchangeLink(self, exchange, context.eventLoop)
    if exchange.expectsContinue, !isHTTP2 { exchange.body.onFirstWait { link.sayContinue() } }
    core.taskStarted()
    exchange.task = Task(executorPreference: core.executor(of: context.eventLoop)) { [core] in
      await core.serve(request, link)
      core.taskEnded()
    }
  }

  // MARK: reading at the handler's pace

  func read(context: ChannelHandlerContext) {
    if isBodyPaused && !isLingering {
      isReadHeld = true
    } else {
      context.read()
    }
  }

  private func resumeReading() {
    isBodyPaused = false
    exchange?.lastProgress = .now()
    guard isReadHeld, let context else { return }
    isReadHeld = false
    context.read()
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    switch event {
    case ChannelEvent.inputClosed:
      isInputClosed = true
      inputClosed(context)
    case is ServerStops:
      if let exchange {
        exchange.asksToClose = true
        // Streams have no end of their own; short answers finish.
        if exchange.isStreaming { exchange.task?.cancel() }
      } else {
        context.close(promise: nil)
      }
    default: context.fireUserInboundEventTriggered(event)
    }
  }

  /// The client sends no more, and has left, most likely: what works for it is told so. An answer that comes about all
  /// the same is sent.
  private func inputClosed(_ context: ChannelHandlerContext) {
    guard !isHTTP2 else { return }
    guard let exchange, !isLingering else { return context.close(promise: nil) }
    exchange.asksToClose = true
    if !exchange.requestEnded { exchange.body.fail(.disconnected) }
    exchange.task?.cancel()
  }

  func channelWritabilityChanged(context: ChannelHandlerContext) {
    if context.channel.isWritable, let exchange {
      exchange.lastProgress = .now()
      exchange.wakeWaiters()
    }
    context.fireChannelWritabilityChanged()
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    guard error is HTTPParserError, !isHTTP2, exchange?.headSent != true, !isLingering else {
      return context.close(promise: nil)
    }
    // Whatever was asked before stays unanswered: what the bytes mean is not known from here on.
    abandon()
    let refusal = HTTPResponse.text("400 Bad Request: \(error)\n", status: 400)
    let exchange = Exchange(head: HTTPRequestHead(version: .http1_1, method: .GET, uri: "/"), body: .init(whole: []))
    exchange.asksToClose = true
    exchange.requestEnded = true
    self.exchange = exchange
    answer(refusal, exchange)
  }

  // MARK: stalls

  /// Looks from time to time whether a body or a slow reader makes progress; runs only while something is awaited.
  func watchForStalls() {
    guard stallTimer == nil, let context else { return }
    let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
    let timeout = TimeAmount.seconds(Int64(core.limits.stallTimeoutSeconds))
    stallTimer = context.eventLoop.scheduleTask(in: timeout) { bound.value.stallTimerFired() }
  }

  private func stallTimerFired() {
    stallTimer = nil
    guard let exchange, let context else { return }
    let awaitsBody = !exchange.requestEnded && !isBodyPaused
    let awaitsReader = !exchange.waiters.isEmpty
    guard awaitsBody || awaitsReader else { return }
    let now = NIODeadline.now()
    let isLate = awaitsBody && now - exchange.began >= .seconds(Int64(core.limits.bodySecondsMax))
    let stands = now - exchange.lastProgress >= .seconds(Int64(core.limits.stallTimeoutSeconds))
    guard isLate || stands else { return watchForStalls() }
    let seconds = stands ? core.limits.stallTimeoutSeconds : core.limits.bodySecondsMax
    core.logger.debug("http: \(facts.remoteAddress): \(stands ? "no progress" : "no end of the body") for \(seconds) s")
    exchange.body.fail(.timedOut(seconds: seconds))
    context.close(promise: nil)
  }

  // MARK: the end of an exchange

  /// The answer is written: the next request may come.
  func exchangeEnded(_ exchange: Exchange) {
    guard exchange === self.exchange else { return }
    if !exchange.requestEnded { exchange.body.abandon() }
    self.exchange = nil
    clock?.exchangeEnded()
  }

  /// Hands the pipeline over to `tunnel`, the connection's last handler, once HTTP's are gone.
  func leave(_ context: ChannelHandlerContext, for tunnel: TunnelHandler) throws {
    exchange = nil
    let pipeline = context.pipeline.syncOperations
    let decoder = try pipeline.handler(type: ByteToMessageHandler<HTTPRequestDecoder>.self)
    let encoder = try pipeline.handler(type: HTTPResponseEncoder.self)
    let queue = try pipeline.handler(type: HTTPServerPipelineHandler.self)
    try pipeline.addHandler(tunnel)
    for handler in [queue, encoder, clock] as [(any RemovableChannelHandler)?] {
      if let handler { pipeline.removeHandler(handler, promise: nil) }
    }
    pipeline.removeHandler(context: context, promise: nil)
    // Last: it gives what came after the request to the tunnel.
    pipeline.removeHandler(decoder, promise: nil)
    if isInputClosed { tunnel.inputEnded() }
  }
}
