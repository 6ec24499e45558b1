internal import Kernel
package import Logging

/// The objects of a cluster: a log of revisions with watch.
///
/// Keys are strings of printable ASCII such as `/pods/default/web`; values are bytes. Every transaction that changes
/// something makes a later revision: in a file the next one, starting with 1; in etcd others may take some in between.
/// Reads of the current revision come from memory and do not block.
package final class ObjectStore: Sendable {
  private let configuration: StoreConfiguration
  private let memory: StoreMemory
  private let engine: any StoreEngine

  /// A store on an engine that has filled `replica`, and goes on to.
  package init(_ replica: StoreReplica, engine: any StoreEngine) {
    configuration = replica.configuration
    memory = replica.memory
    self.engine = engine
  }

  /// Blocks on the disk.
  private init(_ directory: String, _ configuration: StoreConfiguration, _ logger: Logger) throws(StoreError) {
    let database = try LogDatabase(directory: directory, sealing: configuration.sealing)
    let loaded = try database.load(configuration)
    let memory = StoreMemory(
      objects: loaded.objects, revision: loaded.revision, oldest: database.oldest, ring: loaded.ring,
      configuration: configuration)
    self.configuration = configuration
    self.memory = memory
    engine = try SQLiteEngine(
      database, memory: memory, objectBytes: loaded.objectBytes,
      writer: StoreWriter(memory: memory, configuration: configuration, logger: logger), configuration: configuration)
  }

  deinit { engine.requestClose() }

  /// Opens the store in `directory`, which is made (mode 0700) where it is missing. Reads every object into memory, on a
  /// thread of its own.
  /// - Throws: `.locked`, `.foreign`, `.newer`, `.corrupt`, `.io`.
  package static func open(
    directory: String, configuration: StoreConfiguration = StoreConfiguration(), logger: Logger = Logger(label: "store")
  ) async throws(StoreError) -> ObjectStore {
    try await onFreshThread { () throws(StoreError) in try ObjectStore(directory, configuration, logger) }
  }

  /// The newest revision; 0 of a new store.
  package var revision: Int64 { memory.revision }

  /// The newest revision since the store was opened that changed something below one of the folders, such as `/pods/`;
  /// 0: none did. For those who keep something that they made of what is there.
  package func lastChange(folders: [String]) -> Int64 { memory.lastChange(folders: folders) }

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
    if revision < oldest { throw .compacted(oldest: oldest) }
    return try await engine.list(prefix: prefix, after: after, limit: limit, at: revision)
  }

  /// Does the transaction; returns when it is on the disk. A cancelled task waits all the same.
  /// - Returns: its revision, or the current one where it changes nothing.
  /// - Throws: `.conflict`, `.invalid`, `.overloaded`, `.full`, `.io`, `.closed`.
  package func commit(_ transaction: Transaction) async throws(StoreError) -> Int64 {
    if let reason = transaction.problem(configuration) { throw .invalid(reason) }
    return try await engine.commit(transaction)
  }

  /// The events of a prefix after `revision`: those of the past first, then each as it happens.
  /// - Throws: `.compacted` where the events after it are no longer all in memory, `.future`, `.overloaded`, `.closed`.
  package func watch(prefix: String, after revision: Int64) throws(StoreError) -> StoreWatch {
    try memory.watch(prefix: prefix, after: revision)
  }

  /// Forgets revisions but the newest `revisions`: older lists and watches are refused from now on. Returns when the disk
  /// has let go of them.
  package func compact(keeping revisions: Int64) async throws(StoreError) {
    try await engine.compact(keeping: max(0, revisions))
  }

  /// Finishes what waits, ends every watch with `.closed`, and lets go of what holds the objects. Later commits are
  /// `.closed`.
  package func close() async { await engine.close() }
}
