/// One change of one key.
struct Change: Sendable {
  /// As it is now. For a delete: the last value, at the revision of the delete.
  let object: StoredObject
  let previous: StoredObject?
  let isDelete: Bool
}

/// The newest changes, whole revisions only, bounded by their number and by the bytes that only they keep alive.
struct EventRing: Sendable {
  /// Memory of a change beside the bytes of its objects, roughly.
  private static let overheadBytes = 160

  private let changesMax: Int
  private let bytesMax: Int
  /// Emptied from the front: nil up to `first`, cut off now and then.
  private var changes: [Change?] = []
  private var first = 0
  private(set) var bytes = 0
  /// Every change after this revision is here.
  private(set) var floor: Int64

  init(floor: Int64, changesMax: Int, bytesMax: Int) {
    self.floor = floor
    self.changesMax = changesMax
    self.bytesMax = bytesMax
  }

  var count: Int { changes.count - first }

  /// What an old value costs is told by the change that replaced it: the value of the newest is in memory anyway.
  private static func cost(_ change: Change) -> Int {
    overheadBytes + (change.previous.map { $0.value.count + $0.key.utf8.count } ?? 0)
  }

  mutating func append(_ change: Change) {
    changes.append(change)
    bytes += Self.cost(change)
  }

  /// Forgets the oldest revisions that are beyond the bounds. Called between revisions.
  mutating func trim() {
    while count > changesMax || bytes > bytesMax, let oldest = changes[first] {
      forget(through: oldest.object.revision)
    }
  }

  mutating func forget(through revision: Int64) {
    while first < changes.count, let change = changes[first], change.object.revision <= revision {
      bytes -= Self.cost(change)
      changes[first] = nil
      first += 1
    }
    floor = max(floor, revision)
    if first > 1024 && first > changes.count / 2 || first == changes.count {
      changes.removeFirst(first)
      first = 0
    }
  }

  /// Forgets everything: the changes up to `floor` were never seen.
  mutating func restart(floor: Int64) {
    self = EventRing(floor: floor, changesMax: changesMax, bytesMax: bytesMax)
  }

  /// Changes after `revision`, which is not below `floor`, in their order.
  func changes(after revision: Int64) -> some Sequence<Change> {
    var low = first
    var high = changes.count
    while low < high {
      let middle = (low + high) / 2
      if (changes[middle]?.object.revision ?? 0) <= revision { low = middle + 1 } else { high = middle }
    }
    return changes[low...].lazy.compactMap { $0 }
  }
}
