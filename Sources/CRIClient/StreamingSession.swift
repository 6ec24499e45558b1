internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import NIOWebSocket
internal import Synchronization

/// The client's end of an exec or attach stream, over a WebSocket.
///
/// Every send suspends until the kernel has taken the bytes, so a slow process slows its client and nothing piles up.
package struct StreamingSession: Sendable {
  /// What the server chose of what was offered.
  package let proto: StreamingProtocol
  private let channel: any Channel

  /// Largest message that is sent at once.
  package static let chunkBytes = 32 << 10
  static let messageBytesMax = 4 << 20
  static let connectTimeout: Duration = .seconds(10)

  /// Sends to the process's standard input.
  package func send(_ bytes: ArraySlice<UInt8>) async throws(StreamingClientError) {
    var rest = bytes
    while !rest.isEmpty {
      try await write(.binary, [0], rest.prefix(Self.chunkBytes))
      rest = rest.dropFirst(Self.chunkBytes)
    }
  }

  /// Ends standard input and leaves output going. Before v5 no message says so, and this does nothing.
  package func endInput() async throws(StreamingClientError) {
    if proto == .v5 { try await write(.binary, [255, 0], []) }
  }

  /// Tells the size of this side's terminal.
  package func resize(columns: UInt16, rows: UInt16) async throws(StreamingClientError) {
    try await write(.binary, [4], Array("{\"Width\":\(columns),\"Height\":\(rows)}".utf8)[...])
  }

  private func write(
    _ opcode: WebSocketOpcode, _ head: [UInt8], _ bytes: ArraySlice<UInt8>
  ) async throws(StreamingClientError) {
    var data = channel.allocator.buffer(capacity: head.count + bytes.count)
    data.writeBytes(head)
    data.writeBytes(bytes)
    do {
      try await channel.writeAndFlush(WebSocketFrame(fin: true, opcode: opcode, maskKey: .random(), data: data))
    } catch {
      throw StreamingClientError(stage: "stream", message: "\(error)")
    }
  }

  /// Opens `url` and carries its streams until the server says how it ended.
  ///
  /// - Parameters:
  ///   - offering: the subprotocols to offer.
  ///   - onOutput: gets what the process writes, in order; the next message is not read before it returns.
  ///   - input: runs beside: sends input and sizes. Cancelled at the end.
  /// - Returns: the process's exit code, or the server's reason.
  /// - Throws: `StreamingClientError` where the stream cannot be opened or breaks off, and what `onOutput` throws.
  package static func run(
    url: String, offering: [StreamingProtocol] = StreamingProtocol.allCases,
    onOutput: @Sendable @escaping (StreamingOutput, ArraySlice<UInt8>) async throws -> Void,
    input: @Sendable @escaping (StreamingSession) async throws -> Void = { _ in }
  ) async throws -> StreamingOutcome {
    switch try await connect(StreamingURL(url), offering) {
    case .refused(let channel):
      throw StreamingClientError(stage: "upgrade", message: await reason(of: channel))
    case .open(let webSocket, let name):
      let channel = webSocket.channel
      return try await withTaskCancellationHandler {
        try await webSocket.executeThenClose { inbound, _ in
          guard let proto = name.flatMap(StreamingProtocol.init), offering.contains(proto) else {
            throw StreamingClientError(
              stage: "upgrade", message: "the server chose the subprotocol \(name ?? "none"), which was not offered")
          }
          let session = StreamingSession(proto: proto, channel: channel)
          return try await session.carry(inbound, onOutput: onOutput, input: input)
        }
      } onCancel: {
        channel.close(promise: nil)
      }
    }
  }

  private func carry(
    _ inbound: NIOAsyncChannelInboundStream<WebSocketFrame>,
    onOutput: @Sendable @escaping (StreamingOutput, ArraySlice<UInt8>) async throws -> Void,
    input: @Sendable @escaping (StreamingSession) async throws -> Void
  ) async throws -> StreamingOutcome {
    try await withThrowingTaskGroup(of: StreamingOutcome?.self) { group in
      group.addTask { try await receive(inbound, onOutput) }
      group.addTask {
        do {
          try await input(self)
        } catch is StreamingClientError {
          // The connection's end shows in what is received, with its reason.
        }
        return nil
      }
      // Also ends a write that waits for a server that reads no more.
      defer {
        channel.close(promise: nil)
        group.cancelAll()
      }
      while let ended = try await group.next() {
        if let outcome = ended { return outcome }
      }
      throw CancellationError()
    }
  }

  private func receive(
    _ inbound: NIOAsyncChannelInboundStream<WebSocketFrame>,
    _ onOutput: (StreamingOutput, ArraySlice<UInt8>) async throws -> Void
  ) async throws -> StreamingOutcome {
    var outcome: StreamingOutcome?
    do {
      frames: for try await frame in inbound {
        let data = frame.unmaskedData
        switch frame.opcode {
        case .binary, .text:
          let bytes = Array(data.readableBytesView)
          switch bytes.first {
          case 1 where bytes.count > 1: try await onOutput(.output, bytes.dropFirst())
          case 2 where bytes.count > 1: try await onOutput(.errors, bytes.dropFirst())
          case 3: outcome = StreamingOutcome(message: Array(bytes.dropFirst()), in: proto)
          default: continue
          }
        case .ping:
          try await channel.writeAndFlush(
            WebSocketFrame(fin: true, opcode: .pong, maskKey: .random(), data: data))
        case .connectionClose:
          try? await channel.writeAndFlush(
            WebSocketFrame(fin: true, opcode: .connectionClose, maskKey: .random(), data: data))
          break frames
        default: continue
        }
      }
    } catch  where outcome != nil {
      // Once the status is here, how the connection goes down no longer matters.
    }
    guard let outcome else {
      throw StreamingClientError(stage: "stream", message: "the connection closed before the exit status came")
    }
    return outcome
  }
}

// MARK: Connecting

private enum Upgraded: Sendable {
  case open(NIOAsyncChannel<WebSocketFrame, WebSocketFrame>, String?)
  case refused(NIOAsyncChannel<HTTPClientResponsePart, HTTPClientRequestPart>)
}

extension StreamingSession {
  private static func connect(
    _ url: StreamingURL, _ offering: [StreamingProtocol]
  ) async throws(StreamingClientError) -> Upgraded {
    do {
      let upgraded = try await ClientBootstrap(group: .singletonMultiThreadedEventLoopGroup)
        .connectTimeout(TimeAmount(connectTimeout))
        .connect(host: url.host, port: url.port) { channel in
          channel.eventLoop.makeCompletedFuture { try configureUpgrade(of: channel, url, offering) }
        }
      return try await upgraded.get()
    } catch let error as StreamingClientError {
      throw error
    } catch {
      throw StreamingClientError(stage: "connect", message: "\(url.authority): \(error)")
    }
  }

  private static func configureUpgrade(
    of channel: any Channel, _ url: StreamingURL, _ offering: [StreamingProtocol]
  ) throws -> EventLoopFuture<Upgraded> {
    let webSocket = NIOTypedWebSocketClientUpgrader<Upgraded>(maxFrameSize: messageBytesMax) { channel, head in
      channel.eventLoop.makeCompletedFuture {
        try channel.pipeline.syncOperations.addHandler(
          NIOWebSocketFrameAggregator(
            minNonFinalFragmentSize: 0, maxAccumulatedFrameCount: 1024, maxAccumulatedFrameSize: messageBytesMax))
        let wrapped = try NIOAsyncChannel<WebSocketFrame, WebSocketFrame>(
          wrappingChannelSynchronously: channel,
          configuration: .init(backPressureStrategy: .init(lowWatermark: 1, highWatermark: 4)))
        return .open(wrapped, head.headers["sec-websocket-protocol"].first)
      }
    }
    let request = HTTPRequestHead(
      version: .http1_1, method: .GET, uri: url.path,
      headers: HTTPHeaders([
        ("host", url.authority), ("content-length", "0"),
        ("sec-websocket-protocol", offering.map(\.rawValue).joined(separator: ", ")),
      ]))
    let upgrade = NIOTypedHTTPClientUpgradeConfiguration(
      upgradeRequestHead: request, upgraders: [webSocket]
    ) { channel in
      channel.eventLoop.makeCompletedFuture {
        .refused(
          try NIOAsyncChannel<HTTPClientResponsePart, HTTPClientRequestPart>(wrappingChannelSynchronously: channel))
      }
    }
    var configuration = NIOUpgradableHTTPClientPipelineConfiguration(upgradeConfiguration: upgrade)
    // The server's first message may come in the same packet as its answer to the upgrade.
    configuration.leftOverBytesStrategy = .forwardBytes
    let result = try channel.pipeline.syncOperations.configureUpgradableHTTPClientPipeline(configuration: configuration)
    let deadline = channel.eventLoop.scheduleTask(in: TimeAmount(connectTimeout)) { channel.close(promise: nil) }
    result.whenComplete { _ in deadline.cancel() }
    return result
  }

  /// What the server answered instead of upgrading.
  private static func reason(
    of channel: NIOAsyncChannel<HTTPClientResponsePart, HTTPClientRequestPart>
  ) async -> String {
    let bodyBytesMax = 4096
    let answer = try? await channel.executeThenClose { inbound, _ in
      var status = "no answer"
      var body: [UInt8] = []
      for try await part in inbound {
        switch part {
        case .head(let head): status = "HTTP \(head.status.code)"
        case .body(let bytes): body += bytes.readableBytesView.prefix(bodyBytesMax - body.count)
        case .end: return (status, String(decoding: body, as: UTF8.self))
        }
      }
      return (status, String(decoding: body, as: UTF8.self))
    }
    guard let (status, body) = answer else { return "the server closed the connection" }
    let line = body.split(separator: "\n").first.map(String.init) ?? ""
    return line.isEmpty ? status : "\(status): \(line)"
  }
}
