import CPowerLoss
import Kernel
import ObjectStore
import SQLite
import TestSupport
import Testing

/// What is left when the power goes in the middle of it: of what was written since the last sync of a file, each piece may
/// be on the disk or not, in any order, and none of it is older than that sync.
@Suite struct StorePowerLossTests {
  private static let commits = 400

  /// Writes with all that the store calls the disk for written down, and a mark for each answer.
  static func writeRecorded(_ directory: String, seed: UInt64) async throws {
    guard cpowerloss_start(directory + "/log") == 0 else { throw SyscallError(call: "start", subject: "log", errno: 0) }
    let store = try await ObjectStore.open(
      directory: directory + "/store", configuration: StoreCrashTests.configuration)
    try await withThrowingTaskGroup(of: Void.self) { group in
      for writer in 0..<4 {
        group.addTask {
          var random = SeededGenerator(seed: seed * 10 + UInt64(writer))
          for counter in 1...Self.commits / 4 {
            let value =
              Array("\(counter) ".utf8) + [UInt8](repeating: 120, count: Int.random(in: 0...6000, using: &random))
            let revision = try await store.commit(
              Transaction(puts: [("/w/\(writer)/left", value), ("/w/\(writer)/right", value)]))
            cpowerloss_mark("\(writer) \(counter) \(revision)")
          }
        }
      }
      try await group.waitForAll()
    }
    await store.close()
  }

  @Test(arguments: SeededGenerator.seeds(1...3)) func everyAcknowledgedWriteSurvivesThePowersEndAndNoneIsHalfThere(
    _ seed: UInt64
  ) async throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    await #expect(processExitsWith: .success) { [path = directory.path as String, seed = seed as UInt64] in
      try await StorePowerLossTests.writeRecorded(path, seed: seed)
    }
    let log = try DiskLog(path: directory.path + "/log")
    // The recording means something: there is a mark for each answer, and a sync for each batch.
    #expect(log.entries.count { $0.kind == "M" } == Self.commits)
    #expect(log.entries.count { $0.kind == "S" } > 50)
    var random = SeededGenerator(seed: seed)
    for number in 0..<40 {
      let cut = number == 0 ? log.entries.count : Int.random(in: 0...log.entries.count, using: &random)
      let after = "\(directory.path)/cut-\(number)"
      try log.rebuild(cut: cut, in: after, &random)
      try await Self.check(after, log.marks(before: cut), "seed \(seed), cut \(cut) of \(log.entries.count)")
      try Files.removeTree(after)
    }
  }

  private static func check(_ directory: String, _ marks: [[Int]], _ note: Comment) async throws {
    let store = try await ObjectStore.open(directory: directory, configuration: StoreCrashTests.configuration)
    var acknowledged: [Int: (counter: Int, revision: Int)] = [:]
    for mark in marks { acknowledged[mark[0]] = (mark[1], mark[2]) }
    #expect(store.revision >= marks.map { $0[2] }.max() ?? 0, note)
    for writer in 0..<4 {
      let left = store.get("/w/\(writer)/left")
      let right = store.get("/w/\(writer)/right")
      #expect(left?.value == right?.value && left?.revision == right?.revision, note)
      guard let known = acknowledged[writer] else { continue }
      let found = try #require(left, note)
      let counter = Int(String(decoding: found.value.prefix { $0 != UInt8(ascii: " ") }, as: UTF8.self)) ?? 0
      // One more may have reached the disk without its answer.
      #expect(counter == known.counter || counter == known.counter + 1, note)
      if counter == known.counter { #expect(found.revision == known.revision, note) }
    }
    // It goes on.
    #expect(try await store.commit(Transaction(puts: [("/next", [1])])) == store.revision, note)
    await store.close()
    let file = try SQLiteConnection(path: "\(directory)/store.db", access: .readWrite, busyMilliseconds: 0)
    #expect(try file.text("PRAGMA integrity_check") == "ok", note)
  }

  /// The test can fail: where syncs are ignored, acknowledged writes go.
  @Test func withoutSyncsWritesAreLost() async throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    await #expect(processExitsWith: .success) { [path = directory.path as String] in
      try await StorePowerLossTests.writeRecorded(path, seed: 9)
    }
    var log = try DiskLog(path: directory.path + "/log")
    let last = try #require(log.marks(before: log.entries.count).map { $0[2] }.max())
    // What is synced in the first half is enough for a store that can be opened.
    let half = log.entries.count / 2
    log.entries = log.entries.enumerated().filter { $0.offset < half || $0.element.kind != "S" }.map(\.element)
    var random = SeededGenerator(seed: 9)
    try log.rebuild(cut: log.entries.count, in: directory.path + "/cut", &random)
    do throws(StoreError) {
      let store = try await ObjectStore.open(directory: directory.path + "/cut")
      #expect(store.revision < last)
      await store.close()
    } catch {
      // Told, not overlooked.
      guard case .corrupt = error else { throw error }
    }
  }
}

/// What the recorder wrote down.
private struct DiskLog {
  struct Entry {
    let kind: Character
    let path: String
    let offset: Int
    let bytes: [UInt8]
  }

  var entries: [Entry] = []

  init(path: String) throws {
    let bytes = try Files.read(path, maxBytes: 1 << 30)
    var at = 0
    func number(_ count: Int) -> Int {
      defer { at += count }
      return bytes[at..<at + count].reversed().reduce(0) { $0 << 8 | Int($1) }
    }
    func take(_ count: Int) -> [UInt8] {
      defer { at += count }
      return Array(bytes[at..<at + count])
    }
    while at < bytes.count {
      let kind = Character(Unicode.Scalar(UInt8(number(1))))
      let path = String(decoding: take(number(4)), as: UTF8.self)
      let offset = number(8)
      entries.append(Entry(kind: kind, path: path, offset: offset, bytes: take(number(4))))
    }
  }

  /// The numbers of the marks: writer, counter, revision.
  func marks(before cut: Int) -> [[Int]] {
    entries[..<cut].filter { $0.kind == "M" }.map { entry in
      String(decoding: entry.bytes, as: UTF8.self).split(separator: " ").compactMap { Int($0) }
    }
  }

  /// A file on a disk that keeps what it has in a cache until it is told to sync.
  private struct CachedFile {
    var bytes: [UInt8] = []
    var pending: [Entry] = []

    mutating func apply(_ entry: Entry) {
      if entry.kind == "T" {
        bytes = Array(bytes.prefix(entry.offset)) + [UInt8](repeating: 0, count: max(0, entry.offset - bytes.count))
        return
      }
      let end = entry.offset + entry.bytes.count
      if bytes.count < end { bytes += [UInt8](repeating: 0, count: end - bytes.count) }
      bytes.replaceSubrange(entry.offset..<end, with: entry.bytes)
    }

    mutating func sync() {
      for entry in pending { apply(entry) }
      pending = []
    }

    /// Each sector of what was not synced is there or not.
    mutating func losePower(_ random: inout SeededGenerator) {
      for entry in pending {
        guard entry.kind == "W" else {
          if Bool.random(using: &random) { apply(entry) }
          continue
        }
        var from = 0
        while from < entry.bytes.count {
          let count = min(512 - (entry.offset + from) % 512, entry.bytes.count - from)
          if Bool.random(using: &random) {
            apply(
              Entry(
                kind: "W", path: entry.path, offset: entry.offset + from, bytes: Array(entry.bytes[from..<from + count])
              ))
          }
          from += count
        }
      }
      pending = []
    }
  }

  /// The files as a power cut after `cut` entries leaves them.
  func rebuild(cut: Int, in directory: String, _ random: inout SeededGenerator) throws {
    var files: [String: CachedFile] = [:]
    for entry in entries[..<cut] {
      switch entry.kind {
      case "W", "T": files[entry.path, default: CachedFile()].pending.append(entry)
      case "S": files[entry.path, default: CachedFile()].sync()
      // Names are journalled: a file that is deleted is gone with the next sync of any.
      case "D": files[entry.path] = nil
      default: continue
      }
    }
    try Files.makeDirectories(directory, mode: 0o700)
    for (path, file) in files {
      var file = file
      file.losePower(&random)
      let name = path.split(separator: "/").last.map(String.init) ?? path
      try Files.writeAtomically("\(directory)/\(name)", file.bytes)
    }
  }
}
