import Glibc
import Kernel
import ObjectStore
import SQLite
import TestSupport
import Testing

/// What is left when the process is killed in the middle of it.
@Suite struct StoreCrashTests {
  static let writers = 16

  /// Small bounds, so that the kill also meets compaction, checkpoints and vacuum.
  static var configuration: StoreConfiguration {
    var configuration = StoreConfiguration()
    configuration.historyRevisionsMax = 150
    configuration.historyRevisionsMin = 10
    configuration.compactionSliceRows = 16
    configuration.checkpointPages = 30
    return configuration
  }

  /// Writes until it is killed: each writer its own two keys in one transaction, and then, once the store has answered, a
  /// line `writer counter revision` behind `acknowledged`.
  static func writeUntilKilled(_ directory: String, seed: UInt64) async throws {
    var random = SeededGenerator(seed: seed)
    let nanoseconds = Int64.random(in: 1_000_000...80_000_000, using: &random)
    let store = try await ObjectStore.open(directory: directory + "/store", configuration: configuration)
    let acknowledged = SharedFD(
      try Files.open(
        directory + "/acknowledged", flags: OpenFlags.writeOnly | OpenFlags.append | OpenFlags.create, mode: 0o600))
    try WorkerThread.start("killer") {
      _ = Wakeup().wait(nanoseconds: nanoseconds)
      kill(getpid(), SIGKILL)
    }
    try await withThrowingTaskGroup(of: Void.self) { group in
      for writer in 0..<writers {
        group.addTask {
          let keys = ["/w/\(writer)/left", "/w/\(writer)/right"]
          var counter = store.get(keys[0]).flatMap { Int(String(decoding: $0.value, as: UTF8.self)) } ?? 0
          while true {
            counter += 1
            var transaction = Transaction(puts: keys.map { ($0, Array("\(counter)".utf8)) })
            // Every fifth time with a key that comes and goes.
            if counter % 10 == 0 { transaction.puts.append(("/w/\(writer)/now", [1])) }
            if counter % 10 == 5 { transaction.deletes.append("/w/\(writer)/now") }
            let revision = try await store.commit(transaction)
            try acknowledged.write(Array("\(writer) \(counter) \(revision)\n".utf8), to: "acknowledged")
          }
        }
      }
      try await group.waitForAll()
    }
  }

  @Test(arguments: SeededGenerator.seeds(1...8)) func everyAcknowledgedWriteSurvivesAKillAndNoneIsHalfThere(
    _ seed: UInt64
  ) async throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    var before: [Int: Int] = [:]
    for round in 0..<4 as Range<UInt64> {
      await #expect(processExitsWith: .signal(SIGKILL)) {
        [
          path = directory.path as String, seed = (seed * 100 + round) as UInt64
        ] in
        try await StoreCrashTests.writeUntilKilled(path, seed: seed)
      }
      before = try await check(directory.path, before: before, "seed \(seed), round \(round)")
    }
    // Whatever the kills interrupted, compaction finishes it.
    let store = try await ObjectStore.open(directory: directory.path + "/store", configuration: Self.configuration)
    try await store.compact(keeping: 0)
    let objects = store.list(prefix: "").objects.count
    await store.close()
    let file = try SQLiteConnection(path: directory.path + "/store/store.db", access: .readWrite, busyMilliseconds: 0)
    #expect(try file.integer("SELECT count(*) FROM log") == Int64(objects))
    #expect(try file.text("PRAGMA integrity_check") == "ok")
  }

  /// - Parameter before: what each writer had reached in the round before.
  /// - Returns: what it has now.
  private func check(_ directory: String, before: [Int: Int], _ note: Comment) async throws -> [Int: Int] {
    let store = try await ObjectStore.open(directory: directory + "/store", configuration: Self.configuration)
    let text = try Files.readText(directory + "/acknowledged", maxBytes: 64 << 20) ?? ""
    var last: [Int: (counter: Int, revision: Int64)] = [:]
    var newest: Int64 = 0
    for line in text.split(separator: "\n") {
      let numbers = line.split(separator: " ").compactMap { Int($0) }
      try #require(numbers.count == 3, note)
      last[numbers[0]] = (numbers[1], Int64(numbers[2]))
      newest = max(newest, Int64(numbers[2]))
    }
    #expect(store.revision >= newest, note)
    for (writer, acknowledged) in last {
      let left = try #require(store.get("/w/\(writer)/left"), note)
      let right = try #require(store.get("/w/\(writer)/right"), note)
      let counter = try #require(Int(String(decoding: left.value, as: UTF8.self)))
      #expect(left.value == right.value && left.revision == right.revision, note)
      // One more a round may have reached the disk without its answer.
      let known = max(acknowledged.counter, before[writer] ?? 0)
      #expect(counter == known || counter == known + 1, note)
      if counter == acknowledged.counter { #expect(left.revision == acknowledged.revision, note) }
      let came = counter / 10 * 10 + (counter % 10 >= 5 ? 5 : 0)
      #expect((store.get("/w/\(writer)/now") != nil) == (counter >= 10 && came % 10 == 0), note)
    }
    let reached = (0..<Self.writers).map { writer in
      (writer, store.get("/w/\(writer)/left").flatMap { Int(String(decoding: $0.value, as: UTF8.self)) } ?? 0)
    }
    await store.close()
    return Dictionary(uniqueKeysWithValues: reached)
  }

  @Test func aDiskThatFailsIsToldAndNothingIsHalfApplied() async {
    await #expect(processExitsWith: .success) {
      let directory = try TestDirectory()
      let store = try await ObjectStore.open(directory: directory.path + "/store")
      let value = [UInt8](repeating: 1, count: 50_000)
      _ = try await store.commit(Transaction(puts: [("/a", value)]))
      // Writes beyond this size fail with EFBIG, which is no lack of space.
      signal(SIGXFSZ, SIG_IGN)
      var limit = rlimit(rlim_cur: 400_000, rlim_max: .max)
      precondition(setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit) == 0)
      var acknowledged: Int64 = 1
      var failure: StoreError?
      while failure == nil, acknowledged < 100 {
        do throws(StoreError) {
          acknowledged = try await store.commit(Transaction(puts: [("/a", value), ("/b", value)]))
        } catch {
          failure = error
        }
      }
      guard case .io = failure else { preconditionFailure("\(String(describing: failure))") }
      precondition(store.revision == acknowledged)
      precondition(store.get("/a")?.revision == acknowledged && store.list(prefix: "/").objects.count == 2)
      limit.rlim_cur = .max
      precondition(setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit) == 0)
      let next = try await store.commit(Transaction(puts: [("/c", [1])]))
      precondition(next == acknowledged + 1, "\(next)")
      await store.close()
      let again = try await ObjectStore.open(directory: directory.path + "/store")
      precondition(again.revision == next && again.list(prefix: "/").objects.count == 3)
      await again.close()
      try directory.remove()
    }
  }
}
