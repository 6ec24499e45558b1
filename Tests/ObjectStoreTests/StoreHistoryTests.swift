import ObjectStore
import TestSupport
import Testing

/// Many clients at once: one order explains everything that they were told.
@Suite struct StoreHistoryTests {
  static let clients = 8
  static let steps = 120
  static let keys = 5

  @Test(arguments: StoreEngine.seeded(sqlite: 10, etcd: 2)) func whatConcurrentClientsAreToldHasOneOrder(
    _ engine: StoreEngine, _ seed: UInt64
  ) async throws {
    try await StoreUnderTest.with(engine) { store async throws in
      let history = WriteHistory()
      let watch = try await store.watch("", 0)
      let watching = Task {
        var changes: [WriteHistory.Change] = []
        while let batch = try await watch.next() {
          changes += batch.events.map { event in
            WriteHistory.Change(
              revision: event.revision, key: event.object.key,
              value: event.kind == .delete ? nil : String(decoding: event.object.value, as: UTF8.self),
              previous: event.previous?.revision ?? 0)
          }
          if changes.last?.key == "/end" { break }
        }
        return changes
      }
      await withTaskGroup(of: Void.self) { group in
        for client in 0..<Self.clients {
          group.addTask { await Self.work(store, client, seed, history) }
        }
      }
      try await store.put("/end", "end")
      let changes = try await watching.value
      #expect(history.problems(changes) == [], "seed \(seed)")
      #expect(history.acknowledged > Self.steps)
      #expect(history.unknown == 0)
    }
  }

  private static func work(_ store: StoreUnderTest, _ client: Int, _ seed: UInt64, _ history: WriteHistory) async {
    var random = SeededGenerator(seed: seed &* 100 &+ UInt64(client))
    for step in 0..<steps {
      let key = "/k/\(Int.random(in: 0..<keys, using: &random))"
      let readBegan = history.tick()
      let object = try? await store.get(key)
      history.read(
        key, object.map { String(decoding: $0.value, as: UTF8.self) }, revision: object?.revision ?? 0,
        began: readBegan)
      let value = "\(client)-\(step)"
      // A third without a condition: whoever comes last wins.
      let expected: Int64? = Int.random(in: 0..<3, using: &random) == 0 ? nil : object?.revision ?? 0
      let deletes = expected != nil && object != nil && Int.random(in: 0..<6, using: &random) == 0
      let began = history.tick()
      let outcome: WriteHistory.Outcome
      do throws(StoreError) {
        let checks = expected.map { [key: $0] } ?? [:]
        let transaction =
          deletes
          ? Transaction(checks: checks, deletes: [key]) : Transaction(checks: checks, puts: [(key, Array(value.utf8))])
        outcome = .done(try await store.commit(transaction))
      } catch {
        if case .conflict = error { outcome = .refused } else { outcome = .unknown }
      }
      history.wrote(key, deletes ? nil : value, expected: expected, began: began, outcome)
    }
  }

  @Test func theCheckerFindsWhatIsWrong() {
    let change = { (revision: Int64, value: String?, previous: Int64) in
      WriteHistory.Change(revision: revision, key: "/a", value: value, previous: previous)
    }
    func problems(_ changes: [WriteHistory.Change], _ outcome: WriteHistory.Outcome, expected: Int64? = nil) -> [String]
    {
      let history = WriteHistory()
      history.wrote("/a", "x", expected: expected, began: history.tick(), outcome)
      return history.problems(changes)
    }
    #expect(problems([change(1, "x", 0)], .done(1)) == [])
    #expect(!problems([], .done(1)).isEmpty, "lost")
    #expect(!problems([change(1, "y", 0)], .done(1)).isEmpty, "another's")
    #expect(!problems([change(1, "x", 0), change(2, "x", 1)], .done(1)).isEmpty, "twice")
    #expect(!problems([change(1, "x", 0)], .refused).isEmpty, "refused and done")
    #expect(problems([change(1, "x", 0)], .unknown) == [])
    #expect(!problems([change(2, "x", 0), change(1, "y", 2)], .unknown).isEmpty, "out of order")
    #expect(!problems([change(1, "y", 0), change(3, "x", 2)], .done(3)).isEmpty, "an event is missing")
    #expect(
      !problems([change(1, "y", 0), change(2, "x", 1)], .done(2), expected: 0).isEmpty, "in spite of its condition")
    // Begun after the other's answer, and yet before it.
    let late = WriteHistory()
    late.wrote("/a", "x", expected: nil, began: late.tick(), .done(2))
    late.wrote("/a", "y", expected: nil, began: late.tick(), .done(1))
    #expect(!late.problems([change(1, "y", 0), change(2, "x", 1)]).isEmpty)
    // A read of what had been replaced before.
    let stale = WriteHistory()
    stale.wrote("/a", "x", expected: nil, began: stale.tick(), .done(1))
    stale.wrote("/a", "y", expected: nil, began: stale.tick(), .done(2))
    stale.read("/a", "x", revision: 1, began: stale.tick())
    #expect(!stale.problems([change(1, "x", 0), change(2, "y", 1)]).isEmpty)
  }
}
