package import CEL
import JSON
import KubeModel

/// What expressions of admission may name.
///
/// https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/#validation-expression
package enum ExpressionVariables {
  /// Of conditions of webhooks.
  package static let conditions: [String: CELType] = [
    "object": .dyn, "oldObject": .dyn, "request": .dyn, "authorizer": .named("kubernetes.authorization"),
  ]
  /// Of policies.
  package static let policies = conditions.merging(["namespaceObject": .dyn, "params": .dyn, "variables": .dyn]) {
    one, _ in one
  }
}

extension FieldErrors {
  private static let conditionsMax = 64
  private static let partsMax = 100

  /// An expression that is read once here, so that a mistake is refused.
  private mutating func expression(
    _ path: FieldPath, _ source: String, _ variables: [String: CELType], wants: String
  ) {
    guard source.contains(where: { !$0.isWhitespace }) else { return required(path) }
    do throws(CELProblem) {
      let type = try CELProgram(source, variables: variables).type
      let isGood = wants == "bool" ? type.isBool : wants == "string" ? type.isString || type.isNull : true
      if !isGood { invalid(path, source, "must evaluate to \(wants)") }
    } catch {
      invalid(path, source, "compilation failed: \(error)")
    }
  }

  /// Conditions of webhooks and of policies.
  mutating func matchConditions(
    _ conditions: [MatchCondition], _ path: FieldPath, _ variables: [String: CELType]
  ) {
    if conditions.count > Self.conditionsMax { return tooMany(path, conditions.count, Self.conditionsMax) }
    var names: Set<String> = []
    for (index, condition) in conditions.enumerated() {
      expression(path[index]["expression"], condition.expression, variables, wants: "bool")
      if condition.name.isEmpty {
        required(path[index]["name"])
      } else {
        invalid(path[index]["name"], condition.name, NameRules.qualifiedName(condition.name))
        if !names.insert(condition.name).inserted { duplicate(path[index]["name"], condition.name) }
      }
    }
  }

  /// A ValidatingAdmissionPolicy.
  mutating func policy(_ document: JSONValue) {
    let (spec, path) = (document["spec"] ?? [:], FieldPath("spec"))
    var decoder = FieldDecoder(isLenient: true)
    let conditions = (spec["matchConditions"]?.array ?? []).map { MatchCondition($0, &decoder) }
    let known = ExpressionVariables.policies
    matchConditions(conditions, path["matchConditions"], known)
    policyMatch(spec["matchConstraints"], path["matchConstraints"], isBinding: false)
    if let kind = spec["paramKind"], kind.object != nil {
      for field in ["apiVersion", "kind"] where kind[field]?.string ?? "" == "" { required(path["paramKind"][field]) }
    }
    choice(path["failurePolicy"], spec["failurePolicy"]?.string, of: ["Fail", "Ignore"])
    let validations = spec["validations"]?.array ?? []
    let annotations = spec["auditAnnotations"]?.array ?? []
    if validations.isEmpty, annotations.isEmpty {
      required(path["validations"], "validations or auditAnnotations must contain at least one item")
      required(path["auditAnnotations"], "validations or auditAnnotations must contain at least one item")
    }
    policyVariables(spec["variables"]?.array ?? [], path["variables"])
    policyValidations(validations, path["validations"])
    if annotations.count > Self.partsMax { tooMany(path["auditAnnotations"], annotations.count, Self.partsMax) }
    for (index, annotation) in annotations.prefix(Self.partsMax).enumerated() {
      let at = path["auditAnnotations"][index]
      if (annotation["key"]?.string ?? "").isEmpty { required(at["key"]) }
      expression(at["valueExpression"], annotation["valueExpression"]?.string ?? "", known, wants: "string")
    }
  }

  private mutating func policyVariables(_ variables: [JSONValue], _ path: FieldPath) {
    if variables.count > Self.partsMax { tooMany(path, variables.count, Self.partsMax) }
    var names: Set<String> = []
    for (index, variable) in variables.prefix(Self.partsMax).enumerated() {
      let name = variable["name"]?.string ?? ""
      if name.isEmpty {
        required(path[index]["name"], "name is not specified")
      } else if CELNames.escaped(name) != name {
        invalid(path[index]["name"], name, "name is not a valid CEL identifier")
      } else if !names.insert(name).inserted {
        duplicate(path[index]["name"], name)
      }
      expression(
        path[index]["expression"], variable["expression"]?.string ?? "", ExpressionVariables.policies, wants: "dyn")
    }
  }

  private mutating func policyValidations(_ validations: [JSONValue], _ path: FieldPath) {
    if validations.count > Self.partsMax { tooMany(path, validations.count, Self.partsMax) }
    let known = ExpressionVariables.policies
    for (index, validation) in validations.prefix(Self.partsMax).enumerated() {
      let at = path[index]
      expression(at["expression"], validation["expression"]?.string ?? "", known, wants: "bool")
      let message = validation["message"]?.string ?? ""
      if !message.isEmpty, message.allSatisfy(\.isWhitespace) {
        invalid(at["message"], message, "message must be non-empty if specified")
      } else if message.contains(where: \.isNewline) {
        invalid(at["message"], message, "message must not contain line breaks")
      } else if message.isEmpty, validation["expression"]?.string?.contains("\n") ?? false {
        required(at["message"], "message must be specified if expression contains line breaks")
      }
      if let text = validation["messageExpression"]?.string, !text.isEmpty {
        expression(at["messageExpression"], text, known, wants: "string")
      }
      choice(
        at["reason"], validation["reason"]?.string,
        of: ["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"])
    }
  }

  /// A ValidatingAdmissionPolicyBinding.
  mutating func policyBinding(_ document: JSONValue) {
    let (spec, path) = (document["spec"] ?? [:], FieldPath("spec"))
    if (spec["policyName"]?.string ?? "").isEmpty { required(path["policyName"]) }
    if let reference = spec["paramRef"], reference.object != nil {
      let hasName = !(reference["name"]?.string ?? "").isEmpty
      let hasSelector = reference["selector"]?.object != nil
      if hasName == hasSelector {
        let message = "one of name or selector must be specified"
        if hasName {
          forbidden(path["paramRef"]["name"], "name and selector are mutually exclusive")
        } else {
          required(path["paramRef"], message)
        }
      }
      if reference["parameterNotFoundAction"] == nil {
        required(path["paramRef"]["parameterNotFoundAction"], "parameterNotFoundAction is required")
      } else {
        choice(
          path["paramRef"]["parameterNotFoundAction"], reference["parameterNotFoundAction"]?.string,
          of: ["Allow", "Deny"])
      }
    }
    policyMatch(spec["matchResources"], path["matchResources"], isBinding: true)
    let actions = spec["validationActions"]?.array?.compactMap(\.string) ?? []
    if actions.isEmpty { required(path["validationActions"], "at least one validation action is required") }
    for (index, action) in actions.enumerated() {
      choice(path["validationActions"][index], action, of: ["Audit", "Deny", "Warn"])
      if actions[..<index].contains(action) { duplicate(path["validationActions"][index], action) }
    }
    if actions.contains("Deny"), actions.contains("Warn") {
      invalid(
        path["validationActions"], JSONValue(actions),
        "must not contain both Deny and Warn (repeating the same "
          + "validation failure information in the API response and headers serves no purpose)")
    }
  }

  private mutating func policyMatch(_ match: JSONValue?, _ path: FieldPath, isBinding: Bool) {
    guard let match, match.object != nil else {
      if !isBinding { required(path) }
      return
    }
    var decoder = FieldDecoder(isLenient: true)
    for key in ["namespaceSelector", "objectSelector"] {
      if let selector = match[key], selector.object != nil {
        labelSelector(LabelSelector(selector, &decoder), path[key])
      }
    }
    choice(path["matchPolicy"], match["matchPolicy"]?.string, of: ["Equivalent", "Exact"])
    let rules = match["resourceRules"]?.array ?? []
    if rules.isEmpty, !isBinding { required(path["resourceRules"]) }
    for (key, list) in [("resourceRules", rules), ("excludeResourceRules", match["excludeResourceRules"]?.array ?? [])]
    {
      for (index, rule) in list.enumerated() {
        webhookRule(RuleWithOperations(rule, &decoder), path[key][index])
      }
    }
  }
}

extension CELType {
  fileprivate var isNull: Bool { if case .null = self { true } else { false } }
}
