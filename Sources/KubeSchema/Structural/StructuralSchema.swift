package import JSON

/// The schema of a custom resource, or of a part of one.
///
/// https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema
package final class StructuralSchema: Sendable {
  package let type: String
  package let properties: [String: StructuralSchema]
  /// Of members that `properties` does not name; nil where there is no schema for them.
  package let additional: StructuralSchema?
  package let items: StructuralSchema?
  let preservesUnknown: Bool
  let isEmbedded: Bool
  let isIntOrString: Bool
  let isNullable: Bool
  let `default`: JSONValue?
  let required: [String]
  let listType: String
  let listMapKeys: [String]
  let mapType: String
  let rules: StructuralRules
  let expressions: [ExpressionRule]
  /// Whether rules in CEL stand anywhere in it.
  package let hasExpressions: Bool
  /// As it was written.
  package let json: JSONValue

  /// Schemas within schemas.
  private static let depthMax = 64

  package init(_ json: JSONValue, depth: Int = 0) throws(StructuralProblem) {
    guard depth < Self.depthMax else { throw StructuralProblem("a schema nests deeper than \(Self.depthMax)") }
    self.json = json
    type = json["type"]?.string ?? ""
    var properties: [String: StructuralSchema] = [:]
    for (key, value) in json["properties"]?.object?.members ?? [] {
      properties[key] = try StructuralSchema(value, depth: depth + 1)
    }
    self.properties = properties
    switch json["additionalProperties"] {
    case .object(let object): additional = try StructuralSchema(.object(object), depth: depth + 1)
    case .bool(true):
      additional = try StructuralSchema(["x-kubernetes-preserve-unknown-fields": true], depth: depth + 1)
    default: additional = nil
    }
    items = try json["items"].flatMap { value throws(StructuralProblem) in
      value.object == nil ? nil : try StructuralSchema(value, depth: depth + 1)
    }
    func flag(_ key: String) -> Bool { json[key]?.bool ?? false }
    preservesUnknown = flag("x-kubernetes-preserve-unknown-fields")
    isEmbedded = flag("x-kubernetes-embedded-resource")
    isIntOrString = flag("x-kubernetes-int-or-string")
    isNullable = flag("nullable")
    self.default = json["default"]
    required = json["required"]?.array?.compactMap(\.string) ?? []
    listType = json["x-kubernetes-list-type"]?.string ?? ""
    listMapKeys = json["x-kubernetes-list-map-keys"]?.array?.compactMap(\.string) ?? []
    mapType = json["x-kubernetes-map-type"]?.string ?? ""
    rules = try StructuralRules(json, depth: depth)
    expressions = try ExpressionRule.rules(of: json, type: .structural(json, isRoot: depth == 0))
    hasExpressions =
      !expressions.isEmpty || properties.values.contains(where: \.hasExpressions) || items?.hasExpressions ?? false
      || additional?.hasExpressions ?? false
  }

  // MARK: Server-side apply

  func applyMember(_ key: String) -> (shape: ApplyShape, isField: Bool) {
    if let property = properties[key] { return (.structural(property), true) }
    if let additional { return (.structural(additional), false) }
    return (.deduced, false)
  }

  func applyShape(for value: JSONValue) -> ApplyShape {
    switch value {
    case .object:
      if mapType == "atomic" { return .whole }
      return properties.isEmpty && additional == nil ? .map(.deduced) : .structural(self)
    case .array:
      guard let items else { return .whole }
      switch listType {
      case "set": return .set
      case "map":
        return .items(keys: listMapKeys.map { ($0, items.properties[$0]?.default) }, .structural(items))
      default: return .whole
      }
    default: return .whole
    }
  }

  // MARK: Pruning and defaults

  /// The value without what the schema does not name.
  /// - Parameter unknown: gets the paths of what went.
  package func pruned(_ value: JSONValue, at path: String, unknown: inout [String]) -> JSONValue {
    switch value {
    case .object(let object):
      var kept = JSONObject()
      for (key, member) in object.members {
        let place = path.isEmpty ? key : "\(path).\(key)"
        if let property = properties[key] {
          kept[key] = property.pruned(member, at: place, unknown: &unknown)
        } else if isEmbedded, ["apiVersion", "kind", "metadata"].contains(key) {
          kept[key] = member
        } else if let additional {
          kept[key] = additional.pruned(member, at: place, unknown: &unknown)
        } else if preservesUnknown {
          kept[key] = member
        } else {
          unknown.append(place)
        }
      }
      return .object(kept)
    case .array(let array):
      guard let items else { return value }
      var kept: [JSONValue] = []
      for (place, item) in array.enumerated() {
        kept.append(items.pruned(item, at: "\(path)[\(place)]", unknown: &unknown))
      }
      return .array(kept)
    default: return value
    }
  }

  package func defaulted(_ value: JSONValue) -> JSONValue {
    switch value {
    case .object(var object):
      for (key, property) in properties {
        if let `default` = property.default, object[key] == nil || (object[key] == .null && !property.isNullable) {
          object[key] = `default`
        }
        if let member = object[key] { object[key] = property.defaulted(member) }
      }
      if let additional {
        for key in object.keys where properties[key] == nil {
          if let member = object[key] { object[key] = additional.defaulted(member) }
        }
      }
      return .object(object)
    case .array(let array): return items.map { items in .array(array.map { items.defaulted($0) }) } ?? value
    default: return value
    }
  }
}

/// Why a schema cannot be used.
package struct StructuralProblem: Error, Hashable, Sendable, CustomStringConvertible {
  package let description: String
  init(_ description: String) { self.description = description }
}
