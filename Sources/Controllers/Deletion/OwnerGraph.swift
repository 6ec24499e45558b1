package import KubeModel

/// Which object owns which, by uid: kept from the metadata of all objects, change by change.
package struct OwnerGraph: Sendable {
  package static let foregroundFinalizer = "foregroundDeletion"
  package static let orphanFinalizer = "orphan"

  /// Where an object is found in the API.
  package struct Place: Hashable, Sendable, CustomStringConvertible {
    package let apiVersion: String
    package let kind: String
    package let namespace: String
    package let name: String

    package init(apiVersion: String, kind: String, namespace: String, name: String) {
      self.apiVersion = apiVersion
      self.kind = kind
      self.namespace = namespace
      self.name = name
    }

    package var description: String { "\(kind) \(namespace.isEmpty ? name : "\(namespace)/\(name)")" }
  }

  package struct Item: Sendable {
    package let place: Place
    package internal(set) var owners: [OwnerReference]
    package internal(set) var isDeleting: Bool
    package internal(set) var finalizers: [String]

    /// Going, and waiting for its dependents to go first.
    package var waitsForDependents: Bool { isDeleting && finalizers.contains(foregroundFinalizer) }
    /// Going, and to let its dependents go free first.
    package var orphansDependents: Bool { isDeleting && finalizers.contains(orphanFinalizer) }
  }

  /// What is to be done about one object.
  package enum Verdict: Hashable, Sendable {
    case nothing
    /// These owners are not in the graph: ask the API whether they exist, then decide again.
    case lookUp([OwnerReference])
    /// None of its owners is left.
    case delete(DeletionPolicy)
    /// It has an owner left, and forgets those with these uids, which are gone or going.
    case forgetOwners([String])
    /// In a circle of objects that wait for each other: no longer block the owners, then delete.
    case unblockAndDelete
    /// Its dependents that block it, by uid, are to be looked at first.
    case waitFor([String])
    /// Nothing blocks it any more: take the foreground finalizer away.
    case finishForeground
    /// Free these dependents, by uid, of this owner, then take the orphan finalizer away.
    case orphan([String])
  }

  package enum DeletionPolicy: Hashable, Sendable { case background, foreground, orphan }

  package private(set) var items: [String: Item] = [:]
  /// By the owner's uid, whether or not the owner is here.
  private var dependents: [String: Set<String>] = [:]

  package init() {}

  package var count: Int { items.count }
  package func dependents(of uid: String) -> Set<String> { dependents[uid] ?? [] }

  // MARK: changes

  /// Takes in an object as it is now.
  /// - Returns: the uids of the objects that have to be looked at because of it.
  package mutating func put(_ metadata: ObjectMeta, apiVersion: String, kind: String) -> Set<String> {
    guard let uid = metadata.uid else { return [] }
    let old = items[uid]
    let place = Place(
      apiVersion: apiVersion, kind: kind, namespace: metadata.namespace ?? "", name: metadata.name ?? "")
    let item = Item(
      place: place, owners: metadata.ownerReferences, isDeleting: metadata.isDeleting, finalizers: metadata.finalizers)
    items[uid] = item
    let (before, after) = (Set((old?.owners ?? []).map(\.uid)), Set(item.owners.map(\.uid)))
    for owner in before.subtracting(after) { drop(uid, from: owner) }
    for owner in after.subtracting(before) { dependents[owner, default: []].insert(uid) }
    var open: Set<String> = []
    if old?.owners != item.owners {
      if !item.owners.isEmpty { open.insert(uid) }
      // An owner that waits may have one thing less to wait for.
      open.formUnion(before.filter { items[$0]?.waitsForDependents ?? false })
    }
    if item.waitsForDependents, !(old?.waitsForDependents ?? false) {
      open.insert(uid)
      open.formUnion(dependents(of: uid))
    }
    if item.orphansDependents, !(old?.orphansDependents ?? false) { open.insert(uid) }
    return open
  }

  /// Takes an object out.
  /// - Returns: the uids of the objects that have to be looked at because of it.
  package mutating func remove(uid: String) -> Set<String> {
    guard let item = items.removeValue(forKey: uid) else { return [] }
    for owner in item.owners { drop(uid, from: owner.uid) }
    let waiting = item.owners.map(\.uid).filter {
      items[$0].map { $0.waitsForDependents || $0.orphansDependents } ?? false
    }
    return dependents(of: uid).union(waiting)
  }

  private mutating func drop(_ uid: String, from owner: String) {
    dependents[owner]?.remove(uid)
    if dependents[owner]?.isEmpty == true { dependents[owner] = nil }
  }

  // MARK: decisions

  /// - Parameter absent: uids of owners that the API was asked for and does not have.
  package func verdict(on uid: String, absent: Set<String>) -> Verdict {
    guard let item = items[uid] else { return .nothing }
    if item.orphansDependents { return .orphan(dependents(of: uid).sorted()) }
    if item.waitsForDependents { return foreground(uid) }
    // What is going already goes by itself; asking again changes nothing.
    if item.isDeleting || item.owners.isEmpty { return .nothing }
    let unknown = item.owners.filter { items[$0.uid] == nil && !absent.contains($0.uid) }
    if !unknown.isEmpty { return .lookUp(unknown) }
    let gone = item.owners.filter { items[$0.uid] == nil }.map(\.uid)
    let waiting = item.owners.filter { items[$0.uid]?.waitsForDependents ?? false }.map(\.uid)
    if gone.count + waiting.count < item.owners.count {
      return gone.isEmpty && waiting.isEmpty ? .nothing : .forgetOwners(gone + waiting)
    }
    let own = dependents(of: uid)
    if !waiting.isEmpty, !own.isEmpty {
      let isCircle = own.contains { items[$0]?.waitsForDependents ?? false }
      return isCircle ? .unblockAndDelete : .delete(.foreground)
    }
    if item.finalizers.contains(Self.orphanFinalizer) { return .delete(.orphan) }
    if item.finalizers.contains(Self.foregroundFinalizer) { return .delete(.foreground) }
    return .delete(.background)
  }

  private func foreground(_ uid: String) -> Verdict {
    let blocking = dependents(of: uid).filter { dependent in
      items[dependent]?.owners.contains { $0.uid == uid && $0.blockOwnerDeletion == true } ?? false
    }
    return blocking.isEmpty ? .finishForeground : .waitFor(blocking.sorted())
  }
}
