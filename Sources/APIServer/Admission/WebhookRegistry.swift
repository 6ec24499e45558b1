import CEL
import JSON
import KubeModel
import KubeValidation
import ObjectStore

/// One webhook of a configuration, of either kind.
struct Webhook: Sendable {
  let name: String
  let client: WebhookClientConfig
  let rules: [RuleWithOperations]
  let isIgnoredOnFailure: Bool
  let isReinvoked: Bool
  let timeoutSeconds: Int
  let namespaceSelector: LabelSelector?
  let objectSelector: LabelSelector?
  /// Rules name this version, and no other that objects are served in.
  let isExact: Bool
  /// Those that cannot be read fail when they are asked for.
  let conditions: Result<[AdmissionExpression], CELProblem>

  init(_ hook: MutatingWebhook) {
    isExact = hook.matchPolicy == "Exact"
    conditions = Self.conditions(hook.matchConditions)
    (name, client, rules) = (hook.name, hook.clientConfig, hook.rules)
    isIgnoredOnFailure = hook.failurePolicy == "Ignore"
    isReinvoked = hook.reinvocationPolicy == "IfNeeded"
    timeoutSeconds = Int(hook.timeoutSeconds ?? Self.timeoutSeconds)
    (namespaceSelector, objectSelector) = (hook.namespaceSelector, hook.objectSelector)
  }

  init(_ hook: ValidatingWebhook) {
    isExact = hook.matchPolicy == "Exact"
    conditions = Self.conditions(hook.matchConditions)
    (name, client, rules) = (hook.name, hook.clientConfig, hook.rules)
    isIgnoredOnFailure = hook.failurePolicy == "Ignore"
    isReinvoked = false
    timeoutSeconds = Int(hook.timeoutSeconds ?? Self.timeoutSeconds)
    (namespaceSelector, objectSelector) = (hook.namespaceSelector, hook.objectSelector)
  }

  private static let timeoutSeconds: Int32 = 10

  private static func conditions(_ list: [MatchCondition]) -> Result<[AdmissionExpression], CELProblem> {
    Result { () throws(CELProblem) in
      var found: [AdmissionExpression] = []
      for condition in list {
        found.append(
          AdmissionExpression(
            name: condition.name,
            program: try CELProgram(condition.expression, variables: ExpressionVariables.conditions)))
      }
      return found
    }
  }
}

/// What is about to happen to an object, as the rules of webhooks see it.
struct AdmissionAction: Sendable {
  /// CREATE, UPDATE or DELETE.
  let operation: String
  var group: String
  var version: String
  let resource: String
  let subresource: String
  let isNamespaced: Bool
  /// Of the namespace; nil for what lies in none.
  let namespaceLabels: [String: String]?
  /// Of the object, and of what it was.
  let labels: [[String: String]]

  /// Whether a webhook is to be asked.
  func concerns(_ hook: Webhook) -> Bool {
    guard hook.rules.contains(where: isNamed) else { return false }
    if let selector = hook.objectSelector, !labels.contains(where: selector.matches) { return false }
    if let selector = hook.namespaceSelector, let namespaceLabels, !selector.matches(namespaceLabels) { return false }
    return true
  }

  func isNamed(by rule: RuleWithOperations) -> Bool {
    func has(_ list: [String], _ value: String) -> Bool { list.contains("*") || list.contains(value) }
    guard has(rule.operations, operation), has(rule.apiGroups, group), has(rule.apiVersions, version) else {
      return false
    }
    switch rule.scope {
    case "Namespaced": if !isNamespaced { return false }
    case "Cluster": if isNamespaced { return false }
    default: break
    }
    return rule.resources.contains { pattern in
      let parts = pattern.split(separator: "/", maxSplits: 1).map(String.init)
      guard let first = parts.first, first == "*" || first == resource else { return false }
      let wanted = parts.count > 1 ? parts[1] : ""
      return wanted == subresource || wanted == "*"
    }
  }
}

extension APIServer {
  /// What decides about admission is not itself subject to it, so that it can always be mended.
  static let unaskedGroups: Set<String> = [
    "admissionregistration.k8s.io", "authentication.k8s.io", "authorization.k8s.io",
  ]

  /// A webhook that is to be asked, and the version in which it wants the object; nil: in that of the request.
  struct WebhookCall: Sendable {
    let hook: Webhook
    let form: ServedResource?
  }

  /// The webhooks that are to be asked, in the order of the names of their configurations.
  func webhooks(
    mutating: Bool, _ action: AdmissionAction, _ resource: ServedResource
  ) -> [WebhookCall] {
    guard !Self.unaskedGroups.contains(action.group) else { return [] }
    let state = policies.current
    return (mutating ? state.mutating : state.validating).compactMap { hook in
      if action.concerns(hook) { return WebhookCall(hook: hook, form: nil) }
      guard !hook.isExact else { return nil }
      for other in equivalents(of: resource) {
        var same = action
        (same.group, same.version) = (other.type.group, other.type.version)
        if same.concerns(hook) { return WebhookCall(hook: hook, form: other) }
      }
      return nil
    }
  }

  /// The other versions in which the same objects are served.
  func equivalents(of resource: ServedResource) -> [ServedResource] {
    resources.all.filter {
      $0.prefix == resource.prefix && $0.kind == resource.kind && $0.type.apiVersion != resource.type.apiVersion
    }
  }

  func hasWebhooks(mutating: Bool) -> Bool {
    let state = policies.current
    return mutating ? !state.mutating.isEmpty : !state.validating.isEmpty
  }

  func admissionAction(
    _ operation: String, _ object: JSONObject?, old: JSONObject?, _ context: RequestContext
  ) -> AdmissionAction {
    let type = context.resource.type
    var namespaceLabels: [String: String]?
    if type.isNamespaced, let stored = store.get("/namespaces/\(context.namespace)") {
      namespaceLabels = index.view(stored, .of(group: "", resource: "namespaces")).labels
    } else if type.group.isEmpty, type.plural == "namespaces" {
      namespaceLabels = (object ?? old).map { ObjectMetadata($0).labels }
    }
    return AdmissionAction(
      operation: operation, group: type.group, version: type.version, resource: type.plural,
      subresource: context.info.subresource, isNamespaced: type.isNamespaced, namespaceLabels: namespaceLabels,
      labels: [object, old].compactMap { $0.map { ObjectMetadata($0).labels } })
  }
}
