package import KubeModel

/// What to do for a ReplicaSet, given its pods.
package struct ReplicaSetPlan: Sendable {
  /// Pods made or deleted in one pass; the rest follow when the cache shows these.
  package static let burstMax = 500

  package var creations = 0
  package var deletions: [Pod] = []

  /// - Parameters:
  ///   - pods: the active pods that the set owns.
  ///   - related: the pods of all sets with the same owner, this one's included.
  package init(for set: ReplicaSet, pods: [Pod], related: [Pod], now: Time) {
    guard !set.metadata.isDeleting else { return }
    let surplus = pods.count - Int(set.spec.replicas ?? 1)
    if surplus < 0 {
      creations = min(-surplus, Self.burstMax)
    } else if surplus > 0 {
      deletions = PodRanking.toDelete(min(surplus, Self.burstMax), of: pods, related: related, now: now)
    }
  }

  /// What went wrong in doing it.
  package enum Failure: Sendable {
    case creating(String)
    case deleting(String)
  }

  package static func status(of set: ReplicaSet, pods: [Pod], failure: Failure?, now: Time) -> ReplicaSetStatus {
    let minReady = set.spec.minReadySeconds ?? 0
    var status = set.status
    status.replicas = Int32(pods.count)
    status.fullyLabeledReplicas = Int32(
      pods.count { LabelSelector.matches($0.metadata.labels, equality: set.spec.template.metadata.labels) })
    status.readyReplicas = Int32(pods.count(where: \.isReady))
    status.availableReplicas = Int32(pods.count { $0.isAvailable(minReadySeconds: minReady, now: now) })
    status.observedGeneration = set.metadata.generation ?? 0
    let known = status.conditions.contains { $0.type == "ReplicaFailure" }
    if let failure, !known {
      var condition = ReplicaSetCondition()
      condition.type = "ReplicaFailure"
      condition.status = "True"
      condition.lastTransitionTime = now
      switch failure {
      case .creating(let message): (condition.reason, condition.message) = ("FailedCreate", message)
      case .deleting(let message): (condition.reason, condition.message) = ("FailedDelete", message)
      }
      status.conditions.append(condition)
    } else if failure == nil, known {
      status.conditions.removeAll { $0.type == "ReplicaFailure" }
    }
    return status
  }

  /// When a pod that is ready now will have been so for long enough: no change of an object tells that.
  package static func nextAvailability(of set: ReplicaSet, pods: [Pod], now: Time) -> Time? {
    let minReady = set.spec.minReadySeconds ?? 0
    guard minReady > 0 else { return nil }
    return pods.compactMap { $0.availableSince(minReadySeconds: minReady) }
      .filter { $0.secondsSinceEpoch > now.secondsSinceEpoch }
      .min { $0.secondsSinceEpoch < $1.secondsSinceEpoch }
  }

  /// A pod as the template has it, owned by the set.
  package static func pod(for set: ReplicaSet, owner: OwnerReference? = nil) -> Pod {
    var pod = Pod()
    pod.metadata.generateName = "\(set.metadata.name ?? "")-"
    pod.metadata.namespace = set.metadata.namespace
    pod.metadata.labels = set.spec.template.metadata.labels
    pod.metadata.annotations = set.spec.template.metadata.annotations
    pod.metadata.finalizers = set.spec.template.metadata.finalizers
    pod.metadata.ownerReferences = [owner ?? set.asController]
    pod.spec = set.spec.template.spec
    return pod
  }

  /// Sizes of the batches in which `count` pods are made: 1, 2, 4 and so on. The first that fails ends the row, so a
  /// set whose pods are refused (by a quota, say) asks once and not five hundred times.
  package static func batches(of count: Int) -> [Int] {
    var (left, size, sizes) = (count, 1, [Int]())
    while left > 0 {
      sizes.append(min(size, left))
      left -= size
      size *= 2
    }
    return sizes
  }
}
