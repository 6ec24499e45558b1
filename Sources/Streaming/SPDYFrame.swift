internal import Kernel
internal import NIOCore

/// What a client of SPDY/3.1 sends, as far as Kubernetes' protocols use it (SPDY Protocol, Draft 3.1, section 2.6).
enum SPDYFrame: Equatable {
  /// SYN_STREAM: names are lower case.
  case open(stream: UInt32, headers: [String: String], isLast: Bool)
  case data(stream: UInt32, ByteBuffer, isLast: Bool)
  case reset(stream: UInt32)
  case ping(UInt32)
  case goAway
  /// SETTINGS, HEADERS, WINDOW_UPDATE: clients of these protocols mean nothing by them.
  case other
}

/// The peer speaks no SPDY/3.1, or too much of it.
struct SPDYError: Error, Equatable, CustomStringConvertible {
  let description: String
}

enum SPDY {
  /// What HTTP names this version by.
  static let name = "SPDY/3.1"
  static let version: UInt16 = 3
  /// A frame; clients send what they read at once, most of them 32 KiB.
  static let frameBytesMax = StreamingLimits.messageBytesMax
  /// A header block, expanded.
  static let headerBytesMax = 64 << 10
  static let flagLast: UInt8 = 1

  enum Control: UInt16 {
    case open = 1, reply = 2, reset = 3, settings = 4, ping = 6, goAway = 7, headers = 8, windowUpdate = 9
  }

  /// What both sides have compressed before the first header (SPDY Protocol, section 2.6.10.1).
  static let dictionary: [UInt8] = {
    let names = [
      "options", "head", "post", "put", "delete", "trace", "accept", "accept-charset", "accept-encoding",
      "accept-language", "accept-ranges", "age", "allow", "authorization", "cache-control", "connection",
      "content-base", "content-encoding", "content-language", "content-length", "content-location", "content-md5",
      "content-range", "content-type", "date", "etag", "expect", "expires", "from", "host", "if-match",
      "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "last-modified", "location",
      "max-forwards", "pragma", "proxy-authenticate", "proxy-authorization", "range", "referer", "retry-after",
      "server", "te", "trailer", "transfer-encoding", "upgrade", "user-agent", "vary", "via", "warning",
      "www-authenticate", "method", "get", "status", "200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie",
      "keep-alive", "origin",
    ]
    let rest =
      "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
      + "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
      + "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
      + "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
      + "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
      + "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
    return names.flatMap { [0, 0, 0, UInt8($0.utf8.count)] + Array($0.utf8) } + Array(rest.utf8)
  }()
}

/// Frames of one connection, read in order: headers are compressed over all of them.
struct SPDYDecoder {
  private let headers: Zlib
  private var buffer = ByteBuffer()

  init() throws(ZlibError) { headers = try Zlib(.expand, format: .zlib, dictionary: SPDY.dictionary) }

  mutating func append(_ bytes: ByteBuffer) { buffer.writeImmutableBuffer(bytes) }

  /// The next whole frame; nil until more bytes come.
  mutating func next() throws -> SPDYFrame? {
    guard let first = buffer.getInteger(at: buffer.readerIndex, as: UInt32.self),
      let second = buffer.getInteger(at: buffer.readerIndex + 4, as: UInt32.self)
    else { return nil }
    let (flags, length) = (UInt8(second >> 24), Int(second & 0xff_ffff))
    guard length <= SPDY.frameBytesMax else {
      throw SPDYError(description: "a frame of \(length) bytes, more than \(SPDY.frameBytesMax)")
    }
    guard buffer.readableBytes >= 8 + length else { return nil }
    buffer.moveReaderIndex(forwardBy: 8)
    var body = buffer.readSlice(length: length) ?? ByteBuffer()
    buffer.discardReadBytes()
    if first >> 31 == 0 {
      return .data(stream: first, body, isLast: flags & SPDY.flagLast != 0)
    }
    guard UInt16(first >> 16 & 0x7fff) == SPDY.version else {
      throw SPDYError(description: "version \(first >> 16 & 0x7fff) of SPDY; \(SPDY.name) is spoken here")
    }
    return try control(SPDY.Control(rawValue: UInt16(first & 0xffff)), flags, &body)
  }

  private func control(_ type: SPDY.Control?, _ flags: UInt8, _ body: inout ByteBuffer) throws -> SPDYFrame {
    switch type {
    case .open:
      guard let stream = body.readInteger(as: UInt32.self), body.readSlice(length: 6) != nil else { throw Self.short }
      let block = try headers.process(Array(body.readableBytesView), flush: .sync, limit: SPDY.headerBytesMax)
      return .open(stream: stream & 0x7fff_ffff, headers: try Self.pairs(block), isLast: flags & SPDY.flagLast != 0)
    case .headers:
      // Read all the same: the next block is compressed against it.
      guard body.readInteger(as: UInt32.self) != nil else { throw Self.short }
      _ = try headers.process(Array(body.readableBytesView), flush: .sync, limit: SPDY.headerBytesMax)
      return .other
    case .reset:
      guard let stream = body.readInteger(as: UInt32.self) else { throw Self.short }
      return .reset(stream: stream & 0x7fff_ffff)
    case .ping:
      guard let number = body.readInteger(as: UInt32.self) else { throw Self.short }
      return .ping(number)
    case .goAway: return .goAway
    case .reply, .settings, .windowUpdate, nil: return .other
    }
  }

  private static let short = SPDYError(description: "a control frame ends too early")

  /// Section 2.6.10: a number of pairs, each a name and a value with their lengths.
  private static func pairs(_ block: [UInt8]) throws(SPDYError) -> [String: String] {
    var block = ByteBuffer(bytes: block)
    guard let count = block.readInteger(as: UInt32.self), count <= 64 else { throw short }
    var found: [String: String] = [:]
    for _ in 0..<count {
      var texts: [String] = []
      for _ in 0..<2 {
        guard let length = block.readInteger(as: UInt32.self), let text = block.readString(length: Int(length)) else {
          throw short
        }
        texts.append(text)
      }
      found[texts[0].lowercased()] = texts[1]
    }
    return found
  }
}

/// Frames of one connection, written in order.
struct SPDYEncoder {
  private let headers: Zlib

  init() throws(ZlibError) { headers = try Zlib(.compress(level: 6), format: .zlib, dictionary: SPDY.dictionary) }

  /// SYN_REPLY with no headers.
  func reply(to stream: UInt32) throws(ZlibError) -> ByteBuffer {
    var body = ByteBuffer(integer: stream)
    body.writeBytes(try headers.process([0, 0, 0, 0], flush: .sync))
    return Self.control(.reply, body)
  }

  static func reset(_ stream: UInt32) -> ByteBuffer {
    var body = ByteBuffer(integer: stream)
    // REFUSED_STREAM
    body.writeInteger(UInt32(3))
    return control(.reset, body)
  }

  static func ping(_ number: UInt32) -> ByteBuffer { control(.ping, ByteBuffer(integer: number)) }

  static func data(_ stream: UInt32, _ bytes: ByteBuffer, isLast: Bool = false) -> ByteBuffer {
    var frame = ByteBuffer()
    frame.reserveCapacity(8 + bytes.readableBytes)
    frame.writeInteger(stream & 0x7fff_ffff)
    frame.writeInteger(UInt32(isLast ? SPDY.flagLast : 0) << 24 | UInt32(bytes.readableBytes))
    frame.writeImmutableBuffer(bytes)
    return frame
  }

  /// The end of what we send on a stream.
  static func end(_ stream: UInt32) -> ByteBuffer { data(stream, ByteBuffer(), isLast: true) }

  private static func control(_ type: SPDY.Control, _ body: ByteBuffer) -> ByteBuffer {
    var frame = ByteBuffer(integer: 0x8000 | SPDY.version)
    frame.writeInteger(type.rawValue)
    frame.writeInteger(UInt32(body.readableBytes))
    frame.writeImmutableBuffer(body)
    return frame
  }
}
