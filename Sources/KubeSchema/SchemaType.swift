package import JSON

/// What may stand in a field.
package indirect enum SchemaValueType: Hashable, Sendable {
  case string
  case bool
  case int32
  case int64
  case double
  /// Bytes: base64 text in JSON.
  case bytes
  /// Any JSON (`RawExtension`).
  case any
  /// `500m`, `128Mi`: text, or a number.
  case quantity
  case intOrString
  /// RFC 3339, to the second.
  case time
  /// RFC 3339, to the microsecond.
  case microTime
  /// The set of fields that a manager owns, as JSON.
  case fieldsV1
  /// An object of the type with this full name.
  case object(String)
  case list(SchemaValueType)
  /// An object whose keys are free.
  case map(SchemaValueType)

  /// The type of an object, or of the elements of lists and maps of objects.
  package var objectName: String? {
    switch self {
    case .object(let name): name
    case .list(let inner), .map(let inner): inner.objectName
    default: nil
    }
  }
}

/// How items of a list, or members of a map, are told apart by server-side apply.
package enum SchemaListType: String, Hashable, Sendable {
  case atomic, set, map
}

/// What a strategic merge patch does to a field.
package struct PatchStrategy: OptionSet, Hashable, Sendable {
  package let rawValue: UInt8
  package init(rawValue: UInt8) { self.rawValue = rawValue }
  /// Lists are merged by their key, or as sets.
  package static let merge = PatchStrategy(rawValue: 1)
  /// Of an object, only the fields that `$retainKeys` names stay.
  package static let retainKeys = PatchStrategy(rawValue: 2)
}

/// How a zero that was written is told from an absent field by programs that hold objects in structs.
package enum ZeroRule: Hashable, Sendable {
  /// Zero and absent are one, and nothing is written.
  case absent
  /// Zero is a value of its own.
  case value
  /// Zero and absent are one, and zero is written.
  case always
}

/// A field of a type. There is one of each in a table, so that passing it on copies nothing.
package final class SchemaField: Hashable, Sendable {
  package let name: String
  package let valueType: SchemaValueType
  package let isRequired: Bool
  /// As the published schema says it; `""`, `0`, `false` and `{}` mean no more than that the field is no pointer.
  package let publishedDefault: JSONValue?
  /// What `Schema.defaulted` sets.
  package let `default`: JSONValue?
  /// Empty where every text may stand.
  package let enumValues: [String]
  package let listType: SchemaListType?
  package let listMapKeys: [String]
  package let patchStrategy: PatchStrategy
  package let patchMergeKey: String?
  /// Field numbers from the type's message down: more than one where the field lies in a message that JSON does not
  /// know. Empty where protobuf has no such field (`apiVersion` and `kind` of kinds travel in the envelope).
  package let protobufPath: [Int]
  package let zero: ZeroRule
  /// The name of the type in messages of Kubernetes: `int32`, `[]v1.Container`.
  package let goType: String

  /// Where the type of the objects that the field holds stands in the table; nil where it holds none.
  let leaf: Int?

  package var protobufNumber: Int? { protobufPath.last }

  init(
    name: String, valueType: SchemaValueType, isRequired: Bool, publishedDefault: JSONValue?, default: JSONValue?,
    enumValues: [String], listType: SchemaListType?, listMapKeys: [String], patchStrategy: PatchStrategy,
    patchMergeKey: String?, protobufPath: [Int], zero: ZeroRule, goType: String, leaf: Int?
  ) {
    self.name = name
    self.valueType = valueType
    self.isRequired = isRequired
    self.publishedDefault = publishedDefault
    self.default = `default`
    self.enumValues = enumValues
    self.listType = listType
    self.listMapKeys = listMapKeys
    self.patchStrategy = patchStrategy
    self.patchMergeKey = patchMergeKey
    self.protobufPath = protobufPath
    self.zero = zero
    self.goType = goType
    self.leaf = leaf
  }

  package static func == (left: SchemaField, right: SchemaField) -> Bool { left === right }
  package func hash(into hasher: inout Hasher) { hasher.combine(ObjectIdentifier(self)) }
}

/// A kind in a version of a group.
package struct GroupVersionKind: Hashable, Sendable, CustomStringConvertible {
  /// Empty for the core group.
  package let group: String
  package let version: String
  package let kind: String

  package init(group: String, version: String, kind: String) {
    (self.group, self.version, self.kind) = (group, version, kind)
  }

  package init(apiVersion: String, kind: String) {
    let parts = apiVersion.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
    self.init(
      group: parts.count > 1 ? String(parts[0]) : "", version: parts.last.map(String.init) ?? "", kind: kind)
  }

  /// `v1` or `apps/v1`.
  package var apiVersion: String { group.isEmpty ? version : "\(group)/\(version)" }
  package var description: String { "\(apiVersion)/\(kind)" }
}

/// A type of the table.
package final class SchemaType: Hashable, Sendable {
  /// `io.k8s.api.core.v1.Pod`.
  package let name: String
  /// `Pod`.
  package let shortName: String
  /// The kinds that this type is; empty for what is only a part.
  package let kinds: [GroupVersionKind]
  package let fields: [String: SchemaField]
  /// The fields in the order of the table, by name.
  package let orderedFields: [SchemaField]
  /// What the type is where it has no fields of its own: `.object` of itself where it has.
  package let valueType: SchemaValueType
  /// Server-side apply takes the object as a whole.
  package let isAtomic: Bool
  let message: ProtobufMessage

  init(
    name: String, kinds: [GroupVersionKind], fields: [SchemaField], valueType: SchemaValueType, isAtomic: Bool
  ) {
    self.name = name
    shortName = Self.shortName(name)
    self.kinds = kinds
    orderedFields = fields
    self.fields = Dictionary(fields.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
    self.valueType = valueType
    self.isAtomic = isAtomic
    message = ProtobufMessage(fields)
  }

  /// `Pod` of `io.k8s.api.core.v1.Pod`.
  static func shortName(_ name: String) -> String {
    name.utf8.lastIndex(of: UInt8(ascii: ".")).map { String(name[name.utf8.index(after: $0)...]) } ?? name
  }

  package var isKind: Bool { !kinds.isEmpty }
  /// `PodList` and its like: `metadata` and `items`.
  package var isList: Bool { isKind && fields["items"] != nil && shortName.hasSuffix("List") }
  /// `io.k8s.api.core.v1` of `io.k8s.api.core.v1.Pod`.
  package var packageName: String { String(name.dropLast(shortName.count + 1)) }

  package static func == (left: SchemaType, right: SchemaType) -> Bool { left === right || left.name == right.name }
  package func hash(into hasher: inout Hasher) { hasher.combine(name) }
}

/// A resource that the API serves, or a subresource of one.
package struct ResourceRow: Hashable, Sendable {
  /// Empty for the core group.
  package let group: String
  package let version: String
  /// `pods`.
  package let resource: String
  /// `status` of `pods/status`; nil for the resource itself.
  package let subresource: String?
  /// Empty for subresources.
  package let singular: String
  package let kind: String
  package let isNamespaced: Bool
  package let verbs: [String]
  package let shortNames: [String]
  package let categories: [String]

  /// `v1` or `apps/v1`.
  package var apiVersion: String { group.isEmpty ? version : "\(group)/\(version)" }
  /// `pods` or `pods/status`.
  package var name: String { subresource.map { "\(resource)/\($0)" } ?? resource }
}
