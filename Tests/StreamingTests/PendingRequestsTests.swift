import Testing

@testable import Streaming

@Suite struct PendingRequestsTests {
  @Test func aTokenIsGoodOnceOnly() throws {
    let pending = PendingRequests(limit: 10, lifetime: .seconds(60))
    let token = try pending.add(request("true"))
    #expect(token.count == 32)
    #expect(pending.take(token) == request("true"))
    #expect(pending.take(token) == nil)
    #expect(pending.count == 0)
  }

  @Test func anExpiredTokenIsRefused() throws {
    let pending = PendingRequests(limit: 10, lifetime: .seconds(60))
    let start = ContinuousClock.now
    let token = try pending.add(request("true"), now: start)
    #expect(pending.take(token, now: start + .seconds(61)) == nil)
  }

  @Test func moreThanTheLimitMayNotWait() throws {
    let pending = PendingRequests(limit: 2, lifetime: .seconds(60))
    let start = ContinuousClock.now
    _ = try pending.add(request("1"), now: start)
    _ = try pending.add(request("2"), now: start)
    #expect(throws: StreamingError.tooManyPending(limit: 2)) { try pending.add(request("3"), now: start) }
    // Expired ones make room.
    _ = try pending.add(request("4"), now: start + .seconds(61))
    #expect(pending.count == 1)
  }

  @Test func tokensDiffer() throws {
    let pending = PendingRequests(limit: 1000, lifetime: .seconds(60))
    let tokens = try (0..<1000).map { _ in try pending.add(request("true")) }
    #expect(Set(tokens).count == 1000)
  }
}
