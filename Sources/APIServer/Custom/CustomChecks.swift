import HTTPServer
import JSON
import KubeModel
import KubeSchema
import KubeValidation

/// Where the way of a custom resource differs from that of a resource of the table.
extension APIServer {
  /// A request's document, checked as one of the resource.
  func checked(
    _ value: JSONValue, of resource: ServedResource, _ validation: FieldValidation
  ) throws(APIStatus) -> ReadDocument {
    guard let custom = resource.custom else {
      return try checked(
        value, apiVersion: resource.type.apiVersion, kind: resource.kind, type: resource.schema, validation)
    }
    let whole = value.object ?? [:]
    var head = whole
    head.removeAll { key, _ in !["apiVersion", "kind", "metadata"].contains(key) }
    // The same words as everywhere for what is no object, or another kind.
    var read = try checked(
      value.object == nil ? value : .object(head), apiVersion: resource.type.apiVersion, kind: resource.kind,
      type: resource.schema, validation)
    var unknown: [String] = []
    let rest = whole.without("apiVersion", "kind", "metadata")
    let pruned = custom.schema.pruned(.object(rest), at: "", unknown: &unknown).object ?? rest
    if validation == .strict, !unknown.isEmpty {
      throw .badRequest(
        "\(resource.kind) in version \"\(resource.type.version)\" cannot be handled as a \(resource.kind): strict "
          + "decoding error: " + unknown.map { "unknown field \"\($0)\"" }.joined(separator: ", "))
    }
    if validation == .warn { read.warnings += unknown.map { "unknown field \"\($0)\"" } }
    if let deprecation = custom.deprecation { read.warnings.append(deprecation) }
    for (key, member) in pruned.members { read.object[key] = member }
    return read
  }

  func defaulted(_ object: JSONObject, _ resource: ServedResource) -> JSONObject {
    guard let custom = resource.custom else {
      return schema.defaulted(.object(object), as: resource.schema).object ?? object
    }
    return custom.schema.defaulted(.object(object)).object ?? object
  }

  /// What the definition's schema and its rules find in an object.
  /// - Parameter old: what the object was; nil where it is new.
  func customErrors(_ object: JSONObject, old: JSONObject? = nil, _ resource: ServedResource) -> [FieldError] {
    guard let custom = resource.custom else { return [] }
    let rest = JSONValue.object(object.without("apiVersion", "kind", "metadata"))
    var findings = custom.schema.findings(in: rest)
    if !findings.contains(where: \.preventsExpressions) {
      findings += custom.schema.expressionFindings(in: .object(object), old: old.map { .object($0) })
    } else if custom.schema.hasExpressions {
      findings.append(StructuralSchema.unchecked)
    }
    return findings.map(FieldError.init)
  }

  /// The metadata of a custom resource has rules like everybody's; the table's kinds have theirs besides.
  func creationErrors(_ object: JSONObject, _ resource: ServedResource) -> [FieldError] {
    var known = object
    // The table does not say that it has a namespace; its place in the path has been checked.
    if resource.custom != nil { known[object: "metadata"]["namespace"] = nil }
    let errors = Validation.create(document: .object(known))
    let paths = Set(errors.map(\.path))
    return errors + customErrors(object, resource).filter { !paths.contains($0.path) }
  }
}

extension StructuralFinding {
  /// With what is missing or of the wrong kind, rules make no sense.
  fileprivate var preventsExpressions: Bool {
    switch reason {
    case .required, .type, .tooLong, .tooMany, .unsupported: true
    case .invalid, .forbidden, .duplicate: false
    }
  }
}

extension FieldError {
  fileprivate init(_ finding: StructuralFinding) {
    let value = finding.value ?? .null
    self =
      switch finding.reason {
      case .required: FieldError(path: finding.path, reason: .required, detail: finding.detail)
      case .forbidden: FieldError(path: finding.path, reason: .forbidden, detail: finding.detail)
      case .duplicate: FieldError(path: finding.path, reason: .duplicate, value: value, detail: finding.detail)
      case .unsupported(let values):
        FieldError(
          path: finding.path, reason: .notSupported, value: value,
          detail: "supported values: " + values.map { "\"\($0)\"" }.joined(separator: ", "))
      case .invalid, .type, .tooLong, .tooMany:
        FieldError(path: finding.path, reason: .invalid, value: value, detail: finding.detail)
      }
  }
}
