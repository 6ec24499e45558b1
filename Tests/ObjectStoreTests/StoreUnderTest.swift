import Kernel
import ObjectStore
import TestSupport
import Testing

/// What the suite asks of an engine, as closures, so that any engine of the same contract can be put through it.
struct StoreUnderTest: Sendable {
  var revision: @Sendable () async throws -> Int64
  var get: @Sendable (_ key: String) async throws -> StoredObject?
  var list:
    @Sendable (_ prefix: String, _ after: String?, _ limit: Int?, _ revision: Int64?) async throws(StoreError) ->
      Listing
  var commit: @Sendable (Transaction) async throws(StoreError) -> Int64
  var watch: @Sendable (_ prefix: String, _ after: Int64) async throws(StoreError) -> WatchUnderTest
  var compact: @Sendable (_ keeping: Int64) async throws(StoreError) -> Void
  /// Stops the engine and starts it again on what it kept.
  var restart: @Sendable () async throws -> Void
  var remove: @Sendable () async throws -> Void
}

struct WatchUnderTest: Sendable {
  /// The next events; an empty batch is news of progress.
  var next: @Sendable () async throws(StoreError) -> StoreBatch?
  var requestProgress: @Sendable () async throws -> Void
}

/// An engine, by the name that failures show.
struct StoreEngine: Sendable, CustomTestStringConvertible {
  let name: String
  let make: @Sendable () async throws -> StoreUnderTest
  var testDescription: String { name }

  static let sqlite = StoreEngine(name: "SQLite") { try await sqlite() }
  static let all = [sqlite, etcd]

  /// Each engine with seeds of its own number: an etcd is started for each.
  static func seeded(sqlite count: UInt64, etcd etcdCount: UInt64) -> [(StoreEngine, UInt64)] {
    SeededGenerator.seeds(1...count).map { (sqlite, $0) } + SeededGenerator.seeds(1...etcdCount).map { (etcd, $0) }
  }

  static func sqlite(_ configuration: StoreConfiguration = StoreConfiguration()) async throws -> StoreUnderTest {
    let directory = try TestDirectory()
    let holder = StoreHolder(
      try await ObjectStore.open(directory: directory.path + "/store", configuration: configuration))
    return StoreUnderTest(
      revision: { await holder.store.revision },
      get: { await holder.store.get($0) },
      list: { prefix, after, limit, revision async throws(StoreError) in
        try await holder.store.list(prefix: prefix, after: after, limit: limit, at: revision)
      },
      commit: { transaction async throws(StoreError) in try await holder.store.commit(transaction) },
      watch: { prefix, revision async throws(StoreError) in
        let watch = try await holder.store.watch(prefix: prefix, after: revision)
        return WatchUnderTest(
          next: { () async throws(StoreError) in try await watch.next() }, requestProgress: { watch.requestProgress() })
      },
      compact: { keeping async throws(StoreError) in try await holder.store.compact(keeping: keeping) },
      restart: {
        await holder.store.close()
        await holder.set(
          try await ObjectStore.open(directory: directory.path + "/store", configuration: configuration))
      },
      remove: {
        await holder.store.close()
        try directory.remove()
      })
  }
}

/// The store as of the last restart.
private actor StoreHolder {
  private(set) var store: ObjectStore
  init(_ store: ObjectStore) { self.store = store }
  func set(_ store: ObjectStore) { self.store = store }
}

extension StoreUnderTest {
  /// Runs `body` on a fresh store of the engine and removes it.
  static func with(_ engine: StoreEngine, _ body: (StoreUnderTest) async throws -> Void) async throws {
    let store = try await engine.make()
    do {
      try await body(store)
    } catch {
      try await store.remove()
      throw error
    }
    try await store.remove()
  }

  @discardableResult
  func put(_ key: String, _ text: String, at revision: Int64? = nil) async throws(StoreError) -> Int64 {
    try await commit(
      Transaction(checks: revision.map { [key: $0] } ?? [:], puts: [(key: key, value: Array(text.utf8))]))
  }

  @discardableResult
  func delete(_ key: String, at revision: Int64? = nil) async throws(StoreError) -> Int64 {
    try await commit(Transaction(checks: revision.map { [key: $0] } ?? [:], deletes: [key]))
  }

  func text(_ key: String) async throws -> String? {
    try await get(key).map { String(decoding: $0.value, as: UTF8.self) }
  }
}

extension WatchUnderTest {
  /// The next `count` events, news of progress left out.
  func events(_ count: Int) async throws -> [StoreEvent] {
    var events: [StoreEvent] = []
    while events.count < count, let batch = try await next() { events += batch.events }
    return events
  }

  func progress() async throws -> Int64? {
    try await requestProgress()
    while let batch = try await next() {
      if batch.isProgress { return batch.revision }
    }
    return nil
  }
}

extension StoreEvent {
  /// One line that says all of it: `5 put /a =new (was 3 =old)`.
  var line: String {
    let what =
      switch kind {
      case .put(created: true): "create"
      case .put(created: false): "update"
      case .delete: "delete"
      }
    let before = previous.map { " (was \($0.revision) =\(String(decoding: $0.value, as: UTF8.self)))" } ?? ""
    return "\(revision) \(what) \(object.key) =\(String(decoding: object.value, as: UTF8.self))\(before)"
  }
}

extension Listing {
  /// `key@revision=value` of each.
  var lines: [String] {
    objects.map { "\($0.key)@\($0.revision)=\(String(decoding: $0.value, as: UTF8.self))" }
  }
}
