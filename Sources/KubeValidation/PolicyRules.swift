import JSON
import KubeModel

/// Disruption budgets, autoscalers, priorities and runtime classes.
extension FieldErrors {
  mutating func disruptionBudget(_ budget: PodDisruptionBudget) {
    metadata(budget.metadata, .bySubdomain)
    let (spec, path) = (budget.spec, FieldPath("spec"))
    if spec.minAvailable != nil, spec.maxUnavailable != nil {
      invalid(path, spec.json, "minAvailable and maxUnavailable cannot be both set")
    }
    for (field, value) in [("minAvailable", spec.minAvailable), ("maxUnavailable", spec.maxUnavailable)] {
      guard let value else { continue }
      countOrPercent(value, path[field])
      atMostAll(value, path[field])
    }
    choice(
      path["unhealthyPodEvictionPolicy"], spec.unhealthyPodEvictionPolicy, of: ["AlwaysAllow", "IfHealthyBudget"])
    labelSelector(spec.selector, path["selector"])
  }

  mutating func updateDisruptionBudget(_ new: PodDisruptionBudget, _ old: PodDisruptionBudget) {
    metadataUpdate(new.metadata, old.metadata)
    disruptionBudget(new)
  }

  // MARK: autoscalers

  private static let windowSecondsMax: Int32 = 3600
  private static let periodSecondsMax: Int32 = 1800

  mutating func autoscaler(_ autoscaler: HorizontalPodAutoscaler) {
    metadata(autoscaler.metadata, .bySubdomain)
    let (spec, path) = (autoscaler.spec, FieldPath("spec"))
    if let least = spec.minReplicas, least < 1 {
      invalid(path["minReplicas"], least, "must be greater than or equal to 1")
    }
    if spec.maxReplicas < 1 { invalid(path["maxReplicas"], spec.maxReplicas, "must be greater than 0") }
    if let least = spec.minReplicas, spec.maxReplicas < least {
      invalid(path["maxReplicas"], spec.maxReplicas, "must be greater than or equal to `minReplicas`")
    }
    scaled(spec.scaleTargetRef, path["scaleTargetRef"])
    for (index, each) in spec.metrics.enumerated() { metric(each, path["metrics"][index]) }
    if let behavior = spec.behavior {
      scalingRules(behavior.scaleUp, path["behavior"]["scaleUp"])
      scalingRules(behavior.scaleDown, path["behavior"]["scaleDown"])
    }
  }

  private mutating func scaled(_ reference: CrossVersionObjectReference, _ path: FieldPath) {
    if reference.kind.isEmpty {
      required(path["kind"])
    } else {
      invalid(path["kind"], reference.kind, NameRules.pathSegment(reference.kind))
    }
    if reference.name.isEmpty {
      required(path["name"])
    } else {
      invalid(path["name"], reference.name, NameRules.pathSegment(reference.name))
    }
  }

  private mutating func metric(_ metric: MetricSpec, _ path: FieldPath) {
    if metric.type.isEmpty { return required(path["type"], "must specify a metric source type") }
    let types = ["ContainerResource", "External", "Object", "Pods", "Resource"]
    guard types.contains(metric.type) else { return notSupported(path["type"], metric.type, types) }
    func missing(_ field: String, _ errors: inout FieldErrors) {
      errors.required(path[field], "must populate information for the given metric source")
    }
    switch metric.type {
    case "Resource":
      guard let source = metric.resource else { return missing("resource", &self) }
      if source.name.isEmpty { required(path["resource"]["name"], "must specify a resource name") }
      resourceTarget(source.target, path["resource"]["target"])
    case "ContainerResource":
      guard let source = metric.containerResource else { return missing("containerResource", &self) }
      let at = path["containerResource"]
      if source.name.isEmpty { required(at["name"], "must specify a resource name") }
      if source.container.isEmpty { required(at["container"], "must specify a container") }
      resourceTarget(source.target, at["target"])
    case "Pods":
      guard let source = metric.pods else { return missing("pods", &self) }
      identifier(source.metric, path["pods"]["metric"])
      target(source.target, path["pods"]["target"])
      if source.target.averageValue == nil {
        required(path["pods"]["target"]["averageValue"], "must specify a positive target averageValue")
      }
    case "Object":
      guard let source = metric.object else { return missing("object", &self) }
      scaled(source.describedObject, path["object"]["describedObject"])
      identifier(source.metric, path["object"]["metric"])
      target(source.target, path["object"]["target"])
      if source.target.value == nil, source.target.averageValue == nil {
        required(path["object"]["target"]["averageValue"], "must set either a target value or averageValue")
      }
    default:
      guard let source = metric.external else { return missing("external", &self) }
      identifier(source.metric, path["external"]["metric"])
      target(source.target, path["external"]["target"])
      if source.target.value == nil, source.target.averageValue == nil {
        required(
          path["external"]["target"]["averageValue"], "must set either a target value for metric or a per-pod target")
      }
      if source.target.value != nil, source.target.averageValue != nil {
        forbidden(
          path["external"]["target"]["value"], "may not set both a target value for metric and a per-pod target")
      }
    }
  }

  private mutating func identifier(_ metric: MetricIdentifier, _ path: FieldPath) {
    if metric.name.isEmpty {
      required(path["name"], "must specify a metric name")
    } else {
      invalid(path["name"], metric.name, NameRules.pathSegment(metric.name))
    }
    labelSelector(metric.selector, path["selector"])
  }

  private mutating func target(_ target: MetricTarget, _ path: FieldPath) {
    if target.type.isEmpty { required(path["type"], "must specify a metric target type") }
    choice(path["type"], target.type, of: ["AverageValue", "Utilization", "Value"])
    for (field, amount) in [("value", target.value), ("averageValue", target.averageValue)] {
      if let amount, amount.milliValue <= 0 { invalid(path[field], amount.text, "must be positive") }
    }
    if let percent = target.averageUtilization, percent < 1 {
      invalid(path["averageUtilization"], percent, "must be greater than 0")
    }
  }

  private mutating func resourceTarget(_ target: MetricTarget, _ path: FieldPath) {
    self.target(target, path)
    switch (target.averageUtilization, target.averageValue) {
    case (nil, nil): required(path["averageUtilization"], "must set either a target raw value or a target utilization")
    case (_?, _?): forbidden(path["averageValue"], "may not set both a target raw value and a target utilization")
    default: break
    }
  }

  private mutating func scalingRules(_ rules: HPAScalingRules?, _ path: FieldPath) {
    guard let rules else { return }
    if let seconds = rules.stabilizationWindowSeconds {
      if seconds < 0 {
        invalid(path["stabilizationWindowSeconds"], seconds, "must be greater than or equal to zero")
      } else if seconds > Self.windowSecondsMax {
        invalid(path["stabilizationWindowSeconds"], seconds, "must be less than or equal to \(Self.windowSecondsMax)")
      }
    }
    choice(path["selectPolicy"], rules.selectPolicy, of: ["Disabled", "Max", "Min"])
    if rules.policies.isEmpty { required(path["policies"], "must specify at least one Policy") }
    for (index, policy) in rules.policies.enumerated() {
      let at = path["policies"][index]
      if !["Pods", "Percent"].contains(policy.type) { notSupported(at["type"], policy.type, ["Percent", "Pods"]) }
      if policy.value <= 0 { invalid(at["value"], policy.value, "must be greater than zero") }
      if policy.periodSeconds <= 0 {
        invalid(at["periodSeconds"], policy.periodSeconds, "must be greater than zero")
      } else if policy.periodSeconds > Self.periodSecondsMax {
        invalid(at["periodSeconds"], policy.periodSeconds, "must be less than or equal to \(Self.periodSecondsMax)")
      }
    }
  }

  mutating func updateAutoscaler(_ new: HorizontalPodAutoscaler, _ old: HorizontalPodAutoscaler) {
    metadataUpdate(new.metadata, old.metadata)
    autoscaler(new)
  }

  // MARK: priorities

  static let userPriorityMax: Int32 = 1_000_000_000
  /// Classes that every cluster has; their names are reserved, but may be written by what made them.
  static let systemPriorities: [String: Int32] = [
    "system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000,
  ]

  mutating func priorityClass(_ priority: PriorityClass) {
    metadata(priority.metadata, .clusterBySubdomain)
    let (name, value) = (priority.metadata.name ?? "", priority.value ?? 0)
    if name.hasPrefix("system-") {
      if Self.systemPriorities[name] != value {
        forbidden(
          FieldPath("metadata")["name"],
          "priority class names with 'system-' prefix are reserved for system use only. error: \(name) is not a known "
            + "system priority class")
      }
    } else if value > Self.userPriorityMax {
      forbidden(FieldPath("value"), "maximum allowed value of a user defined priority is \(Self.userPriorityMax)")
    }
    choice(FieldPath("preemptionPolicy"), priority.preemptionPolicy, of: ["Never", "PreemptLowerPriority"])
  }

  mutating func updatePriorityClass(_ new: PriorityClass, _ old: PriorityClass) {
    metadataUpdate(new.metadata, old.metadata)
    if new.value ?? 0 != old.value ?? 0 { forbidden(FieldPath("value"), "may not be changed in an update.") }
    immutable(FieldPath("preemptionPolicy"), new.preemptionPolicy, old.preemptionPolicy)
  }

  // MARK: runtime classes

  mutating func runtimeClass(_ runtime: RuntimeClass) {
    metadata(runtime.metadata, .clusterBySubdomain)
    if runtime.handler.isEmpty {
      required(FieldPath("handler"))
    } else {
      dnsLabel(FieldPath("handler"), runtime.handler)
    }
    for (name, amount) in (runtime.overhead?.podFixed ?? [:]).sorted(by: { $0.key < $1.key }) {
      quantity(name, amount, FieldPath("overhead")["podFixed"].key(name))
    }
    if let scheduling = runtime.scheduling {
      labels(scheduling.nodeSelector, FieldPath("scheduling")["nodeSelector"])
      tolerations(scheduling.tolerations, FieldPath("scheduling")["tolerations"])
    }
  }

  mutating func updateRuntimeClass(_ new: RuntimeClass, _ old: RuntimeClass) {
    metadataUpdate(new.metadata, old.metadata)
    runtimeClass(new)
    immutable(FieldPath("handler"), new.handler, old.handler)
  }
}
