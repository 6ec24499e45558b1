import Kernel
import ObjectStore
import Synchronization
import TestSupport
import Testing

/// What happens at the bounds: full queues, slow readers, full disks, broken disks.
@Suite struct StoreBoundsTests {
  static func put(_ store: ObjectStore, _ key: String, _ bytes: Int = 1) async throws(StoreError) -> Int64 {
    try await store.commit(Transaction(puts: [(key, [UInt8](repeating: 0x61, count: bytes))]))
  }

  static func with(
    _ change: (inout StoreConfiguration) -> Void = { _ in }, _ body: (ObjectStore) async throws -> Void
  ) async throws {
    var configuration = StoreConfiguration()
    change(&configuration)
    try await StoreFilesTests.with { directory in
      let store = try await ObjectStore.open(directory: directory, configuration: configuration)
      try await body(store)
      await store.close()
    }
  }

  enum Outcome: Hashable { case done, overloaded, other }

  static func outcome(_ store: ObjectStore, _ key: String) async -> Outcome {
    do throws(StoreError) {
      _ = try await put(store, key)
      return .done
    } catch {
      guard case .overloaded = error else { return .other }
      return .overloaded
    }
  }

  /// Of so many puts at a time, how many ended how.
  static func rush(_ store: ObjectStore, _ count: Int) async -> [Outcome: Int] {
    await withTaskGroup(of: Outcome.self) { group in
      for number in 0..<count { group.addTask { await outcome(store, "/a/\(number)") } }
      var counts: [Outcome: Int] = [:]
      for await outcome in group { counts[outcome, default: 0] += 1 }
      return counts
    }
  }

  @Test func beyondTheQueueTransactionsAreRefusedAndNoneIsLost() async throws {
    try await Self.with {
      $0.queuedTransactionsMax = 8
      $0.batchTransactionsMax = 2
    } _: { store in
      let counts = await Self.rush(store, 2000)
      let done = counts[.done] ?? 0
      #expect(counts[.other] == nil)
      #expect(done > 0 && done < 2000)
      #expect(store.revision == Int64(done))
      #expect(store.list(prefix: "/a/").objects.count == done)
    }
  }

  @Test func aSlowReaderGetsAnErrorAndCanGoOnFromIt() async throws {
    try await Self.with {
      $0.watchEventsMax = 10
    } _: { store in
      let slow = try store.watch(prefix: "/", after: 0)
      let fast = try store.watch(prefix: "/", after: 0)
      for number in 1...4 { _ = try await Self.put(store, "/a/\(number)") }
      _ = try await slow.next()
      for number in 5...40 {
        _ = try await Self.put(store, "/a/\(number)")
        var seen: Int64 = 0
        while seen < number { seen = try await fast.next()?.revision ?? .max }
      }
      var after: Int64 = -1
      do throws(StoreError) {
        while try await slow.next() != nil {}
        Issue.record("ended without an error")
      } catch {
        if case .overflow(let revision) = error { after = revision } else { Issue.record("\(error)") }
      }
      #expect(after >= 1 && after < 40)
      let again = try store.watch(prefix: "/", after: after)
      #expect(try await again.next()?.events.map(\.revision) == Array((after + 1)...40))
    }
  }

  @Test func aWatchFromFarBackIsNotSlowBecauseMuchHappenedBefore() async throws {
    try await Self.with {
      $0.watchEventsMax = 10
    } _: { store in
      for number in 1...100 { _ = try await Self.put(store, "/a/\(number)") }
      let watch = try store.watch(prefix: "/", after: 0)
      for number in 101...105 { _ = try await Self.put(store, "/a/\(number)") }
      var revisions: [Int64] = []
      while revisions.count < 105, let batch = try await watch.next() { revisions += batch.events.map(\.revision) }
      #expect(revisions == Array(1...105))
    }
  }

  @Test func eventsOlderThanTheRingAreCompactedForWatches() async throws {
    try await Self.with {
      $0.recentEventsMax = 10
    } _: { store in
      for number in 1...30 { _ = try await Self.put(store, "/a/\(number)") }
      #expect(throws: StoreError.compacted(oldest: 20)) { _ = try store.watch(prefix: "/", after: 19) }
      #expect(try await store.watch(prefix: "/", after: 20).next()?.events.count == 10)
      #expect(try await store.list(prefix: "/", at: 5).objects.count == 5, "lists of the past reach further")
    }
  }

  @Test func watchesAreCountedAndGoneWhenTheyAreDropped() async throws {
    try await Self.with {
      $0.watchesMax = 2
    } _: { store in
      for _ in 0..<10 {
        let one = try store.watch(prefix: "/a/", after: 0)
        let two = try store.watch(prefix: "/b", after: 0)
        do throws(StoreError) {
          _ = try store.watch(prefix: "/", after: 0)
          Issue.record("a third watch was let in")
        } catch {
          guard case .overloaded = error else {
            Issue.record("\(error)")
            return
          }
        }
        one.cancel()
        _ = two
      }
    }
  }

  @Test func aCancelledReaderEndsWithoutAnError() async throws {
    try await Self.with { store in
      let task = Task {
        var batches = 0
        for try await _ in try store.watch(prefix: "/", after: 0) { batches += 1 }
        return batches
      }
      _ = try await Self.put(store, "/a")
      await Task.yield()
      task.cancel()
      #expect(try await task.value <= 1)
    }
  }

  @Test func closingEndsWatchesAndRefusesTheRest() async throws {
    try await Self.with { store in
      let watch = try store.watch(prefix: "/", after: 0)
      let reader = Task { () async -> StoreError? in
        do throws(StoreError) {
          while try await watch.next() != nil {}
          return nil
        } catch {
          return error
        }
      }
      _ = try await Self.put(store, "/a")
      _ = try await Self.put(store, "/a")
      await store.close()
      await store.close()
      #expect(await reader.value == .closed)
      await #expect(throws: StoreError.closed) { _ = try await Self.put(store, "/b") }
      await #expect(throws: StoreError.closed) { try await store.compact(keeping: 0) }
      await #expect(throws: StoreError.closed) { _ = try await store.list(prefix: "/", at: 1) }
      #expect(throws: StoreError.closed) { _ = try store.watch(prefix: "/", after: 0) }
      #expect(store.get("/a")?.revision == 2)
    }
  }

  final class Counter: Sendable {
    private let count = Atomic<Int>(0)
    func add() { count.wrappingAdd(1, ordering: .relaxed) }
    var value: Int { count.load(ordering: .relaxed) }
  }

  /// What each watch, all at the same time, derives from its first event.
  static func sizes(_ watches: [StoreWatch], _ made: Counter) async throws -> [Int] {
    try await withThrowingTaskGroup(of: Int?.self) { group in
      for watch in watches {
        group.addTask {
          try await watch.next()?.events.first?.derived("size") { event in
            made.add()
            return event.object.value.count
          }
        }
      }
      var sizes: [Int] = []
      for try await size in group { sizes.append(size ?? 0) }
      return sizes
    }
  }

  @Test func whatWatchersMakeOfAnEventIsMadeOnce() async throws {
    try await Self.with { store in
      let made = Counter()
      let watches = try (0..<20).map { _ in try store.watch(prefix: "/", after: 0) }
      _ = try await Self.put(store, "/a", 10)
      let sizes = try await Self.sizes(watches, made)
      #expect(sizes == [Int](repeating: 10, count: 20))
      #expect(made.value == 1)
    }
  }

  @Test func aFullDiskFailsWritesWholeWhileReadsAndWatchesGoOn() async throws {
    let directory = try TestDirectory()
    _ = try TmpfsMount.mount(at: directory.path, sizeBytes: 3 << 20, mode: 0o700, noSwap: false)
    defer {
      try? VolumeMount.detach(directory.path)
      try? directory.remove()
    }
    let path = directory.path + "/store"
    let store = try await ObjectStore.open(directory: path)
    let watch = try store.watch(prefix: "/", after: 0)
    var acknowledged: Int64 = 0
    var failure: StoreError?
    while failure == nil {
      do throws(StoreError) {
        // Two keys a transaction: never only one of them.
        let pair = Transaction(puts: [
          ("/a/\(acknowledged)", [UInt8](repeating: 1, count: 9000)),
          ("/b/\(acknowledged)", [UInt8](repeating: 1, count: 9000)),
        ])
        acknowledged = try await store.commit(pair)
      } catch {
        failure = error
      }
      try #require(acknowledged < 1000)
    }
    guard case .full = failure else {
      Issue.record("\(String(describing: failure))")
      return
    }
    #expect(store.revision == acknowledged)
    #expect(store.list(prefix: "/a/").objects.count == Int(acknowledged))
    #expect(store.list(prefix: "/b/").objects.count == Int(acknowledged))
    var seen = 0
    while seen < Int(acknowledged) * 2 { seen += try await watch.next()?.events.count ?? 1 << 30 }
    #expect(seen == Int(acknowledged) * 2)
    await store.close()
    // Room again, as after an administrator's help: everything acknowledged is there, and writing goes on.
    let bigger = try TestDirectory()
    defer { try? bigger.remove() }
    for name in ["store.db", "store.db-wal"] where Files.exists("\(path)/\(name)") {
      try Files.makeDirectories(bigger.path + "/store")
      try Files.writeAtomically("\(bigger.path)/store/\(name)", try Files.read("\(path)/\(name)"))
    }
    let again = try await ObjectStore.open(directory: bigger.path + "/store")
    #expect(again.revision == acknowledged)
    #expect(again.list(prefix: "/a/").objects.count == Int(acknowledged))
    #expect(again.list(prefix: "/b/").objects.count == Int(acknowledged))
    #expect(try await Self.put(again, "/c") == acknowledged + 1)
    await again.close()
  }
}
