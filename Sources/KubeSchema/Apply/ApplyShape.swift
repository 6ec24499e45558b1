package import JSON

/// How server-side apply sees a value: what is taken as a whole, and what is told apart.
package indirect enum ApplyShape: Sendable {
  /// Taken as a whole: scalars, atomic lists, maps and objects.
  case whole
  /// The fields of a type of the table.
  case fields(SchemaType, Schema)
  /// Free keys.
  case map(ApplyShape)
  /// A list of scalars, each at most once.
  case set
  /// A list of objects that are told apart by some of their fields, which may have defaults.
  case items(keys: [(name: String, default: JSONValue?)], ApplyShape)
  /// Objects field by field, lists as a whole: where no schema says more.
  case deduced
  /// Of a custom resource.
  case structural(StructuralSchema)
  /// A whole custom resource: metadata of the table, all else structural.
  case custom(SchemaType, Schema, StructuralSchema)

  package static func of(_ type: SchemaType, _ schema: Schema) -> ApplyShape {
    isWhole(type) || type.fields.isEmpty ? shape(type.valueType, nil, schema) : .fields(type, schema)
  }

  /// The shape of a member; `isField`: the schema names it.
  func member(_ key: String) -> (shape: ApplyShape, isField: Bool) {
    switch self {
    case .fields(let type, let schema):
      guard let field = type.fields[key] else { return (.deduced, false) }
      return (Self.shape(field.valueType, field, schema), true)
    case .map(let inner): return (inner, false)
    case .structural(let structural): return structural.applyMember(key)
    case .custom(let type, let schema, let structural):
      if type.fields[key] != nil { return ApplyShape.fields(type, schema).member(key) }
      return structural.applyMember(key)
    default: return (.deduced, false)
    }
  }

  /// Types that Kubernetes publishes with `x-kubernetes-map-type: atomic`: references and selectors.
  private static let wholeTypes: Set<String> = [
    "ConfigMapKeySelector", "EndpointAddress", "EndpointPort", "FileKeySelector", "LabelSelector",
    "LocalObjectReference", "NamedRuleWithOperations", "NodeSelector", "NodeSelectorTerm", "ObjectFieldSelector",
    "ObjectReference", "ParamKind", "ParamRef", "ResourceFieldSelector", "RoleRef", "ScopeSelector",
    "SecretKeySelector", "SecretReference", "ServiceBackendPort", "Subject", "TopologySelectorTerm",
    "TypedLocalObjectReference",
  ]

  private static func isWhole(_ type: SchemaType) -> Bool { type.isAtomic || wholeTypes.contains(type.shortName) }

  /// What the shape means for this value: a custom resource's, or an unknown one's, depends on what stands there.
  func resolved(for value: JSONValue) -> ApplyShape {
    switch self {
    case .deduced: if case .object = value { return .map(.deduced) } else { return .whole }
    case .structural(let structural): return structural.applyShape(for: value)
    case .fields, .map, .custom: if case .object = value { return self } else { return .whole }
    case .set, .items: if case .array = value { return self } else { return .whole }
    case .whole: return .whole
    }
  }

  private static func shape(_ type: SchemaValueType, _ field: SchemaField?, _ schema: Schema) -> ApplyShape {
    if field?.listType == .atomic { return .whole }
    switch type {
    case .object(let name):
      guard let type = schema.type(named: name), !isWhole(type) else { return .whole }
      return .fields(type, schema)
    case .map(let inner): return .map(shape(inner, nil, schema))
    case .list(let inner):
      switch field?.listType {
      case .set: return .set
      case .map:
        let item = schema.type(in: inner)
        let keys = (field?.listMapKeys ?? []).map { key in
          (name: key, default: item?.fields[key].flatMap { $0.default ?? $0.publishedDefault })
        }
        return keys.isEmpty ? .whole : .items(keys: keys, shape(inner, nil, schema))
      case .atomic, nil: return .whole
      }
    default: return .whole
    }
  }

  /// How an item of a list is named in a set of fields. - Throws: where it lacks a key that has no default.
  func element(of item: JSONValue, keys: [(name: String, default: JSONValue?)]) throws(ApplyProblem) -> String {
    var object = JSONObject()
    for key in keys.sorted(by: { $0.name < $1.name }) {
      if let value = item[key.name] ?? key.default { object[key.name] = value }
    }
    guard !object.isEmpty else {
      throw ApplyProblem(
        "associative list with keys has an element that omits key field \"\(keys.first?.name ?? "")\""
          + " (and doesn't have default value)")
    }
    return "k:\(JSONValue.object(object).encodedText)"
  }

  static func element(ofScalar item: JSONValue) -> String { "v:\(item.encodedText)" }
}

/// Why two objects cannot be merged or compared.
package struct ApplyProblem: Error, Hashable, Sendable, CustomStringConvertible {
  package let description: String
  package init(_ description: String) { self.description = description }
}
