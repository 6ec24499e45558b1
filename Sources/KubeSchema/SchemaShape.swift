package import JSON

extension Schema {
  /// The value without the fields that its type does not have.
  package func pruned(_ value: JSONValue, as type: SchemaType) -> JSONValue { pruned(value, type.valueType) }

  private func pruned(_ value: JSONValue, _ type: SchemaValueType) -> JSONValue {
    switch (type, value) {
    case (.object(let name), .object(let object)):
      guard let type = types[name] else { return value }
      var kept = JSONObject()
      for (key, member) in object.members {
        if let field = type.fields[key] { kept[key] = pruned(member, field.valueType) }
      }
      return .object(kept)
    case (.list(let item), .array(let items)): return .array(items.map { pruned($0, item) })
    case (.map(let member), .object(let object)):
      var kept = JSONObject()
      for (key, inner) in object.members { kept[key] = pruned(inner, member) }
      return .object(kept)
    default: return value
    }
  }

  /// The value with the defaults of Kubernetes where fields are absent or null. Idempotent.
  package func defaulted(_ value: JSONValue, as type: SchemaType) -> JSONValue { value }
}
