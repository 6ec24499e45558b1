internal import KubeModel

extension DeploymentStatus {
  func condition(_ type: String) -> DeploymentCondition? { conditions.first { $0.type == type } }

  /// Sets a condition. The same status for the same reason is no news and leaves all as it was; the same status for
  /// another reason keeps the time of the last transition.
  mutating func set(
    _ type: String, _ status: String, reason: String, message: String, now: Time, transition: Time? = nil
  ) {
    let current = condition(type)
    if let current, current.status == status, current.reason == reason { return }
    var condition = DeploymentCondition()
    condition.type = type
    condition.status = status
    condition.reason = reason
    condition.message = message
    condition.lastUpdateTime = now
    condition.lastTransitionTime = transition ?? (current?.status == status ? current?.lastTransitionTime : nil) ?? now
    conditions.removeAll { $0.type == type }
    conditions.append(condition)
  }

  mutating func remove(_ type: String) { conditions.removeAll { $0.type == type } }
}

/// The counters and conditions of a Deployment.
enum DeploymentStatusPlan {
  /// Counters, and whether enough is available.
  static func counted(
    _ deployment: Deployment, conditions: DeploymentStatus, all: [ReplicaSet], new: ReplicaSet?, now: Time
  ) -> DeploymentStatus {
    var status = conditions
    func sum(_ value: (ReplicaSet) -> Int32?) -> Int32 { all.reduce(0) { $0 + (value($1) ?? 0) } }
    let available = sum(\.status.availableReplicas)
    status.observedGeneration = deployment.metadata.generation ?? 0
    status.replicas = sum(\.status.replicas)
    status.updatedReplicas = new?.status.replicas ?? 0
    status.readyReplicas = sum(\.status.readyReplicas)
    status.availableReplicas = available
    status.unavailableReplicas = max(0, Int32(all.reduce(0) { $0 + $1.size }) - available)
    if Int(available) >= deployment.desired - deployment.maxUnavailable {
      status.set(
        "Available", "True", reason: "MinimumReplicasAvailable", message: "Deployment has minimum availability.",
        now: now)
    } else {
      status.set(
        "Available", "False", reason: "MinimumReplicasUnavailable",
        message: "Deployment does not have minimum availability.", now: now)
    }
    return status
  }

  /// Counters, progress and failures of a rollout that goes on.
  static func rollingOut(
    _ deployment: Deployment, conditions: DeploymentStatus, all: [ReplicaSet], new: ReplicaSet?, now: Time
  ) -> DeploymentStatus {
    var status = counted(deployment, conditions: conditions, all: all, new: new, now: now)
    let progressing = status.condition("Progressing")
    let wasComplete =
      status.replicas == status.updatedReplicas && progressing?.reason == "NewReplicaSetAvailable"
    if deployment.progressDeadlineSeconds == nil {
      status.remove("Progressing")
    } else if !wasComplete {
      let subject =
        new.map { "ReplicaSet \"\($0.metadata.name ?? "")\"" } ?? "Deployment \"\(deployment.metadata.name ?? "")\""
      if isComplete(deployment, status) {
        status.set(
          "Progressing", "True", reason: "NewReplicaSetAvailable", message: "\(subject) has successfully progressed.",
          now: now)
      } else if hasProgressed(from: deployment.status, to: status) {
        // Set afresh, so that the deadline runs from this progress.
        status.remove("Progressing")
        status.set(
          "Progressing", "True", reason: "ReplicaSetUpdated", message: "\(subject) is progressing.", now: now,
          transition: progressing?.status == "True" ? progressing?.lastTransitionTime : nil)
      } else if hasTimedOut(deployment, status, now: now) {
        status.set(
          "Progressing", "False", reason: "ProgressDeadlineExceeded", message: "\(subject) has timed out progressing.",
          now: now)
      }
    }
    if let failure = failure(all: all, new: new) {
      status.set(
        "ReplicaFailure", failure.status, reason: failure.reason ?? "", message: failure.message ?? "", now: now,
        transition: failure.lastTransitionTime)
    } else {
      status.remove("ReplicaFailure")
    }
    return status
  }

  static func isComplete(_ deployment: Deployment, _ status: DeploymentStatus) -> Bool {
    let desired = Int32(clamping: deployment.desired)
    return (status.updatedReplicas ?? 0) == desired && (status.replicas ?? 0) == desired
      && (status.availableReplicas ?? 0) == desired
      && (status.observedGeneration ?? 0) >= (deployment.metadata.generation ?? 0)
  }

  private static func hasProgressed(from old: DeploymentStatus, to new: DeploymentStatus) -> Bool {
    func outdated(_ status: DeploymentStatus) -> Int32 { (status.replicas ?? 0) - (status.updatedReplicas ?? 0) }
    return (new.updatedReplicas ?? 0) > (old.updatedReplicas ?? 0) || outdated(new) < outdated(old)
      || (new.readyReplicas ?? 0) > (old.readyReplicas ?? 0)
      || (new.availableReplicas ?? 0) > (old.availableReplicas ?? 0)
  }

  private static func hasTimedOut(_ deployment: Deployment, _ status: DeploymentStatus, now: Time) -> Bool {
    guard let condition = status.condition("Progressing"), condition.reason != "NewReplicaSetAvailable" else {
      return false
    }
    if condition.reason == "ProgressDeadlineExceeded" { return true }
    return deadline(deployment, condition).map { $0 < now.secondsSinceEpoch } ?? false
  }

  private static func deadline(_ deployment: Deployment, _ condition: DeploymentCondition) -> Int64? {
    guard let seconds = deployment.progressDeadlineSeconds else { return nil }
    return (condition.lastUpdateTime?.secondsSinceEpoch ?? 0) + Int64(seconds)
  }

  /// Seconds until the rollout has to be looked at again for its deadline, which no change of an object tells.
  static func secondsToDeadline(_ deployment: Deployment, _ status: DeploymentStatus, now: Time) -> Int64? {
    guard let condition = status.condition("Progressing"), !isComplete(deployment, status),
      condition.reason != "ProgressDeadlineExceeded", condition.reason != "NewReplicaSetAvailable",
      let deadline = deadline(deployment, condition)
    else { return nil }
    return max(1, deadline - now.secondsSinceEpoch + 1)
  }

  /// The new set's failure counts before those of the old ones.
  private static func failure(all: [ReplicaSet], new: ReplicaSet?) -> ReplicaSetCondition? {
    let sets = (new.map { [$0] } ?? []) + all
    return sets.lazy.flatMap(\.status.conditions).first { $0.type == "ReplicaFailure" }
  }
}
