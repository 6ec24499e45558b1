internal import KubeModel

/// A change of the cache of an informer.
package enum InformerEvent<T: Sendable>: Sendable {
  case added(T)
  case updated(old: T, new: T)
  /// The object as it was last known: one that vanished while the connection was down is told of when the next list
  /// shows it missing, in the last state that was seen.
  case deleted(T)

  /// The newest state.
  package var object: T {
    switch self {
    case .added(let object), .updated(_, let object), .deleted(let object): object
    }
  }
}

/// What an informer knows: objects by key, and by the values that index closures give. A pure value.
struct InformerCache<T: KubeResource>: Sendable {
  private struct Index: Sendable {
    var values: @Sendable (T) -> [String]
    var keys: [String: Set<ObjectKey>] = [:]
  }
  private(set) var objects: [ObjectKey: T] = [:]
  private var indexes: [String: Index] = [:]

  mutating func addIndex(_ name: String, _ values: @escaping @Sendable (T) -> [String]) {
    var index = Index(values: values)
    for (key, object) in objects {
      for value in values(object) { index.keys[value, default: []].insert(key) }
    }
    indexes[name] = index
  }

  func objects(_ index: String, _ value: String) -> [T] {
    guard let index = indexes[index] else { preconditionFailure("no index \(index); add it before use") }
    return (index.keys[value] ?? []).sorted().compactMap { objects[$0] }
  }

  /// Takes a state of an object, nil for none; gives what changed.
  mutating func put(_ key: ObjectKey, _ object: T?) -> InformerEvent<T>? {
    let old = objects[key]
    for name in indexes.keys {
      // In place: an index is too large to copy for a change of one object.
      let values = indexes[name]?.values
      for value in old.flatMap({ values?($0) }) ?? [] {
        indexes[name]?.keys[value]?.remove(key)
        if indexes[name]?.keys[value]?.isEmpty == true { indexes[name]?.keys[value] = nil }
      }
      for value in object.flatMap({ values?($0) }) ?? [] { indexes[name]?.keys[value, default: []].insert(key) }
    }
    objects[key] = object
    switch (old, object) {
    case (nil, nil): return nil
    case (nil, let new?): return .added(new)
    case (let old?, nil): return .deleted(old)
    case (let old?, let new?): return .updated(old: old, new: new)
    }
  }

  /// Takes a whole list; gives what changed, deletions first. An object that was made anew under its name is told of as
  /// a deletion and an addition; one of the same revision is not told of.
  mutating func replace(_ items: [T]) -> [InformerEvent<T>] {
    var changes: [InformerEvent<T>] = []
    let present = Set(items.map { ObjectKey($0) })
    for key in objects.keys.filter({ !present.contains($0) }).sorted() {
      if let change = put(key, nil) { changes.append(change) }
    }
    for item in items { changes += take(item) }
    return changes
  }

  /// Takes a state that a list or a watch tells.
  mutating func take(_ object: T) -> [InformerEvent<T>] {
    let key = ObjectKey(object)
    if let old = objects[key] {
      if old.metadata.uid != object.metadata.uid { return [put(key, nil), put(key, object)].compactMap { $0 } }
      if let revision = object.metadata.resourceVersion, revision == old.metadata.resourceVersion { return [] }
    }
    return put(key, object).map { [$0] } ?? []
  }
}
