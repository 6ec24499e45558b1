internal import KubeModel

/// A ReplicationController is a ReplicaSet with a plain selector, of an older name.
extension ReplicationController: ReplicaOwner {
  static var component: String { "replication-controller" }

  var asReplicaSet: ReplicaSet {
    var set = ReplicaSet()
    set.metadata = metadata
    set.spec.replicas = spec.replicas
    set.spec.minReadySeconds = spec.minReadySeconds
    set.spec.template = spec.template ?? PodTemplateSpec()
    set.spec.selector.matchLabels = spec.selector.isEmpty ? set.spec.template.metadata.labels : spec.selector
    set.status.replicas = status.replicas
    set.status.fullyLabeledReplicas = status.fullyLabeledReplicas
    set.status.readyReplicas = status.readyReplicas
    set.status.availableReplicas = status.availableReplicas
    set.status.observedGeneration = status.observedGeneration
    set.status.conditions = status.conditions.map { condition in
      var same = ReplicaSetCondition()
      (same.type, same.status, same.reason) = (condition.type, condition.status, condition.reason)
      (same.message, same.lastTransitionTime) = (condition.message, condition.lastTransitionTime)
      return same
    }
    return set
  }

  mutating func take(_ wanted: ReplicaSetStatus) {
    status.replicas = wanted.replicas
    status.fullyLabeledReplicas = wanted.fullyLabeledReplicas
    status.readyReplicas = wanted.readyReplicas
    status.availableReplicas = wanted.availableReplicas
    status.observedGeneration = wanted.observedGeneration
    status.conditions = wanted.conditions.map { condition in
      var same = ReplicationControllerCondition()
      (same.type, same.status, same.reason) = (condition.type, condition.status, condition.reason)
      (same.message, same.lastTransitionTime) = (condition.message, condition.lastTransitionTime)
      return same
    }
  }
}
