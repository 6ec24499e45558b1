/// Where the log has a change: its revision, and its place among the changes of that revision.
///
/// One number, so that the order of the log is the order of its keys on disk.
struct LogPosition: Hashable, Comparable, Sendable {
  /// Changes that one transaction may make.
  static let changesPerRevisionMax = 1024

  let rawValue: Int64

  init(rawValue: Int64) { self.rawValue = rawValue }

  init(revision: Int64, place: Int) {
    precondition(place >= 0 && place < Self.changesPerRevisionMax, "place of a change in its transaction")
    rawValue = revision << 10 | Int64(place)
  }

  var revision: Int64 { rawValue >> 10 }

  static func < (one: Self, other: Self) -> Bool { one.rawValue < other.rawValue }
}

/// An object as it was at one revision.
///
/// Never changes, so that memory, lists, events and readers all share one copy of the bytes.
package final class StoredObject: Sendable {
  package let key: String
  package let value: [UInt8]
  /// The revision that made the key appear, at first or again after a delete.
  package let createRevision: Int64
  let position: LogPosition

  init(key: String, value: [UInt8], position: LogPosition, createRevision: Int64) {
    self.key = key
    self.value = value
    self.position = position
    self.createRevision = createRevision
  }

  /// An object that no store holds, for tests of what reads objects.
  package convenience init(key: String, value: [UInt8], revision: Int64, createRevision: Int64) {
    self.init(
      key: key, value: value, position: LogPosition(revision: revision, place: 0), createRevision: createRevision)
  }

  /// The revision of the change that made these bytes.
  package var revision: Int64 { position.revision }
}

extension StoredObject: Equatable {
  package static func == (one: StoredObject, other: StoredObject) -> Bool {
    one === other
      || one.key == other.key && one.revision == other.revision && one.createRevision == other.createRevision
        && one.value == other.value
  }
}

/// Changes that happen together or not at all, under conditions.
package struct Transaction: Sendable {
  /// Keys that must be at this revision; 0: that must not exist.
  package var checks: [String: Int64]
  /// New values. A key is put or deleted once in a transaction.
  package var puts: [(key: String, value: [UInt8])]
  /// Keys to remove; one that is not there is no change.
  package var deletes: [String]

  package init(
    checks: [String: Int64] = [:], puts: [(key: String, value: [UInt8])] = [], deletes: [String] = []
  ) {
    self.checks = checks
    self.puts = puts
    self.deletes = deletes
  }

  /// What is wrong with it whatever the store holds, or nil.
  func problem(_ bounds: StoreConfiguration) -> String? {
    if puts.count + deletes.count > LogPosition.changesPerRevisionMax {
      return "\(puts.count + deletes.count) changes; \(LogPosition.changesPerRevisionMax) are the most"
    }
    var keys: Set<String> = []
    for key in puts.lazy.map(\.key) + deletes {
      if key.isEmpty || key.utf8.count > bounds.keyBytesMax {
        return "a key of \(key.utf8.count) bytes; 1 to \(bounds.keyBytesMax) are allowed"
      }
      if !key.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) { return "key \(key) is not printable ASCII" }
      if !keys.insert(key).inserted { return "key \(key) is changed twice" }
    }
    for (key, value) in puts where value.count > bounds.valueBytesMax {
      return "value of \(key) has \(value.count) bytes; \(bounds.valueBytesMax) are the most"
    }
    if sizeBytes > bounds.batchBytesMax { return "\(sizeBytes) bytes; \(bounds.batchBytesMax) are the most" }
    return nil
  }

  /// Bytes of keys and values.
  package var sizeBytes: Int {
    puts.reduce(deletes.reduce(0) { $0 + $1.utf8.count }) { $0 + $1.key.utf8.count + $1.value.count }
  }
}

/// A page of objects in the order of their keys.
package struct Listing: Sendable {
  package let objects: [StoredObject]
  /// The revision of which the page is a true picture; later pages are asked for at this one.
  package let revision: Int64
  /// Objects after the last one of this page.
  package let remaining: Int

  package init(objects: [StoredObject], revision: Int64, remaining: Int) {
    self.objects = objects
    self.revision = revision
    self.remaining = remaining
  }
}
