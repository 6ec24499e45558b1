package import JSON

/// Who owns which fields of an object: `metadata.managedFields`.
package struct ManagedFields: Hashable, Sendable {
  package struct Manager: Hashable, Sendable {
    package var name: String
    /// `Apply`, else `Update`.
    package var applies: Bool
    /// Of the object, when the manager wrote; of one who applies it is the last that was used.
    package var apiVersion: String
    package var subresource: String

    package init(name: String, applies: Bool, apiVersion: String, subresource: String = "") {
      self.name = name
      self.applies = applies
      self.apiVersion = apiVersion
      self.subresource = subresource
    }

    /// One who applies is the same whatever version it uses.
    fileprivate func isSame(_ other: Manager) -> Bool {
      name == other.name && applies == other.applies && subresource == other.subresource
        && (applies || apiVersion == other.apiVersion)
    }

    /// As messages about conflicts name it.
    package var words: String {
      var text = "\"\(name)\""
      if !subresource.isEmpty { text += " with subresource \"\(subresource)\"" }
      return applies ? text : "\(text) using \(apiVersion)"
    }
  }

  package struct Entry: Hashable, Sendable {
    package var manager: Manager
    package var fields: FieldSet
    package var time: String
  }

  /// Somebody else's field that an apply would change.
  package struct Conflict: Hashable, Sendable {
    package let manager: Manager
    package let path: String
  }

  /// Managers that update; the oldest beyond that become one.
  private static let updatersMax = 10

  package var entries: [Entry] = []

  package init() {}

  package init(json: JSONValue?) {
    for item in json?.array ?? [] {
      guard let name = item["manager"]?.string, let fields = item["fieldsV1"] else { continue }
      entries.append(
        Entry(
          manager: Manager(
            name: name, applies: item["operation"]?.string == "Apply", apiVersion: item["apiVersion"]?.string ?? "",
            subresource: item["subresource"]?.string ?? ""),
          fields: FieldSet(json: fields), time: item["time"]?.string ?? ""))
    }
  }

  package var isEmpty: Bool { entries.isEmpty }

  /// To compare two records by what they say of fields.
  package var withoutTimes: Set<Entry> {
    Set(
      entries.map { entry in
        var entry = entry
        entry.time = ""
        return entry
      })
  }

  /// Nil where there are none.
  package var json: JSONValue? {
    guard !entries.isEmpty else { return nil }
    let sorted = entries.sorted { left, right in
      let (one, other) = (left.manager, right.manager)
      if one.applies != other.applies { return one.applies }
      if left.time != right.time { return left.time < right.time }
      if one.name != other.name { return one.name < other.name }
      return (one.apiVersion, one.subresource) < (other.apiVersion, other.subresource)
    }
    return .array(
      sorted.map { entry in
        var object: JSONObject = [
          "manager": .string(entry.manager.name), "operation": entry.manager.applies ? "Apply" : "Update",
          "apiVersion": .string(entry.manager.apiVersion),
        ]
        if !entry.time.isEmpty { object["time"] = .string(entry.time) }
        object["fieldsType"] = "FieldsV1"
        object["fieldsV1"] = entry.fields.json
        if !entry.manager.subresource.isEmpty { object["subresource"] = .string(entry.manager.subresource) }
        return .object(object)
      })
  }

  package func fields(of manager: Manager) -> FieldSet? { entries.first { $0.manager.isSame(manager) }?.fields }

  /// What all the others own.
  package func fields(besides manager: Manager) -> FieldSet {
    entries.filter { !$0.manager.isSame(manager) }.reduce(FieldSet()) { $0.union($1.fields) }
  }

  package func conflicts(_ manager: Manager, _ changed: FieldSet) -> [Conflict] {
    entries.filter { !$0.manager.isSame(manager) }.flatMap { entry in
      entry.fields.intersection(changed).paths.map { Conflict(manager: entry.manager, path: $0) }
    }
  }

  /// Fields that nobody owns: the server sets them, and their values mean nothing to an owner.
  package static let ignored: FieldSet = {
    var set = FieldSet()
    for name in ["apiVersion", "kind"] { set.insert(["f:\(name)"]) }
    for name in [
      "name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation", "managedFields",
      "resourceVersion",
    ] { set.insert(["f:metadata", "f:\(name)"]) }
    return set
  }()

  private static func owned(_ fields: FieldSet) -> FieldSet {
    var rest = fields.subtractingTrees(ignored)
    rest.isMember = false
    if var metadata = rest.children["f:metadata"] {
      metadata.isMember = false
      rest.children["f:metadata"] = metadata.isEmpty ? nil : metadata
    }
    return rest
  }

  /// Takes from the others what changed and what went.
  private mutating func takeFromOthers(_ manager: Manager, _ difference: ApplyShape.Difference) {
    let changed = difference.changed
    for place in entries.indices where !entries[place].manager.isSame(manager) {
      entries[place].fields = entries[place].fields.subtracting(changed).subtracting(difference.removed)
    }
    entries.removeAll { $0.fields.isEmpty }
  }

  private mutating func set(_ manager: Manager, _ fields: FieldSet, time: String) {
    let owned = Self.owned(fields)
    let place = entries.firstIndex { $0.manager.isSame(manager) }
    guard !owned.isEmpty else {
      if let place { entries.remove(at: place) }
      return
    }
    if let place {
      entries[place].manager = manager
      if entries[place].fields != owned || manager.applies {
        entries[place].fields = owned
        entries[place].time = time
      }
    } else {
      entries.append(Entry(manager: manager, fields: owned, time: time))
    }
  }

  /// A write that is no apply: what it changed is the writer's.
  package mutating func update(_ manager: Manager, _ difference: ApplyShape.Difference, time: String) {
    takeFromOthers(manager, difference)
    let before = fields(of: manager) ?? FieldSet()
    set(manager, before.subtracting(difference.removed).union(difference.changed), time: time)
    joinOldest()
  }

  /// An apply that may be done: the applied fields are the manager's.
  package mutating func apply(
    _ manager: Manager, _ fields: FieldSet, _ difference: ApplyShape.Difference, time: String
  ) {
    takeFromOthers(manager, difference)
    set(manager, fields, time: time)
  }

  private mutating func joinOldest() {
    var updaters = entries.indices.filter { !entries[$0].manager.applies && entries[$0].manager.subresource.isEmpty }
    guard updaters.count > Self.updatersMax else { return }
    updaters.sort { entries[$0].time < entries[$1].time }
    let oldest = updaters.prefix(updaters.count - Self.updatersMax + 1)
    var joined: [String: Entry] = [:]
    for place in oldest {
      let entry = entries[place]
      var ancient = joined[entry.manager.apiVersion] ?? entry
      ancient.manager.name = "ancient-changes"
      ancient.fields = ancient.fields.union(entry.fields)
      ancient.time = max(ancient.time, entry.time)
      joined[entry.manager.apiVersion] = ancient
    }
    for place in oldest.sorted(by: >) { entries.remove(at: place) }
    entries += joined.values
  }
}
