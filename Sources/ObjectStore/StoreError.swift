/// Why the store did not do what was asked. Nothing was changed, but for `.io`, where a restart may show the change.
package enum StoreError: Error, Hashable, CustomStringConvertible {
  /// A check of the transaction failed: the key is at `actual`, 0 where it does not exist.
  case conflict(key: String, actual: Int64)
  /// The revision asked for is forgotten; `oldest` is the first one that can still be asked for.
  case compacted(oldest: Int64)
  /// The revision asked for has not happened yet.
  case future(current: Int64)
  /// The reader of a watch was too slow; it has every event up to `after`, and may watch again from there.
  case overflow(after: Int64)
  /// The transaction itself is wrong; it would fail on every store.
  case invalid(String)
  /// Too much waits already. Worth another try.
  case overloaded(String)
  /// The disk or the store's quota is full. Reads and watches go on; deletes may make room.
  case full(String)
  /// The disk failed. Reads and watches go on.
  case io(String)
  /// Another process works in the directory.
  case locked(path: String)
  /// The file is not a store of Martlet's.
  case foreign(path: String, reason: String)
  /// The file was written by a later version.
  case newer(path: String, version: Int64, supported: Int64)
  /// The file is damaged.
  case corrupt(path: String, reason: String)
  /// The store was closed.
  case closed

  package var description: String {
    switch self {
    case .conflict(let key, let actual): "commit: \(key) is at revision \(actual), not at the expected one"
    case .compacted(let oldest): "the revision is compacted; the oldest one that is kept is \(oldest)"
    case .future(let current): "the revision has not happened; the current one is \(current)"
    case .overflow(let after): "watch: the reader was too slow for the events after revision \(after); watch again"
    case .invalid(let reason): "commit: \(reason)"
    case .overloaded(let what): "store: \(what); try again"
    case .full(let reason): "store is full: \(reason)"
    case .io(let reason): "store: \(reason)"
    case .locked(let path): "open \(path): another martlet server works in this directory; stop it or use another"
    case .foreign(let path, let reason): "open \(path): not an object store of Martlet's (\(reason)); move it away"
    case .newer(let path, let version, let supported):
      "open \(path): written by a later version of Martlet (schema \(version), this one knows \(supported))"
    case .corrupt(let path, let reason): "open \(path): damaged (\(reason)); restore a copy or move it away"
    case .closed: "store: closed"
    }
  }
}
