import EtcdStore
import TestSupport
import Testing

@testable import ObjectStore

/// Revisions as a store would count them that has its revisions for itself: etcd begins at 1, and opening a store raises a
/// fence, which takes one.
struct RevisionScale: Sendable {
  /// etcd's revisions that no transaction of the test made, in their order.
  var taken: [Int64] = [1]

  func plain(_ etcd: Int64) -> Int64 { etcd - Int64(taken.count { $0 <= etcd }) }

  /// The revision of a transaction.
  func transaction(_ plain: Int64) -> Int64 {
    if plain == 0 { return 0 }
    return taken.reduce(plain) { $1 <= $0 ? $0 + 1 : $0 }
  }

  /// The last revision at which everything is as it was at the plain one.
  func moment(_ plain: Int64) -> Int64 { transaction(plain + 1) - 1 }

  func plain(_ object: StoredObject) -> StoredObject {
    StoredObject(
      key: object.key, value: object.value,
      position: LogPosition(
        revision: plain(object.revision),
        place: Int(object.position.rawValue - LogPosition(revision: object.revision, place: 0).rawValue)),
      createRevision: plain(object.createRevision))
  }

  func plain(_ batch: StoreBatch) -> StoreBatch {
    StoreBatch(
      events: batch.events.map { event in
        StoreEvent(
          Change(object: plain(event.object), previous: event.previous.map(plain), isDelete: event.kind == .delete))
      }, revision: plain(batch.revision))
  }

  func plain(_ error: StoreError) -> StoreError {
    switch error {
    case .conflict(let key, let actual): .conflict(key: key, actual: actual == 0 ? 0 : plain(actual))
    case .compacted(let oldest): .compacted(oldest: plain(oldest))
    case .future(let current): .future(current: plain(current))
    case .overflow(let after): .overflow(after: plain(after))
    default: error
    }
  }
}

/// A store on an etcd of its own. A restart kills etcd, too.
private actor StoreOnEtcd {
  private let directory: TestDirectory
  private let etcd: EtcdProcess
  private(set) var store: ObjectStore
  private(set) var scale = RevisionScale()

  private init(_ directory: TestDirectory, _ etcd: EtcdProcess, _ store: ObjectStore) {
    self.directory = directory
    self.etcd = etcd
    self.store = store
    scale.taken.append(store.revision)
  }

  static func make() async throws -> StoreOnEtcd {
    await EtcdProcess.takeSlot()
    do {
      let directory = try TestDirectory()
      let etcd = try await EtcdProcess(directory: directory.path)
      return StoreOnEtcd(directory, etcd, try await open(etcd))
    } catch {
      await EtcdProcess.giveSlot()
      throw error
    }
  }

  private static func open(_ etcd: EtcdProcess) async throws -> ObjectStore {
    try await EtcdStore.open(EtcdOptions(servers: [etcd.url]))
  }

  func restart() async throws {
    await store.close()
    etcd.kill()
    try await etcd.start()
    store = try await Self.open(etcd)
    scale.taken.append(store.revision)
  }

  func remove() async throws {
    await store.close()
    etcd.kill()
    try directory.remove()
    await EtcdProcess.giveSlot()
  }

  /// Both of one moment.
  var now: (store: ObjectStore, scale: RevisionScale) { (store, scale) }

  /// What the store throws, in the revisions of the test.
  nonisolated func plainly<Value: Sendable>(
    _ body: @Sendable (ObjectStore, RevisionScale) async throws(StoreError) -> Value
  ) async throws(StoreError) -> Value {
    let (store, scale) = await now
    do throws(StoreError) { return try await body(store, scale) } catch { throw scale.plain(error) }
  }
}

extension StoreEngine {
  static let etcd = StoreEngine(name: "etcd") {
    let holder = try await StoreOnEtcd.make()
    return StoreUnderTest(
      revision: {
        let (store, scale) = await holder.now
        return scale.plain(store.revision)
      },
      get: { key in
        let (store, scale) = await holder.now
        return store.get(key).map(scale.plain)
      },
      list: { prefix, after, limit, revision async throws(StoreError) in
        try await holder.plainly { store, scale async throws(StoreError) in
          let listing = try await store.list(
            prefix: prefix, after: after, limit: limit, at: revision.map(scale.moment))
          return Listing(
            objects: listing.objects.map(scale.plain), revision: scale.plain(listing.revision),
            remaining: listing.remaining)
        }
      },
      commit: { transaction async throws(StoreError) in
        try await holder.plainly { store, scale async throws(StoreError) in
          var mapped = transaction
          mapped.checks = transaction.checks.mapValues(scale.transaction)
          return scale.plain(try await store.commit(mapped))
        }
      },
      watch: { prefix, revision async throws(StoreError) in
        try await holder.plainly { store, scale throws(StoreError) in
          let watch = try store.watch(prefix: prefix, after: scale.moment(revision))
          return WatchUnderTest(
            next: { () async throws(StoreError) in
              do throws(StoreError) { return try await watch.next().map(scale.plain) } catch {
                throw scale.plain(error)
              }
            }, requestProgress: { watch.requestProgress() })
        }
      },
      compact: { keeping async throws(StoreError) in
        try await holder.plainly { store, scale async throws(StoreError) in
          let oldest = scale.moment(max(0, scale.plain(store.revision) - keeping))
          try await store.compact(keeping: store.revision - oldest)
        }
      },
      restart: { try await holder.restart() },
      remove: { try await holder.remove() })
  }
}
