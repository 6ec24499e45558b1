package import KubeClient
package import KubeModel

/// What a controller has written for an owner and not yet seen in its cache.
///
/// A plan made from a cache that lacks its own last write would do the same again under another name, or count as there
/// what it has just taken away. So an owner is planned for when the cache shows all of it.
package struct WriteTracker: Sendable {
  /// Seconds after which a write that never shows is no longer waited for: somebody else undid it.
  package static let expirySeconds: Int64 = 60

  private enum Written { case revision(Int64), deleted }
  private var writes: [ObjectKey: [String: (what: Written, at: Int64)]] = [:]

  package init() {}

  package mutating func wrote(_ metadata: ObjectMeta, for owner: ObjectKey, now: Time) {
    guard let uid = metadata.uid, let revision = metadata.resourceVersion.flatMap({ Int64($0) }) else {
      return
    }
    writes[owner, default: [:]][uid] = (.revision(revision), now.secondsSinceEpoch)
  }

  package mutating func deleted(_ metadata: ObjectMeta, for owner: ObjectKey, now: Time) {
    guard let uid = metadata.uid else { return }
    writes[owner, default: [:]][uid] = (.deleted, now.secondsSinceEpoch)
  }

  package mutating func forget(_ owner: ObjectKey) { writes[owner] = nil }

  /// Whether these objects, from the cache, show all that was written.
  package mutating func isCaughtUp(_ owner: ObjectKey, _ objects: [ObjectMeta], now: Time) -> Bool {
    guard let open = writes[owner] else { return true }
    var seen: [String: Int64] = [:]
    for object in objects {
      if let uid = object.uid { seen[uid] = object.resourceVersion.flatMap { Int64($0) } ?? .max }
    }
    let left = open.filter { uid, written in
      guard now.secondsSinceEpoch - written.at <= Self.expirySeconds else { return false }
      switch written.what {
      case .revision(let revision): return (seen[uid] ?? -1) < revision
      case .deleted: return seen[uid] != nil
      }
    }
    writes[owner] = left.isEmpty ? nil : left
    return left.isEmpty
  }
}
