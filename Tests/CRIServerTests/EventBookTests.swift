import Kernel
import Logging
import PodRuntime
import Testing

@testable import CRIServer

@Suite struct EventBookTests {
  private static let log = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

  private func event(_ number: Int, _ kind: RuntimeEvent.Kind = .stopped) -> BookedEvent {
    BookedEvent(kind: kind, containerID: "c\(number)", sandboxID: "s", at: Int64(number))
  }

  /// What a subscription has to say until it ends or says no more.
  private func read(_ subscription: EventBook.Subscription, _ count: Int) async -> [String] {
    var ids: [String] = []
    var iterator = subscription.events.makeAsyncIterator()
    while ids.count < count, let event = await iterator.next() { ids.append(event.containerID) }
    return ids
  }

  @Test func whatRecoveryFoundIsToldToTheFirstFollowerOnly() async {
    let book = EventBook(found: [event(1), event(2)], log: Self.log)
    let first = book.follow()
    let second = book.follow()
    book.tell(event(3))
    #expect(await read(first, 3) == ["c1", "c2", "c3"])
    #expect(await read(second, 1) == ["c3"])
  }

  @Test func whatHappensWhileNobodyFollowsWaitsForTheNext() async {
    let book = EventBook(log: Self.log)
    let first = book.follow()
    _ = book.leave(first)
    book.tell(event(1))
    book.tell(event(2))
    #expect(await read(book.follow(), 2) == ["c1", "c2"])
  }

  @Test func newsThatNobodyHeardForLongIsNotTold() async {
    let book = EventBook(log: Self.log)
    book.tell(event(1), now: 0)
    book.tell(event(2), now: EventBook.untoldAgeMax)
    #expect(await read(book.follow(now: EventBook.untoldAgeMax + 1), 1) == ["c2"])
  }

  @Test func whatIsKeptIsBounded() async {
    let book = EventBook(log: Self.log)
    for number in 0..<EventBook.eventsMax + 10 { book.tell(event(number)) }
    #expect(await read(book.follow(), 1) == ["c10"])
  }

  @Test func aFollowerThatFallsBehindIsEndedAndNotLeftWithAGap() async {
    let book = EventBook(log: Self.log)
    let slow = book.follow()
    let count = 2 * EventBook.eventsMax
    for number in 0...count { book.tell(event(number)) }
    #expect(await read(slow, .max).count == count)
    #expect(book.leave(slow))
    // And the one that is lost to it is none to the others.
    #expect(!book.leave(book.follow()))
  }

  @Test func aBookThatIsClosedEndsEveryFollowerAtOnce() async {
    let book = EventBook(log: Self.log)
    let before = book.follow()
    book.close()
    #expect(await read(before, .max).isEmpty)
    #expect(await read(book.follow(), .max).isEmpty)
    #expect(book.isClosed)
  }
}
