internal import NIOCore
internal import NIOWebSocket

/// Lets a client that can only send text speak channels: each message is a digit that names the channel, then base64.
final class Base64ChannelHandler: ChannelDuplexHandler {
  typealias InboundIn = WebSocketFrame
  typealias InboundOut = WebSocketFrame
  typealias OutboundIn = WebSocketFrame
  typealias OutboundOut = WebSocketFrame

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    let frame = unwrapInboundIn(data)
    guard frame.opcode == .text || frame.opcode == .binary else { return context.fireChannelRead(data) }
    var bytes = frame.unmaskedData
    guard let digit = bytes.readInteger(as: UInt8.self), (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit),
      let decoded = Base64Text.decode(bytes.readableBytesView)
    else {
      // Whatever this is, it is no message of this protocol; what follows would not be one either.
      context.close(promise: nil)
      return
    }
    var message = context.channel.allocator.buffer(capacity: decoded.count + 1)
    message.writeInteger(digit - UInt8(ascii: "0"))
    message.writeBytes(decoded)
    context.fireChannelRead(wrapInboundOut(WebSocketFrame(fin: true, opcode: .binary, data: message)))
  }

  func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
    let frame = unwrapOutboundIn(data)
    var bytes = frame.data
    guard frame.opcode == .binary, let number = bytes.readInteger(as: UInt8.self), number < 10 else {
      return context.write(data, promise: promise)
    }
    var message = context.channel.allocator.buffer(capacity: bytes.readableBytes * 4 / 3 + 5)
    message.writeInteger(number + UInt8(ascii: "0"))
    message.writeBytes(Base64Text.encode(bytes.readableBytesView))
    context.write(wrapOutboundOut(WebSocketFrame(fin: true, opcode: .text, data: message)), promise: promise)
  }
}

/// RFC 4648, standard alphabet.
enum Base64Text {
  private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

  static func encode(_ bytes: some Sequence<UInt8>) -> [UInt8] {
    var text: [UInt8] = []
    var bits: UInt32 = 0
    var count = 0
    for byte in bytes {
      bits = bits << 8 | UInt32(byte)
      count += 8
      while count >= 6 {
        count -= 6
        text.append(alphabet[Int(bits >> UInt32(count)) & 63])
      }
    }
    if count > 0 { text.append(alphabet[Int(bits << UInt32(6 - count)) & 63]) }
    while !text.count.isMultiple(of: 4) { text.append(UInt8(ascii: "=")) }
    return text
  }

  /// Padding is optional; nil where anything else is in it.
  static func decode(_ text: some Collection<UInt8>) -> [UInt8]? {
    var bytes: [UInt8] = []
    var bits: UInt32 = 0
    var count = 0
    var padding = 0
    for byte in text {
      let value: UInt8
      switch byte {
      case UInt8(ascii: "="):
        padding += 1
        continue
      case UInt8(ascii: "A")...UInt8(ascii: "Z"): value = byte - 65
      case UInt8(ascii: "a")...UInt8(ascii: "z"): value = byte - 71
      case UInt8(ascii: "0")...UInt8(ascii: "9"): value = byte + 4
      case UInt8(ascii: "+"): value = 62
      case UInt8(ascii: "/"): value = 63
      default: return nil
      }
      guard padding == 0 else { return nil }
      bits = bits << 6 | UInt32(value)
      count += 6
      if count >= 8 {
        count -= 8
        bytes.append(UInt8(truncatingIfNeeded: bits >> UInt32(count)))
      }
    }
    return padding <= 2 ? bytes : nil
  }
}
