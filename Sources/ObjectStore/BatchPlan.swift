/// What a batch of transactions does, decided before anything is done: pure.
///
/// Each transaction is judged by the objects as the ones before it in the batch leave them, gets a revision of its own, or
/// fails alone.
struct BatchPlan {
  enum Outcome: Equatable {
    case commits(Int64)
    /// Nothing to change: the revision that it saw.
    case isEmpty(Int64)
    case fails(StoreError)
  }

  private(set) var outcomes: [Outcome] = []
  private(set) var changes: [Change] = []
  /// After the batch.
  private(set) var revision: Int64
  /// Bytes of all current objects after the batch.
  private(set) var objectBytes: Int

  private let objectBytesMax: Int
  private let current: (String) -> StoredObject?
  /// What this batch changed; nil inside: deleted.
  private var changed: [String: StoredObject?] = [:]

  init(revision: Int64, objectBytes: Int, objectBytesMax: Int, current: @escaping (String) -> StoredObject?) {
    self.revision = revision
    self.objectBytes = objectBytes
    self.objectBytesMax = objectBytesMax
    self.current = current
  }

  private func find(_ key: String) -> StoredObject? {
    if let change = changed[key] { return change }
    return current(key)
  }

  mutating func add(_ transaction: Transaction) {
    for (key, expected) in transaction.checks.sorted(by: { $0.key < $1.key }) {
      let actual = find(key)?.revision ?? 0
      if actual != expected { return outcomes.append(.fails(.conflict(key: key, actual: actual))) }
    }
    var made: [Change] = []
    var bytes = objectBytes
    for (key, value) in transaction.puts {
      let previous = find(key)
      let position = LogPosition(revision: revision + 1, place: made.count)
      let object = StoredObject(
        key: key, value: value, position: position, createRevision: previous?.createRevision ?? position.revision)
      made.append(Change(object: object, previous: previous, isDelete: false))
      bytes += Self.bytes(object) - (previous.map(Self.bytes) ?? 0)
    }
    for key in transaction.deletes {
      guard let previous = find(key) else { continue }
      let position = LogPosition(revision: revision + 1, place: made.count)
      let object = StoredObject(
        key: key, value: previous.value, position: position, createRevision: previous.createRevision)
      made.append(Change(object: object, previous: previous, isDelete: true))
      bytes -= Self.bytes(previous)
    }
    if made.isEmpty { return outcomes.append(.isEmpty(revision)) }
    if bytes > objectBytes && bytes > objectBytesMax {
      return outcomes.append(.fails(.full("the objects would exceed \(objectBytesMax) bytes; delete some")))
    }
    objectBytes = bytes
    revision += 1
    for change in made { changed[change.object.key] = .some(change.isDelete ? nil : change.object) }
    changes += made
    outcomes.append(.commits(revision))
  }

  /// What an object counts against the quota.
  static func bytes(_ object: StoredObject) -> Int { object.key.utf8.count + object.value.count }
}
