internal import NIOCore
internal import NIOWebSocket

/// Lets a session that speaks channel messages (`v5.channel.k8s.io`) serve a client that has a SPDY stream for each channel
/// (`v4.channel.k8s.io` over SPDY/3.1): the same channels, the same status, and the end of a stream as the close signal.
final class SPDYSessionHandler: ChannelDuplexHandler {
  typealias InboundIn = ByteBuffer
  typealias InboundOut = WebSocketFrame
  typealias OutboundIn = WebSocketFrame
  typealias OutboundOut = ByteBuffer

  /// Messages to streams that the client has not opened yet: one for each output, and the status.
  private static let waitingMax = 16

  private var decoder: SPDYDecoder
  private let encoder: SPDYEncoder
  private var numbers: [UInt32: ChannelNumber] = [:]
  private var streams: [ChannelNumber: UInt32] = [:]
  private var waiting: [(number: ChannelNumber, bytes: ByteBuffer, promise: EventLoopPromise<Void>?)] = []

  init() throws {
    decoder = try SPDYDecoder()
    encoder = try SPDYEncoder()
  }

  // MARK: Client to session

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    decoder.append(unwrapInboundIn(data))
    do {
      while let frame = try decoder.next() { try receive(frame, context) }
    } catch {
      context.fireErrorCaught(error)
      context.close(promise: nil)
    }
  }

  private func receive(_ frame: SPDYFrame, _ context: ChannelHandlerContext) throws {
    switch frame {
    case .open(let stream, let headers, let isLast):
      guard let number = Self.number(headers["streamtype"]), streams[number] == nil else {
        context.writeAndFlush(wrapOutboundOut(SPDYEncoder.reset(stream)), promise: nil)
        return
      }
      numbers[stream] = number
      streams[number] = stream
      context.writeAndFlush(wrapOutboundOut(try encoder.reply(to: stream)), promise: nil)
      sendWaiting(for: number, context)
      if isLast { ended(number, context) }
    case .data(let stream, let bytes, let isLast):
      guard let number = numbers[stream] else { return }
      if bytes.readableBytes > 0, number == .input || number == .resize {
        var message = ByteBuffer(integer: number.rawValue)
        message.writeImmutableBuffer(bytes)
        emit(message, context)
      }
      if isLast { ended(number, context) }
    case .reset(let stream): if let number = numbers[stream] { ended(number, context) }
    case .ping(let number): context.writeAndFlush(wrapOutboundOut(SPDYEncoder.ping(number)), promise: nil)
    case .goAway: emit(ByteBuffer(), context, opcode: .connectionClose)
    case .other: break
    }
  }

  private static func number(_ type: String?) -> ChannelNumber? {
    switch type {
    case "stdin": .input
    case "stdout": .output
    case "stderr": .errors
    case "error": .status
    case "resize": .resize
    default: nil
    }
  }

  private func ended(_ number: ChannelNumber, _ context: ChannelHandlerContext) {
    guard number == .input else { return }
    emit(ByteBuffer(bytes: [ChannelNumber.close.rawValue, ChannelNumber.input.rawValue]), context)
  }

  private func emit(_ bytes: ByteBuffer, _ context: ChannelHandlerContext, opcode: WebSocketOpcode = .binary) {
    context.fireChannelRead(wrapInboundOut(WebSocketFrame(fin: true, opcode: opcode, data: bytes)))
  }

  // MARK: Session to client

  func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
    let frame = unwrapOutboundIn(data)
    var bytes = frame.data
    switch frame.opcode {
    case .binary:
      guard let number = bytes.readInteger(as: UInt8.self).flatMap(ChannelNumber.init) else {
        promise?.succeed()
        return
      }
      if streams[number] != nil {
        send(bytes, on: number, promise, context)
      } else if waiting.count < Self.waitingMax {
        waiting.append((number, bytes, promise))
      } else {
        promise?.fail(SPDYError(description: "the client opens no stream for channel \(number)"))
      }
    case .connectionClose:
      for number in [ChannelNumber.output, .errors] {
        if let stream = streams[number] { context.write(wrapOutboundOut(SPDYEncoder.end(stream)), promise: nil) }
      }
      context.writeAndFlush(wrapOutboundOut(ByteBuffer()), promise: promise)
    default: promise?.succeed()
    }
  }

  private func send(
    _ bytes: ByteBuffer, on number: ChannelNumber, _ promise: EventLoopPromise<Void>?, _ context: ChannelHandlerContext
  ) {
    guard let stream = streams[number] else { return }
    // The status is said once, and with it the stream has said everything.
    let frame = SPDYEncoder.data(stream, bytes, isLast: number == .status)
    context.writeAndFlush(wrapOutboundOut(frame), promise: promise)
  }

  private func sendWaiting(for number: ChannelNumber, _ context: ChannelHandlerContext) {
    for message in waiting where message.number == number {
      send(message.bytes, on: number, message.promise, context)
    }
    waiting.removeAll { $0.number == number }
  }

  func handlerRemoved(context: ChannelHandlerContext) { failWaiting() }

  func channelInactive(context: ChannelHandlerContext) {
    failWaiting()
    context.fireChannelInactive()
  }

  private func failWaiting() {
    let left = waiting
    waiting = []
    for message in left { message.promise?.fail(ChannelError.ioOnClosedChannel) }
  }
}
