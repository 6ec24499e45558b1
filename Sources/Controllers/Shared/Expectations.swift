package import KubeClient
package import KubeModel

/// What a controller has asked for and not yet seen in its cache.
///
/// A cache that lags behind shows too few pods after a creation and too many after a deletion; until it has caught up,
/// a controller that counts would do its work twice. An expectation that stays open for `expirySeconds` is given up,
/// so that a lost answer delays and does not stop.
package struct Expectations: Sendable {
  package static let expirySeconds: Int64 = 300

  private struct Open {
    var creations = 0
    var deletions: Set<String> = []
    var since: Int64
  }
  private var open: [ObjectKey: Open] = [:]

  package init() {}

  /// Counts creations about to be asked for, and forgets what was expected before.
  package mutating func expectCreations(_ count: Int, for key: ObjectKey, now: Time) {
    open[key] = Open(creations: count, since: now.secondsSinceEpoch)
  }

  /// Names, by uid, the objects about to be deleted, and forgets what was expected before.
  package mutating func expectDeletions(_ uids: [String], for key: ObjectKey, now: Time) {
    open[key] = Open(deletions: Set(uids), since: now.secondsSinceEpoch)
  }

  /// A creation was seen, or did not take place.
  package mutating func creationSettled(for key: ObjectKey) {
    guard let creations = open[key]?.creations, creations > 0 else { return }
    open[key]?.creations = creations - 1
  }

  /// A deletion was seen, or did not take place.
  package mutating func deletionSettled(_ uid: String, for key: ObjectKey) {
    open[key]?.deletions.remove(uid)
  }

  package mutating func forget(_ key: ObjectKey) { open[key] = nil }

  /// The uids of what was asked to be deleted and still shows in the cache: it no longer counts.
  package func openDeletions(for key: ObjectKey, now: Time) -> Set<String> {
    guard let expected = open[key], now.secondsSinceEpoch - expected.since <= Self.expirySeconds else { return [] }
    return expected.deletions
  }

  /// Whether the cache shows all that was asked for, or has had its time to.
  package func areMet(for key: ObjectKey, now: Time) -> Bool {
    guard let expected = open[key] else { return true }
    return expected.creations == 0 && expected.deletions.isEmpty
      || now.secondsSinceEpoch - expected.since > Self.expirySeconds
  }
}
