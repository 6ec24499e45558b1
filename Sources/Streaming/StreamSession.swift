internal import Kernel
internal import Logging
internal import NIOCore
internal import NIOPosix
internal import NIOWebSocket
internal import Synchronization

/// One client and one process: carries bytes both ways until either goes.
///
/// Nothing is buffered beyond what `StreamingLimits` names: a write to the slower side is awaited down to the kernel
/// before the faster side is read again.
struct StreamSession: Sendable {
  let server: StreamingServer
  let request: StreamRequest
  let proto: ChannelProtocol

  private enum Event: Sendable {
    case outputEnded
    case exited(StreamEnd)
    case quiet
    case clientGone
  }

  /// Serves the client; returns when its connection is closed.
  func run(_ client: WebSocketChannel) async {
    let socket = client.channel
    await withTaskCancellationHandler {
      try? await client.executeThenClose { inbound, _ in
        do {
          var process = try await server.handlers.open(request)
          let streams = await ProcessStreams(&process, keeping: request)
          await carry(streams, process, inbound, socket)
        } catch {
          server.logger.info("streaming: \(request.containerID): \(error)")
          await finish(.failed("\(error)"), socket)
          await farewell(inbound, socket)
        }
      }
    } onCancel: {
      // Also ends writes that are waiting for this client.
      socket.close(promise: nil)
    }
  }

  private func carry(
    _ streams: ProcessStreams, _ process: consuming StreamedProcess,
    _ inbound: NIOAsyncChannelInboundStream<WebSocketFrame>, _ socket: any Channel
  ) async {
    let (wait, abandon, resize, endInput) = (process.wait, process.abandon, process.resize, process.endInput)
    // Not a child: a handler that is slow to notice that nobody waits any more must not hold the client's connection.
    let (ends, ended) = AsyncStream.makeStream(of: StreamEnd.self, bufferingPolicy: .bufferingNewest(1))
    let waiter = Task {
      do { ended.yield(.exited(try await wait())) } catch { ended.yield(.failed("\(error)")) }
      ended.finish()
    }
    defer { waiter.cancel() }
    await withTaskGroup(of: Event.self) { group in
      var open = 0
      for output in streams.outputs {
        open += 1
        group.addTask {
          await pump(output, to: socket)
          return .outputEnded
        }
      }
      group.addTask {
        await receive(inbound, socket, into: streams.input, resize: resize, endInput: endInput)
        return .clientGone
      }
      group.addTask {
        for await end in ends { return .exited(end) }
        return .quiet
      }
      // Reading stops while the process takes no input, so that a client's going would not be seen there.
      let gone = socket.closeFuture
      group.addTask {
        try? await gone.get()
        return .clientGone
      }
      var end: StreamEnd?
      events: while let event = await group.next() {
        switch event {
        case .outputEnded: open -= 1
        case .exited(let how):
          end = how
          if open > 0 {
            group.addTask {
              await streams.quiet(for: server.configuration.drainQuiet)
              return .quiet
            }
          }
        case .quiet: open = 0
        case .clientGone:
          if end == nil { await abandon() }
          break events
        }
        if let end, open == 0 {
          await finish(end, socket)
          break events
        }
      }
      if end != nil { await farewell(&group) }
      streams.close()
      socket.close(promise: nil)
      group.cancelAll()
    }
  }

  /// Waits for the client to close, bounded: closing first while its bytes are unread would reset the connection and
  /// could take the exit status with it.
  private func farewell(_ group: inout TaskGroup<Event>) async {
    group.addTask {
      try? await Task.sleep(for: server.configuration.farewellTimeout)
      return .quiet
    }
    while let event = await group.next() {
      switch event {
      case .clientGone, .quiet: return
      case .outputEnded, .exited: continue
      }
    }
  }

  private func farewell(_ inbound: NIOAsyncChannelInboundStream<WebSocketFrame>, _ socket: any Channel) async {
    await withTaskGroup(of: Void.self) { group in
      group.addTask { await receive(inbound, socket, into: nil, resize: { _ in }, endInput: {}) }
      group.addTask { try? await Task.sleep(for: server.configuration.farewellTimeout) }
      await group.next()
      group.cancelAll()
    }
  }

  /// Says how it ended, then closes our half.
  private func finish(_ end: StreamEnd, _ socket: any Channel) async {
    try? await send(ArraySlice(end.message(in: proto)), as: .status, to: socket)
    var code = socket.allocator.buffer(capacity: 2)
    code.write(webSocketErrorCode: .normalClosure)
    try? await socket.writeAndFlush(WebSocketFrame(fin: true, opcode: .connectionClose, data: code))
  }

  private func send(_ bytes: ArraySlice<UInt8>, as number: ChannelNumber, to socket: any Channel) async throws {
    var data = socket.allocator.buffer(capacity: bytes.count + 1)
    data.writeInteger(number.rawValue)
    data.writeBytes(bytes)
    try await socket.writeAndFlush(WebSocketFrame(fin: true, opcode: .binary, data: data))
  }
}

// MARK: Process to client

extension StreamSession {
  /// Carries one output until its end. An error of the process's side is its end too: a terminal whose last user has
  /// gone answers EIO.
  private func pump(_ output: ProcessStreams.Output, to socket: any Channel) async {
    try? await output.channel.executeThenClose { chunks in
      for try await var chunk in chunks {
        while let part = chunk.readSlice(length: min(chunk.readableBytes, StreamingLimits.outputChunkBytes)),
          part.readableBytes > 0
        {
          var data = socket.allocator.buffer(capacity: part.readableBytes + 1)
          data.writeInteger(output.number.rawValue)
          data.writeImmutableBuffer(part)
          try await socket.writeAndFlush(WebSocketFrame(fin: true, opcode: .binary, data: data))
        }
        output.activity.sent()
      }
    }
    output.activity.end()
  }
}

// MARK: Client to process

extension StreamSession {
  /// Obeys the client's messages until it closes or breaks off.
  private func receive(
    _ inbound: NIOAsyncChannelInboundStream<WebSocketFrame>, _ socket: any Channel, into input: (any Channel)?,
    resize: @Sendable (TerminalSize) async -> Void, endInput: @Sendable () async -> Void
  ) async {
    var input = input
    var isAtLineStart = true
    do {
      for try await frame in inbound {
        var data = frame.unmaskedData
        switch frame.opcode {
        case .binary, .text:
          guard let number = data.readInteger(as: UInt8.self).flatMap(ChannelNumber.init) else { continue }
          switch number {
          case .input:
            guard let target = input, data.readableBytes > 0 else { continue }
            isAtLineStart = data.readableBytesView.last.map { Self.lineEnds.contains($0) } ?? isAtLineStart
            // A process that closed its input is no reason to end its output.
            do { try await target.writeAndFlush(data) } catch { input = nil }
          case .resize:
            let message = data.readBytes(length: data.readableBytes) ?? []
            if let size = TerminalSize(message: message) { await resize(size) }
          case .close:
            guard data.readInteger(as: UInt8.self) == ChannelNumber.input.rawValue else { continue }
            if request.terminal, let input { await endTerminalInput(input, isAtLineStart: isAtLineStart) }
            try? await input?.close()
            input = nil
            await endInput()
          case .output, .errors, .status: continue
          }
        case .ping:
          try await socket.writeAndFlush(WebSocketFrame(fin: true, opcode: .pong, data: data))
        case .connectionClose: return
        default: continue
        }
      }
    } catch {
      // A broken connection is a closed one; what follows is the same.
    }
  }
}

extension StreamSession {
  /// ^D, as a terminal takes it for the end of its input, and what it takes for the end of a line.
  private static let endOfTransmission: UInt8 = 4
  private static let lineEnds: Set<UInt8> = [UInt8(ascii: "\n"), UInt8(ascii: "\r"), endOfTransmission]

  /// Who reads a terminal sees no end when our side is closed: the terminal has to be told. The first ^D after text only
  /// hands the text over.
  private func endTerminalInput(_ input: any Channel, isAtLineStart: Bool) async {
    let signs = [UInt8](repeating: Self.endOfTransmission, count: isAtLineStart ? 1 : 2)
    try? await input.writeAndFlush(ByteBuffer(bytes: signs))
  }
}

/// The process's descriptors as channels; those that nobody asked for are closed.
private struct ProcessStreams: Sendable {
  struct Output: Sendable {
    let channel: NIOAsyncChannel<ByteBuffer, Never>
    let number: ChannelNumber
    let activity: Activity
  }

  var input: (any Channel)?
  var outputs: [Output] = []

  init(_ process: inout StreamedProcess, keeping request: StreamRequest) async {
    if let descriptor = process.input.take(), request.input {
      input = try? await Self.writer(descriptor)
    }
    if let descriptor = process.output.take(), request.output || request.terminal,
      let output = try? await Self.reader(descriptor, .output)
    {
      outputs.append(output)
    }
    if let descriptor = process.errors.take(), request.errors, !request.terminal,
      let output = try? await Self.reader(descriptor, .errors)
    {
      outputs.append(output)
    }
  }

  func close() {
    input?.close(promise: nil)
    for output in outputs { output.channel.channel.close(promise: nil) }
  }

  /// Returns once no output has bytes on their way and none had for `span`; or when cancelled. A machine that is too busy
  /// to carry them is not quiet.
  func quiet(for span: Duration) async {
    let start = ContinuousClock.now
    while !Task.isCancelled {
      let since = outputs.map { $0.activity.quietSince(start) }.max() ?? start
      let left = span - (.now - since)
      if left <= .zero { return }
      try? await Task.sleep(for: left)
    }
  }

  private static var group: any EventLoopGroup { .singletonMultiThreadedEventLoopGroup }

  private static func writer(_ descriptor: consuming OwnedFD) async throws -> any Channel {
    let raw = descriptor.release()
    do {
      return try await NIOPipeBootstrap(group: group).takingOwnershipOfDescriptor(output: raw).get()
    } catch {
      _ = OwnedFD(adopting: raw)
      throw error
    }
  }

  private static func reader(_ descriptor: consuming OwnedFD, _ number: ChannelNumber) async throws -> Output {
    let activity = Activity(try descriptor.duplicate())
    let raw = descriptor.release()
    do {
      let channel = try await NIOPipeBootstrap(group: group)
        .channelOption(
          .recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: StreamingLimits.outputChunkBytes)
        )
        .takingOwnershipOfDescriptor(input: raw) { channel in
          channel.eventLoop.makeCompletedFuture {
            try channel.pipeline.syncOperations.addHandler(ArrivalHandler(activity))
            return try NIOAsyncChannel<ByteBuffer, Never>(
              wrappingChannelSynchronously: channel,
              configuration: .init(backPressureStrategy: .init(lowWatermark: 1, highWatermark: 2)))
          }
        }
      return Output(channel: channel, number: number, activity: activity)
    } catch {
      _ = OwnedFD(adopting: raw)
      throw error
    }
  }
}

/// Counts what is read of an output before anybody takes it.
private final class ArrivalHandler: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  typealias InboundOut = ByteBuffer
  private let activity: Activity

  init(_ activity: Activity) { self.activity = activity }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    activity.arrived()
    context.fireChannelRead(data)
  }
}

/// Whether an output has bytes on their way to the client: in the pipe, read, or waiting for a slow client.
private final class Activity: Sendable {
  private struct State {
    var underWay = 0
    var last = ContinuousClock.now
    var ended = false
  }

  private let state = Mutex(State())
  /// A second descriptor of the pipe, to ask it without reading.
  private let pipe: OwnedFD

  init(_ pipe: consuming OwnedFD) { self.pipe = pipe }

  func arrived() { state.withLock { $0.underWay += 1 } }

  func sent() {
    state.withLock {
      $0.underWay -= 1
      $0.last = .now
    }
  }

  func end() { state.withLock { $0.ended = true } }

  /// Since when nothing has been under way; now, if something is.
  func quietSince(_ start: ContinuousClock.Instant) -> ContinuousClock.Instant {
    state.withLock {
      if $0.ended { return start }
      return $0.underWay > 0 || pipe.hasInput() ? .now : max($0.last, start)
    }
  }
}
