package import JSON

/// JSON merge patch: RFC 7386.
package enum JSONMergePatch {
  /// Members of the patch replace those of the value, objects merge, null removes.
  package static func apply(_ patch: JSONValue, to value: JSONValue) -> JSONValue {
    guard case .object(let changes) = patch else { return patch }
    var merged = value.object ?? JSONObject()
    let gone = changes.nullKeys
    if !gone.isEmpty { merged.removeAll { key, _ in gone.contains(key) } }
    for (key, change) in changes.members where !change.isNull {
      merged[key] = apply(change, to: merged[key] ?? .null)
    }
    return .object(merged)
  }
}

extension JSONObject {
  /// What a patch removes: many members go in one pass.
  var nullKeys: Set<String> {
    var keys: Set<String> = []
    for (key, value) in members where value.isNull { keys.insert(key) }
    return keys
  }
}
