internal import Logging
internal import NIOCore
internal import NIOHTTP1

/// What a handler's task has of its connection: everything it does goes over the event loop, where it mostly is already.
struct ExchangeLink: Sendable {
  let loop: any EventLoop
  private let bound: NIOLoopBound<(ExchangeHandler, Exchange)>

  init(_ handler: ExchangeHandler, _ exchange: Exchange, _ loop: any EventLoop) {
    self.loop = loop
    bound = NIOLoopBound((handler, exchange), eventLoop: loop)
  }

  /// Runs `body` on the loop. nil: the exchange is over, for the client has left.
  func perform<Result: Sendable>(
    _ body: @escaping @Sendable (ExchangeHandler, Exchange) -> Result
  ) async -> Result? {
    if loop.inEventLoop { return run(body) }
    return await withCheckedContinuation { continuation in
      loop.execute { continuation.resume(returning: run(body)) }
    }
  }

  private func run<Result>(_ body: (ExchangeHandler, Exchange) -> Result) -> Result? {
    let (handler, exchange) = bound.value
    guard handler.exchange === exchange else { return nil }
    return body(handler, exchange)
  }

  /// Returns once the client takes more, or has left.
  func waitUntilWritable() async {
    await withCheckedContinuation { continuation in
      if loop.inEventLoop { enqueue(continuation) } else { loop.execute { enqueue(continuation) } }
    }
  }

  private func enqueue(_ continuation: CheckedContinuation<Void, Never>) {
    let (handler, exchange) = bound.value
    guard handler.exchange === exchange, handler.context?.channel.isWritable == false else {
      return continuation.resume()
    }
    exchange.lastProgress = .now()
    exchange.waiters.append(.task(continuation))
    handler.watchForStalls()
  }

  // MARK: on the loop

  var isOpen: Bool {
    let (handler, exchange) = bound.value
    return handler.exchange === exchange
  }

  var isWritable: Bool { bound.value.0.context?.channel.isWritable ?? false }

  func write(_ parts: [[UInt8]]) { _ = run { handler, _ in handler.writeParts(parts) } }

  /// Calls once the client takes more, or has left.
  func whenWritable(_ call: @escaping @Sendable () -> Void) {
    let (handler, exchange) = bound.value
    exchange.lastProgress = .now()
    exchange.waiters.append(.call(call))
    handler.watchForStalls()
  }

  func sayContinue() {
    loop.execute {
      let (handler, exchange) = bound.value
      guard handler.exchange === exchange, !exchange.headSent else { return }
      handler.sayContinue()
    }
  }
}

extension ServerCore {
  /// Asks the handler, and carries its answer out.
  func serve(_ request: HTTPRequest, _ link: ExchangeLink) async {
    var response = await handler(request)
    if let smaller = await Compression.applied(to: response, of: request, from: limits.compressionBytesMin) {
      response = smaller
    }
    switch response.body {
    case .bytes, .chunks:
      let sent = response
      guard await link.perform({ $0.answer(sent, $1) }) == false else { return }
      // A client that asks and asks, and never reads, gets no further than this.
      await link.waitUntilWritable()
      _ = await link.perform { $0.finishAnswer($1) }
    case .stream(let produce):
      let head = response
      guard await link.perform({ $0.beginStream(head, $1) }) != nil else { return }
      do {
        try await produce(writer(link))
        _ = await link.perform { $0.finishAnswer($1) }
      } catch {
        _ = await link.perform { handler, exchange in handler.breakAnswer(exchange) }
      }
    case .tunnel(let use):
      let head = response
      guard case .some(.some(let tunnel)) = await link.perform({ $0.switchProtocols(head, $1) }) else { return }
      do {
        try await withTaskCancellationHandler {
          try await use(tunnel.tunnel)
        } onCancel: {
          tunnel.close()
        }
      } catch {
        logger.debug("http: \(request.method) \(request.path): tunnel: \(error)")
      }
      await tunnel.finish()
    }
  }

  private func writer(_ link: ExchangeLink) -> HTTPBodyWriter {
    HTTPBodyWriter { parts throws(HTTPBodyError) in
      guard let isWritable = await link.perform({ handler, _ in handler.writeParts(parts) }) else {
        throw .disconnected
      }
      if !isWritable { await link.waitUntilWritable() }
    } feed: { [executor = executor(of: link.loop)] feed throws(HTTPBodyError) in
      try await FeedRun(feed, link, executor).run()
    }
  }
}

/// Writing. All of it on the event loop.
extension ExchangeHandler {
  /// - Returns: whether the answer is finished; false: it waits for a slow client, then `finishAnswer`.
  @discardableResult
  func answer(_ response: HTTPResponse, _ exchange: Exchange) -> Bool {
    guard let context else { return true }
    var parts: [[UInt8]] = []
    switch response.body {
    case .bytes(let bytes): if !bytes.isEmpty { parts = [bytes] }
    case .chunks(let chunks): parts = chunks
    case .stream, .tunnel: break
    }
    let length = parts.reduce(0) { $0 + $1.count }
    closeEarlyAnswer(exchange)
    var head = responseHead(response, exchange)
    let hasBody = response.status >= 200 && response.status != 204 && response.status != 304
    if hasBody, !head.headers.contains(name: "content-length") {
      head.headers.add(name: "content-length", value: "\(length)")
    }
    exchange.headSent = true
    context.write(Self.wrapOutboundOut(.head(head)), promise: nil)
    if hasBody, exchange.head.method != .HEAD { for part in parts { write(part, context) } }
    if isHTTP2 || context.channel.isWritable && length < Self.flushFirstBytes {
      finishAnswer(exchange)
      return true
    }
    context.flush()
    guard context.channel.isWritable else { return false }
    finishAnswer(exchange)
    return true
  }

  /// Smaller answers leave with their end in one flush.
  private static let flushFirstBytes = 32 << 10

  /// An answer before the body is whole: what is still to come is read and dropped where it is short, else the
  /// connection ends with the answer.
  private func closeEarlyAnswer(_ exchange: Exchange) {
    guard !exchange.requestEnded, !isHTTP2 else { return }
    let announced = exchange.head.headers.first(name: "content-length").flatMap { Int($0) }
    if announced.map({ $0 > Self.dropBytesMax }) ?? true || exchange.expectsContinue { exchange.asksToClose = true }
  }

  /// How much of an unwanted body is read so that the connection can be kept.
  private static let dropBytesMax = 256 << 10

  private func responseHead(_ response: HTTPResponse, _ exchange: Exchange) -> HTTPResponseHead {
    var headers = response.headers.nio
    if !headers.contains(name: "date") { headers.add(name: "Date", value: core.dateField()) }
    if !isHTTP2, response.status != 101 {
      // After a request that asked for an upgrade the decoder stands still.
      if exchange.asksToUpgrade { exchange.asksToClose = true }
      if exchange.asksToClose {
        headers.replaceOrAdd(name: "Connection", value: "close")
      } else if exchange.isOld {
        headers.replaceOrAdd(name: "Connection", value: "keep-alive")
      }
    }
    return HTTPResponseHead(
      // Told its own version, an old client's answer is not cut into chunks.
      version: isHTTP2 ? .http2 : exchange.isOld ? .http1_0 : .http1_1,
      status: HTTPResponseStatus(statusCode: response.status), headers: headers)
  }

  private func write(_ bytes: [UInt8], _ context: ChannelHandlerContext) {
    context.write(
      Self.wrapOutboundOut(.body(.byteBuffer(context.channel.allocator.buffer(bytes: bytes)))), promise: nil)
  }

  func sayContinue() {
    guard let context else { return }
    let head = HTTPResponseHead(version: .http1_1, status: .continue)
    context.writeAndFlush(Self.wrapOutboundOut(.head(head)), promise: nil)
  }

  func beginStream(_ response: HTTPResponse, _ exchange: Exchange) {
    guard let context else { return }
    closeEarlyAnswer(exchange)
    // HTTP/1.0 knows no chunks: the end of the connection is the body's.
    if !isHTTP2, exchange.isOld { exchange.asksToClose = true }
    exchange.headSent = true
    exchange.isStreaming = true
    context.writeAndFlush(Self.wrapOutboundOut(.head(responseHead(response, exchange))), promise: nil)
  }

  /// - Returns: whether the next bytes are welcome.
  func writeParts(_ parts: [[UInt8]]) -> Bool {
    guard let context, let exchange else { return true }
    guard exchange.head.method != .HEAD else { return true }
    for part in parts where !part.isEmpty { write(part, context) }
    context.flush()
    return context.channel.isWritable
  }

  /// Ends the answer; the connection too, where it must.
  func finishAnswer(_ exchange: Exchange) {
    guard let context else { return }
    exchangeEnded(exchange)
    guard exchange.asksToClose, !isHTTP2 else {
      return context.writeAndFlush(Self.wrapOutboundOut(.end(nil)), promise: nil)
    }
    isLingering = true
    let promise = context.eventLoop.makePromise(of: Void.self)
    let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
    promise.futureResult.whenComplete { _ in Self.linger(bound.value) }
    context.writeAndFlush(Self.wrapOutboundOut(.end(nil)), promise: promise)
  }

  /// Closes our direction, and the connection when the client has closed its own, or soon: closing at once while bytes
  /// come in would make the kernel drop the answer.
  private static func linger(_ context: ChannelHandlerContext) {
    let channel = context.channel
    context.close(mode: .output, promise: nil)
    let timer = context.eventLoop.scheduleTask(in: lingerTime) { channel.close(promise: nil) }
    channel.closeFuture.whenComplete { _ in timer.cancel() }
    context.read()
  }

  private static let lingerTime = TimeAmount.seconds(1)

  /// Half an answer must not look like a whole one.
  func breakAnswer(_ exchange: Exchange) {
    exchangeEnded(exchange)
    context?.close(promise: nil)
  }

  /// - Returns: nil where the answer cannot be an upgrade; the client is told so.
  func switchProtocols(_ response: HTTPResponse, _ exchange: Exchange) -> TunnelLink? {
    guard let context else { return nil }
    guard !isHTTP2, exchange.asksToUpgrade, exchange.requestEnded, response.status == 101 else {
      answer(.text("400 Bad Request: this needs an upgrade of an HTTP/1.1 connection\n", status: 400), exchange)
      return nil
    }
    exchange.headSent = true
    context.write(Self.wrapOutboundOut(.head(responseHead(response, exchange))), promise: nil)
    context.writeAndFlush(Self.wrapOutboundOut(.end(nil)), promise: nil)
    let tunnel = TunnelHandler(
      channel: context.channel, stallTimeout: .seconds(Int64(core.limits.stallTimeoutSeconds)),
      task: exchange.task)
    do {
      try leave(context, for: tunnel)
      return tunnel.link
    } catch {
      core.logger.error("http: upgrade: \(error)")
      context.close(promise: nil)
      return nil
    }
  }
}
