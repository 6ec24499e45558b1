package import JSON
import KubeModel
import KubeSchema

/// Documents of any kind of the table, with a struct or without.
extension Validation {
  /// What is wrong with a document that is to be created, required fields and choices included.
  package static func create(document: JSONValue) -> [FieldError] {
    guard let kind = structKind(of: document) else { return createUntyped(document) }
    do throws(ModelError) {
      return create(try kind.init(lenient: document)).completed(by: document, kind)
    } catch {
      return error.problems.map { FieldError($0) }
    }
  }

  /// What is wrong with replacing `old` by `document`.
  package static func update(document: JSONValue, old: JSONValue) -> [FieldError] {
    guard let kind = structKind(of: document) else { return updateUntyped(document, old) }
    do throws(ModelError) {
      return try updated(kind, document, old).completed(by: document, kind)
    } catch {
      return error.problems.map { FieldError($0) }
    }
  }

  /// What is wrong with a new status; everything but the status has been taken from the stored object.
  package static func statusUpdate(document: JSONValue, old: JSONValue) -> [FieldError] {
    guard let kind = structKind(of: document) else { return updateUntyped(document, old, statusOnly: true) }
    do throws(ModelError) {
      let errors = statusUpdate(try kind.init(lenient: document), old: try kind.init(lenient: old))
      return errors.completed(by: document, kind)
    } catch {
      return error.problems.map { FieldError($0) }
    }
  }

  private static func updated(
    _ kind: any KubeKind.Type, _ document: JSONValue, _ old: JSONValue
  ) throws(ModelError) -> [FieldError] {
    update(try kind.init(lenient: document), old: try kind.init(lenient: old))
  }

  private static func structKind(of document: JSONValue) -> (any KubeKind.Type)? {
    AnyKind.kinds["\(document["apiVersion"]?.string ?? "")/\(document["kind"]?.string ?? "")"]
  }

  // MARK: kinds without a struct

  private static func metadata(_ document: JSONValue) -> ObjectMeta {
    var decoder = FieldDecoder(isLenient: true)
    return ObjectMeta(document["metadata"] ?? [:], &decoder)
  }

  private static func rules(of document: JSONValue) -> MetadataRules {
    let resource = Schema.kubernetes.resource(
      apiVersion: document["apiVersion"]?.string ?? "", kind: document["kind"]?.string ?? "")
    return resource?.isNamespaced == true ? .bySubdomain : .clusterBySubdomain
  }

  private static func createUntyped(_ document: JSONValue) -> [FieldError] {
    var errors = FieldErrors()
    errors.metadata(metadata(document), rules(of: document))
    if isDefinition(document) {
      errors.definition(document)
    } else if isPolicy(document) {
      policy(document, &errors)
    } else {
      errors.byTable(document)
    }
    errors.finish()
    return errors.list
  }

  private static func updateUntyped(_ new: JSONValue, _ old: JSONValue, statusOnly: Bool = false) -> [FieldError] {
    var errors = FieldErrors()
    errors.metadataUpdate(metadata(new), metadata(old))
    if isDefinition(new) {
      if statusOnly { errors.updateDefinitionStatus(new) } else { errors.updateDefinition(new, old) }
    } else if isPolicy(new), !statusOnly {
      policy(new, &errors)
    } else if !statusOnly {
      errors.byTable(new)
    }
    errors.finish()
    return errors.list
  }

  private static func isPolicy(_ document: JSONValue) -> Bool {
    let kind = document["kind"]?.string ?? ""
    return document["apiVersion"] == "admissionregistration.k8s.io/v1" && kind.contains("AdmissionPolicy")
  }

  private static func policy(_ document: JSONValue, _ errors: inout FieldErrors) {
    switch document["kind"]?.string {
    case "ValidatingAdmissionPolicy": errors.policy(document)
    case "ValidatingAdmissionPolicyBinding": errors.policyBinding(document)
    default:
      // A policy that is stored and not held to would be worse than none.
      errors.forbidden(FieldPath("spec"), "not supported: this server evaluates no mutating policies; use a webhook")
    }
  }

  private static func isDefinition(_ document: JSONValue) -> Bool {
    document["kind"] == "CustomResourceDefinition" && document["apiVersion"] == "apiextensions.k8s.io/v1"
  }
}

extension FieldErrors {
  /// What the table says of a kind that has no rules of its own: required fields and choices.
  fileprivate mutating func byTable(_ document: JSONValue) {
    guard let type = Schema.kubernetes.type(of: document) else { return }
    for field in type.orderedFields where !["apiVersion", "kind", "metadata", "status"].contains(field.name) {
      byTable(document[field.name], field, FieldPath(field.name), depth: 0)
    }
  }

  private static var tableDepthMax: Int { 30 }

  private mutating func byTable(_ value: JSONValue?, _ field: SchemaField, _ path: FieldPath, depth: Int) {
    guard depth < Self.tableDepthMax else { return }
    guard let value, !value.isNull, !(field.isRequired && value == "") else {
      if field.isRequired { required(path) }
      return
    }
    if !field.enumValues.isEmpty, let text = value.string { choice(path, text, of: field.enumValues) }
    guard let inner = Schema.kubernetes.type(in: field.valueType) else { return }
    switch field.valueType {
    case .object: members(value, inner, path, depth)
    case .list:
      for (index, item) in (value.array ?? []).enumerated() { members(item, inner, path[index], depth) }
    case .map:
      for (key, item) in value.object?.members ?? [] { members(item, inner, path.key(key), depth) }
    default: return
    }
  }

  private mutating func members(_ value: JSONValue, _ type: SchemaType, _ path: FieldPath, _ depth: Int) {
    guard value.object != nil else { return }
    for field in type.orderedFields { byTable(value[field.name], field, path[field.name], depth: depth + 1) }
  }
}

extension [FieldError] {
  /// With what a strict reader finds besides: required fields and choices of which validation said nothing.
  fileprivate func completed(by document: JSONValue, _ kind: any KubeKind.Type) -> [FieldError] {
    do throws(ModelError) {
      _ = try kind.init(strict: document)
      return self
    } catch {
      let paths = Set(map(\.path))
      return self + error.problems.filter { !paths.contains($0.path) }.map { FieldError($0) }
    }
  }
}
