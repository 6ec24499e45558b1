package import KubeClient
package import KubeModel

/// Up to which revision a cache must have come before an owner is planned for again: that of the last thing written
/// for it.
///
/// A plan made from a cache that lacks its own last write would do the same again. Revisions grow with every write of
/// the server, so a cache that has taken in a later one has taken in this one.
package struct CacheLag: Sendable {
  /// Seconds after which a write that never shows is no longer waited for.
  package static let expirySeconds: Int64 = 30

  private var written: [ObjectKey: (revision: Int64, at: Int64)] = [:]

  package init() {}

  package mutating func wrote(_ revision: String?, for owner: ObjectKey, now: Time) {
    guard let revision = revision.flatMap({ Int64($0) }) else { return }
    let before = written[owner]?.revision ?? 0
    written[owner] = (max(before, revision), now.secondsSinceEpoch)
  }

  package mutating func forget(_ owner: ObjectKey) { written[owner] = nil }

  /// - Parameter revision: what the cache has come to.
  package mutating func isCaughtUp(_ owner: ObjectKey, at revision: String, now: Time) -> Bool {
    guard let open = written[owner] else { return true }
    let isShown = Int64(revision).map { $0 >= open.revision } ?? true
    guard isShown || now.secondsSinceEpoch - open.at > Self.expirySeconds else { return false }
    written[owner] = nil
    return true
  }
}
