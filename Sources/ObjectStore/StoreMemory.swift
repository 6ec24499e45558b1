internal import Synchronization

/// What readers see: the current objects, the recent changes and the watches. Changed by one writer, after the disk has it.
final class StoreMemory: Sendable {
  private struct State {
    var objects: SortedObjects
    var revision: Int64
    /// Past revisions from this one on can be read.
    var oldest: Int64
    var ring: EventRing
    var groups = WatchGroups()
    /// The newest revision that changed something in a folder, by the first part of its keys: `/pods/`. Since the start.
    var folders: [Substring: Int64] = [:]
    /// The revision at which everything was put in anew: any folder may have changed then. 0: that never happened.
    var replaced: Int64 = 0
    var isClosed = false
  }

  private let state: Mutex<State>
  private let delivered: Atomic<Int64>
  private let configuration: StoreConfiguration

  init(
    objects: SortedObjects, revision: Int64, oldest: Int64, ring: EventRing, configuration: StoreConfiguration
  ) {
    state = Mutex(State(objects: objects, revision: revision, oldest: oldest, ring: ring))
    delivered = Atomic(revision)
    self.configuration = configuration
  }

  // MARK: Readers

  func get(_ key: String) -> StoredObject? { state.withLock { $0.objects[key] } }

  var revision: Int64 { state.withLock { $0.revision } }

  /// The newest revision since the start that changed something in one of the folders; 0: none did.
  func lastChange(folders: [String]) -> Int64 {
    state.withLock { state in folders.reduce(state.replaced) { max($0, state.folders[$1[...]] ?? 0) } }
  }

  /// `/pods/` of `/pods/default/web`; a key without folders is its own.
  private static func folder(of key: String) -> Substring {
    let end = key.utf8.dropFirst().firstIndex(of: UInt8(ascii: "/"))
    return end.map { key[...$0] } ?? key[...]
  }

  /// Every watch has been given what happened up to here.
  var deliveredRevision: Int64 { delivered.load(ordering: .acquiring) }

  /// Of one moment; holding on to it makes the next change copy a chunk.
  func snapshot() -> (objects: SortedObjects, revision: Int64, oldest: Int64) {
    state.withLock { ($0.objects, $0.revision, $0.oldest) }
  }

  func watch(prefix: String, after revision: Int64) throws(StoreError) -> StoreWatch {
    let made = state.withLock { state -> Result<(Watcher, EventRing?), StoreError> in
      if state.isClosed { return .failure(.closed) }
      if revision > state.revision { return .failure(.future(current: state.revision)) }
      if revision < state.ring.floor { return .failure(.compacted(oldest: state.ring.floor)) }
      if state.groups.count >= configuration.watchesMax {
        return .failure(.overloaded("\(configuration.watchesMax) watches are open"))
      }
      let watcher = Watcher(
        prefix: prefix, after: revision, reached: state.revision, eventsMax: configuration.watchEventsMax)
      state.groups.insert(watcher)
      return .success((watcher, revision < state.revision ? state.ring : nil))
    }
    let (watcher, ring) = try made.get()
    if let ring {
      // Outside the lock: what happens meanwhile waits in the watcher, behind what is found here.
      var last = revision
      var events: [StoreEvent] = []
      for change in ring.changes(after: revision) {
        last = change.object.revision
        if change.object.key.hasPrefix(prefix) { events.append(StoreEvent(change)) }
      }
      if !events.isEmpty { watcher.begin(with: StoreBatch(events: events, revision: last)) }
    }
    return StoreWatch(watcher, in: self)
  }

  func remove(_ watcher: Watcher) { state.withLock { $0.groups.remove(watcher) } }

  // MARK: The writer

  /// Looks up keys for the one writer; nothing changes meanwhile, since it alone changes anything.
  func lookUp(_ keys: some Sequence<String>) -> [String: StoredObject] {
    state.withLock { state in
      var found: [String: StoredObject] = [:]
      for key in keys { found[key] = state.objects[key] }
      return found
    }
  }

  /// Makes changes visible to readers; gives what is to be delivered to watches, outside the lock.
  func publish(_ changes: [Change], revision: Int64) -> [WatchGroups.Delivery] {
    state.withLock { state in
      for change in changes {
        if change.isDelete { state.objects.remove(change.object.key) } else { state.objects.insert(change.object) }
        state.ring.append(change)
        state.folders[Self.folder(of: change.object.key)] = revision
      }
      state.revision = revision
      state.ring.trim()
      return state.groups.deliveries(of: changes, revision: revision)
    }
  }

  /// A revision passed that changed nothing here.
  func advance(to revision: Int64) {
    state.withLock { $0.revision = max($0.revision, revision) }
    delivered.store(revision, ordering: .releasing)
  }

  /// Puts everything in anew, where the changes since are lost: every watch ends with `.compacted`.
  func replace(_ objects: SortedObjects, revision: Int64) {
    let watchers = state.withLock { state in
      state.objects = objects
      state.revision = revision
      state.replaced = revision
      state.ring.restart(floor: revision)
      return state.groups.all
    }
    for watcher in watchers {
      watcher.end(.failure(.compacted(oldest: revision)))
      remove(watcher)
    }
    delivered.store(revision, ordering: .releasing)
  }

  /// The changes after `revision`, as far as they are kept; nil where not all of them are.
  func changes(after revision: Int64) -> [Change]? {
    let ring = state.withLock { $0.ring }
    return revision < ring.floor ? nil : Array(ring.changes(after: revision))
  }

  func deliver(_ deliveries: [WatchGroups.Delivery], revision: Int64) {
    for delivery in deliveries {
      for watcher in delivery.watchers where !watcher.deliver(delivery.batch) { remove(watcher) }
    }
    delivered.store(revision, ordering: .releasing)
  }

  /// Tells every watch how far it is. By the writer only, between deliveries.
  func deliverProgress() {
    let revision = deliveredRevision
    for watcher in state.withLock({ $0.groups.all }) { watcher.deliverProgress(revision) }
  }

  /// Past revisions below `oldest` are gone. - Parameter watches: also watches can no longer start below it.
  func forget(below oldest: Int64, watches: Bool) {
    state.withLock { state in
      state.oldest = max(state.oldest, oldest)
      if watches { state.ring.forget(through: oldest) }
    }
  }

  func close() {
    let watchers = state.withLock { state in
      state.isClosed = true
      return state.groups.all
    }
    for watcher in watchers {
      watcher.end(.failure(.closed))
      remove(watcher)
    }
  }
}
