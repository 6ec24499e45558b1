import Kernel
import ObjectStore
import SQLite
import TestSupport
import Testing

/// The store and its files: who may read them, what is refused, what stays bounded.
@Suite struct StoreFilesTests {
  static func with(_ body: (_ directory: String) async throws -> Void) async throws {
    let directory = try TestDirectory()
    do {
      try await body(directory.path + "/store")
    } catch {
      try directory.remove()
      throw error
    }
    try directory.remove()
  }

  static func put(_ store: ObjectStore, _ key: String, _ value: [UInt8]) async throws(StoreError) -> Int64 {
    try await store.commit(Transaction(puts: [(key, value)]))
  }

  @Test func onlyTheOwnerMayReadTheFiles() async throws {
    try await Self.with { directory in
      try Files.makeDirectories(directory, mode: 0o755)
      let store = try await ObjectStore.open(directory: directory)
      _ = try await Self.put(store, "/secret", [1])
      #expect(try Files.status(directory)?.mode == 0o700)
      for name in ["store.db", "store.db-wal", "store.db-shm", "store.lock"] {
        #expect(try Files.status("\(directory)/\(name)")?.mode == 0o600, "\(name)")
      }
      await store.close()
    }
  }

  @Test func aSecondServerOnOneDirectoryIsRefusedByName() async throws {
    try await Self.with { directory in
      let store = try await ObjectStore.open(directory: directory)
      let error = await #expect(throws: StoreError.locked(path: directory)) {
        _ = try await ObjectStore.open(directory: directory)
      }
      #expect(error.map { "\($0)".contains(directory) } == true)
      _ = try await Self.put(store, "/a", [1])
      await store.close()
      let again = try await ObjectStore.open(directory: directory)
      #expect(again.get("/a")?.revision == 1)
      await again.close()
    }
  }

  @Test func aStoreThatIsDroppedLetsGoOfItsDirectory() async throws {
    try await Self.with { directory in
      for round in 1...3 as ClosedRange<Int64> {
        // The thread that writes may take a moment to end.
        let deadline = ContinuousClock.now + .seconds(20)
        var store: ObjectStore?
        while store == nil {
          do { store = try await ObjectStore.open(directory: directory) } catch StoreError.locked {
            try #require(ContinuousClock.now < deadline)
            await Task.yield()
          }
        }
        #expect(try await #require(store).commit(Transaction(puts: [("/a", [1])])) == round)
        store = nil
      }
    }
  }

  @Test func everyCommitIsSyncedAndTheFileSaysWhoseItIs() async throws {
    try await Self.with { directory in
      let store = try await ObjectStore.open(directory: directory)
      _ = try await Self.put(store, "/a", [1])
      let reader = try SQLiteConnection(path: "\(directory)/store.db", access: .readWrite, busyMilliseconds: 1000)
      #expect(try reader.text("PRAGMA journal_mode") == "wal")
      #expect(try reader.integer("PRAGMA application_id") == 0x4D41_5254)
      #expect(try reader.integer("PRAGMA user_version") == 1)
      #expect(try reader.text("PRAGMA integrity_check") == "ok")
      await store.close()
    }
  }

  enum Stranger: CaseIterable { case text, database, newer, otherTables, garbagePages, cut }

  @Test(arguments: Stranger.allCases) func aFileThatIsNotOurWholeStoreIsRefusedAndLeftAlone(
    _ stranger: Stranger
  ) async throws {
    try await Self.with { directory in
      let path = "\(directory)/store.db"
      try await Self.make(stranger, directory, path)
      let before = try Files.read(path)
      let error = await #expect(throws: StoreError.self) { _ = try await ObjectStore.open(directory: directory) }
      let isRight =
        switch (stranger, error) {
        case (.text, .foreign), (.database, .foreign), (.newer, .newer), (.otherTables, .corrupt),
          (.garbagePages, .corrupt), (.cut, .corrupt):
          true
        default: false
        }
      #expect(isRight, "\(stranger): \(String(describing: error))")
      #expect(error.map { "\($0)".contains(path) } == true)
      #expect(try Files.read(path) == before)
    }
  }

  private static func make(_ stranger: Stranger, _ directory: String, _ path: String) async throws {
    try Files.makeDirectories(directory)
    switch stranger {
    case .text: try Files.writeAtomically(path, Array("this is not a database at all, by any means".utf8))
    case .database, .otherTables:
      try Files.writeAtomically(path, [])
      let database = try SQLiteConnection(path: path, access: .readWrite, busyMilliseconds: 0)
      try database.execute("CREATE TABLE other (a)")
      if stranger == .otherTables {
        try database.execute(
          "PRAGMA application_id = \(0x4D41_5254); PRAGMA user_version = 1; PRAGMA auto_vacuum = 2; VACUUM; PRAGMA journal_mode = WAL"
        )
      }
    case .newer, .garbagePages, .cut:
      let store = try await ObjectStore.open(directory: directory)
      for number in 0..<200 { _ = try await put(store, "/a/\(number)", [UInt8](repeating: 7, count: 1000)) }
      await store.close()
      if stranger == .newer {
        let database = try SQLiteConnection(path: path, access: .readWrite, busyMilliseconds: 0)
        try database.execute("PRAGMA user_version = 2")
        _ = try database.checkpoint(.truncate)
        return
      }
      var bytes = try Files.read(path)
      if stranger == .cut {
        bytes.removeLast(bytes.count / 2)
      } else {
        for index in (10 * 4096)..<(30 * 4096) { bytes[index] = UInt8(truncatingIfNeeded: index &* 31 &+ index >> 8) }
      }
      try Files.writeAtomically(path, bytes)
    }
  }

  @Test func filesStayBoundedUnderChurn() async throws {
    try await Self.with { directory in
      var configuration = StoreConfiguration()
      configuration.historyRevisionsMax = 2000
      configuration.historyRevisionsMin = 100
      let store = try await ObjectStore.open(directory: directory, configuration: configuration)
      let value = [UInt8](repeating: 0x61, count: 1000)
      var largest: Int64 = 0
      for _ in 0..<20 {
        try await withThrowingTaskGroup(of: Void.self) { group in
          for writer in 0..<50 {
            group.addTask {
              for number in 0..<100 {
                _ = try await store.commit(Transaction(puts: [("/churn/\((writer + number) % 10)", value)]))
              }
            }
          }
          try await group.waitForAll()
        }
        largest = max(largest, try Self.sizeBytes(directory))
      }
      #expect(store.revision == 100_000)
      // 2,000 revisions of 1 kB, twice for slack, and a write-ahead log of 8 times 1,000 pages at the very most.
      #expect(largest < 40 << 20, "\(largest) bytes")
      try await store.compact(keeping: 0)
      await store.close()
      let database = try SQLiteConnection(path: "\(directory)/store.db", access: .readWrite, busyMilliseconds: 0)
      #expect(try database.integer("SELECT count(*) FROM log") == 10)
      #expect(try Self.sizeBytes(directory) < 8 << 20)
    }
  }

  static func sizeBytes(_ directory: String) throws -> Int64 {
    try ["store.db", "store.db-wal"].reduce(0) { $0 + (try Files.status("\(directory)/\($1)")?.sizeBytes ?? 0) }
  }

  @Test func aLargePastIsGivenBackToTheFileSystem() async throws {
    try await Self.with { directory in
      let store = try await ObjectStore.open(directory: directory)
      let value = [UInt8](repeating: 0x61, count: 100_000)
      for number in 0..<200 { _ = try await Self.put(store, "/a/\(number)", value) }
      for number in 0..<200 { _ = try await store.commit(Transaction(deletes: ["/a/\(number)"])) }
      try await store.compact(keeping: 0)
      let deadline = ContinuousClock.now + .seconds(20)
      // Slices go on behind the answer, once nobody writes.
      while try Files.status("\(directory)/store.db")?.sizeBytes ?? 0 > 4 << 20, ContinuousClock.now < deadline {
        try await Task.sleep(for: .milliseconds(20))
      }
      await store.close()
      #expect(try Files.status("\(directory)/store.db")?.sizeBytes ?? .max < 4 << 20)
    }
  }

  @Test func compactionLeavesExactlyWhatReadableRevisionsNeed() async throws {
    try await Self.with { directory in
      var configuration = StoreConfiguration()
      configuration.compactionSliceRows = 7
      let store = try await ObjectStore.open(directory: directory, configuration: configuration)
      for number in 0..<100 { _ = try await Self.put(store, "/a/\(number % 5)", [UInt8(number)]) }
      _ = try await store.commit(Transaction(deletes: ["/a/0", "/a/1"]))
      _ = try await Self.put(store, "/a/0", [0])
      try await store.compact(keeping: 0)
      await store.close()
      let database = try SQLiteConnection(path: "\(directory)/store.db", access: .readWrite, busyMilliseconds: 0)
      // Four live keys; of the deleted one not even the tombstone.
      #expect(try database.integer("SELECT count(*) FROM log") == 4)
      #expect(try database.integer("SELECT count(*) FROM log WHERE deleted") == 0)
    }
  }
}
