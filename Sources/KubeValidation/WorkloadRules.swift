import JSON
import KubeModel

/// Deployments, ReplicaSets and their scale.
extension FieldErrors {
  mutating func deployment(_ deployment: Deployment) {
    metadata(deployment.metadata, .bySubdomain)
    let (spec, path) = (deployment.spec, FieldPath("spec"))
    notNegative(path["replicas"], spec.replicas)
    template(spec.template, selectedBy: spec.selector, of: "Deployment", path)
    strategy(spec.strategy, path["strategy"])
    notNegative(path["minReadySeconds"], spec.minReadySeconds)
    notNegative(path["revisionHistoryLimit"], spec.revisionHistoryLimit)
    if let deadline = spec.progressDeadlineSeconds {
      notNegative(path["progressDeadlineSeconds"], deadline)
      if deadline <= spec.minReadySeconds ?? 0 {
        invalid(path["progressDeadlineSeconds"], deadline, "must be greater than minReadySeconds")
      }
    }
  }

  mutating func updateDeployment(_ new: Deployment, _ old: Deployment) {
    metadataUpdate(new.metadata, old.metadata)
    deployment(new)
    immutable(FieldPath("spec")["selector"], new.spec.selector, old.spec.selector)
  }

  mutating func replicaSet(_ replicaSet: ReplicaSet) {
    metadata(replicaSet.metadata, .bySubdomain)
    let (spec, path) = (replicaSet.spec, FieldPath("spec"))
    notNegative(path["replicas"], spec.replicas)
    notNegative(path["minReadySeconds"], spec.minReadySeconds)
    template(spec.template, selectedBy: spec.selector, of: "ReplicaSet", path)
  }

  mutating func updateReplicaSet(_ new: ReplicaSet, _ old: ReplicaSet) {
    metadataUpdate(new.metadata, old.metadata)
    replicaSet(new)
    immutable(FieldPath("spec")["selector"], new.spec.selector, old.spec.selector)
  }

  mutating func scale(_ scale: Scale) {
    metadata(scale.metadata, .bySubdomain)
    notNegative(FieldPath("spec")["replicas"], scale.spec.replicas)
  }

  mutating func template(
    _ template: PodTemplateSpec, selectedBy selector: LabelSelector, of kind: String, _ path: FieldPath
  ) {
    let at = path["template"]
    let isEmpty = selector.matchLabels.isEmpty && selector.matchExpressions.isEmpty
    if isEmpty {
      required(path["selector"])
    } else {
      labelSelector(selector, path["selector"])
    }
    if isEmpty || !selector.matches(template.metadata.labels) {
      invalid(
        at["metadata"]["labels"], JSONValue(template.metadata.labels), "`selector` does not match template `labels`")
    }
    podTemplate(template, at)
    if let policy = template.spec.restartPolicy, policy != "Always" {
      notSupported(at["spec"]["restartPolicy"], policy, ["Always"])
    }
    if template.spec.activeDeadlineSeconds != nil {
      forbidden(
        at["spec"]["activeDeadlineSeconds"], "activeDeadlineSeconds in \(kind) is not Supported")
    }
  }

  // MARK: rollout

  private mutating func strategy(_ strategy: DeploymentStrategy, _ path: FieldPath) {
    switch strategy.type ?? "RollingUpdate" {
    case "Recreate":
      if strategy.rollingUpdate != nil {
        forbidden(path["rollingUpdate"], "may not be specified when strategy `type` is 'Recreate'")
      }
    case "RollingUpdate": rollingUpdate(strategy.rollingUpdate, path["rollingUpdate"])
    default: notSupported(path, strategy.json, ["Recreate", "RollingUpdate"])
    }
  }

  private mutating func rollingUpdate(_ update: RollingUpdateDeployment?, _ path: FieldPath) {
    guard let update else { return }
    let unavailable = update.maxUnavailable ?? .string("25%")
    let surge = update.maxSurge ?? .string("25%")
    countOrPercent(unavailable, path["maxUnavailable"])
    countOrPercent(surge, path["maxSurge"])
    if unavailable.isZero, surge.isZero {
      invalid(path["maxUnavailable"], unavailable.json, "may not be 0 when `maxSurge` is 0")
    }
    if let percent = unavailable.percent, percent > 100 {
      invalid(path["maxUnavailable"], unavailable.json, "must not be greater than 100%")
    }
  }

  mutating func countOrPercent(_ value: IntOrString, _ path: FieldPath) {
    switch value {
    case .int(let count): notNegative(path, count)
    case .string(let text): invalid(path, text, NameRules.percent(text))
    }
  }

  // MARK: status

  mutating func updateDeploymentStatus(_ new: Deployment, _ old: Deployment) {
    metadataUpdate(new.metadata, old.metadata)
    let (status, path) = (new.status, FieldPath("status"))
    notNegative(path["observedGeneration"], status.observedGeneration)
    counts(
      path, replicas: status.replicas, ready: status.readyReplicas, available: status.availableReplicas,
      others: [("updatedReplicas", status.updatedReplicas)])
    notNegative(path["unavailableReplicas"], status.unavailableReplicas)
    if let before = old.status.collisionCount, status.collisionCount ?? 0 < before {
      invalid(path["collisionCount"], status.collisionCount?.json ?? .null, "cannot be decremented")
    }
  }

  mutating func updateReplicaSetStatus(_ new: ReplicaSet, _ old: ReplicaSet) {
    metadataUpdate(new.metadata, old.metadata)
    let (status, path) = (new.status, FieldPath("status"))
    notNegative(path["observedGeneration"], status.observedGeneration)
    counts(
      path, replicas: status.replicas, ready: status.readyReplicas, available: status.availableReplicas,
      others: [("fullyLabeledReplicas", status.fullyLabeledReplicas)])
  }

  mutating func counts(
    _ path: FieldPath, replicas: Int32?, ready: Int32?, available: Int32?, others: [(String, Int32?)]
  ) {
    notNegative(path["replicas"], replicas)
    for (field, count) in others + [("readyReplicas", ready), ("availableReplicas", available)] {
      notNegative(path[field], count)
      if let count, count > replicas ?? 0 {
        invalid(path[field], count, "cannot be greater than status.replicas")
      }
    }
    if let available, available > ready ?? 0 {
      invalid(path["availableReplicas"], available, "cannot be greater than readyReplicas")
    }
  }
}

extension IntOrString {
  var percent: Int? {
    guard case .string(let text) = self, text.hasSuffix("%") else { return nil }
    return Int(text.dropLast())
  }

  var isZero: Bool {
    switch self {
    case .int(let count): count == 0
    case .string: percent == 0
    }
  }
}
