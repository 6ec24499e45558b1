import KubeClient
import NIOCore
import NIOHPACK
import NIOHTTP2

struct APIAnswer: Sendable {
  var type = ""
  var bytes = 0
  /// The beginning of the body, as much as was asked for.
  var kept: [UInt8] = []
}

/// The streams of one HTTP/2 connection of a client; on its event loop.
final class APIStreams: ChannelInboundHandler {
  typealias InboundIn = HTTP2Frame
  typealias OutboundOut = HTTP2Frame

  /// What the server may send ahead: so much that it never waits for us.
  static let windowBytes = 1 << 30
  /// Of a body whose beginning is only looked at where the answer is a failure.
  static let toldBytesMax = 300

  /// A request's fields and body.
  struct Block: Sendable {
    let headers: HPACKHeaders
    let body: [UInt8]
    let call: String

    init(_ request: KubeRequest, _ base: [(name: String, value: String)]) {
      var path = request.path
      for (place, item) in request.query.enumerated() {
        path += "\(place == 0 ? "?" : "&")\(item.name)=\(item.value)"
      }
      var headers = HPACKHeaders([(":method", request.method.rawValue), (":path", path)])
      for field in base + request.headers { headers.add(name: field.name.lowercased(), value: field.value) }
      self.headers = headers
      body = request.body
      call = request.call
    }
  }

  private final class Stream {
    let call: String
    let keptMax: Int
    var status = 0
    var answer = APIAnswer()
    let begun: (() -> Void)?
    let data: ((ByteBuffer) -> Void)?
    let done: (Result<APIAnswer, any Error>) -> Void

    init(
      _ call: String, _ keptMax: Int, _ begun: (() -> Void)?, _ data: ((ByteBuffer) -> Void)?,
      _ done: @escaping (Result<APIAnswer, any Error>) -> Void
    ) {
      (self.call, self.keptMax, self.begun, self.data, self.done) = (call, keptMax, begun, data, done)
    }
  }

  private var context: ChannelHandlerContext?
  private var streams: [HTTP2StreamID: Stream] = [:]
  private var nextID = 1
  private var isReading = false
  private var owesFlush = false
  /// Received since the server was told that it may send more.
  private var uncredited = 0
  private var failure: (any Error)?

  func handlerAdded(context: ChannelHandlerContext) { self.context = context }
  func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

  func channelActive(context: ChannelHandlerContext) {
    credit(context, Self.windowBytes)
    context.flush()
    context.fireChannelActive()
  }

  /// - Parameters: called when an answer of 2xx has begun, with each part of it, and at its end.
  func begin(
    _ block: Block, keeping keptMax: Int, begun: (() -> Void)? = nil, data: ((ByteBuffer) -> Void)? = nil,
    done: @escaping (Result<APIAnswer, any Error>) -> Void
  ) {
    guard let context, failure == nil else {
      return done(.failure(failure ?? BenchError("\(block.call): the connection is closed")))
    }
    let id = HTTP2StreamID(nextID)
    nextID += 2
    streams[id] = Stream(block.call, keptMax, begun, data, done)
    write(context, id, .headers(.init(headers: block.headers, endStream: block.body.isEmpty)))
    if !block.body.isEmpty {
      let bytes = context.channel.allocator.buffer(bytes: block.body)
      write(context, id, .data(.init(data: .byteBuffer(bytes), endStream: true)))
    }
    if isReading { owesFlush = true } else { context.flush() }
  }

  private func write(_ context: ChannelHandlerContext, _ id: HTTP2StreamID, _ payload: HTTP2Frame.FramePayload) {
    context.write(Self.wrapOutboundOut(HTTP2Frame(streamID: id, payload: payload)), promise: nil)
  }

  private func credit(_ context: ChannelHandlerContext, _ bytes: Int) {
    write(context, .rootStream, .windowUpdate(windowSizeIncrement: bytes))
    owesFlush = true
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    isReading = true
    let frame = Self.unwrapInboundIn(data)
    switch frame.payload {
    case .headers(let block):
      guard let stream = streams[frame.streamID] else { return }
      if let status = block.headers.first(name: ":status").flatMap({ Int($0) }), status >= 200 {
        stream.status = status
        stream.answer.type = block.headers.first(name: "content-type") ?? ""
        if status < 300 { stream.begun?() }
      }
      if block.endStream { end(frame.streamID, stream) }
    case .data(let block):
      guard case .byteBuffer(let bytes) = block.data else { return }
      uncredited += bytes.readableBytes
      if uncredited > Self.windowBytes / 4 {
        credit(context, uncredited)
        uncredited = 0
      }
      guard let stream = streams[frame.streamID] else { return }
      stream.answer.bytes += bytes.readableBytes
      let rest = stream.keptMax - stream.answer.kept.count
      if rest > 0 { stream.answer.kept += bytes.readableBytesView.prefix(rest) }
      if stream.status < 300 { stream.data?(bytes) }
      if block.endStream { end(frame.streamID, stream) }
    case .rstStream(let code):
      guard let stream = streams.removeValue(forKey: frame.streamID) else { return }
      stream.done(.failure(BenchError("\(stream.call): the server broke it off: \(code)")))
    case .goAway(_, let code, _): fail(BenchError("the server closes the connection: \(code)"))
    default: return
    }
  }

  private func end(_ id: HTTP2StreamID, _ stream: Stream) {
    streams[id] = nil
    guard (200...299).contains(stream.status) else {
      let text = String(decoding: stream.answer.kept.prefix(Self.toldBytesMax), as: UTF8.self)
      return stream.done(.failure(BenchError("\(stream.call): \(stream.status) \(text)")))
    }
    stream.done(.success(stream.answer))
  }

  func channelReadComplete(context: ChannelHandlerContext) {
    isReading = false
    if owesFlush {
      owesFlush = false
      context.flush()
    }
    context.fireChannelReadComplete()
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    fail(error)
    context.close(promise: nil)
  }

  func channelInactive(context: ChannelHandlerContext) {
    fail(BenchError("the connection was closed, or nothing was answered for too long"))
    context.fireChannelInactive()
  }

  private func fail(_ error: any Error) {
    if failure == nil { failure = error }
    let open = streams
    streams = [:]
    for stream in open.values { stream.done(.failure(BenchError("\(stream.call): \(error)"))) }
  }
}
