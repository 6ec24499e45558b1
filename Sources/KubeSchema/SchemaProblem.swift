/// What keeps a document from being an object of its type.
package struct SchemaProblem: Error, Hashable, Sendable, CustomStringConvertible {
  package enum Kind: Hashable, Sendable {
    case unknownField
    /// `found` is what JSON has there (`string`, `number 1.5`, `bool`, `array`, `object`); `expected` is the name of the
    /// type in messages; `goField` the object's type and the path without indices, `DeploymentSpec.spec.replicas`, empty
    /// for the document itself.
    case wrongType(expected: String, found: String, goField: String)
    /// Text that its type cannot be read from, in the words of the type.
    case malformed(String)
  }
  /// `spec.template.spec.containers[0].foo`; empty for the document itself.
  package let path: String
  package let kind: Kind

  package init(path: String, kind: Kind) { (self.path, self.kind) = (path, kind) }

  package var isUnknownField: Bool { kind == .unknownField }

  /// As Kubernetes words it.
  package var description: String {
    switch kind {
    case .unknownField: "unknown field \"\(path)\""
    case .wrongType(let expected, let found, let goField):
      goField.isEmpty
        ? "json: cannot unmarshal \(found) into Go value of type \(expected)"
        : "json: cannot unmarshal \(found) into Go struct field \(goField) of type \(expected)"
    case .malformed(let why): why
    }
  }
}

extension [SchemaProblem] {
  /// The first problem that no leniency lets through: a wrong type or a malformed text.
  package var firstUnreadable: SchemaProblem? { first { !$0.isUnknownField } }

  package var unknownFields: [SchemaProblem] { filter(\.isUnknownField) }

  /// `strict decoding error: unknown field "spec.replica", unknown field "x"`; nil where all fields are known.
  package var strictDecodingError: String? {
    let unknown = unknownFields
    return unknown.isEmpty ? nil : "strict decoding error: " + unknown.map(\.description).joined(separator: ", ")
  }
}
