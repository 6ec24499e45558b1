package import JSON

extension Schema {
  /// Applies a strategic merge patch: objects merge; lists that the table says so merge by their key or, if they hold
  /// scalars, as sets; other lists are replaced; null removes. The directives `$patch` (replace, delete), `$retainKeys`,
  /// `$deleteFromPrimitiveList/…` and `$setElementOrder/…` do what they say and never stay in the result.
  ///
  /// Time is linear in the sizes of value and patch. Depth is what the two had when they were read.
  /// - Throws: `PatchError` in Kubernetes' words for a directive of a wrong form or a list item without its key.
  package func strategicMergePatch(
    _ value: JSONValue, patch: JSONValue, as type: SchemaType
  ) throws(PatchError) -> JSONValue {
    guard let original = value.object, let changes = patch.object else {
      throw PatchError(.malformed, "invalid JSON document")
    }
    return .object(try StrategicMerge(schema: self).merged(original, changes, .type(type)))
  }
}

/// The names that a patch gives to what is no field.
private enum Directive {
  static let patch = "$patch"
  static let retainKeys = "$retainKeys"
  static let deletionPrefix = "$deleteFromPrimitiveList"
  static let orderPrefix = "$setElementOrder"

  /// `finalizers` of `$setElementOrder/finalizers`; nil for another directive.
  static func field(of key: String, _ prefix: String) -> String? {
    guard key.hasPrefix(prefix) else { return nil }
    let parts = key.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
    return parts.count == 2 && parts[0] == prefix ? String(parts[1]) : ""
  }
}

private struct StrategicMerge {
  let schema: Schema

  /// What is known of the object that is being merged.
  enum Shape {
    case type(SchemaType)
    case map(SchemaValueType)
    case unknown
  }

  private func shape(of type: SchemaValueType) -> Shape {
    switch type {
    case .object(let name): schema.types[name].map { .type($0) } ?? .unknown
    case .map(let member): .map(member)
    default: .unknown
    }
  }

  /// What is known of a member.
  private struct Member {
    var shape: Shape = .unknown
    var itemShape: Shape = .unknown
    var mergesList = false
    var mergeKey: String?
  }

  private func member(_ key: String, of shape: Shape) throws(PatchError) -> Member {
    switch shape {
    case .unknown: return Member()
    case .map(let type): return Member(shape: self.shape(of: type), itemShape: .unknown)
    case .type(let type):
      guard let field = type.fields[key] else {
        throw PatchError(
          .notApplicable, "unable to find api field in struct \(type.shortName) for the json field \"\(key)\"")
      }
      var member = Member(shape: self.shape(of: field.valueType))
      if case .list(let item) = field.valueType { member.itemShape = self.shape(of: item) }
      member.mergesList = field.patchStrategy.contains(.merge)
      member.mergeKey = field.patchMergeKey
      return member
    }
  }

  func merged(_ original: JSONObject, _ patch: JSONObject, _ shape: Shape) throws(PatchError) -> JSONObject {
    if let directive = patch[Directive.patch] { return try replaced(by: patch, directive) }
    var (result, patch) = (original, patch)
    try retainKeys(&result, &patch)
    try mergeOrdered(&result, &patch, shape)
    let gone = patch.nullKeys
    if !gone.isEmpty { result.removeAll { key, _ in gone.contains(key) } }
    for (key, change) in patch.members {
      if let listed = Directive.field(of: key, Directive.deletionPrefix) {
        guard !listed.isEmpty else { throw PatchError(.malformed, "invalid patch format of primitive list") }
        try delete(change, from: &result, listed)
        continue
      }
      if change.isNull { continue }
      guard let present = result[key] else {
        result[key] = Self.withoutDirectives(change)
        continue
      }
      switch (present, change) {
      case (.object(let present), .object(let change)):
        result[key] = .object(try merged(present, change, member(key, of: shape).shape))
      case (.array(let present), .array(let change)):
        let member = try member(key, of: shape)
        result[key] = .array(member.mergesList ? try merged(present, change, member) : change)
      default: result[key] = Self.withoutDirectives(change)
      }
    }
    return result
  }

  private func replaced(by patch: JSONObject, _ directive: JSONValue) throws(PatchError) -> JSONObject {
    switch directive.string {
    case "replace":
      var patch = patch
      patch[Directive.patch] = nil
      return patch
    case "delete": return JSONObject()
    default:
      throw PatchError(
        .malformed, "unknown patch type: \(GoText.value(directive)) in map: \(GoText.value(.object(patch)))")
    }
  }

  /// What a field gets that was not there: no nulls, and nothing that is only an instruction.
  private static func withoutDirectives(_ value: JSONValue) -> JSONValue? {
    switch value {
    case .object(let object):
      if object[Directive.patch] != nil { return nil }
      var kept = JSONObject()
      for (key, member) in object.members where !member.isNull {
        if let inner = withoutDirectives(member) { kept[key] = inner }
      }
      return .object(kept)
    case .array(let items): return .array(items.compactMap(withoutDirectives))
    default: return value
    }
  }

  // MARK: directives

  private func retainKeys(_ result: inout JSONObject, _ patch: inout JSONObject) throws(PatchError) {
    guard let directive = patch[Directive.retainKeys] else { return }
    patch[Directive.retainKeys] = nil
    let malformed = PatchError(.malformed, "invalid patch format of retainKeys")
    guard let names = directive.array else { throw malformed }
    let kept = Set(names.compactMap(\.string))
    for (key, change) in patch.members where !change.isNull && !kept.contains(key) {
      if key.hasPrefix(Directive.deletionPrefix) || key.hasPrefix(Directive.orderPrefix) { continue }
      throw malformed
    }
    result.removeAll { key, _ in !kept.contains(key) }
  }

  private func delete(_ change: JSONValue, from result: inout JSONObject, _ key: String) throws(PatchError) {
    guard let present = result[key]?.array else { return }
    guard let items = change.array else { throw PatchError(.malformed, "invalid patch format of primitive list") }
    let gone = Set(items)
    result[key] = .array(present.filter { !gone.contains($0) })
  }

  /// Merges the lists that come with an order, and puts them in it.
  private func mergeOrdered(
    _ result: inout JSONObject, _ patch: inout JSONObject, _ shape: Shape
  ) throws(PatchError) {
    for directive in patch.keys {
      guard let key = Directive.field(of: directive, Directive.orderPrefix) else { continue }
      let malformed = PatchError(.malformed, "invalid patch format of setElementOrder list")
      guard !key.isEmpty, let order = patch[directive]?.array else { throw malformed }
      patch[directive] = nil
      let member = try member(key, of: shape)
      let (present, change) = (result[key], patch[key])
      if let present, present.array == nil { throw malformed }
      if let change, change.array == nil { throw malformed }
      guard present != nil || change != nil else { continue }
      try checkOrder(of: change?.array ?? [], against: order, member.mergeKey)
      let merged: [JSONValue]
      switch (present?.array, change?.array) {
      case (let present?, let change?): merged = member.mergesList ? try self.merged(present, change, member) : change
      case (let present, let change): merged = present ?? (change ?? []).compactMap(Self.withoutDirectives)
      }
      let arranged = try ListOrder(mergeKey: member.mergeKey).arranged(
        merged, patchOrder: order, serverOrder: present?.array ?? [])
      result[key] = .array(arranged)
      patch[key] = nil
    }
  }

  /// Items of the patch stand in the order that the directive names, deletions aside.
  private func checkOrder(
    of items: [JSONValue], against order: [JSONValue], _ mergeKey: String?
  ) throws(PatchError) {
    guard !order.isEmpty else { return }
    let keys = ListOrder(mergeKey: mergeKey)
    var rest = order[...]
    for item in items where item[Directive.patch] == nil {
      let key = try keys.key(of: item)
      while let next = rest.first, try keys.key(of: next) != key { rest = rest.dropFirst() }
      guard !rest.isEmpty else {
        throw PatchError(
          .notApplicable,
          "The order in patch list:\n\(GoText.value(.array(items)))\n doesn't match $setElementOrder list:\n"
            + "\(GoText.value(.array(order)))\n")
      }
      rest = rest.dropFirst()
    }
  }

  // MARK: lists

  private func merged(
    _ original: [JSONValue], _ patch: [JSONValue], _ member: Member
  ) throws(PatchError) -> [JSONValue] {
    if original.isEmpty && patch.isEmpty { return original }
    try checkItems(original, patch)
    guard (original.first ?? patch.first)?.object != nil else {
      var seen: Set<JSONValue> = []
      let all = (original + patch).filter { seen.insert($0).inserted }
      return try ListOrder(mergeKey: nil).arranged(all, patchOrder: patch, serverOrder: original)
    }
    guard let mergeKey = member.mergeKey else {
      throw PatchError(.notApplicable, "cannot merge lists without merge key for struct")
    }
    let (kept, changes) = try withoutSpecialItems(original, patch, mergeKey)
    var merged = kept
    var places: [JSONValue: Int] = [:]
    for (place, item) in kept.enumerated() {
      if let key = item[mergeKey], places[key] == nil { places[key] = place }
    }
    for change in changes {
      let key = try ListOrder(mergeKey: mergeKey).key(of: change)
      if let place = places[key], let present = merged[place].object, let change = change.object {
        merged[place] = .object(try self.merged(present, change, member.itemShape))
      } else {
        places[key] = merged.count
        merged.append(change)
      }
    }
    return try ListOrder(mergeKey: mergeKey).arranged(merged, patchOrder: changes, serverOrder: kept)
  }

  /// All items are of one kind of value, and none is a list.
  private func checkItems(_ original: [JSONValue], _ patch: [JSONValue]) throws(PatchError) {
    guard let first = original.first ?? patch.first else { return }
    if first.array != nil { throw PatchError(.notApplicable, "lists of lists are not supported") }
    for item in original where item.kindName != first.kindName { throw notIdentical(original, patch) }
    for item in patch where item.kindName != first.kindName { throw notIdentical(original, patch) }
  }

  private func notIdentical(_ original: [JSONValue], _ patch: [JSONValue]) -> PatchError {
    PatchError(
      .notApplicable, "list element types are not identical: \(GoText.value(.array([.array(original), .array(patch)])))"
    )
  }

  /// Does what items with `$patch` say: one item to delete, or the list to replace.
  private func withoutSpecialItems(
    _ original: [JSONValue], _ patch: [JSONValue], _ mergeKey: String
  ) throws(PatchError) -> (kept: [JSONValue], changes: [JSONValue]) {
    var changes: [JSONValue] = []
    var gone: Set<JSONValue> = []
    var replaces = false
    for item in patch {
      guard let directive = item[Directive.patch] else {
        changes.append(item)
        continue
      }
      switch directive.string {
      case "delete": gone.insert(try ListOrder(mergeKey: mergeKey).key(of: item))
      case "replace": replaces = true
      case "merge": throw PatchError(.malformed, "merging lists cannot yet be specified in the patch")
      default:
        throw PatchError(.malformed, "unknown patch type: \(GoText.value(directive)) in map: \(GoText.value(item))")
      }
    }
    if replaces { return (changes, []) }
    return (gone.isEmpty ? original : original.filter { $0[mergeKey].map { !gone.contains($0) } ?? true }, changes)
  }
}

/// Puts a merged list in order: what the patch names in the patch's order, the rest where the server had it.
private struct ListOrder {
  /// Nil for scalars, which are their own keys.
  let mergeKey: String?

  func key(of item: JSONValue) throws(PatchError) -> JSONValue {
    guard let mergeKey else { return item }
    guard let key = item[mergeKey] else {
      throw PatchError(
        .notApplicable, "map: \(GoText.value(item)) does not contain declared merge key: \(mergeKey)")
    }
    return key
  }

  private func places(_ items: [JSONValue]) throws(PatchError) -> [JSONValue: Int] {
    var places: [JSONValue: Int] = [:]
    for (place, item) in items.enumerated() {
      let key = try key(of: item)
      if places[key] == nil { places[key] = place }
    }
    return places
  }

  func arranged(
    _ items: [JSONValue], patchOrder: [JSONValue], serverOrder: [JSONValue]
  ) throws(PatchError) -> [JSONValue] {
    let patchPlaces = try places(patchOrder)
    let serverPlaces = try places(serverOrder)
    var named: [(place: Int, server: Int?, item: JSONValue)] = []
    var others: [(place: Int, server: Int?, item: JSONValue)] = []
    for item in items {
      let key = try key(of: item)
      let server = serverPlaces[key]
      if let place = patchPlaces[key] {
        named.append((place, server, item))
      } else {
        others.append((others.count, server, item))
      }
    }
    // Stable: an item that stands twice keeps its order.
    named = named.enumerated().sorted { ($0.element.place, $0.offset) < ($1.element.place, $1.offset) }.map(\.element)
    var arranged: [JSONValue] = []
    var (left, right) = (others[...], named[...])
    while let next = right.first {
      if let other = left.first, let place = other.server, let nextPlace = next.server, place < nextPlace {
        arranged.append(other.item)
        left = left.dropFirst()
      } else {
        arranged.append(next.item)
        right = right.dropFirst()
      }
    }
    return arranged + left.map(\.item)
  }
}

/// Values as messages of Kubernetes show them: `map[name:x ports:[1 2]]`.
enum GoText {
  /// Characters of a value in a message; the rest is cut.
  static let charactersMax = 1024

  static func value(_ value: JSONValue) -> String {
    let text = whole(value)
    return text.count <= charactersMax ? text : text.prefix(charactersMax) + "…"
  }

  private static func whole(_ value: JSONValue) -> String {
    switch value {
    case .null: "<nil>"
    case .string(let text): text
    case .array(let items): "[" + items.map(whole).joined(separator: " ") + "]"
    case .object(let object):
      "map[" + object.members.sorted { $0.key < $1.key }.map { "\($0.key):\(whole($0.value))" }.joined(separator: " ")
        + "]"
    default: value.encodedString()
    }
  }
}
