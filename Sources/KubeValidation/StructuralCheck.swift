import CEL
import JSON
import KubeSchema
import LinearPattern

/// Whether a schema is structural: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/
struct StructuralCheck {
  /// Schemas within schemas.
  private static let depthMax = 50
  /// Rules of one schema.
  private static let rulesMax = 100
  private static let types: Set<String> = ["array", "boolean", "integer", "number", "object", "string"]

  func root(_ schema: JSONValue, _ path: FieldPath, _ errors: inout FieldErrors) {
    let type = schema["type"]?.string ?? ""
    if type.isEmpty {
      errors.required(path["type"], "must not be empty at the root")
    } else if type != "object" {
      errors.invalid(path["type"], type, "must be object at the root")
    }
    if schema["nullable"]?.bool == true { errors.forbidden(path["nullable"], "nullable cannot be true at the root") }
    check(schema, path, &errors, depth: 0, isRoot: true)
  }

  private func check(
    _ schema: JSONValue, _ path: FieldPath, _ errors: inout FieldErrors, depth: Int, isRoot: Bool = false,
    isCorrelatable: Bool = true
  ) {
    guard depth < Self.depthMax else { return errors.forbidden(path, "schemas nested deeper than \(Self.depthMax)") }
    let type = schema["type"]?.string ?? ""
    let isIntOrString = schema["x-kubernetes-int-or-string"]?.bool == true
    let keepsUnknown = schema["x-kubernetes-preserve-unknown-fields"]?.bool == true
    if !type.isEmpty, !Self.types.contains(type) {
      errors.notSupported(path["type"], type, Self.types.sorted())
    }
    if type.isEmpty, !isRoot, !isIntOrString, !keepsUnknown {
      errors.required(path["type"], "must not be empty for specified object fields")
    }
    if isIntOrString, !type.isEmpty {
      errors.invalid(path["type"], type, "must be empty if x-kubernetes-int-or-string is true")
    }
    for field in [
      "$ref", "definitions", "dependencies", "deprecated", "discriminator", "id", "patternProperties",
      "readOnly", "writeOnly", "xml",
    ] where !(schema[field]?.isNull ?? true) {
      errors.forbidden(path[field], "\(field) is not supported")
    }
    if schema["uniqueItems"]?.bool == true {
      errors.forbidden(
        path["uniqueItems"], "uniqueItems cannot be set to true since the runtime complexity becomes quadratic")
    }
    if schema["additionalProperties"]?.bool == false {
      errors.forbidden(path["additionalProperties"], "additionalProperties cannot be set to false")
    }
    pattern(schema, path, &errors)
    expressions(schema, path, &errors, isRoot, isCorrelatable)
    children(schema, type, path, &errors, depth, isCorrelatable)
    compared(schema, path, &errors, depth)
  }

  /// Schemas that values are only compared with say no types, but may hold expressions.
  private func patterns(_ schema: JSONValue, _ path: FieldPath, _ errors: inout FieldErrors, depth: Int) {
    guard depth < Self.depthMax else { return errors.forbidden(path, "schemas nested deeper than \(Self.depthMax)") }
    pattern(schema, path, &errors)
    if !(schema["x-kubernetes-validations"]?.array ?? []).isEmpty {
      errors.forbidden(path["x-kubernetes-validations"], "must be empty to be structural")
    }
    for (name, inner) in schema["properties"]?.object?.members ?? [] {
      patterns(inner, path["properties"].key(name), &errors, depth: depth + 1)
    }
    for field in ["additionalProperties", "items"] {
      if let inner = schema[field], inner.object != nil { patterns(inner, path[field], &errors, depth: depth + 1) }
    }
    compared(schema, path, &errors, depth)
  }

  private func compared(_ schema: JSONValue, _ path: FieldPath, _ errors: inout FieldErrors, _ depth: Int) {
    for field in ["allOf", "anyOf", "oneOf"] {
      for (place, inner) in (schema[field]?.array ?? []).enumerated() {
        patterns(inner, path[field][place], &errors, depth: depth + 1)
      }
    }
    if let inner = schema["not"], inner.object != nil { patterns(inner, path["not"], &errors, depth: depth + 1) }
  }

  /// Rules in CEL, read once here so that a definition with a mistake is refused.
  private func expressions(
    _ schema: JSONValue, _ path: FieldPath, _ errors: inout FieldErrors, _ isRoot: Bool, _ isCorrelatable: Bool
  ) {
    guard let rules = schema["x-kubernetes-validations"]?.array, !rules.isEmpty else { return }
    let at = path["x-kubernetes-validations"]
    guard rules.count <= Self.rulesMax else { return errors.tooMany(at, rules.count, Self.rulesMax) }
    let type = CELType.structural(schema, isRoot: isRoot)
    for (place, rule) in rules.enumerated() {
      do throws(ExpressionRule.Problem) {
        _ = try ExpressionRule(rule, type: type, isCorrelatable: isCorrelatable)
      } catch {
        let field = at[place][error.field]
        if !error.supported.isEmpty {
          errors.notSupported(field, error.value ?? .null, error.supported)
        } else if let value = error.value {
          errors.invalid(field, value, error.detail)
        } else {
          errors.required(field, error.detail)
        }
      }
    }
  }

  private func pattern(_ schema: JSONValue, _ path: FieldPath, _ errors: inout FieldErrors) {
    guard let pattern = schema["pattern"]?.string else { return }
    do throws(PatternProblem) {
      _ = try LinearPattern(pattern)
    } catch {
      errors.invalid(path["pattern"], pattern, "must be a valid regular expression, but isn't: \(error)")
    }
  }

  private func children(
    _ schema: JSONValue, _ type: String, _ path: FieldPath, _ errors: inout FieldErrors, _ depth: Int,
    _ isCorrelatable: Bool
  ) {
    let properties = schema["properties"]?.object ?? [:]
    let more = schema["additionalProperties"]
    if !properties.isEmpty, let more, !more.isNull, more.bool != false {
      errors.forbidden(path["additionalProperties"], "additionalProperties and properties are mutual exclusive")
    }
    for (name, inner) in properties.members {
      // What every object has is not for a schema to say, but for the names.
      check(inner, path["properties"].key(name), &errors, depth: depth + 1, isCorrelatable: isCorrelatable)
    }
    if let more, more.object != nil {
      check(more, path["additionalProperties"], &errors, depth: depth + 1, isCorrelatable: isCorrelatable)
    }
    if type == "array" {
      guard let items = schema["items"], items.object != nil else {
        return errors.required(path["items"], "must be specified")
      }
      // Of a list without keys nobody knows which item was which.
      let isKeyed = schema["x-kubernetes-list-type"]?.string == "map"
      check(items, path["items"], &errors, depth: depth + 1, isCorrelatable: isCorrelatable && isKeyed)
      listType(schema, path, &errors)
    }
  }

  private func listType(_ schema: JSONValue, _ path: FieldPath, _ errors: inout FieldErrors) {
    let keys = schema["x-kubernetes-list-map-keys"]?.array ?? []
    switch schema["x-kubernetes-list-type"]?.string {
    case nil, "atomic"?, "set"?:
      if !keys.isEmpty {
        errors.forbidden(path["x-kubernetes-list-map-keys"], "must be empty if x-kubernetes-list-type is not map")
      }
    case "map"?:
      if keys.isEmpty {
        errors.required(path["x-kubernetes-list-map-keys"], "must not be empty if x-kubernetes-list-type is map")
      }
      if schema["items"]?["type"] != "object" {
        errors.invalid(
          path["items"]["type"], schema["items"]?["type"] ?? .null,
          "must be object if parent array's x-kubernetes-list-type is map")
      }
      for key in keys.compactMap(\.string) where schema["items"]?["properties"]?[key] == nil {
        errors.invalid(path["x-kubernetes-list-map-keys"], key, "entries must all be names of item properties")
      }
    case let other?: errors.notSupported(path["x-kubernetes-list-type"], other, ["atomic", "map", "set"])
    }
  }
}
