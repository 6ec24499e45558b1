internal import NIOCore

/// Answers a server's HTTP/2 pings before the connection's own handler sees them.
///
/// That handler ends a connection on which more than 200 come in 30 seconds, because on a network they are an attack.
/// Servers written in Go measure their links with pings, one with every few answers, and the runtime at the other end of a
/// unix socket is trusted with far more than our time (RFC 9113 §6.7; the answer carries the ping's eight bytes back).
final class PingAnswers: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  typealias InboundOut = ByteBuffer
  typealias OutboundOut = ByteBuffer

  private static let headBytes = 9
  private static let pingBytes = 8
  private static let pingType: UInt8 = 6
  private static let acknowledgement: UInt8 = 1

  /// What came and is no whole head, or no whole ping, yet.
  private var held = ByteBuffer()
  /// Bytes of the frame under way that are still to be passed on.
  private var passing = 0

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    var bytes = unwrapInboundIn(data)
    if held.readableBytes > 0 {
      held.writeBuffer(&bytes)
      (bytes, held) = (held, ByteBuffer())
    }
    var passed = context.channel.allocator.buffer(capacity: bytes.readableBytes)
    var answers = ByteBuffer()
    while bytes.readableBytes > 0 {
      if passing > 0 {
        guard var part = bytes.readSlice(length: min(passing, bytes.readableBytes)) else { break }
        passing -= part.readableBytes
        passed.writeBuffer(&part)
        continue
      }
      let start = bytes.readerIndex
      guard bytes.readableBytes >= Self.headBytes, let high = bytes.getInteger(at: start, as: UInt8.self),
        let low = bytes.getInteger(at: start + 1, as: UInt16.self),
        let type = bytes.getInteger(at: start + 3, as: UInt8.self),
        let flags = bytes.getInteger(at: start + 4, as: UInt8.self)
      else { break }
      let length = Int(high) << 16 | Int(low)
      guard type == Self.pingType, length == Self.pingBytes, flags & Self.acknowledgement == 0 else {
        passing = Self.headBytes + length
        continue
      }
      guard let ping = bytes.readSlice(length: Self.headBytes + Self.pingBytes) else { break }
      let here = answers.writerIndex
      answers.writeImmutableBuffer(ping)
      answers.setInteger(flags | Self.acknowledgement, at: here + 4)
    }
    held = bytes
    // Frames are never in the middle here: whoever writes below us writes whole ones.
    if answers.readableBytes > 0 { context.writeAndFlush(wrapOutboundOut(answers), promise: nil) }
    if passed.readableBytes > 0 { context.fireChannelRead(wrapInboundOut(passed)) }
  }
}
