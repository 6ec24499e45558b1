import JSON
package import KubeModel
package import KubeSchema

/// A resource of the table, as the handlers need it.
package struct ServedResource: Sendable {
  package let type: ResourceType
  let schema: SchemaType
  let verbs: Set<String>
  let strategy: Strategy
  /// Kinds of the subresources by their names: `status`, `scale`.
  let subresources: [String: Subresource]
  /// What every stored document of the resource begins with, up to the first member of its metadata.
  let head: [UInt8]
  /// Of the keys: `/pods/`, `/deployments.apps/`.
  let prefix: String
  let qualified: QualifiedResource
  /// Nil for a resource of the table.
  let custom: CustomResource?
  /// Another version of a resource that is stored as it says; nil where this one is stored.
  let alias: Conversions.Alias?

  struct Subresource: Sendable {
    var kind: String
    var verbs: Set<String>
  }

  init(
    type: ResourceType, schema: SchemaType, verbs: Set<String>, strategy: Strategy,
    subresources: [String: Subresource], custom: CustomResource? = nil
  ) {
    self.type = type
    self.custom = custom
    self.schema = schema
    self.verbs = verbs
    self.strategy = strategy
    self.subresources = subresources
    qualified = QualifiedResource(group: type.group, resource: type.plural)
    alias = Conversions.alias(apiVersion: type.apiVersion, plural: type.plural)
    let stored = GroupVersionKind(apiVersion: alias?.storedAPIVersion ?? type.apiVersion, kind: type.kind)
    prefix = "/\(QualifiedResource(group: stored.group, resource: type.plural))/"
    head = Array("{\"kind\":\"\(stored.kind)\",\"apiVersion\":\"\(stored.apiVersion)\",\"metadata\":{".utf8)
  }

  var kind: String { type.kind }
  /// Other forms of the same objects are stored or spoken: none is as the bytes of the store are.
  var isConverted: Bool { alias != nil || custom?.conversion.isNeeded == true }
  var hasStatus: Bool { subresources["status"] != nil }

  /// How server-side apply sees the resource's objects.
  func applyShape(_ schema: Schema) -> ApplyShape {
    if let custom { return schema.applyShape(self.schema, custom.schema) }
    return ApplyShape.of(self.schema, schema)
  }

  /// The path of a field that the schema does not have; nil where there is none.
  func undeclared(in object: JSONObject, _ schema: Schema) -> String? {
    if let custom {
      var unknown: [String] = []
      let rest = JSONValue.object(object.without("apiVersion", "kind", "metadata"))
      _ = custom.schema.pruned(rest, at: "", unknown: &unknown)
      return unknown.first.map { ".\($0)" }
    }
    return schema.check(.object(object), as: self.schema).first(where: \.isUnknownField).map { ".\($0.path)" }
  }

  func key(namespace: String, name: String) -> String {
    type.isNamespaced ? "\(prefix)\(namespace)/\(name)" : "\(prefix)\(name)"
  }

  /// Of the keys of a namespace's objects, or of all.
  func prefix(namespace: String) -> String {
    type.isNamespaced && !namespace.isEmpty ? "\(prefix)\(namespace)/" : prefix
  }

  /// The document as it is stored: kind, version and metadata first, without what depends on the revision.
  func stored(_ spoken: JSONObject) -> [UInt8] {
    var document = alias.map { Conversions.stored(spoken, from: $0) } ?? spoken
    var apiVersion = alias?.storedAPIVersion ?? type.apiVersion
    if let conversion = custom?.conversion, conversion.storageVersion != type.version {
      document["apiVersion"] = .string(type.apiVersion)
      // What could not be converted stays as it was written, and says so.
      if let converted = conversion.known(document, to: conversion.storageVersion) {
        document = converted
        apiVersion = "\(type.group)/\(conversion.storageVersion)"
      }
    }
    var metadata = document[object: "metadata"].without("resourceVersion", "selfLink")
    if metadata["creationTimestamp"]?.isNull == true { metadata["creationTimestamp"] = nil }
    var ordered: JSONObject = [
      "kind": .string(type.kind), "apiVersion": .string(apiVersion),
      "metadata": .object(metadata),
    ]
    for (key, value) in document.members where ordered[key] == nil { ordered[key] = value }
    return JSONValue.object(ordered).encoded()
  }

  /// A stored document as it is answered: with the revision of its last change; 0 for one that was not stored.
  func answer(_ value: [UInt8], revision: Int64) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(value.count + 40)
    append(value, revision: revision, to: &bytes)
    return bytes
  }

  func append(_ value: [UInt8], revision: Int64, to bytes: inout [UInt8]) {
    bytes += head
    if revision > 0 {
      bytes += "\"resourceVersion\":\"".utf8
      appendDecimal(revision, to: &bytes)
      bytes += "\",".utf8
    }
    bytes += value[min(head.count, value.count)...]
  }
}

/// Digits of a number that is not negative, without a String on the way.
func appendDecimal(_ number: Int64, to bytes: inout [UInt8]) {
  guard number >= 10 else {
    bytes.append(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: max(0, number)))
    return
  }
  let start = bytes.count
  var rest = number
  while rest > 0 {
    bytes.append(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10))
    rest /= 10
  }
  bytes[start...].reverse()
}

/// Every resource that is served, by group, version and plural.
package struct ServedResources: Sendable {
  private let byPath: [String: ServedResource]
  /// Those of the table.
  let tableRows: [ServedResource]
  /// Those that definitions in the store describe.
  let custom: CustomResources

  package init(_ schema: Schema, _ custom: CustomResources) {
    self.custom = custom
    var found: [ServedResource] = []
    var children: [String: [String: ServedResource.Subresource]] = [:]
    for row in schema.resources {
      guard let subresource = row.subresource else { continue }
      children["\(row.apiVersion)/\(row.resource)", default: [:]][subresource] =
        .init(kind: row.kind, verbs: Set(row.verbs))
    }
    for row in schema.resources where row.subresource == nil {
      guard let type = schema.type(apiVersion: row.apiVersion, kind: row.kind) else { continue }
      let resource = ResourceType(
        group: row.group, version: row.version, plural: row.resource, kind: row.kind, isNamespaced: row.isNamespaced)
      found.append(
        ServedResource(
          type: resource, schema: type, verbs: Set(row.verbs),
          strategy: Self.strategy(row),
          subresources: children["\(row.apiVersion)/\(row.resource)"] ?? [:]))
    }
    tableRows = found
    byPath = Dictionary(uniqueKeysWithValues: found.map { ("\($0.type.apiVersion)/\($0.type.plural)", $0) })
  }

  package func resource(apiVersion: String, plural: String) -> ServedResource? {
    byPath["\(apiVersion)/\(plural)"] ?? custom.resource(apiVersion: apiVersion, plural: plural)
  }

  package var all: [ServedResource] { tableRows + custom.current.all }

  /// What is stored as another version is selected by that version's fields.
  private static func strategy(_ row: ResourceRow) -> Strategy {
    let alias = Conversions.alias(apiVersion: row.apiVersion, plural: row.resource)
    let stored = GroupVersionKind(apiVersion: alias?.storedAPIVersion ?? row.apiVersion, kind: row.kind)
    return Strategy.of(group: stored.group, resource: row.resource)
  }

  /// Those that have a list of objects.
  var stored: [ServedResource] { all.filter { $0.verbs.contains("list") } }
}
