import JSON
import KubeModel

/// What a server is asked about before objects are stored.
extension FieldErrors {
  mutating func mutatingWebhooks(_ configuration: MutatingWebhookConfiguration) {
    metadata(configuration.metadata, .clusterBySubdomain)
    var names: Set<String> = []
    for (index, hook) in configuration.webhooks.enumerated() {
      let path = FieldPath("webhooks")[index]
      webhook(WebhookFields(hook), path)
      choice(path["reinvocationPolicy"], hook.reinvocationPolicy, of: ["IfNeeded", "Never"])
      if !names.insert(hook.name).inserted { duplicate(path["name"], hook.name) }
    }
  }

  mutating func validatingWebhooks(_ configuration: ValidatingWebhookConfiguration) {
    metadata(configuration.metadata, .clusterBySubdomain)
    var names: Set<String> = []
    for (index, hook) in configuration.webhooks.enumerated() {
      let path = FieldPath("webhooks")[index]
      webhook(WebhookFields(hook), path)
      if !names.insert(hook.name).inserted { duplicate(path["name"], hook.name) }
    }
  }

  private static let timeoutSeconds = 1...30

  private mutating func webhook(_ hook: WebhookFields, _ path: FieldPath) {
    let domain = NameRules.dnsSubdomain(hook.name)
    if hook.name.isEmpty {
      required(path["name"])
    } else if !domain.isEmpty {
      invalid(path["name"], hook.name, domain.joined(separator: ","))
    } else if hook.name.split(separator: ".").count < 3 {
      invalid(path["name"], hook.name, "should be a domain with at least three segments separated by dots")
    }
    for (index, rule) in hook.rules.enumerated() { webhookRule(rule, path["rules"][index]) }
    choice(path["failurePolicy"], hook.failurePolicy, of: ["Fail", "Ignore"])
    choice(path["matchPolicy"], hook.matchPolicy, of: ["Equivalent", "Exact"])
    if hook.sideEffects.isEmpty {
      required(path["sideEffects"], "must specify one of None, NoneOnDryRun")
    } else {
      choice(path["sideEffects"], hook.sideEffects, of: ["None", "NoneOnDryRun"])
    }
    if let seconds = hook.timeoutSeconds, !Self.timeoutSeconds.contains(Int(seconds)) {
      invalid(path["timeoutSeconds"], seconds, "the timeout value must be between 1 and 30 seconds")
    }
    labelSelector(hook.namespaceSelector, path["namespaceSelector"])
    labelSelector(hook.objectSelector, path["objectSelector"])
    if hook.reviewVersions.isEmpty {
      required(path["admissionReviewVersions"], "must specify one of v1, v1beta1")
    } else if Set(hook.reviewVersions).isDisjoint(with: ["v1", "v1beta1"]) {
      invalid(
        path["admissionReviewVersions"], JSONValue(hook.reviewVersions), "must include at least one of v1, v1beta1")
    }
    matchConditions(hook.conditions, path["matchConditions"], ExpressionVariables.conditions)
    clientConfiguration(hook.client, path["clientConfig"])
  }

  mutating func webhookRule(_ rule: RuleWithOperations, _ path: FieldPath) {
    let operations = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"]
    if rule.operations.isEmpty { required(path["operations"]) }
    if rule.operations.count > 1, rule.operations.contains("*") {
      invalid(
        path["operations"], JSONValue(rule.operations), "if '*' is present, must not specify other operations")
    }
    for (index, operation) in rule.operations.enumerated() where !operations.contains(operation) {
      notSupported(path["operations"][index], operation, operations)
    }
    for (field, values) in [("apiGroups", rule.apiGroups), ("apiVersions", rule.apiVersions)] {
      if values.isEmpty { required(path[field]) }
      if values.count > 1, values.contains("*") {
        invalid(
          path[field], JSONValue(values),
          "if '*' is present, must not specify other \(field == "apiGroups" ? "API groups" : "API versions")")
      }
    }
    if rule.resources.isEmpty { required(path["resources"]) }
    choice(path["scope"], rule.scope, of: ["*", "Cluster", "Namespaced"])
  }

  private mutating func clientConfiguration(_ client: WebhookClientConfig, _ path: FieldPath) {
    switch (client.url, client.service) {
    case (nil, nil), (_?, _?): required(path, "exactly one of url or service is required")
    case (let url?, nil):
      if !url.hasPrefix("https://") {
        let scheme = url.split(separator: ":", maxSplits: 1).first.map(String.init) ?? ""
        invalid(path["url"], scheme, "'https' is the only allowed URL scheme; desired format: https://host[/path]")
      } else if url.dropFirst("https://".count).prefix(while: { $0 != "/" }).isEmpty {
        invalid(path["url"], url, "host must be specified; desired format: https://host[/path]")
      } else if url.contains("?") {
        invalid(path["url"], url, "query parameters are not permitted in the URL; desired format: https://host[/path]")
      } else if url.contains("#") {
        invalid(path["url"], url, "fragments are not permitted in the URL; desired format: https://host[/path]")
      }
    case (nil, let service?):
      let at = path["service"]
      if service.name.isEmpty { required(at["name"], "service name is required") }
      if service.namespace.isEmpty { required(at["namespace"], "service namespace is required") }
      if let port = service.port { portNumber(at["port"], port) }
      if let text = service.path, !text.hasPrefix("/") { invalid(at["path"], text, "must start with a '/'") }
    }
  }
}

/// What the two kinds of webhook have in common.
private struct WebhookFields {
  let name: String
  let rules: [RuleWithOperations]
  let client: WebhookClientConfig
  let failurePolicy: String?
  let matchPolicy: String?
  let sideEffects: String
  let timeoutSeconds: Int32?
  let reviewVersions: [String]
  let namespaceSelector: LabelSelector?
  let objectSelector: LabelSelector?
  let conditions: [MatchCondition]

  init(_ hook: MutatingWebhook) {
    conditions = hook.matchConditions
    (name, rules, client) = (hook.name, hook.rules, hook.clientConfig)
    (failurePolicy, matchPolicy, sideEffects) = (hook.failurePolicy, hook.matchPolicy, hook.sideEffects)
    (timeoutSeconds, reviewVersions) = (hook.timeoutSeconds, hook.admissionReviewVersions)
    (namespaceSelector, objectSelector) = (hook.namespaceSelector, hook.objectSelector)
  }

  init(_ hook: ValidatingWebhook) {
    conditions = hook.matchConditions
    (name, rules, client) = (hook.name, hook.rules, hook.clientConfig)
    (failurePolicy, matchPolicy, sideEffects) = (hook.failurePolicy, hook.matchPolicy, hook.sideEffects)
    (timeoutSeconds, reviewVersions) = (hook.timeoutSeconds, hook.admissionReviewVersions)
    (namespaceSelector, objectSelector) = (hook.namespaceSelector, hook.objectSelector)
  }
}
