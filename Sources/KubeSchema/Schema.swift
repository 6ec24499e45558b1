package import JSON

/// The table of types and resources: what there is, of which fields, and what each field means to patches, defaults and
/// wire formats. Values are JSON throughout.
///
/// A table is built once and never changes, so it may be used from anywhere; nothing here blocks or touches the system.
package struct Schema: Sendable {
  /// What this API server serves.
  package static let kubernetes = Schema(SchemaTable.parse(SchemaTable.kubernetes))

  /// By full name.
  package let types: [String: SchemaType]
  package internal(set) var resources: [ResourceRow]
  /// In the order of the table: the `leaf` of a field is an index into it.
  private let typeList: [SchemaType]
  /// Types that `defaulted` must look into, by their place in the table.
  private let hasDefaults: [Bool]
  private let byKind: [GroupVersionKind: SchemaType]
  /// Kinds that go with resources of every group: `DeleteOptions` may be of `apps/v1`.
  private let everywhere: [String: SchemaType]

  /// Kinds of the machinery that any group's resources are asked and answered with.
  private static let kindsOfEveryGroup: Set<String> = ["DeleteOptions", "Status", "WatchEvent"]

  init(_ table: SchemaTable) {
    types = Dictionary(table.types.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
    resources = table.resources
    typeList = table.types
    hasDefaults = Self.withDefaults(table.types)
    var byKind: [GroupVersionKind: SchemaType] = [:]
    var everywhere: [String: SchemaType] = [:]
    for type in table.types {
      for kind in type.kinds {
        byKind[kind] = type
        if Self.kindsOfEveryGroup.contains(kind.kind) { everywhere[kind.kind] = type }
      }
    }
    (self.byKind, self.everywhere) = (byKind, everywhere)
  }

  /// By full name: `io.k8s.api.core.v1.Pod`.
  package func type(named name: String) -> SchemaType? { types[name] }

  package func type(apiVersion: String, kind: String) -> SchemaType? {
    byKind[GroupVersionKind(apiVersion: apiVersion, kind: kind)] ?? everywhere[kind]
  }

  /// The type of a document, by its own `apiVersion` and `kind`.
  package func type(of document: JSONValue) -> SchemaType? {
    guard let apiVersion = document["apiVersion"]?.string, let kind = document["kind"]?.string else { return nil }
    return type(apiVersion: apiVersion, kind: kind)
  }

  /// The type whose objects `valueType` holds.
  package func type(in valueType: SchemaValueType) -> SchemaType? { valueType.objectName.flatMap { types[$0] } }

  /// The resource of a kind, without its subresources.
  package func resource(apiVersion: String, kind: String) -> ResourceRow? {
    resources.first { $0.subresource == nil && $0.kind == kind && $0.apiVersion == apiVersion }
  }

  /// The type of the objects that the field holds.
  func leaf(_ field: SchemaField) -> SchemaType? { field.leaf.map { typeList[$0] } }

  /// The same, where `defaulted` may change something in them.
  func leafWithDefaults(_ field: SchemaField) -> SchemaType? {
    guard let leaf = field.leaf, hasDefaults[leaf] else { return nil }
    return typeList[leaf]
  }
}
