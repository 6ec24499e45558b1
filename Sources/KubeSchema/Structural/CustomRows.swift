extension ResourceRow {
  /// A resource that is not in the table.
  package init(
    custom group: String, version: String, resource: String, subresource: String? = nil, singular: String,
    kind: String, isNamespaced: Bool, verbs: [String], shortNames: [String], categories: [String]
  ) {
    self.init(
      group: group, version: version, resource: resource, subresource: subresource, singular: singular, kind: kind,
      isNamespaced: isNamespaced, verbs: verbs, shortNames: shortNames, categories: categories)
  }
}

extension Schema {
  /// The table with more resources, for discovery.
  package func adding(_ rows: [ResourceRow]) -> Schema {
    var schema = self
    schema.resources += rows
    return schema
  }

  /// The type of an object of which nothing but `apiVersion`, `kind` and `metadata` is known.
  package func customType(_ kind: GroupVersionKind) -> SchemaType {
    let known = type(apiVersion: "v1", kind: "ConfigMap")?.fields ?? [:]
    return SchemaType(
      name: "custom.\(kind.group).\(kind.version).\(kind.kind)", kinds: [kind],
      fields: ["apiVersion", "kind", "metadata"].compactMap { known[$0] }, valueType: .any, isAtomic: false)
  }

  /// How server-side apply sees a custom resource: the metadata as everywhere, the rest by its own schema.
  package func applyShape(_ type: SchemaType, _ structural: StructuralSchema) -> ApplyShape {
    .custom(type, self, structural)
  }
}
