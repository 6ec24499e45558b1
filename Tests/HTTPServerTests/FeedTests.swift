import HTTPServer
import Kernel
import Synchronization
import Testing

/// Answers that come about bit by bit, sent from their connection's own thread.
@Suite(.timeLimit(.minutes(2))) struct Feeds {
  /// Parts that somebody puts in, and a bell for who takes them.
  private final class Source: Sendable {
    private struct State {
      var parts: [[UInt8]] = []
      var isOver = false
      var bell: (@Sendable () -> Void)?
      var isTaking = false
    }
    private let state = Mutex(State())

    func put(_ text: String) { change { $0.parts.append(Array(text.utf8)) } }
    func end() { change { $0.isOver = true } }

    private func change(_ body: (inout sending State) -> Void) {
      let bell = state.withLock { state in
        body(&state)
        return state.bell
      }
      bell?()
    }

    var isHeard: Bool { state.withLock { $0.bell != nil } }

    var feed: HTTPFeed {
      HTTPFeed(
        next: { [self] in
          state.withLock { state in
            if !state.parts.isEmpty {
              defer { state.parts = [] }
              return .parts(state.parts)
            }
            return state.isOver ? .end : .nothing
          }
        }, onReady: { [self] bell in state.withLock { $0.bell = bell } })
    }
  }

  @Test func everyPartArrivesInOrderAndTheEndIsAProperOne() async throws {
    let source = Source()
    source.put("before ")
    let text = try await withServer(handler: { _ in
      HTTPResponse(body: .stream { try await $0.write(from: source.feed) })
    }) { port in
      async let answer = RawClient.exchange(port: port, "GET / HTTP/1.0\r\nHost: h\r\n\r\n")
      try await eventually("the feed is heard") { source.isHeard }
      for number in 0..<200 {
        source.put("\(number) ")
        if number % 20 == 0 { await Task.yield() }
      }
      source.end()
      return try await answer
    }
    let body = text.split(separator: "\r\n\r\n").last.map(String.init)
    #expect(body == "before " + (0..<200).map { "\($0) " }.joined())
    #expect(!source.isHeard)
  }

  @Test func whoLeavesEndsTheFeed() async throws {
    let (source, ended) = (Source(), Counter())
    try await withServer(handler: { _ in
      HTTPResponse(
        body: .stream { writer in
          defer { ended.add() }
          try await writer.write(from: source.feed)
        })
    }) { port in
      try await onFreshThread { () throws(SyscallError) in
        do {
          let client = try RawClient(port: port)
          try client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
          source.put("event\n")
          #expect(client.read(until: "event\n").contains("event\n"))
        } catch { throw SyscallError(call: "test", subject: "\(error)", errno: 0) }
      }
      try await eventually("the stream has ended") { ended.value == 1 }
      #expect(!source.isHeard)
    }
  }

  @Test func whoDoesNotReadIsGivenNoMoreThanFits() async throws {
    let (taken, ended) = (Counter(), Counter())
    var limits = HTTPServerLimits()
    limits.stallTimeoutSeconds = 1
    try await withServer(
      limits: limits,
      handler: { request in
        guard request.path == "/endless" else { return .text("ok") }
        return HTTPResponse(
          body: .stream { writer in
            defer { ended.add() }
            let chunk = [UInt8](repeating: 120, count: 1 << 16)
            try await writer.write(
              from: HTTPFeed(
                next: {
                  taken.add(chunk.count)
                  return .parts([chunk])
                }, onReady: { _ in }))
          })
      }
    ) { port in
      let stuck = try RawClient(port: port)
      try stuck.send("GET /endless HTTP/1.1\r\nHost: h\r\n\r\n")
      let other = try await RawClient.exchange(port: port, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
      #expect(other.hasSuffix("ok"))
      try await eventually("a reader that stands still is given up") { ended.value == 1 }
      #expect(taken.value < 64 << 20)
    }
  }

  @Test func aServerThatStopsEndsAllFeedsProperlyWithinASecond() async throws {
    let sources = Mutex<[Source]>([])
    let begun = Counter()
    let server = try await HTTPServer.bind([.tcp(host: "127.0.0.1", port: 0, tls: nil)], logger: quiet) { _ in
      HTTPResponse(
        body: .stream { writer in
          let source = Source()
          source.put("first\n")
          sources.withLock { $0.append(source) }
          begun.add()
          try await writer.write(from: source.feed)
        })
    }
    let port = server.ports[0]
    let running = Task { try await server.run() }
    let count = 100
    try await withThrowingTaskGroup(of: String.self) { group in
      for _ in 0..<count {
        group.addTask { try await RawClient.exchange(port: port, "GET / HTTP/1.1\r\nHost: h\r\n\r\n") }
      }
      try await eventually("all have begun") { begun.value == count }
      let asked = ContinuousClock.now
      running.cancel()
      for try await text in group { #expect(text.hasSuffix("first\n\r\n0\r\n\r\n")) }
      await #expect(throws: CancellationError.self) { try await running.value }
      #expect(ContinuousClock.now - asked < .seconds(3), "a second for the server, and two for a busy machine")
    }
    #expect(sources.withLock { $0.allSatisfy { !$0.isHeard } })
  }

  @Test func withoutAConnectionATaskSends() async throws {
    let source = Source()
    let sent = Mutex<[UInt8]>([])
    source.put("a")
    async let done: Void = HTTPBodyWriter { parts async throws(HTTPBodyError) in
      sent.withLock { $0 += parts.joined() }
    }.write(from: source.feed)
    try await eventually("the feed is heard") { source.isHeard }
    source.put("b")
    source.end()
    try await done
    #expect(sent.withLock { String(decoding: $0, as: UTF8.self) } == "ab")
  }
}
