package import JSON

/// JSON patch: RFC 6902.
package enum JSONPatch {
  package static func apply(_ operations: JSONValue, to value: JSONValue) throws(PatchError) -> JSONValue {
    throw PatchError(.malformed, "JSON patch is not supported")
  }
}
