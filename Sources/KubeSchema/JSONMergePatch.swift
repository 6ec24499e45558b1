package import JSON

/// JSON merge patch: RFC 7386.
package enum JSONMergePatch {
  /// Members of the patch replace those of the value, objects merge, null removes.
  package static func apply(_ patch: JSONValue, to value: JSONValue) -> JSONValue {
    guard case .object(let changes) = patch else { return patch }
    var merged = value.object ?? JSONObject()
    for (key, change) in changes.members {
      if change.isNull {
        merged[key] = nil
      } else {
        merged[key] = apply(change, to: merged[key] ?? .null)
      }
    }
    return .object(merged)
  }
}
