package import JSON

extension Schema {
  /// Applies a strategic merge patch: objects merge, lists merge by the keys that the table names, null removes.
  package func strategicMergePatch(
    _ value: JSONValue, patch: JSONValue, as type: SchemaType
  ) throws(PatchError) -> JSONValue {
    throw PatchError(.malformed, "strategic merge patch is not supported")
  }
}
