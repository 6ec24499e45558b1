import ObjectStore
import Testing

/// What every engine promises.
@Suite struct StoreConformanceTests {
  @Test(arguments: StoreEngine.all) func revisionsRiseByOneWithEveryTransactionThatChangesSomething(
    _ engine: StoreEngine
  ) async throws {
    try await StoreUnderTest.with(engine) { store async throws in
      #expect(try await store.revision() == 0)
      #expect(try await store.put("/a", "1") == 1)
      #expect(try await store.put("/b", "1") == 2)
      #expect(
        try await store.commit(Transaction(puts: [("/c", [1]), ("/d", [2])], deletes: ["/a"])) == 3)
      #expect(try await store.commit(Transaction(deletes: ["/a"])) == 3, "nothing to delete is no change")
      #expect(try await store.commit(Transaction()) == 3)
      #expect(try await store.get("/c")?.revision == 3)
      #expect(try await store.get("/d")?.revision == 3)
      #expect(try await store.get("/a") == nil)
      #expect(try await store.revision() == 3)
    }
  }

  @Test(arguments: StoreEngine.all) func anObjectKnowsWhenItWasCreatedAndChanged(_ engine: StoreEngine) async throws {
    try await StoreUnderTest.with(engine) { store async throws in
      try await store.put("/a", "one")
      try await store.put("/other", "x")
      try await store.put("/a", "two")
      let object = try #require(try await store.get("/a"))
      #expect(object.createRevision == 1)
      #expect(object.revision == 3)
      #expect(object.value == Array("two".utf8))
      try await store.delete("/a")
      try await store.put("/a", "again")
      let again = try #require(try await store.get("/a"))
      #expect(again.createRevision == 5)
      #expect(again.revision == 5)
    }
  }

  @Test(arguments: StoreEngine.all) func aFailedCheckChangesNothingAndTellsTheRealRevision(
    _ engine: StoreEngine
  ) async throws {
    try await StoreUnderTest.with(engine) { store async throws in
      try await store.put("/a", "one", at: 0)
      await #expect(throws: StoreError.conflict(key: "/a", actual: 1)) { try await store.put("/a", "two", at: 0) }
      try await store.put("/a", "two", at: 1)
      await #expect(throws: StoreError.conflict(key: "/a", actual: 2)) { try await store.put("/a", "3", at: 1) }
      await #expect(throws: StoreError.conflict(key: "/b", actual: 0)) { try await store.delete("/b", at: 7) }
      // One of two checks fails: neither change happens.
      await #expect(throws: StoreError.conflict(key: "/b", actual: 0)) {
        try await store.commit(
          Transaction(checks: ["/a": 2, "/b": 9], puts: [("/c", [1])], deletes: ["/a"]))
      }
      #expect(try await store.text("/a") == "two")
      #expect(try await store.get("/c") == nil)
      #expect(try await store.revision() == 2)
    }
  }

  @Test(arguments: StoreEngine.all) func ofManyWhoWantTheSameRevisionOneWins(_ engine: StoreEngine) async throws {
    try await StoreUnderTest.with(engine) { store async throws in
      try await store.put("/a", "start")
      let winners = await withTaskGroup(of: Int64?.self) { group in
        for number in 0..<50 {
          group.addTask { try? await store.put("/a", "\(number)", at: 1) }
        }
        return await group.reduce(into: [Int64]()) { if let revision = $1 { $0.append(revision) } }
      }
      #expect(winners == [2])
      #expect(try await store.revision() == 2)
    }
  }

  @Test(arguments: StoreEngine.all) func aListIsInTheOrderOfKeysAndOfItsPrefixOnly(_ engine: StoreEngine) async throws {
    try await StoreUnderTest.with(engine) { store async throws in
      for key in ["/pods/b/1", "/pods/a/2", "/podsx", "/pods/a/1", "/pod", "/pods/a-b/1"] {
        try await store.put(key, "")
      }
      let pods = try await store.list("/pods/", nil, nil, nil)
      #expect(pods.objects.map(\.key) == ["/pods/a-b/1", "/pods/a/1", "/pods/a/2", "/pods/b/1"])
      #expect(pods.revision == 6)
      #expect(pods.remaining == 0)
      #expect(try await store.list("/pods/a/", nil, nil, nil).objects.map(\.key) == ["/pods/a/1", "/pods/a/2"])
      #expect(try await store.list("/none/", nil, nil, nil).objects.isEmpty)
      #expect(try await store.list("", nil, nil, nil).objects.count == 6)
    }
  }

  @Test(arguments: StoreEngine.all) func pagesAtOneRevisionShowOneMoment(_ engine: StoreEngine) async throws {
    try await StoreUnderTest.with(engine) { store async throws in
      for number in 10..<20 { try await store.put("/a/\(number)", "old") }
      let first = try await store.list("/a/", nil, 4, nil)
      #expect(first.objects.count == 4)
      #expect(first.remaining == 6)
      // Everything changes behind the reader's back.
      try await store.put("/a/155", "new")
      try await store.delete("/a/16")
      try await store.put("/a/17", "changed")
      try await store.delete("/a/10")
      let second = try await store.list("/a/", "/a/13", 4, first.revision)
      #expect(second.lines == ["/a/14@5=old", "/a/15@6=old", "/a/16@7=old", "/a/17@8=old"])
      #expect(second.remaining == 2)
      #expect(second.revision == first.revision)
      let third = try await store.list("/a/", "/a/17", 4, first.revision)
      #expect(third.lines == ["/a/18@9=old", "/a/19@10=old"])
      #expect(third.remaining == 0)
      #expect(try await store.list("/a/", nil, nil, nil).objects.count == 9)
    }
  }

  @Test(arguments: StoreEngine.all) func aRevisionThatHasNotHappenedIsRefused(_ engine: StoreEngine) async throws {
    try await StoreUnderTest.with(engine) { store async throws in
      try await store.put("/a", "1")
      await #expect(throws: StoreError.future(current: 1)) { _ = try await store.list("/", nil, nil, 2) }
      await #expect(throws: StoreError.future(current: 1)) { _ = try await store.watch("/", 2) }
    }
  }

  @Test(arguments: StoreEngine.all) func aWatchSeesEveryEventOfItsPrefixOnceAndInOrder(_ engine: StoreEngine)
    async throws
  {
    try await StoreUnderTest.with(engine) { store async throws in
      try await store.put("/a/1", "before")
      let watch = try await store.watch("/a/", 1)
      try await store.put("/a/1", "two")
      try await store.put("/b/1", "other")
      try await store.put("/a/2", "new")
      _ = try await store.commit(Transaction(puts: [("/a/3", Array("x".utf8))], deletes: ["/a/1"]))
      try await store.put("/a/1", "again")
      let events = try await watch.events(5)
      #expect(
        events.map(\.line) == [
          "2 update /a/1 =two (was 1 =before)", "4 create /a/2 =new", "5 create /a/3 =x",
          "5 delete /a/1 =two (was 2 =two)", "6 create /a/1 =again",
        ])
    }
  }

  @Test(arguments: StoreEngine.all) func aWatchFromThePastCatchesUpAndGoesOn(_ engine: StoreEngine) async throws {
    try await StoreUnderTest.with(engine) { store async throws in
      for number in 1...20 { try await store.put("/a/\(number % 3)", "\(number)") }
      let watch = try await store.watch("/a/", 5)
      for number in 21...25 { try await store.put("/a/\(number % 3)", "\(number)") }
      let events = try await watch.events(20)
      #expect(events.map(\.revision) == Array(6...25))
      #expect(events.map { String(decoding: $0.object.value, as: UTF8.self) } == (6...25).map(String.init))
    }
  }

  @Test(arguments: StoreEngine.all) func progressComesAfterAllEventsUpToIt(_ engine: StoreEngine) async throws {
    try await StoreUnderTest.with(engine) { store async throws in
      let quiet = try await store.watch("/quiet/", 0)
      for number in 1...10 { try await store.put("/a", "\(number)") }
      // Deliveries come after the answer to the writer: progress may be asked for too early, but not run ahead.
      var reached: Int64 = 0
      while reached < 10 { reached = try #require(try await quiet.progress()) }
      #expect(reached == 10)
      let busy = try await store.watch("/", 0)
      try await busy.requestProgress()
      var seen: Int64 = 0
      while let batch = try await busy.next() {
        if batch.isProgress {
          #expect(batch.revision <= seen)
          break
        }
        seen = try #require(batch.events.last?.revision)
      }
      #expect(seen == 10)
    }
  }

  @Test(arguments: StoreEngine.all) func whatIsCompactedIsRefusedAndTheRestIsWhole(_ engine: StoreEngine) async throws {
    try await StoreUnderTest.with(engine) { store async throws in
      for number in 1...10 { try await store.put("/a/\(number % 2)", "\(number)") }
      try await store.delete("/a/0")
      try await store.compact(3)
      #expect(try await store.list("/a/", nil, nil, 8).lines == ["/a/0@8=8", "/a/1@7=7"])
      #expect(try await store.list("/a/", nil, nil, 10).lines == ["/a/0@10=10", "/a/1@9=9"])
      #expect(try await store.list("/a/", nil, nil, nil).lines == ["/a/1@9=9"])
      await #expect(throws: StoreError.compacted(oldest: 8)) { _ = try await store.list("/a/", nil, nil, 7) }
      await #expect(throws: StoreError.compacted(oldest: 8)) { _ = try await store.watch("/a/", 7) }
      #expect(try await store.watch("/a/", 8).events(3).map(\.revision) == [9, 10, 11])
      try await store.compact(0)
      await #expect(throws: StoreError.compacted(oldest: 11)) { _ = try await store.list("/a/", nil, nil, 10) }
      #expect(try await store.put("/a/0", "back") == 12)
      #expect(try await store.get("/a/0")?.createRevision == 12)
    }
  }

  @Test(arguments: StoreEngine.all) func everythingIsThereAfterARestart(_ engine: StoreEngine) async throws {
    try await StoreUnderTest.with(engine) { store async throws in
      for number in 1...30 { try await store.put("/a/\(number % 7)", "\(number)") }
      try await store.delete("/a/3")
      let before = try await store.list("", nil, nil, nil)
      try await store.restart()
      let after = try await store.list("", nil, nil, nil)
      #expect(after.lines == before.lines)
      #expect(after.objects.map(\.createRevision) == before.objects.map(\.createRevision))
      #expect(after.revision == 31)
      #expect(try await store.list("", nil, nil, 20).objects.count == 7)
      let events = try await store.watch("/", 10).events(21)
      #expect(events.map(\.revision) == Array(11...31))
      #expect(events.last?.line == "31 delete /a/3 =24 (was 24 =24)")
      #expect(try await store.put("/b", "next") == 32)
    }
  }

  @Test(arguments: StoreEngine.all) func aRevisionIsNeverUsedAgainEvenWhenNothingIsLeft(
    _ engine: StoreEngine
  ) async throws {
    try await StoreUnderTest.with(engine) { store async throws in
      try await store.put("/a", "1")
      try await store.delete("/a")
      try await store.compact(0)
      try await store.restart()
      #expect(try await store.revision() == 2)
      #expect(try await store.put("/a", "1") == 3)
    }
  }

  @Test(arguments: StoreEngine.all) func transactionsThatNoStoreCanDoAreRefusedByName(_ engine: StoreEngine)
    async throws
  {
    try await StoreUnderTest.with(engine) { store async throws in
      let wrong = [
        Transaction(puts: [("", [])]), Transaction(puts: [("/ä", [])]), Transaction(puts: [("/a b", [])]),
        Transaction(puts: [("/a", [1]), ("/a", [2])]), Transaction(puts: [("/a", [1])], deletes: ["/a"]),
        Transaction(puts: [("/" + String(repeating: "a", count: 2000), [])]),
        Transaction(puts: [("/big", [UInt8](repeating: 0, count: 5 << 20))]),
        Transaction(deletes: (0..<2000).map { "/\($0)" }),
      ]
      for transaction in wrong {
        do throws(StoreError) {
          _ = try await store.commit(transaction)
          Issue.record("accepted \(transaction)")
        } catch {
          guard case .invalid = error else {
            Issue.record("\(error)")
            continue
          }
        }
      }
      #expect(try await store.revision() == 0)
    }
  }
}
