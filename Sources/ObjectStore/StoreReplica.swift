internal import Synchronization

/// The memory of a store, as an engine of another room keeps it: what readers, lists and watches see.
///
/// An engine applies what happened in the order of revisions, one call at a time; reading is for everybody at any time.
package final class StoreReplica: Sendable {
  /// What happened to a key at a revision.
  package struct Event: Sendable {
    package let key: String
    package let revision: Int64
    package let createRevision: Int64
    /// Nil: deleted.
    package let value: [UInt8]?

    package init(key: String, revision: Int64, createRevision: Int64, value: [UInt8]?) {
      self.key = key
      self.revision = revision
      self.createRevision = createRevision
      self.value = value
    }
  }

  package let configuration: StoreConfiguration
  let memory: StoreMemory
  private let bytes: Atomic<Int>

  /// - Parameters:
  ///   - objects: what there is at `revision`, in the order of keys.
  ///   - oldest: the first past revision that may be asked for.
  package init(_ configuration: StoreConfiguration, objects: [StoredObject], revision: Int64, oldest: Int64) {
    self.configuration = configuration
    bytes = Atomic(Self.bytes(objects))
    memory = StoreMemory(
      objects: SortedObjects(sorted: objects), revision: revision, oldest: oldest,
      ring: EventRing(
        floor: revision, changesMax: configuration.recentEventsMax, bytesMax: configuration.recentBytesMax),
      configuration: configuration)
  }

  private static func bytes(_ objects: [StoredObject]) -> Int { objects.reduce(0) { $0 + BatchPlan.bytes($1) } }

  // MARK: reading

  package var revision: Int64 { memory.revision }
  package func get(_ key: String) -> StoredObject? { memory.get(key) }

  /// Bytes of all current objects.
  package var objectBytes: Int { bytes.load(ordering: .relaxed) }

  /// The first past revision that may be asked for.
  package var oldest: Int64 { memory.snapshot().oldest }

  /// What happened after `revision`, in its order; nil where not all of that is kept.
  package func events(after revision: Int64) -> [Event]? {
    memory.changes(after: revision)?.map { change in
      let object = change.object
      return Event(
        key: object.key, revision: object.revision, createRevision: object.createRevision,
        value: change.isDelete ? nil : object.value)
    }
  }

  // MARK: the engine's

  /// Shows what happened, whole revisions, all later than the current one; watches are told before it returns.
  package func apply(_ events: [Event]) {
    guard let last = events.last?.revision else { return }
    var latest: [String: StoredObject?] = [:]
    var changes: [Change] = []
    var place = 0
    var grown = 0
    for event in events {
      let before = latest[event.key] ?? memory.get(event.key)
      place = event.revision == changes.last?.object.revision ? place + 1 : 0
      // Others may make larger transactions than ours; a place then means little, and nothing depends on it.
      let position = LogPosition(
        revision: event.revision, place: min(place, LogPosition.changesPerRevisionMax - 1))
      if event.value == nil && before == nil { continue }
      let object = StoredObject(
        key: event.key, value: event.value ?? before?.value ?? [], position: position,
        createRevision: event.value == nil ? before?.createRevision ?? event.revision : event.createRevision)
      changes.append(Change(object: object, previous: before, isDelete: event.value == nil))
      grown += (event.value == nil ? 0 : BatchPlan.bytes(object)) - (before.map(BatchPlan.bytes) ?? 0)
      latest[event.key] = .some(event.value == nil ? nil : object)
    }
    bytes.add(grown, ordering: .relaxed)
    if changes.isEmpty { return memory.advance(to: last) }
    memory.deliver(memory.publish(changes, revision: last), revision: last)
  }

  /// Every event up to `revision` has been applied.
  package func advance(to revision: Int64) { memory.advance(to: revision) }

  /// Puts everything in anew, where events were lost: every watch ends with `.compacted`, and its client lists again.
  package func replace(_ objects: [StoredObject], revision: Int64) {
    bytes.store(Self.bytes(objects), ordering: .relaxed)
    memory.replace(SortedObjects(sorted: objects), revision: revision)
  }

  /// Past revisions below `oldest` are gone. - Parameter watches: also watches can no longer start below it.
  package func forget(below oldest: Int64, watches: Bool) { memory.forget(below: oldest, watches: watches) }

  /// Tells idle watches how far they are.
  package func deliverProgress() { memory.deliverProgress() }

  /// Ends every watch with `.closed`.
  package func close() { memory.close() }
}
