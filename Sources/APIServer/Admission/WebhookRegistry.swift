import JSON
import KubeModel
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

  init(_ hook: MutatingWebhook) {
    (name, client, rules) = (hook.name, hook.clientConfig, hook.rules)
    isIgnoredOnFailure = hook.failurePolicy == "Ignore"
    isReinvoked = hook.reinvocationPolicy == "IfNeeded"
    timeoutSeconds = Int(hook.timeoutSeconds ?? Self.timeoutSeconds)
    (namespaceSelector, objectSelector) = (hook.namespaceSelector, hook.objectSelector)
  }

  init(_ hook: ValidatingWebhook) {
    (name, client, rules) = (hook.name, hook.clientConfig, hook.rules)
    isIgnoredOnFailure = hook.failurePolicy == "Ignore"
    isReinvoked = false
    timeoutSeconds = Int(hook.timeoutSeconds ?? Self.timeoutSeconds)
    (namespaceSelector, objectSelector) = (hook.namespaceSelector, hook.objectSelector)
  }

  private static let timeoutSeconds: Int32 = 10
}

/// What is about to happen to an object, as the rules of webhooks see it.
struct AdmissionAction: Sendable {
  /// CREATE, UPDATE or DELETE.
  let operation: String
  let group: String
  let version: String
  let resource: String
  let subresource: String
  let isNamespaced: Bool
  /// Of the namespace; nil for what lies in none.
  let namespaceLabels: [String: String]?
  /// Of the object, and of what it was.
  let labels: [[String: String]]

  /// Whether a webhook is to be asked.
  func concerns(_ hook: Webhook) -> Bool {
    guard hook.rules.contains(where: concerns) else { return false }
    if let selector = hook.objectSelector, !labels.contains(where: selector.matches) { return false }
    if let selector = hook.namespaceSelector, let namespaceLabels, !selector.matches(namespaceLabels) { return false }
    return true
  }

  private func concerns(_ rule: RuleWithOperations) -> Bool {
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
  private static let mutatingPrefix = "/mutatingwebhookconfigurations.admissionregistration.k8s.io/"
  private static let validatingPrefix = "/validatingwebhookconfigurations.admissionregistration.k8s.io/"
  /// What decides about admission is not itself subject to it, so that it can always be mended.
  private static let unaskedGroups: Set<String> = [
    "admissionregistration.k8s.io", "authentication.k8s.io", "authorization.k8s.io",
  ]

  /// The webhooks that are to be asked, in the order of the names of their configurations.
  func webhooks(mutating: Bool, _ action: AdmissionAction) -> [Webhook] {
    guard !Self.unaskedGroups.contains(action.group) else { return [] }
    let stored = store.list(prefix: mutating ? Self.mutatingPrefix : Self.validatingPrefix).objects
    let all = stored.flatMap { object -> [Webhook] in
      if mutating {
        return Self.decoded(object, as: MutatingWebhookConfiguration.self)?.webhooks.map { Webhook($0) } ?? []
      }
      return Self.decoded(object, as: ValidatingWebhookConfiguration.self)?.webhooks.map { Webhook($0) } ?? []
    }
    return all.filter { action.concerns($0) }
  }

  func hasWebhooks(mutating: Bool) -> Bool {
    !store.list(prefix: mutating ? Self.mutatingPrefix : Self.validatingPrefix, limit: 1).objects.isEmpty
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
