import JSON

/// Defaults that depend on other fields, of the kinds beyond pods, services and deployments.
extension DefaultRules {
  static let ofKinds: [String: @Sendable (inout JSONObject) -> Void] = [
    "io.k8s.api.apps.v1.DaemonSetUpdateStrategy": daemonSetStrategy,
    "io.k8s.api.apps.v1.StatefulSetUpdateStrategy": statefulSetStrategy,
    "io.k8s.api.apps.v1.StatefulSetSpec": statefulSetSpec,
    "io.k8s.api.core.v1.ReplicationController": replicationController,
    "io.k8s.api.core.v1.LimitRangeItem": limitRangeItem,
    "io.k8s.api.batch.v1.Job": job,
    "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler": autoscaler,
    "io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerBehavior": autoscalerBehavior,
    "io.k8s.api.networking.v1.NetworkPolicySpec": networkPolicySpec,
    "io.k8s.api.networking.v1.IngressClassSpec": ingressClassSpec,
    "io.k8s.api.rbac.v1.Subject": subject,
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinitionNames": definitionNames,
  ]

  private static func isAbsent(_ value: JSONValue?) -> Bool { value?.isNull ?? true }

  private static func isEmpty(_ value: JSONValue?) -> Bool {
    isAbsent(value) || value == "" || value == [] || value == .object(JSONObject())
  }

  // MARK: workloads

  private static func daemonSetStrategy(_ strategy: inout JSONObject) {
    guard strategy["type"] == "RollingUpdate" else { return }
    var update = strategy["rollingUpdate"]?.object ?? JSONObject()
    if isAbsent(update["maxUnavailable"]) { update["maxUnavailable"] = 1 }
    if isAbsent(update["maxSurge"]) { update["maxSurge"] = 0 }
    strategy["rollingUpdate"] = .object(update)
  }

  private static func statefulSetStrategy(_ strategy: inout JSONObject) {
    guard strategy["type"] == "RollingUpdate" else { return }
    var update = strategy["rollingUpdate"]?.object ?? JSONObject()
    if isAbsent(update["partition"]) { update["partition"] = 0 }
    strategy["rollingUpdate"] = .object(update)
  }

  private static func statefulSetSpec(_ spec: inout JSONObject) {
    guard let claims = spec["volumeClaimTemplates"]?.array, !claims.isEmpty else { return }
    spec["volumeClaimTemplates"] = .array(
      claims.map { claim in
        guard var object = claim.object else { return claim }
        object["apiVersion"] = "v1"
        object["kind"] = "PersistentVolumeClaim"
        return .object(object)
      })
  }

  private static func templateLabels(_ object: JSONObject) -> JSONValue? {
    let labels = object["spec"]?["template"]?["metadata"]?["labels"]
    return isEmpty(labels) ? nil : labels
  }

  private static func takeLabels(_ object: inout JSONObject, _ labels: JSONValue) {
    var metadata = object["metadata"]?.object ?? JSONObject()
    guard isEmpty(metadata["labels"]) else { return }
    metadata["labels"] = labels
    object["metadata"] = .object(metadata)
  }

  private static func replicationController(_ controller: inout JSONObject) {
    guard let labels = templateLabels(controller), case .object(var spec)? = controller["spec"] else { return }
    if isEmpty(spec["selector"]) { spec["selector"] = labels }
    controller["spec"] = .object(spec)
    takeLabels(&controller, labels)
  }

  /// Retries of a job's pods where it does not say.
  private static let backoffLimit: JSONValue = 6

  private static func job(_ job: inout JSONObject) {
    guard case .object(var spec)? = job["spec"] else { return }
    if isAbsent(spec["parallelism"]) {
      if isAbsent(spec["completions"]) { spec["completions"] = 1 }
      spec["parallelism"] = 1
    }
    if isAbsent(spec["backoffLimit"]) {
      spec["backoffLimit"] =
        isAbsent(spec["backoffLimitPerIndex"]) ? backoffLimit : .integer(Int64(Int32.max))
    }
    if isEmpty(spec["completionMode"]) { spec["completionMode"] = "NonIndexed" }
    if isAbsent(spec["suspend"]) { spec["suspend"] = false }
    if isAbsent(spec["manualSelector"]) { spec["manualSelector"] = false }
    if isEmpty(spec["podReplacementPolicy"]) {
      spec["podReplacementPolicy"] = isAbsent(spec["podFailurePolicy"]) ? "TerminatingOrFailed" : "Failed"
    }
    job["spec"] = .object(spec)
    if let labels = templateLabels(job) { takeLabels(&job, labels) }
  }

  // MARK: scaling

  /// Who names no metric scales by the CPU's load, in percent of what is requested.
  private static let targetUtilization: JSONValue = 80

  private static func autoscaler(_ autoscaler: inout JSONObject) {
    guard case .object(var spec)? = autoscaler["spec"], isEmpty(spec["metrics"]) else { return }
    spec["metrics"] = [
      [
        "type": "Resource",
        "resource": ["name": "cpu", "target": ["type": "Utilization", "averageUtilization": targetUtilization]],
      ]
    ]
    autoscaler["spec"] = .object(spec)
  }

  private static func autoscalerBehavior(_ behavior: inout JSONObject) {
    let double: JSONValue = ["type": "Percent", "value": 100, "periodSeconds": 15]
    let four: JSONValue = ["type": "Pods", "value": 4, "periodSeconds": 15]
    for (direction, policies) in [("scaleUp", [four, double]), ("scaleDown", [double])] {
      var rules = behavior[direction]?.object ?? JSONObject()
      if direction == "scaleUp", isAbsent(rules["stabilizationWindowSeconds"]) {
        rules["stabilizationWindowSeconds"] = 0
      }
      if isEmpty(rules["selectPolicy"]) { rules["selectPolicy"] = "Max" }
      if isEmpty(rules["policies"]) { rules["policies"] = .array(policies) }
      behavior[direction] = .object(rules)
    }
  }

  // MARK: limits

  private static func limitRangeItem(_ item: inout JSONObject) {
    guard item["type"] == "Container" else { return }
    func fill(_ target: String, from source: String) {
      guard let amounts = item[source]?.object, !amounts.isEmpty else { return }
      var filled = item[target]?.object ?? JSONObject()
      for (name, amount) in amounts.members where filled[name] == nil { filled[name] = amount }
      item[target] = .object(filled)
    }
    fill("default", from: "max")
    fill("defaultRequest", from: "default")
    fill("defaultRequest", from: "min")
  }

  // MARK: networking, access, definitions

  private static func networkPolicySpec(_ spec: inout JSONObject) {
    guard isEmpty(spec["policyTypes"]) else { return }
    spec["policyTypes"] = isEmpty(spec["egress"]) ? ["Ingress"] : ["Ingress", "Egress"]
  }

  private static func ingressClassSpec(_ spec: inout JSONObject) {
    guard case .object(var parameters)? = spec["parameters"], isEmpty(parameters["scope"]) else { return }
    parameters["scope"] = "Cluster"
    spec["parameters"] = .object(parameters)
  }

  private static func subject(_ subject: inout JSONObject) {
    guard isEmpty(subject["apiGroup"]) else { return }
    switch subject["kind"]?.string {
    case "User", "Group": subject["apiGroup"] = "rbac.authorization.k8s.io"
    default: break
    }
  }

  private static func definitionNames(_ names: inout JSONObject) {
    guard let kind = names["kind"]?.string, !kind.isEmpty else { return }
    if isEmpty(names["singular"]) { names["singular"] = .string(kind.lowercased()) }
    if isEmpty(names["listKind"]) { names["listKind"] = .string("\(kind)List") }
  }
}
