package import CEL
package import JSON

/// What expressions know of values by their schema.
///
/// https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules
extension CELType {
  /// Schemas within schemas; definitions are held to less.
  private static let depthMax = 64

  /// - Parameter isRoot: of a whole object, whose metadata has a name.
  package static func structural(_ schema: JSONValue, isRoot: Bool = false, depth: Int = 0) -> CELType {
    guard depth < depthMax, schema["x-kubernetes-int-or-string"]?.bool != true else { return .dyn }
    switch schema["type"]?.string {
    case "string":
      switch schema["format"]?.string {
      case "date-time", "date": return .timestamp
      case "duration": return .duration
      case "byte": return .bytes
      default: return .string
      }
    case "integer": return .int
    case "number": return .double
    case "boolean": return .bool
    case "array": return .list(structural(schema["items"] ?? [:], depth: depth + 1))
    case "object":
      if let additional = schema["additionalProperties"], additional.object != nil {
        return .map(structural(additional, depth: depth + 1))
      }
      return object(schema, isRoot, depth)
    default: return .dyn
    }
  }

  private static func object(_ schema: JSONValue, _ isRoot: Bool, _ depth: Int) -> CELType {
    var fields: [String: CELType] = [:]
    for (name, property) in schema["properties"]?.object?.members ?? [] {
      if let escaped = CELNames.escaped(name) { fields[escaped] = structural(property, depth: depth + 1) }
    }
    if isRoot || schema["x-kubernetes-embedded-resource"]?.bool == true {
      (fields["apiVersion"], fields["kind"]) = (.string, .string)
      fields["metadata"] = .object(
        CELObjectType(name: "object", fields: ["name": .string, "generateName": .string]))
    }
    return .object(CELObjectType(name: "object", fields: fields))
  }
}

extension StructuralSchema {
  /// A value as expressions see it: what the schema does not name is not there.
  func expressionValue(_ value: JSONValue, isRoot: Bool = false) -> CELValue {
    if isIntOrString { return CELValue(value) }
    switch (type, value) {
    case ("number", .integer(let whole)): return .double(Double(whole))
    case ("integer", _): return value.integer.map { .int($0) } ?? CELValue(value)
    case ("string", .string(let text)): return formatted(text)
    case ("array", .array(let array)):
      return .list(array.map { item in items?.expressionValue(item) ?? CELValue(item) })
    case ("object", .object(let object)): return members(object, isRoot)
    default: return CELValue(value)
    }
  }

  private func formatted(_ text: String) -> CELValue {
    switch rules.format {
    case "date-time", "date": CELTime(text).map { .timestamp($0) } ?? .string(text)
    case "duration": CELDuration(text).map { .duration($0) } ?? .string(text)
    case "byte": Base64Text.decode(text).map { .bytes($0) } ?? .string(text)
    default: .string(text)
    }
  }

  private func members(_ object: JSONObject, _ isRoot: Bool) -> CELValue {
    var map = CELMap()
    if let additional {
      for (key, member) in object.members { map[key] = additional.expressionValue(member) }
      return .map(map)
    }
    for (key, member) in object.members {
      if let property = properties[key], let name = CELNames.escaped(key) {
        map[name] = property.expressionValue(member)
      } else if isRoot || isEmbedded {
        if key == "apiVersion" || key == "kind" { map[key] = CELValue(member) }
        if key == "metadata" {
          var metadata = CELMap()
          for name in ["name", "generateName"] {
            if let text = member[name]?.string { metadata[name] = .string(text) }
          }
          map[key] = .map(metadata)
        }
      }
    }
    return .map(map)
  }
}
