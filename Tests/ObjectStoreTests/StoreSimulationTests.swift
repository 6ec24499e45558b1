import ObjectStore
import Testing

/// Random histories, compared with a model that does everything in the plainest way.
@Suite struct StoreSimulationTests {
  /// Every revision's objects, kept whole.
  struct Model {
    struct Entry: Equatable {
      var value: [UInt8]
      var revision: Int64
      var createRevision: Int64
    }

    var states: [[String: Entry]] = [[:]]
    /// What watches must see, as `StoreEvent.line` words it.
    var events: [(revision: Int64, key: String, line: String)] = []
    var oldest: Int64 = 0
    var revision: Int64 { Int64(states.count - 1) }
    var now: [String: Entry] { states[states.count - 1] }

    mutating func commit(_ transaction: Transaction) -> Result<Int64, StoreError> {
      for (key, expected) in transaction.checks.sorted(by: { $0.key < $1.key }) {
        let actual = now[key]?.revision ?? 0
        if actual != expected { return .failure(.conflict(key: key, actual: actual)) }
      }
      var state = now
      let next = revision + 1
      var lines: [(Int64, String, String)] = []
      func text(_ value: [UInt8]) -> String { String(decoding: value, as: UTF8.self) }
      for (key, value) in transaction.puts {
        let old = state[key]
        state[key] = Entry(value: value, revision: next, createRevision: old?.createRevision ?? next)
        let before = old.map { " (was \($0.revision) =\(text($0.value)))" } ?? ""
        lines.append((next, key, "\(next) \(old == nil ? "create" : "update") \(key) =\(text(value))\(before)"))
      }
      for key in transaction.deletes {
        guard let old = state.removeValue(forKey: key) else { continue }
        lines.append(
          (next, key, "\(next) delete \(key) =\(text(old.value)) (was \(old.revision) =\(text(old.value)))"))
      }
      if lines.isEmpty { return .success(revision) }
      states.append(state)
      events += lines.map { (revision: $0.0, key: $0.1, line: $0.2) }
      return .success(next)
    }

    func page(_ prefix: String, _ after: String?, _ limit: Int?, _ revision: Int64) -> (lines: [String], remaining: Int)
    {
      let all = states[Int(revision)].filter { $0.key.hasPrefix(prefix) && $0.key > after ?? "" }
        .sorted { $0.key < $1.key }
      let page = all.prefix(limit ?? all.count)
      return (
        page.map { "\($0.key)@\($0.value.revision)=\(String(decoding: $0.value.value, as: UTF8.self))" },
        all.count - page.count
      )
    }
  }

  static let prefixes = ["", "/a/", "/b/", "/a/x/", "/a/x", "/c"]

  static func key(_ random: inout SeededGenerator) -> String {
    let folder = ["/a/", "/b/", "/a/x/", "/cc/"].randomElement(using: &random) ?? ""
    return folder + String(Int.random(in: 0..<12, using: &random))
  }

  static func transaction(_ model: Model, _ random: inout SeededGenerator) -> Transaction {
    var transaction = Transaction()
    var used: Set<String> = []
    for _ in 0..<Int.random(in: 1...4, using: &random) {
      let key = key(&random)
      guard used.insert(key).inserted else { continue }
      switch Int.random(in: 0..<10, using: &random) {
      case 0..<6: transaction.puts.append((key, Array("\(UInt16.random(in: 0..<999, using: &random))".utf8)))
      default: transaction.deletes.append(key)
      }
      switch Int.random(in: 0..<10, using: &random) {
      case 0..<4: transaction.checks[key] = model.now[key]?.revision ?? 0
      case 4: transaction.checks[key] = Int64.random(in: 0...(model.revision + 2), using: &random)
      default: break
      }
    }
    return transaction
  }

  /// A watch and what it must still see.
  struct OpenWatch {
    var watch: WatchUnderTest
    var prefix: String
    var after: Int64
  }

  @Test(arguments: StoreEngine.seeded(sqlite: 40, etcd: 6)) func aRandomHistoryIsThatOfThePlainModel(
    _ engine: StoreEngine, _ seed: UInt64
  ) async throws {
    try await StoreUnderTest.with(engine) { store async throws in
      var random = SeededGenerator(seed: seed)
      var model = Model()
      var watches: [OpenWatch] = []
      for step in 0..<250 {
        let note: Comment = "seed \(seed), step \(step)"
        switch Int.random(in: 0..<100, using: &random) {
        case 0..<62:
          let transaction = Self.transaction(model, &random)
          let expected = model.commit(transaction)
          let result: Result<Int64, StoreError>
          do throws(StoreError) { result = .success(try await store.commit(transaction)) } catch {
            result = .failure(error)
          }
          #expect(result == expected, note)
        case 62..<68:
          let key = Self.key(&random)
          let object = try await store.get(key)
          #expect(
            object.map { Model.Entry(value: $0.value, revision: $0.revision, createRevision: $0.createRevision) }
              == model.now[key], note)
        case 68..<82: try await checkList(store, model, &random, note)
        case 82..<90:
          let after = Int64.random(in: model.oldest...model.revision, using: &random)
          let prefix = Self.prefixes.randomElement(using: &random) ?? ""
          watches.append(OpenWatch(watch: try await store.watch(prefix, after), prefix: prefix, after: after))
        case 90..<94:
          let keeping = Int64.random(in: 0...30, using: &random)
          try await store.compact(keeping)
          model.oldest = max(model.oldest, model.revision - keeping)
        case 94..<96 where step % 3 == 0:
          try await check(watches, model, note)
          watches = []
          try await store.restart()
        default: try await readSome(&watches, model, note)
        }
      }
      try await check(watches, model, "seed \(seed), end")
      #expect(try await store.list("", nil, nil, nil).lines == model.page("", nil, nil, model.revision).lines)
    }
  }

  private func checkList(
    _ store: StoreUnderTest, _ model: Model, _ random: inout SeededGenerator, _ note: Comment
  ) async throws {
    let prefix = Self.prefixes.randomElement(using: &random) ?? ""
    let limit = Bool.random(using: &random) ? Int.random(in: 1...6, using: &random) : nil
    let after = Bool.random(using: &random) ? Self.key(&random) : nil
    let revision = Int64.random(in: 0...model.revision, using: &random)
    guard revision >= model.oldest || revision == model.revision else {
      await #expect(throws: StoreError.compacted(oldest: model.oldest), note) {
        _ = try await store.list(prefix, after, limit, revision)
      }
      return
    }
    let listing = try await store.list(prefix, after, limit, revision)
    let expected = model.page(prefix, after, limit, revision)
    #expect(listing.lines == expected.lines, note)
    #expect(listing.remaining == expected.remaining, note)
    #expect(listing.revision == revision, note)
  }

  /// Reads what one of the watches must have by now.
  private func readSome(_ watches: inout [OpenWatch], _ model: Model, _ note: Comment) async throws {
    guard var open = watches.popLast() else { return }
    open.after = try await check([open], model, note)
    watches.insert(open, at: 0)
  }

  @discardableResult
  private func check(_ watches: [OpenWatch], _ model: Model, _ note: Comment) async throws -> Int64 {
    for open in watches {
      let expected = model.events.filter { $0.revision > open.after && $0.key.hasPrefix(open.prefix) }
      let events = try await open.watch.events(expected.count)
      #expect(events.map(\.line) == expected.map(\.line), note)
    }
    return model.revision
  }
}
