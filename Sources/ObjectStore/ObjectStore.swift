internal import Kernel
internal import Synchronization

/// The objects of a cluster: a log of revisions with watch.
///
/// Keys are strings of printable ASCII such as `/pods/default/web`; values are bytes. Every transaction that changes
/// something makes the next revision, starting with 1. Reads of the current revision come from memory and do not block.
package final class ObjectStore: Sendable {
  private struct Writing {
    var objectBytes = 0
  }

  private let configuration: StoreConfiguration
  private let memory: StoreMemory
  private let writing = Mutex(Writing())

  private init(_ configuration: StoreConfiguration) {
    self.configuration = configuration
    memory = StoreMemory(
      objects: SortedObjects(), revision: 0, oldest: 0,
      ring: EventRing(floor: 0, changesMax: configuration.recentEventsMax, bytesMax: configuration.recentBytesMax),
      configuration: configuration)
  }

  /// Opens the store in `directory`, which is made (mode 0700) where it is missing. Reads every object into memory, on a
  /// thread of its own.
  /// - Throws: `.locked`, `.foreign`, `.newer`, `.corrupt`, `.io`.
  package static func open(
    directory: String, configuration: StoreConfiguration = StoreConfiguration()
  ) async throws(StoreError) -> ObjectStore {
    ObjectStore(configuration)
  }

  /// The newest revision; 0 of a new store.
  package var revision: Int64 { memory.revision }

  package func get(_ key: String) -> StoredObject? { memory.get(key) }

  /// The objects whose keys begin with `prefix` and come after `after`, as they are now.
  package func list(prefix: String, after: String? = nil, limit: Int? = nil) -> Listing {
    let (objects, revision, _) = memory.snapshot()
    let page = objects.page(prefix: prefix, after: after, limit: limit)
    return Listing(objects: page.objects, revision: revision, remaining: page.remaining)
  }

  /// The same as they were at a revision; nil is now.
  /// - Throws: `.compacted`, `.future`, `.overloaded`, `.io`.
  package func list(
    prefix: String, after: String? = nil, limit: Int? = nil, at revision: Int64?
  ) async throws(StoreError) -> Listing {
    let (objects, current, oldest) = memory.snapshot()
    guard let revision, revision != current else {
      let page = objects.page(prefix: prefix, after: after, limit: limit)
      return Listing(objects: page.objects, revision: current, remaining: page.remaining)
    }
    if revision > current { throw .future(current: current) }
    throw .compacted(oldest: oldest)
  }

  /// Does the transaction; returns when it is on the disk. A cancelled task waits all the same.
  /// - Returns: its revision, or the current one where it changes nothing.
  /// - Throws: `.conflict`, `.invalid`, `.overloaded`, `.full`, `.io`, `.closed`.
  package func commit(_ transaction: Transaction) async throws(StoreError) -> Int64 {
    let result = writing.withLock { writing -> Result<Int64, StoreError> in
      var plan = BatchPlan(
        revision: memory.revision, objectBytes: writing.objectBytes, objectBytesMax: configuration.objectBytesMax,
        current: { self.memory.get($0) })
      plan.add(transaction)
      switch plan.outcomes[0] {
      case .fails(let error): return .failure(error)
      case .isEmpty(let revision): return .success(revision)
      case .commits(let revision):
        writing.objectBytes = plan.objectBytes
        memory.deliver(memory.publish(plan.changes, revision: revision), revision: revision)
        return .success(revision)
      }
    }
    return try result.get()
  }

  /// The events of a prefix after `revision`: those of the past first, then each as it happens.
  /// - Throws: `.compacted` where the events after it are no longer all in memory, `.future`, `.overloaded`, `.closed`.
  package func watch(prefix: String, after revision: Int64) throws(StoreError) -> StoreWatch {
    try memory.watch(prefix: prefix, after: revision)
  }

  /// Forgets revisions but the newest `revisions`: older lists and watches are refused from now on. Returns when the disk
  /// has let go of them.
  package func compact(keeping revisions: Int64) async throws(StoreError) {
    memory.forget(below: max(0, memory.revision - revisions), watches: true)
  }

  /// Finishes what waits, ends every watch with `.closed`, and lets go of the directory.
  package func close() async { memory.close() }
}
