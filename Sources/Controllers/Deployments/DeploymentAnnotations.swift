package import KubeModel

/// What a Deployment writes on itself and on its ReplicaSets; kubectl's rollout commands read it there.
package enum DeploymentAnnotations {
  package static let revision = "deployment.kubernetes.io/revision"
  package static let revisionHistory = "deployment.kubernetes.io/revision-history"
  package static let desiredReplicas = "deployment.kubernetes.io/desired-replicas"
  package static let maxReplicas = "deployment.kubernetes.io/max-replicas"
  /// Revisions of the past are dropped, oldest first, beyond this length in characters.
  static let revisionHistoryLengthMax = 2000

  /// What stands on a Deployment and says nothing about one of its ReplicaSets.
  private static let ownToTheDeployment: Set<String> = [
    "kubectl.kubernetes.io/last-applied-configuration", revision, revisionHistory, desiredReplicas, maxReplicas,
    "deprecated.deployment.rollback.to",
  ]

  package static func revisionNumber(_ metadata: ObjectMeta) -> Int64 {
    metadata.annotations[revision].flatMap { Int64($0) } ?? 0
  }

  /// Gives the current ReplicaSet the Deployment's annotations and its place in the history.
  static func describe(
    _ set: inout ReplicaSet, of deployment: Deployment, revision newRevision: Int64, isNew: Bool
  ) {
    for (key, value) in deployment.metadata.annotations where !ownToTheDeployment.contains(key) {
      set.metadata.annotations[key] = value
    }
    let old = set.metadata.annotations[revision]
    let oldNumber = old.flatMap { Int64($0) } ?? 0
    if oldNumber < newRevision {
      set.metadata.annotations[revision] = String(newRevision)
      if let old { remember(old, in: &set) }
    }
    if isNew { sizes(of: deployment, on: &set) }
  }

  private static func remember(_ revision: String, in set: inout ReplicaSet) {
    let history = set.metadata.annotations[revisionHistory] ?? ""
    var revisions = history.isEmpty ? [] : history.split(separator: ",").map(String.init)
    revisions.append(revision)
    while revisions.count > 1, revisions.joined(separator: ",").utf8.count > revisionHistoryLengthMax {
      revisions.removeFirst()
    }
    set.metadata.annotations[revisionHistory] = revisions.joined(separator: ",")
  }

  /// Notes what the Deployment's size was when this set was last sized: what proportional scaling starts from.
  static func sizes(of deployment: Deployment, on set: inout ReplicaSet) {
    set.metadata.annotations[desiredReplicas] = String(deployment.desired)
    set.metadata.annotations[maxReplicas] = String(deployment.desired + deployment.maxSurge)
  }
}

extension Deployment {
  var desired: Int { Int(spec.replicas ?? 1) }
  var isRolling: Bool { spec.strategy.type != "Recreate" }
  var isPaused: Bool { spec.paused == true }

  /// Seconds without progress after which a rollout is said to have failed; nil: never.
  var progressDeadlineSeconds: Int32? {
    guard let seconds = spec.progressDeadlineSeconds, seconds != .max else { return nil }
    return seconds
  }

  /// Pods beyond the desired number: a share is rounded up.
  package var maxSurge: Int {
    guard isRolling else { return 0 }
    return (spec.strategy.rollingUpdate?.maxSurge ?? .string("25%")).scaled(total: desired, roundingUp: true)
  }

  /// Pods that may be missing: a share is rounded down. Where neither surplus nor lack were left, one may be missing, or
  /// nothing could ever move.
  package var maxUnavailable: Int {
    guard isRolling, desired > 0 else { return 0 }
    let wanted = spec.strategy.rollingUpdate?.maxUnavailable ?? .string("25%")
    let unavailable = wanted.scaled(total: desired, roundingUp: false)
    return min(unavailable == 0 && maxSurge == 0 ? 1 : unavailable, desired)
  }
}

extension ReplicaSet {
  var size: Int { Int(spec.replicas ?? 1) }
  /// Whether the status is about the size that is asked for now.
  var isObserved: Bool { (status.observedGeneration ?? 0) >= (metadata.generation ?? 0) }
  /// Available pods that will surely stay. A status that lags behind may count those that were there before the set
  /// shrank and grew again; nothing is built on that.
  var lastingAvailable: Int { isObserved ? min(size, Int(status.availableReplicas ?? 0)) : 0 }
}
