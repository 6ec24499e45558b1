package import JSON
package import KubeSchema

/// A kind that a definition describes, as the published schema shows it.
package struct CustomKind: Sendable {
  package let kind: GroupVersionKind
  private let listKind: String
  private let schema: JSONValue

  /// - Parameters:
  ///   - listKind: `WidgetList`
  ///   - schema: `openAPIV3Schema` of the definition's version.
  package init(_ kind: GroupVersionKind, listKind: String, schema: JSONValue) {
    (self.kind, self.listKind, self.schema) = (kind, listKind, schema)
  }

  /// `com.example.v1.Widget`
  var typeName: String { name(kind.kind) }
  var listTypeName: String { name(listKind) }

  private func name(_ kind: String) -> String {
    let group = self.kind.group.split(separator: ".").reversed().joined(separator: ".")
    return "\(group).\(self.kind.version).\(kind)"
  }

  private static let objectMeta = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
  private static let listMeta = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta"

  /// The types of the table that are referred to.
  var references: [String] { [typeName, Self.objectMeta, Self.listMeta] }

  private static let heads: JSONObject = [
    "apiVersion": ["type": "string", "description": "The version of the group, and the group, that the object is of."],
    "kind": ["type": "string", "description": "The name of what the object is."],
  ]

  /// A reference with a description beside it, which version 3 does not allow directly.
  private func reference(_ name: String, _ description: String, _ version: OpenAPITypes.Version) -> JSONValue {
    let target: JSONValue = ["$ref": .string(version.prefix + name)]
    return version == .v2
      ? ["$ref": .string(version.prefix + name), "description": .string(description)]
      : ["description": .string(description), "allOf": [target]]
  }

  func definition(_ version: OpenAPITypes.Version) -> JSONValue {
    var shown = (version == .v2 ? Self.simplified(schema) : schema).object ?? [:]
    shown["type"] = "object"
    // What keeps all that it is given says nothing of its members in version 2, not even those that all kinds have.
    var properties = shown["properties"]?.object ?? [:]
    for (key, value) in Self.heads.members { properties[key] = value }
    properties["metadata"] = reference(Self.objectMeta, "What every object says of itself.", version)
    shown["properties"] = .object(properties)
    shown["x-kubernetes-group-version-kind"] = .array([kind.openAPI])
    return .object(shown)
  }

  func listDefinition(_ version: OpenAPITypes.Version) -> JSONValue {
    var properties = Self.heads
    properties["items"] = [
      "type": "array", "description": "The objects.", "items": ["$ref": .string(version.prefix + typeName)],
    ]
    properties["metadata"] = reference(Self.listMeta, "What every list says of itself.", version)
    let listed = GroupVersionKind(group: kind.group, version: kind.version, kind: listKind)
    return [
      "type": "object", "description": .string("A list of \(kind.kind)."), "required": ["items"],
      "properties": .object(properties), "x-kubernetes-group-version-kind": .array([listed.openAPI]),
    ]
  }

  /// Schemas within schemas; definitions are held to less.
  private static let depthMax = 64

  /// What version 2 can say of a schema: what it cannot is left out, so that clients do not refuse what is right.
  private static func simplified(_ schema: JSONValue, depth: Int = 0) -> JSONValue {
    guard var shown = schema.object, depth < depthMax else { return [:] }
    for key in ["oneOf", "anyOf", "allOf", "not", "x-kubernetes-validations"] { shown[key] = nil }
    if shown["nullable"]?.bool == true {
      for key in ["type", "items", "properties", "additionalProperties"] { shown[key] = nil }
    }
    shown["nullable"] = nil
    if shown["x-kubernetes-int-or-string"]?.bool == true {
      shown["type"] = "string"
      shown["format"] = "int-or-string"
    }
    if shown["x-kubernetes-preserve-unknown-fields"]?.bool == true {
      for key in ["items", "properties"] { shown[key] = nil }
      if depth > 0 { shown["type"] = nil }
    }
    // A default in version 2 would be filled in by clients.
    shown["default"] = nil
    if let properties = shown["properties"]?.object {
      var kept = JSONObject()
      for (key, value) in properties.members { kept[key] = simplified(value, depth: depth + 1) }
      shown["properties"] = .object(kept)
    }
    for key in ["items", "additionalProperties"] {
      if let value = shown[key], value.object != nil { shown[key] = simplified(value, depth: depth + 1) }
    }
    return .object(shown)
  }
}
