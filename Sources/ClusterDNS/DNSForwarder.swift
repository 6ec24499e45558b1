internal import DNSMessage
internal import Kernel
internal import Logging
internal import NIOCore
internal import NIOPosix
internal import Synchronization

/// A name server that is asked for what we do not know.
package struct DNSUpstream: Hashable, Sendable, CustomStringConvertible {
  package var host: String
  package var port: Int

  package init(host: String, port: Int = 53) { (self.host, self.port) = (host, port) }

  /// - Parameter text: `ADDRESS`, `ADDRESS:PORT` or `[ADDRESS]:PORT`.
  package init?(_ text: String) {
    if IPAddress(text) != nil {
      self.init(host: text)
      return
    }
    guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]), port > 0 else {
      return nil
    }
    var host = text[..<colon]
    if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
    guard IPAddress(host) != nil else { return nil }
    self.init(host: String(host), port: Int(port))
  }

  package var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
}

/// Asks others, and remembers what they said.
///
/// The same question is under way once at a time: whoever asks it meanwhile waits for that answer. So a server that asks
/// us in turn what we ask it gets no packet from us again, and the circle ends with the first one's time.
final class DNSForwarder: Sendable {
  /// For one server, and for all in turn; clients themselves give up after 5 s.
  static let serverTimeout = Duration.milliseconds(1500)
  static let timeout = Duration.milliseconds(4500)
  static let serversMax = 3
  /// Different questions under way, and those who wait for the same one.
  static let questionsMax = 1024
  static let waitersMax = 1024
  /// Bytes of a UDP answer: what passes every link whole.
  static let udpBytes: UInt16 = 1232

  private struct State {
    var cache = DNSCache()
    var waiting: [DNSCache.Key: [CheckedContinuation<DNSMessage?, Never>]] = [:]
    /// Index of the server that answered last, of each list.
    var good: [[DNSUpstream]: Int] = [:]
    var asked = 0
  }
  private let state = Mutex(State())
  private let now: @Sendable () -> Int64

  init(now: @escaping @Sendable () -> Int64 = { SystemClock.bootNanoseconds / 1_000_000 }) { self.now = now }

  /// Questions that went out.
  var asked: Int { state.withLock { $0.asked } }

  func cached(_ key: DNSCache.Key) -> DNSMessage? {
    let time = now()
    return state.withLock { $0.cache.find(key, now: time) }
  }

  /// - Returns: the answer of the first that gives one; nil where nobody does, or too much is asked.
  func resolve(_ key: DNSCache.Key, at servers: [DNSUpstream]) async -> DNSMessage? {
    if let known = cached(key) { return known }
    guard !servers.isEmpty else { return nil }
    enum Role { case asks, waits, refused }
    var role = Role.waits
    let joined: DNSMessage? = await withCheckedContinuation { continuation in
      role = state.withLock { state in
        if var others = state.waiting[key] {
          guard others.count < Self.waitersMax else { return .refused }
          others.append(continuation)
          state.waiting[key] = others
          return .waits
        }
        guard state.waiting.count < Self.questionsMax else { return .refused }
        state.waiting[key] = []
        return .asks
      }
      if role != .waits { continuation.resume(returning: nil) }
    }
    guard role == .asks else { return joined }
    let answer = await ask(key, servers)
    let time = now()
    let others = state.withLock { state in
      if let answer { state.cache.store(key, answer, now: time) }
      return state.waiting.removeValue(forKey: key) ?? []
    }
    for other in others { other.resume(returning: answer) }
    return answer
  }

  private func ask(_ key: DNSCache.Key, _ servers: [DNSUpstream]) async -> DNSMessage? {
    let first = state.withLock { $0.good[servers] ?? 0 }
    let deadline = ContinuousClock.now + Self.timeout
    var last: DNSMessage?
    for step in 0..<min(servers.count, Self.serversMax) {
      let left = deadline - ContinuousClock.now
      guard left > .zero, !Task.isCancelled else { break }
      let index = (first + step) % servers.count
      state.withLock { $0.asked += 1 }
      guard let answer = await exchange(key, servers[index], within: min(left, Self.serverTimeout)) else { continue }
      // One that cannot say may stand beside one that can.
      if answer.code == .serverFailure || answer.code == .refused || answer.code == .notImplemented {
        last = answer
        continue
      }
      state.withLock { $0.good[servers] = index }
      return answer
    }
    return last
  }

  private func exchange(_ key: DNSCache.Key, _ server: DNSUpstream, within: Duration) async -> DNSMessage? {
    var query = DNSMessage(asking: key.question, id: .random(in: .min ... .max))
    query.checksDisabled = key.checksDisabled
    query.extension_ = DNSExtension(udpBytes: Self.udpBytes, wantsSignatures: key.wantsSignatures)
    let sent = query
    return await withTaskGroup(of: DNSMessage?.self) { group in
      group.addTask {
        let answer = try? await Self.exchangeUDP(sent, server)
        guard let answer, answer.isTruncated else { return answer }
        return (try? await Self.exchangeTCP(sent, server)) ?? answer
      }
      group.addTask {
        try? await Task.sleep(for: within)
        return nil
      }
      let first = await group.next() ?? nil
      group.cancelAll()
      return first
    }
  }

  /// Nil: bytes that are no answer to this query, whoever sent them.
  private static func answer(_ bytes: [UInt8], to query: DNSMessage) -> DNSMessage? {
    guard let message = try? DNSMessage(parsing: bytes), message.isResponse, message.id == query.id,
      message.questions == query.questions
    else { return nil }
    return message
  }

  private static func exchangeUDP(_ query: DNSMessage, _ server: DNSUpstream) async throws -> DNSMessage? {
    let address = try SocketAddress(ipAddress: server.host, port: server.port)
    // A socket of its own, so that the port, which the kernel draws, is one more thing that a forger must guess.
    let channel = try await DatagramBootstrap(group: MultiThreadedEventLoopGroup.singleton).connect(to: address) {
      channel in
      channel.eventLoop.makeCompletedFuture {
        try NIOAsyncChannel<AddressedEnvelope<ByteBuffer>, AddressedEnvelope<ByteBuffer>>(
          wrappingChannelSynchronously: channel)
      }
    }
    return try await channel.executeThenClose { inbound, outbound in
      try await outbound.write(
        AddressedEnvelope(remoteAddress: address, data: ByteBuffer(bytes: query.encoded(bytesMax: 512))))
      for try await packet in inbound {
        if let answer = answer(Array(packet.data.readableBytesView), to: query) { return answer }
      }
      return nil
    }
  }

  private static func exchangeTCP(_ query: DNSMessage, _ server: DNSUpstream) async throws -> DNSMessage? {
    let address = try SocketAddress(ipAddress: server.host, port: server.port)
    let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .connectTimeout(TimeAmount(serverTimeout))
      .connect(to: address) { channel in
        channel.eventLoop.makeCompletedFuture {
          try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
        }
      }
    return try await channel.executeThenClose { inbound, outbound in
      try await outbound.write(DNSFrames.framed(query.encoded()))
      var frames = DNSFrames()
      for try await part in inbound {
        frames.take(part)
        while let bytes = frames.next() {
          if let answer = answer(bytes, to: query) { return answer }
        }
      }
      return nil
    }
  }
}

/// Messages on a stream, each after its length (RFC 1035 §4.2.2). Holds at most one and what came with it.
struct DNSFrames {
  private var buffer = ByteBuffer()

  static func framed(_ bytes: [UInt8]) -> ByteBuffer {
    var out = ByteBuffer()
    out.reserveCapacity(bytes.count + 2)
    out.writeInteger(UInt16(truncatingIfNeeded: bytes.count))
    out.writeBytes(bytes)
    return out
  }

  mutating func take(_ part: ByteBuffer) {
    buffer.discardReadBytes()
    buffer.writeImmutableBuffer(part)
  }

  mutating func next() -> [UInt8]? {
    guard let length = buffer.getInteger(at: buffer.readerIndex, as: UInt16.self),
      buffer.readableBytes >= 2 + Int(length)
    else { return nil }
    buffer.moveReaderIndex(forwardBy: 2)
    return buffer.readBytes(length: Int(length))
  }
}
