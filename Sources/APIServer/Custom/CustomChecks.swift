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

  /// What the definition's schema finds in an object, and what is wrong with a definition.
  func customErrors(_ object: JSONObject, _ resource: ServedResource) -> [FieldError] {
    if Self.isDefinition(resource) { return CustomDefinitions.problems(object) }
    guard let custom = resource.custom else { return [] }
    let rest = JSONValue.object(object.without("apiVersion", "kind", "metadata"))
    return custom.schema.findings(in: rest).map { finding in
      let value = finding.value ?? .null
      return switch finding.reason {
      case .required: FieldError(path: finding.path, reason: .required)
      case .duplicate: FieldError(path: finding.path, reason: .duplicate, value: value)
      case .unsupported(let values):
        FieldError(
          path: finding.path, reason: .notSupported, value: value,
          detail: "supported values: " + values.map { "\"\($0)\"" }.joined(separator: ", "))
      case .invalid, .type, .tooLong, .tooMany:
        FieldError(path: finding.path, reason: .invalid, value: value, detail: finding.detail)
      }
    }
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
