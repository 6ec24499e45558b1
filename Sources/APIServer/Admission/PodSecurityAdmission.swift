import JSON
import KubeModel
import KubeValidation
import ObjectStore

/// Pod Security levels by the labels of a namespace: https://kubernetes.io/docs/concepts/security/pod-security-admission/
extension APIServer {
  /// A level, and the version of the standards that a label names; there is one version here.
  private struct SecurityPolicy {
    let level: PodSecurity.Level
    let version: String
    var name: String { "\(level.rawValue):\(version)" }
  }

  private func policy(_ mode: String, _ labels: [String: String]) -> SecurityPolicy? {
    guard let level = labels[PodSecurity.prefix + mode].flatMap(PodSecurity.Level.init), level != .privileged else {
      return nil
    }
    return SecurityPolicy(level: level, version: labels["\(PodSecurity.prefix)\(mode)-version"] ?? "latest")
  }

  /// Refuses a pod that its namespace does not allow; of pods and of what makes pods, warns of what would be refused, and
  /// has it written down.
  func checkPodSecurity(_ object: JSONObject, _ context: RequestContext) throws(APIStatus) {
    let (group, plural) = (context.resource.type.group, context.resource.type.plural)
    let isPod = group.isEmpty && plural == "pods"
    guard isPod || Self.templates.contains("\(group)/\(plural)"),
      let stored = store.get("/namespaces/\(context.namespace)")
    else { return }
    let labels = index.view(stored, .of(group: "", resource: "namespaces")).labels
    let (enforced, warned, audited) = (policy("enforce", labels), policy("warn", labels), policy("audit", labels))
    if isPod {
      context.notes.annotate(
        "pod-security.kubernetes.io/enforce-policy", enforced?.name ?? "privileged:latest")
    }
    guard enforced != nil || warned != nil || audited != nil, let (metadata, spec) = Self.podParts(object, plural)
    else { return }
    if let audited, let why = PodSecurity.violations(metadata, spec, audited.level) {
      context.notes.annotate(
        "pod-security.kubernetes.io/audit-violations", "would violate PodSecurity \"\(audited.name)\": \(why)")
    }
    if isPod, let enforced, let why = PodSecurity.violations(metadata, spec, enforced.level) {
      throw .forbidden(
        context.resource.qualified, ObjectMetadata(object).name, "violates PodSecurity \"\(enforced.name)\": \(why)")
    }
    // Templates are warned of by the level that their pods will meet, too.
    let warning = warned ?? (isPod ? nil : enforced)
    if let warning, let why = PodSecurity.violations(metadata, spec, warning.level) {
      context.notes.warn("would violate PodSecurity \"\(warning.name)\": \(why)")
    }
  }

  private static let templates: Set<String> = [
    "/replicationcontrollers", "/podtemplates", "apps/deployments", "apps/replicasets", "apps/statefulsets",
    "apps/daemonsets", "batch/jobs", "batch/cronjobs",
  ]

  private static func podParts(_ object: JSONObject, _ plural: String) -> (ObjectMeta, PodSpec)? {
    let document = JSONValue.object(object)
    var decoder = FieldDecoder(isLenient: true)
    let template: JSONValue? =
      switch plural {
      case "pods": document
      case "podtemplates": document["template"]
      case "cronjobs": document.at(["spec", "jobTemplate", "spec", "template"])
      default: document.at(["spec", "template"])
      }
    guard let template, let spec = template["spec"] else { return nil }
    return (ObjectMeta(template["metadata"] ?? [:], &decoder), PodSpec(spec, &decoder))
  }

  /// - Throws: `Invalid` for a label with a level that there is not.
  static func checkSecurityLabels(_ object: JSONObject) throws(APIStatus) {
    var errors: [FieldError] = []
    for mode in ["enforce", "audit", "warn"] {
      let key = PodSecurity.prefix + mode
      guard let value = ObjectMetadata(object).labels[key], PodSecurity.Level(rawValue: value) == nil else { continue }
      errors.append(
        FieldError(
          path: "metadata.labels[\(key)]", reason: .invalid, value: .string(value),
          detail: "must be one of privileged, baseline, restricted"))
    }
    if !errors.isEmpty {
      throw .invalid(kind: "Namespace", group: "", name: ObjectMetadata(object).name, errors: errors)
    }
  }
}
