internal import FoundationEssentials
internal import ObjectStore
internal import SwiftProtobuf

/// A transaction as etcd is asked for it, and what its answer means: pure.
struct EtcdWrite {
  let transaction: Transaction
  private let keys: EtcdKeys
  /// As they go to the disk.
  private let values: [Data]
  /// Keys under a condition, in their order.
  private let checked: [(key: String, expected: Int64)]

  enum Answer: Equatable {
    /// Done at a revision; `changed`: it changed something.
    case done(revision: Int64, changed: Bool)
    /// A check failed, as of `header`; nothing was changed.
    case conflict(key: String, actual: Int64, header: Int64)
    /// Somebody raised a fence since; nothing was changed.
    case fenced(marker: Int64)
  }

  /// - Throws: `.invalid`, `.io` where a value cannot be encrypted.
  init(_ transaction: Transaction, keys: EtcdKeys, sealing: StoreSealing?) throws(StoreError) {
    self.transaction = transaction
    self.keys = keys
    var values: [Data] = []
    for (key, value) in transaction.puts {
      guard let sealed = sealing.map({ $0.seal(key, value) }) ?? value else { throw .io("\(key) cannot be encrypted") }
      values.append(Data(sealed))
    }
    for key in transaction.puts.lazy.map(\.key) + transaction.deletes
    where key.utf8.first != UInt8(ascii: "/") || key == "/" {
      throw .invalid("key \(key): keys in etcd begin with a slash and a name")
    }
    self.values = values
    checked = transaction.checks.sorted { $0.key < $1.key }.map { (key: $0.key, expected: $0.value) }
  }

  /// - Parameter marker: the fence under which it is made.
  func request(marker: Int64) -> EtcdTxnRequest {
    EtcdTxnRequest.with { request in
      request.compare =
        [Self.compare(keys.marker, marker)] + checked.map { Self.compare(keys.bytes($0.key), $0.expected) }
      for ((key, _), value) in zip(transaction.puts, values) {
        request.success.append(
          .with {
            $0.requestPut.key = keys.bytes(key)
            $0.requestPut.value = value
          })
      }
      for key in transaction.deletes {
        request.success.append(.with { $0.requestDeleteRange.key = keys.bytes(key) })
      }
      for key in [keys.marker] + checked.map({ keys.bytes($0.key) }) {
        request.failure.append(
          .with {
            $0.requestRange.key = key
            $0.requestRange.keysOnly = true
          })
      }
    }
  }

  private static func compare(_ key: Data, _ revision: Int64) -> EtcdCompare {
    .with {
      $0.result = .equal
      $0.target = .mod
      $0.key = key
      $0.modRevision = revision
    }
  }

  func answer(_ response: EtcdTxnResponse) -> Answer {
    let header = response.header.revision
    if response.succeeded {
      let deleted = response.responses.contains { $0.responseDeleteRange.deleted > 0 }
      return .done(revision: header, changed: !transaction.puts.isEmpty || deleted)
    }
    let revisions = response.responses.map { $0.responseRange.kvs.first?.modRevision ?? 0 }
    for ((key, expected), actual) in zip(checked, revisions.dropFirst()) where actual != expected {
      return .conflict(key: key, actual: actual, header: header)
    }
    return .fenced(marker: revisions.first ?? 0)
  }

  /// The revision at which this very transaction happened, among what happened after it was first sent; nil: it did not.
  ///
  /// Told by what it changed: whatever else made exactly that under the same conditions left nothing to do.
  func revision(in events: [StoreReplica.Event]) -> Int64? {
    let puts = Dictionary(transaction.puts.map { ($0.key, $0.value) }, uniquingKeysWith: { $1 })
    let deletes = Set(transaction.deletes)
    var start = 0
    while start < events.count {
      let revision = events[start].revision
      let end = events[start...].firstIndex { $0.revision != revision } ?? events.count
      let changes = events[start..<end]
      let isOurs = changes.allSatisfy { change in
        if let value = change.value { return puts[change.key] == value }
        return deletes.contains(change.key)
      }
      if isOurs, changes.count(where: { $0.value != nil }) == puts.count { return revision }
      start = end
    }
    return nil
  }

  /// By how much the objects would grow, as they are in memory.
  func growth(_ current: (String) -> StoredObject?) -> Int {
    var bytes = 0
    for (key, value) in transaction.puts { bytes += value.count - (current(key)?.value.count ?? -key.utf8.count) }
    for key in transaction.deletes { bytes -= current(key).map { $0.value.count + key.utf8.count } ?? 0 }
    return bytes
  }
}
