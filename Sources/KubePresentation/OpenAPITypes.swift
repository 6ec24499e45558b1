import JSON
import KubeSchema

/// Types of the table as schemas.
struct OpenAPITypes: Sendable {
  enum Version: Sendable {
    case v2, v3

    var prefix: String { self == .v2 ? "#/definitions/" : "#/components/schemas/" }
  }

  /// The body of a patch is any object.
  static let patch = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch"

  private let schema: Schema
  /// Scalars that have a name of their own, such as quantities.
  private let scalars: [SchemaValueType: String]
  /// Types that are not in the table, by name.
  private let custom: [String: CustomKind]

  init(_ schema: Schema, _ custom: [CustomKind] = []) {
    self.schema = schema
    self.custom = Dictionary(
      custom.flatMap { [($0.typeName, $0), ($0.listTypeName, $0)] }, uniquingKeysWith: { first, _ in first })
    var scalars: [SchemaValueType: String] = [:]
    for type in schema.types.values where type.valueType.objectName == nil { scalars[type.valueType] = type.name }
    self.scalars = scalars
  }

  /// The kinds of a group and version, whether resources answer with them or not.
  func kinds(of version: GroupVersion) -> [String] {
    schema.types.values.filter { type in
      type.kinds.contains { $0.group == version.group && $0.version == version.version }
    }.map(\.name)
      + custom.filter { $0.value.kind.group == version.group && $0.value.kind.version == version.version }.map(\.key)
  }

  /// These types and all that they refer to, sorted.
  func reachable(from roots: Set<String>) -> [String] {
    var found = roots
    var open = Array(roots)
    while let name = open.popLast() {
      for next in custom[name]?.references ?? [] where found.insert(next).inserted { open.append(next) }
      for field in schema.types[name]?.orderedFields ?? [] {
        guard let next = reference(field.valueType), found.insert(next).inserted else { continue }
        open.append(next)
      }
    }
    return found.sorted()
  }

  private func reference(_ type: SchemaValueType) -> String? {
    switch type {
    case .list(let inner), .map(let inner): reference(inner)
    case .object(let name): name
    default: scalars[type]
    }
  }

  // MARK: definitions

  func definition(_ name: String, _ version: Version) -> JSONValue {
    if let kind = custom[name] {
      return name == kind.typeName ? kind.definition(version) : kind.listDefinition(version)
    }
    guard let type = schema.types[name] else { return ["type": "object"] }
    var definition = JSONObject()
    if let text = Descriptions.type(type.shortName) { definition["description"] = .string(text) }
    guard case .object = type.valueType else {
      for (key, value) in scalar(type.valueType, version).members { definition[key] = value }
      return .object(definition)
    }
    definition["type"] = "object"
    let required = type.orderedFields.filter(\.isRequired).map(\.name)
    if !required.isEmpty { definition["required"] = JSONValue(required) }
    if !type.orderedFields.isEmpty {
      var properties = JSONObject()
      for field in type.orderedFields { properties[field.name] = .object(property(field, of: type, version)) }
      definition["properties"] = .object(properties)
    }
    if !type.kinds.isEmpty {
      definition["x-kubernetes-group-version-kind"] = .array(type.kinds.map(\.openAPI))
    }
    if type.isAtomic { definition["x-kubernetes-map-type"] = "atomic" }
    return .object(definition)
  }

  private func property(_ field: SchemaField, of type: SchemaType, _ version: Version) -> JSONObject {
    var property = value(field.valueType, version)
    let description = Descriptions.field(field.name, of: type.shortName)
    let shown = shownDefault(field, version)
    // In version 3 nothing may stand beside a reference.
    if version == .v3, let reference = property["$ref"], description != nil || shown != nil {
      property = ["allOf": [["$ref": reference]]]
    }
    if let description { property["description"] = .string(description) }
    if let shown { property["default"] = shown }
    if !field.enumValues.isEmpty { property["enum"] = JSONValue(field.enumValues) }
    if let listType = field.listType {
      let isList = if case .list = field.valueType { true } else { false }
      property[isList ? "x-kubernetes-list-type" : "x-kubernetes-map-type"] = .string(
        isList || listType != .map ? listType.rawValue : "granular")
    }
    if !field.listMapKeys.isEmpty { property["x-kubernetes-list-map-keys"] = JSONValue(field.listMapKeys) }
    if let key = field.patchMergeKey { property["x-kubernetes-patch-merge-key"] = .string(key) }
    var strategy: [String] = []
    if field.patchStrategy.contains(.merge) { strategy.append("merge") }
    if field.patchStrategy.contains(.retainKeys) { strategy.append("retainKeys") }
    if !strategy.isEmpty { property["x-kubernetes-patch-strategy"] = .string(strategy.joined(separator: ",")) }
    return property
  }

  /// Version 2 knows only defaults that say something.
  private func shownDefault(_ field: SchemaField, _ version: Version) -> JSONValue? {
    version == .v3 ? field.publishedDefault : field.publishedDefault == nil ? nil : field.default
  }

  private func value(_ type: SchemaValueType, _ version: Version) -> JSONObject {
    switch type {
    case .list(let item): ["type": "array", "items": .object(value(item, version))]
    case .map(let member): ["type": "object", "additionalProperties": .object(value(member, version))]
    case .object(let name): ["$ref": .string(version.prefix + name)]
    default: scalars[type].map { ["$ref": .string(version.prefix + $0)] } ?? scalar(type, version)
    }
  }

  private func scalar(_ type: SchemaValueType, _ version: Version) -> JSONObject {
    switch type {
    case .string: ["type": "string"]
    case .bool: ["type": "boolean"]
    case .int32: ["type": "integer", "format": "int32"]
    case .int64: ["type": "integer", "format": "int64"]
    case .double: ["type": "number", "format": "double"]
    case .bytes: ["type": "string", "format": "byte"]
    case .time, .microTime: ["type": "string", "format": "date-time"]
    case .quantity:
      version == .v2 ? ["type": "string"] : ["oneOf": [["type": "string"], ["type": "number"]]]
    case .intOrString:
      version == .v2
        ? ["type": "string", "format": "int-or-string"]
        : ["format": "int-or-string", "oneOf": [["type": "integer"], ["type": "string"]]]
    default: ["type": "object"]
    }
  }
}

extension GroupVersionKind {
  var openAPI: JSONValue { ["group": .string(group), "kind": .string(kind), "version": .string(version)] }
}
