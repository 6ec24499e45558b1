package import KubeClient
package import KubeModel

/// What was written of a Service's slices and has not shown in the cache yet.
///
/// Slices get their names from the server: planning from a cache that does not show the last one would make another.
package struct SliceTracker: Sendable {
  /// Seconds after which a write that never shows is no longer waited for.
  package static let expirySeconds: Int64 = 10

  private enum Written { case revision(Int64), deleted }
  private var writes: [ObjectKey: [String: (what: Written, at: Int64)]] = [:]

  package init() {}

  package mutating func wrote(_ slice: EndpointSlice, for service: ObjectKey, now: Time) {
    guard let uid = slice.metadata.uid, let revision = slice.metadata.resourceVersion.flatMap({ Int64($0) }) else {
      return
    }
    writes[service, default: [:]][uid] = (.revision(revision), now.secondsSinceEpoch)
  }

  package mutating func deleted(_ slice: EndpointSlice, for service: ObjectKey, now: Time) {
    guard let uid = slice.metadata.uid else { return }
    writes[service, default: [:]][uid] = (.deleted, now.secondsSinceEpoch)
  }

  package mutating func forget(_ service: ObjectKey) { writes[service] = nil }

  /// Whether `slices`, from the cache, show all that was written.
  package mutating func isCaughtUp(_ service: ObjectKey, slices: [EndpointSlice], now: Time) -> Bool {
    guard let open = writes[service] else { return true }
    var seen: [String: Int64] = [:]
    for slice in slices {
      if let uid = slice.metadata.uid { seen[uid] = slice.metadata.resourceVersion.flatMap { Int64($0) } ?? .max }
    }
    let left = open.filter { uid, written in
      guard now.secondsSinceEpoch - written.at <= Self.expirySeconds else { return false }
      switch written.what {
      case .revision(let revision): return (seen[uid] ?? -1) < revision
      case .deleted: return seen[uid] != nil
      }
    }
    writes[service] = left.isEmpty ? nil : left
    return left.isEmpty
  }
}
