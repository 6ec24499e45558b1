package import JSON

/// What server-side apply does with two objects of one shape.
extension ApplyShape {
  /// The fields that a configuration names.
  package func fields(of value: JSONValue) throws(ApplyProblem) -> FieldSet {
    var set = FieldSet()
    switch resolved(for: value) {
    case .items(let keys, let item):
      for element in value.array ?? [] {
        let name = try self.element(of: element, keys: keys)
        guard set.children[name] == nil else { throw ApplyProblem("duplicate entries for key \(Self.shown(name))") }
        var inner = try item.fields(of: element)
        inner.isMember = true
        set.children[name] = inner
      }
    case .set:
      for element in value.array ?? [] { set.children[Self.element(ofScalar: element)] = .leaf }
    case .fields, .map, .structural, .custom:
      let shape = resolved(for: value)
      for (key, member) in value.object?.members ?? [] {
        let (inner, isField) = shape.member(key)
        var found = try inner.fields(of: member)
        if member.isNull || member == [:] || !isField { found.isMember = true }
        if !found.isEmpty { set.children["f:\(key)"] = found }
      }
    case .whole, .deduced: set.isMember = true
    }
    return set
  }

  private static func shown(_ element: String) -> String {
    var set = FieldSet()
    set.insert([element])
    return set.paths.first ?? element
  }

  /// What differs between two values.
  package struct Difference: Sendable {
    package var added = FieldSet()
    package var removed = FieldSet()
    package var modified = FieldSet()

    package init() {}

    package var changed: FieldSet { added.union(modified) }
  }

  /// - Parameters: the value before and now; nil where there is none.
  package func difference(_ old: JSONValue?, _ new: JSONValue?) throws(ApplyProblem) -> Difference {
    var result = Difference()
    guard let some = new ?? old, old != new else { return result }
    let shape = resolved(for: some)
    let pairs: [(name: String, shape: ApplyShape, old: JSONValue?, new: JSONValue?)]?
    if let old, let new, !Self.isAlike(shape, old, new) {
      pairs = nil
    } else {
      pairs = try shape.pairs(old, new)
    }
    guard let pairs, !(Self.isNothing(old) && Self.isNothing(new)) else {
      if old == nil {
        result.added.isMember = true
      } else if new == nil {
        result.removed.isMember = true
      } else {
        result.modified.isMember = true
      }
      return result
    }
    for pair in pairs {
      let inner = try pair.shape.difference(pair.old, pair.new)
      if !inner.added.isEmpty { result.added.children[pair.name] = inner.added }
      if !inner.removed.isEmpty { result.removed.children[pair.name] = inner.removed }
      if !inner.modified.isEmpty { result.modified.children[pair.name] = inner.modified }
    }
    if old == nil { result.added.isMember = true } else if new == nil { result.removed.isMember = true }
    return result
  }

  private static func isAlike(_ shape: ApplyShape, _ old: JSONValue, _ new: JSONValue) -> Bool {
    switch shape {
    case .fields, .map, .structural, .custom, .deduced: old.object != nil && new.object != nil
    case .set, .items: old.array != nil && new.array != nil
    case .whole: false
    }
  }

  private static func isNothing(_ value: JSONValue?) -> Bool {
    switch value {
    case nil, .null, .array([]), .object([:]): true
    default: false
    }
  }

  /// The members or items of two values, beside each other; nil where the shape is a whole.
  private func pairs(
    _ old: JSONValue?, _ new: JSONValue?
  ) throws(ApplyProblem) -> [(name: String, shape: ApplyShape, old: JSONValue?, new: JSONValue?)]? {
    var found: [(name: String, shape: ApplyShape, old: JSONValue?, new: JSONValue?)] = []
    switch self {
    case .whole: return nil
    case .fields, .map, .structural, .custom, .deduced:
      let (before, now) = (old?.object ?? [:], new?.object ?? [:])
      for (key, value) in before.members { found.append(("f:\(key)", member(key).shape, value, now[key])) }
      for (key, value) in now.members where before[key] == nil {
        found.append(("f:\(key)", member(key).shape, nil, value))
      }
    case .set:
      let (before, now) = (old?.array ?? [], new?.array ?? [])
      let (known, present) = (Set(before), Set(now))
      for item in before {
        found.append((Self.element(ofScalar: item), .whole, item, present.contains(item) ? item : nil))
      }
      for item in now where !known.contains(item) { found.append((Self.element(ofScalar: item), .whole, nil, item)) }
    case .items(let keys, let shape):
      var places: [String: Int] = [:]
      for item in old?.array ?? [] {
        let name = try element(of: item, keys: keys)
        if places[name] != nil { continue }
        places[name] = found.count
        found.append((name, shape, item, nil))
      }
      for item in new?.array ?? [] {
        let name = try element(of: item, keys: keys)
        if let place = places[name] {
          found[place].new = item
        } else {
          places[name] = found.count
          found.append((name, shape, nil, item))
        }
      }
    }
    return found
  }

  /// The live value with a configuration laid over it.
  package func merged(_ live: JSONValue?, with configuration: JSONValue) throws(ApplyProblem) -> JSONValue {
    let shape = resolved(for: configuration)
    guard let live, Self.isAlike(shape, live, configuration) else { return configuration }
    switch shape {
    case .whole: return configuration
    case .fields, .map, .structural, .custom, .deduced:
      var result = live.object ?? [:]
      for (key, value) in configuration.object?.members ?? [] {
        result[key] = try shape.member(key).shape.merged(result[key], with: value)
      }
      return .object(result)
    case .set:
      let items = live.array ?? []
      let known = Set(items)
      return .array(items + (configuration.array ?? []).filter { !known.contains($0) })
    case .items(let keys, let item):
      var result = live.array ?? []
      var places: [String: Int] = [:]
      for (place, element) in result.enumerated() { places[try self.element(of: element, keys: keys)] = place }
      for element in configuration.array ?? [] {
        let name = try self.element(of: element, keys: keys)
        if let place = places[name] {
          result[place] = try item.merged(result[place], with: element)
        } else {
          places[name] = result.count
          result.append(element)
        }
      }
      return .array(result)
    }
  }

  /// The value without what its manager named the last time and nobody names now. - Returns: nil where all of it goes.
  package func pruned(
    _ value: JSONValue, last: FieldSet, owned: FieldSet
  ) throws(ApplyProblem) -> JSONValue? {
    let shape = resolved(for: value)
    func kept(_ name: String, _ shape: ApplyShape, _ inner: JSONValue) throws(ApplyProblem) -> JSONValue? {
      guard let last = last.children[name] else { return inner }
      let owned = owned.children[name] ?? FieldSet()
      if last.isMember, owned.isEmpty { return nil }
      if last.children.isEmpty { return inner }
      let rest = try shape.pruned(inner, last: last, owned: owned)
      // What has become empty by this goes too, unless somebody names the place itself.
      return Self.isNothing(rest) && !Self.isNothing(inner) && !owned.isMember ? nil : rest
    }
    switch shape {
    case .whole, .deduced: return value
    case .fields, .map, .structural, .custom:
      var result = JSONObject()
      for (key, member) in value.object?.members ?? [] {
        result[key] = try kept("f:\(key)", shape.member(key).shape, member)
      }
      return .object(result)
    case .set:
      var items: [JSONValue] = []
      for item in value.array ?? [] {
        if let item = try kept(Self.element(ofScalar: item), .whole, item) { items.append(item) }
      }
      return .array(items)
    case .items(let keys, let itemShape):
      var items: [JSONValue] = []
      for item in value.array ?? [] {
        if let item = try kept(try element(of: item, keys: keys), itemShape, item) { items.append(item) }
      }
      return .array(items)
    }
  }
}
