import CEL
import JSON
import KubeModel
import KubeValidation

/// What a policy, or its binding, is about.
struct PolicyMatch: Sendable {
  let rules: [PolicyRule]
  let excluded: [PolicyRule]
  let namespaceSelector: LabelSelector?
  let objectSelector: LabelSelector?

  init(_ json: JSONValue) {
    rules = (json["resourceRules"]?.array ?? []).map { PolicyRule($0) }
    excluded = (json["excludeResourceRules"]?.array ?? []).map { PolicyRule($0) }
    func selector(_ key: String) -> LabelSelector? {
      guard let value = json[key], value.object != nil else { return nil }
      var decoder = FieldDecoder(isLenient: true)
      return LabelSelector(value, &decoder)
    }
    (namespaceSelector, objectSelector) = (selector("namespaceSelector"), selector("objectSelector"))
  }

  /// - Parameter isBinding: a binding without rules is about all that its policy is.
  func concerns(_ action: AdmissionAction, _ name: String, isBinding: Bool) -> Bool {
    if rules.isEmpty ? !isBinding : !rules.contains(where: { $0.concerns(action, name) }) { return false }
    if excluded.contains(where: { $0.concerns(action, name) }) { return false }
    if let objectSelector, !action.labels.contains(where: objectSelector.matches) { return false }
    if let namespaceSelector, let labels = action.namespaceLabels, !namespaceSelector.matches(labels) { return false }
    return true
  }
}

/// A rule, perhaps for some names only.
struct PolicyRule: Sendable {
  let rule: RuleWithOperations
  let names: [String]

  init(_ json: JSONValue) {
    var decoder = FieldDecoder(isLenient: true)
    rule = RuleWithOperations(json, &decoder)
    names = json["resourceNames"]?.array?.compactMap(\.string) ?? []
  }

  func concerns(_ action: AdmissionAction, _ name: String) -> Bool {
    (names.isEmpty || names.contains(name)) && action.isNamed(by: rule)
  }
}

/// A ValidatingAdmissionPolicy, read.
struct AdmissionPolicy: Sendable {
  struct Validation: Sendable {
    let program: CELProgram
    let message: String
    let messageProgram: CELProgram?
    let reason: String
  }

  let name: String
  let isIgnoredOnFailure: Bool
  let match: PolicyMatch
  /// `v1/ConfigMap`; nil: there are none.
  let paramKind: (apiVersion: String, kind: String)?
  let conditions: [AdmissionExpression]
  let variables: [AdmissionExpression]
  let validations: [Validation]
  let annotations: [AdmissionExpression]

  init(_ document: JSONValue) throws(CELProblem) {
    let spec = document["spec"] ?? [:]
    name = document["metadata"]?.text("name") ?? ""
    isIgnoredOnFailure = spec["failurePolicy"] == "Ignore"
    match = PolicyMatch(spec["matchConstraints"] ?? [:])
    paramKind = spec["paramKind"].flatMap { $0.object == nil ? nil : ($0.text("apiVersion"), $0.text("kind")) }
    let known = ExpressionVariables.policies
    conditions = try AdmissionExpressions.expressions(spec["matchConditions"], "expression", name: "name", known)
    variables = try AdmissionExpressions.expressions(spec["variables"], "expression", name: "name", known)
    annotations = try AdmissionExpressions.expressions(spec["auditAnnotations"], "valueExpression", name: "key", known)
    var validations: [Validation] = []
    for item in spec["validations"]?.array ?? [] {
      let message = item["messageExpression"]?.string ?? ""
      validations.append(
        Validation(
          program: try CELProgram(item.text("expression"), variables: known), message: item.text("message"),
          messageProgram: message.isEmpty ? nil : try CELProgram(message, variables: known),
          reason: item["reason"]?.string ?? "Invalid"))
    }
    self.validations = validations
  }
}

/// A ValidatingAdmissionPolicyBinding, read.
struct PolicyBinding: Sendable {
  let name: String
  let policy: String
  let match: PolicyMatch
  let actions: Set<String>
  let params: JSONValue?

  init(_ document: JSONValue) {
    let spec = document["spec"] ?? [:]
    name = document["metadata"]?.text("name") ?? ""
    policy = spec.text("policyName")
    match = PolicyMatch(spec["matchResources"] ?? [:])
    actions = Set(spec["validationActions"]?.array?.compactMap(\.string) ?? [])
    params = spec["paramRef"].flatMap { $0.object == nil ? nil : $0 }
  }
}

/// What an expression of a policy came to that is not as it should be.
struct PolicyFailure: Sendable {
  let policy: String
  let binding: String
  let message: String
  let reason: String
  /// Which of the validations; nil: the policy as a whole.
  let index: Int?
}
