@testable import ObjectStore
import Testing

/// The parts that decide, without a disk.
@Suite struct StorePartsTests {
  static func object(_ key: String, revision: Int64 = 1, bytes: Int = 1) -> StoredObject {
    StoredObject(key: key, value: [UInt8](repeating: 1, count: bytes), revision: revision, createRevision: 1)
  }

  @Test(arguments: SeededGenerator.seeds(1...20)) func sortedObjectsAreAsASortedArray(_ seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    var sorted = SortedObjects()
    var model: [String: StoredObject] = [:]
    for step in 0..<3000 {
      let key = "/\(Int.random(in: 0..<3, using: &random))/\(Int.random(in: 0..<700, using: &random))"
      // Grows first, then shrinks, so that chunks split and join.
      if Int.random(in: 0..<3000, using: &random) > step {
        let new = Self.object(key, revision: Int64(step))
        #expect(sorted.insert(new) == model.updateValue(new, forKey: key))
      } else {
        let victim = Bool.random(using: &random) ? key : model.keys.min() ?? key
        #expect(sorted.remove(victim) == model.removeValue(forKey: victim))
      }
      #expect(sorted.count == model.count)
      if step % 50 == 0 {
        let keys = model.keys.sorted()
        for prefix in ["", "/1/", "/2/3", "/9"] {
          let after = Bool.random(using: &random) ? key : nil
          let limit = Bool.random(using: &random) ? Int.random(in: 0..<40, using: &random) : nil
          let all = keys.filter { $0.hasPrefix(prefix) && $0 > after ?? "" }
          let page = sorted.page(prefix: prefix, after: after, limit: limit)
          #expect(page.objects.map(\.key) == Array(all.prefix(limit ?? all.count)), "seed \(seed), step \(step)")
          #expect(page.remaining == all.count - page.objects.count)
        }
        #expect(
          SortedObjects(sorted: keys.compactMap { model[$0] }).page(prefix: "", after: nil, limit: nil).objects.map(
            \.key) == keys)
      }
    }
  }

  @Test func aSnapshotStaysAsItWas() {
    var sorted = SortedObjects(sorted: (100..<700).map { Self.object("/\($0)") })
    let snapshot = sorted
    for number in 100..<400 { sorted.remove("/\(number)") }
    sorted.insert(Self.object("/0"))
    #expect(snapshot.page(prefix: "", after: nil, limit: nil).objects.map(\.key) == (100..<700).map { "/\($0)" })
    #expect(sorted.count == 301)
  }

  @Test func transactionsOfABatchSeeTheOnesBeforeThem() {
    let existing = Self.object("/a", revision: 7)
    var plan = BatchPlan(revision: 9, objectBytes: 3, objectBytesMax: 100, current: { $0 == "/a" ? existing : nil })
    plan.add(Transaction(checks: ["/a": 7], puts: [("/a", [1])]))
    plan.add(Transaction(checks: ["/a": 7], puts: [("/a", [2])]))
    plan.add(Transaction(checks: ["/a": 10], deletes: ["/a"]))
    plan.add(Transaction(checks: ["/a": 0], puts: [("/a", [3]), ("/b", [4])]))
    plan.add(Transaction(deletes: ["/none"]))
    #expect(
      plan.outcomes == [
        .commits(10), .fails(.conflict(key: "/a", actual: 10)), .commits(11), .commits(12), .isEmpty(12),
      ])
    #expect(plan.revision == 12)
    #expect(plan.changes.map(\.object.revision) == [10, 11, 12, 12])
    #expect(plan.changes.map { $0.previous?.revision } == [7, 10, nil, nil])
    #expect(plan.changes.map(\.object.createRevision) == [1, 1, 12, 12])
    #expect(plan.objectBytes == 6)
  }

  @Test func theQuotaRefusesGrowthButNeverShrinking() {
    let existing = Self.object("/a", revision: 1, bytes: 98)
    var plan = BatchPlan(revision: 1, objectBytes: 100, objectBytesMax: 90, current: { $0 == "/a" ? existing : nil })
    plan.add(Transaction(puts: [("/b", [1])]))
    guard case .fails(.full) = plan.outcomes[0] else {
      Issue.record("grew beyond the quota: \(plan.outcomes)")
      return
    }
    plan.add(Transaction(puts: [("/a", [UInt8](repeating: 0, count: 95))]))
    plan.add(Transaction(deletes: ["/a"]))
    plan.add(Transaction(puts: [("/b", [1])]))
    #expect(plan.outcomes.dropFirst() == [.commits(2), .commits(3), .commits(4)])
    #expect(plan.objectBytes == 3)
  }

  @Test func theRingForgetsWholeRevisionsAndKnowsWhatItForgot() {
    var ring = EventRing(floor: 0, changesMax: 5, bytesMax: 1 << 20)
    for revision in 1...4 as ClosedRange<Int64> {
      for place in 0..<2 {
        let object = StoredObject(
          key: "/\(place)", value: [1], position: LogPosition(revision: revision, place: place), createRevision: 1)
        ring.append(Change(object: object, previous: nil, isDelete: false))
      }
      ring.trim()
    }
    #expect(ring.count == 4)
    #expect(ring.floor == 2)
    #expect(ring.changes(after: 2).map(\.object.revision) == [3, 3, 4, 4])
    #expect(ring.changes(after: 3).map(\.object.revision) == [4, 4])
    #expect(ring.changes(after: 4).map(\.object.revision) == [])
    ring.forget(through: 4)
    #expect(ring.count == 0 && ring.bytes == 0 && ring.floor == 4)
  }

  @Test func theRingIsBoundedByWhatItKeepsAlive() {
    var ring = EventRing(floor: 0, changesMax: 1_000_000, bytesMax: 10_000)
    var previous: StoredObject?
    for revision in 1...1000 as ClosedRange<Int64> {
      let object = Self.object("/a", revision: revision, bytes: 1000)
      ring.append(Change(object: object, previous: previous, isDelete: false))
      ring.trim()
      previous = object
      #expect(ring.bytes <= 10_000)
    }
    #expect(ring.count == 8)
    #expect(ring.floor == 992)
  }

  @Test func historyIsKeptBySecondsWithinABoundAndAFloor() {
    var configuration = StoreConfiguration()
    configuration.historySeconds = 300
    configuration.historyRevisionsMax = 8000
    configuration.historyRevisionsMin = 100
    var policy = HistoryPolicy(configuration, oldest: 0, revision: 0, nowNanoseconds: 0)
    var oldest: Int64 = 0
    func second(_ seconds: Int, _ revision: Int64) -> Int64? {
      let target = policy.target(revision: revision, nowNanoseconds: Int64(seconds) * 1_000_000_000)
      if let target { oldest = target }
      return target
    }
    // One revision a second for ten minutes.
    for seconds in 1...600 { _ = second(seconds, Int64(seconds)) }
    #expect(oldest >= 280 && oldest <= 300)
    // A burst: by number, and in steps.
    #expect(second(601, 8400) != nil)
    #expect(oldest == 1400)
    #expect(second(602, 8500) == nil)
    // Quiet for hours: the last hundred stay.
    for seconds in stride(from: 700, to: 9000, by: 10) { _ = second(seconds, 8500) }
    #expect(oldest == 8400)
  }
}
