package import KubeModel

/// Which nodes a DaemonSet wants its pods on, and what those look like.
extension DaemonSet {
  func maxSurge(_ nodes: Int) -> Int {
    (spec.updateStrategy.rollingUpdate?.maxSurge ?? .int(0)).scaled(total: nodes, roundingUp: true)
  }

  /// Nodes that may be without an available pod during an update; one at least where no surplus is allowed.
  func maxUnavailable(of nodes: Int) -> Int {
    let wanted = spec.updateStrategy.rollingUpdate?.maxUnavailable ?? .int(1)
    let unavailable = wanted.scaled(total: nodes, roundingUp: true)
    return unavailable == 0 && maxSurge(nodes) == 0 ? 1 : unavailable
  }

  /// What daemons put up with beyond their own tolerations: they are how a node becomes well again.
  package static func tolerations(isOnHostNetwork: Bool) -> [Toleration] {
    let kinds = [
      (NodeTaints.notReady, "NoExecute"), (NodeTaints.unreachable, "NoExecute"),
      ("node.kubernetes.io/disk-pressure", "NoSchedule"), ("node.kubernetes.io/memory-pressure", "NoSchedule"),
      ("node.kubernetes.io/pid-pressure", "NoSchedule"), (NodeTaints.unschedulable, "NoSchedule"),
    ]
    let network = isOnHostNetwork ? [("node.kubernetes.io/network-unavailable", "NoSchedule")] : []
    return (kinds + network).map { key, effect in
      var toleration = Toleration()
      (toleration.key, toleration.operator, toleration.effect) = (key, "Exists", effect)
      return toleration
    }
  }

  /// The pod for a node. The scheduler places it: the node is named by affinity, so that room and ports are reckoned with.
  package func pod(on node: String, hash: String) -> Pod {
    var pod = Pod()
    pod.metadata.generateName = "\(metadata.name ?? "")-"
    pod.metadata.namespace = metadata.namespace
    pod.metadata.labels = spec.template.metadata.labels
    pod.metadata.labels[RevisionPlan.hashLabel] = hash
    pod.metadata.labels["pod-template-generation"] = String(metadata.generation ?? 0)
    pod.metadata.annotations = spec.template.metadata.annotations
    pod.metadata.finalizers = spec.template.metadata.finalizers
    pod.metadata.ownerReferences = [asController]
    pod.spec = spec.template.spec
    var requirement = NodeSelectorRequirement()
    (requirement.key, requirement.operator, requirement.values) = ("metadata.name", "In", [node])
    var term = NodeSelectorTerm()
    term.matchFields = [requirement]
    var selector = NodeSelector()
    selector.nodeSelectorTerms = [term]
    var affinity = pod.spec.affinity ?? Affinity()
    var nodes = affinity.nodeAffinity ?? NodeAffinity()
    nodes.requiredDuringSchedulingIgnoredDuringExecution = selector
    affinity.nodeAffinity = nodes
    pod.spec.affinity = affinity
    for toleration in Self.tolerations(isOnHostNetwork: pod.spec.hostNetwork == true)
    where !pod.spec.tolerations.contains(toleration) {
      pod.spec.tolerations.append(toleration)
    }
    return pod
  }

  /// The node that a pod is on, or is meant for.
  package static func node(of pod: Pod) -> String? {
    if let node = pod.spec.nodeName, !node.isEmpty { return node }
    let required = pod.spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution
    for term in required?.nodeSelectorTerms ?? [] {
      for field in term.matchFields where field.key == "metadata.name" && field.operator == "In" {
        if field.values.count == 1 { return field.values[0] }
      }
    }
    return nil
  }

  /// Whether the node should get a pod, and whether one that is there may stay.
  package func wants(_ node: Node) -> (run: Bool, stay: Bool) {
    let template = spec.template.spec
    if let name = template.nodeName, !name.isEmpty, name != node.metadata.name { return (false, false) }
    guard LabelSelector.matches(node.metadata.labels, equality: template.nodeSelector) else { return (false, false) }
    if let required = template.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution,
      !required.matches(node)
    {
      return (false, false)
    }
    let tolerations = template.tolerations + Self.tolerations(isOnHostNetwork: template.hostNetwork == true)
    let untolerated = node.spec.taints.filter { taint in
      taint.effect != "PreferNoSchedule" && !tolerations.contains { $0.tolerates(taint) }
    }
    return (untolerated.isEmpty, !untolerated.contains { $0.effect == "NoExecute" })
  }
}
