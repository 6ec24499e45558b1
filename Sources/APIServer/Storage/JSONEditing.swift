import JSON

extension JSONObject {
  /// The member as an object; an absent one, or one of another kind, is empty. Setting an empty one keeps it.
  subscript(object key: String) -> JSONObject {
    get { self[key]?.object ?? [:] }
    set { self[key] = .object(newValue) }
  }

  /// The member as text; an absent one is empty.
  func text(_ key: String) -> String { self[key]?.string ?? "" }

  /// Sets a member that is absent, null or an empty text.
  mutating func setDefault(_ key: String, _ value: @autoclosure () -> JSONValue) {
    switch self[key] {
    case nil, .null, .string(""): self[key] = value()
    default: return
    }
  }

  /// Sets what stands at a path of members.
  mutating func set(_ value: JSONValue, at path: [String]) {
    guard let first = path.first else { return }
    if path.count == 1 {
      self[first] = value
    } else {
      self[object: first].set(value, at: Array(path.dropFirst()))
    }
  }

  /// Members without those of these names.
  func without(_ keys: String...) -> JSONObject {
    var object = self
    for key in keys { object[key] = nil }
    return object
  }
}

extension JSONValue {
  /// The text at a path of members; empty where there is none.
  func text(_ path: String...) -> String { at(path)?.string ?? "" }

  /// What stands at a path of members.
  func at(_ path: [String]) -> JSONValue? {
    var value = self
    for key in path {
      guard let next = value[key] else { return nil }
      value = next
    }
    return value
  }

  /// The strings of a map.
  var stringMap: [String: String] {
    guard let object else { return [:] }
    var map: [String: String] = [:]
    for key in object.keys { map[key] = object[key]?.string }
    return map
  }
}

/// What the handlers ask of an object's metadata.
struct ObjectMetadata {
  let object: JSONObject

  init(_ document: JSONObject) { object = document[object: "metadata"] }
  init(_ document: JSONValue) { object = document["metadata"]?.object ?? [:] }

  var name: String { object.text("name") }
  var namespace: String { object.text("namespace") }
  var uid: String { object.text("uid") }
  var resourceVersion: String { object.text("resourceVersion") }
  var generation: Int64 { object["generation"]?.integer ?? 0 }
  var deletionTimestamp: String? { object["deletionTimestamp"]?.string }
  var deletionGraceSeconds: Int64? { object["deletionGracePeriodSeconds"]?.integer }
  var finalizers: [String] { object["finalizers"]?.array?.compactMap(\.string) ?? [] }
  var labels: [String: String] { object["labels"]?.stringMap ?? [:] }
}
