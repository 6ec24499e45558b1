package import Dataplane

/// Which Service has which address and port, where they come from several sides: the first that asked has it, the next
/// one gets it when that one lets go. A pure value; an operation costs what it changes.
package struct ServiceLedger: Sendable {
  /// What must be changed in the table of the kernel.
  package struct Change: Equatable, Sendable {
    package var set: [ServiceEntry] = []
    package var remove: [ServiceEntry.Key] = []

    package init(set: [ServiceEntry] = [], remove: [ServiceEntry.Key] = []) {
      self.set = set
      self.remove = remove
    }

    package var isEmpty: Bool { self.set.isEmpty && self.remove.isEmpty }
  }
  private var wanted: [String: [ServiceEntry.Key: ServiceEntry]] = [:]
  /// Who asks for a key, the holder first.
  private var claims: [ServiceEntry.Key: [String]] = [:]

  package init() {}

  /// Replaces what `owner` asks for.
  ///
  /// - Returns: also the keys that others hold, by their holder, and those who got what this one let go.
  package mutating func put(
    _ owner: String, _ entries: [ServiceEntry]
  ) -> (change: Change, taken: [ServiceEntry.Key: String], promoted: Set<String>) {
    var change = Change()
    var taken: [ServiceEntry.Key: String] = [:]
    var promoted: Set<String> = []
    let before = wanted[owner] ?? [:]
    let after = Dictionary(entries.map { ($0.key, $0) }) { first, _ in first }
    wanted[owner] = after.isEmpty ? nil : after
    for key in before.keys.sorted() where after[key] == nil {
      let wasHolder = claims[key]?.first == owner
      claims[key]?.removeAll { $0 == owner }
      if claims[key]?.isEmpty == true { claims[key] = nil }
      guard wasHolder else { continue }
      if let next = claims[key]?.first, let entry = wanted[next]?[key] {
        change.set.append(entry)
        promoted.insert(next)
      } else {
        change.remove.append(key)
      }
    }
    for (key, entry) in after.sorted(by: { $0.key < $1.key }) {
      if before[key] == nil { claims[key, default: []].append(owner) }
      if let holder = claims[key]?.first, holder != owner {
        taken[key] = holder
      } else if before[key] != entry {
        change.set.append(entry)
      }
    }
    return (change, taken, promoted)
  }

  /// Every key with its holder's entry.
  package var entries: [ServiceEntry] {
    claims.compactMap { key, owners in owners.first.flatMap { wanted[$0]?[key] } }
  }

  package var count: Int { claims.count }
  func has(_ owner: String) -> Bool { wanted[owner] != nil }
}
