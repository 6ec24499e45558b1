package import KubeClient
package import KubeModel

/// A port of the node that a pod takes.
package struct HostPort: Hashable, Sendable {
  package let address: String
  package let `protocol`: String
  package let port: Int32

  static let everyAddress: Set<String> = ["", "0.0.0.0", "::"]

  /// Both cannot be on one node.
  func conflicts(with other: HostPort) -> Bool {
    port == other.port && `protocol` == other.protocol
      && (address == other.address || Self.everyAddress.contains(address) || Self.everyAddress.contains(other.address))
  }
}

/// What decides on which nodes a pod may be: all of its specification that the scheduler looks at.
package struct PodNeeds: Hashable, Sendable {
  package var nodeName: String?
  package var labels: [String: String]
  package var priority: Int32
  package var amounts: Amounts
  /// For scores, where a pod that asks for nothing still takes something: 100 millicores and 200 MB.
  package var scoredMilliCPU: Int64
  package var scoredMemoryBytes: Int64
  package var ports: [HostPort]
  package var nodeSelector: [String: String]
  package var requiredNodes: NodeSelector?
  package var preferredNodes: [PreferredSchedulingTerm]
  package var tolerations: [Toleration]
  package var spreads: [TopologySpreadConstraint]
  package var affinity: [PodAffinityTerm]
  package var antiAffinity: [PodAffinityTerm]
  /// Anti-affinity has negative weights.
  package var preferredAffinity: [WeightedPodAffinityTerm]
  package var isGated: Bool
  /// Names of the claims that it uses, those of its own included.
  package var claims: [String]
  package var images: [String]
  /// Makes no room for itself at the cost of others.
  package var neverPreempts: Bool

  /// Of a container; a pod without requests counts for that much in scores.
  static let milliCPUDefault: Int64 = 100
  static let memoryBytesDefault: Int64 = 200 << 20
}

/// A pod as the scheduler knows it: immutable, so that it is shared and never copied.
package final class PodFacts: Sendable {
  package let key: ObjectKey
  package let uid: String
  /// Its controller's, for spreading; nil without one.
  package let owner: String?
  package let needs: PodNeeds
  package let schedulerName: String
  /// No longer takes anything from its node.
  package let isTerminal: Bool
  package let isDeleting: Bool
  /// The PodScheduled condition that it has: status, reason, message.
  package let condition: [String]
  package let reference: ObjectReference
  /// Where it was promised room.
  package let nominatedNode: String?
  /// Seconds since 1970; zero where it is not known.
  package let startedAt: Int64

  package init(_ pod: Pod) {
    key = ObjectKey(pod)
    uid = pod.metadata.uid ?? "\(ObjectKey(pod))"
    owner = pod.metadata.controllerReference?.uid
    schedulerName = pod.spec.schedulerName ?? "default-scheduler"
    isTerminal = pod.status.phase == "Succeeded" || pod.status.phase == "Failed"
    isDeleting = pod.metadata.deletionTimestamp != nil
    let scheduled = pod.status.conditions.first { $0.type == "PodScheduled" }
    condition = scheduled.map { [$0.status, $0.reason ?? "", $0.message ?? ""] } ?? []
    reference = ObjectReference(to: pod)
    nominatedNode = pod.status.nominatedNodeName.flatMap { $0.isEmpty ? nil : $0 }
    startedAt = pod.status.startTime?.secondsSinceEpoch ?? pod.metadata.creationTimestamp?.secondsSinceEpoch ?? 0
    needs = PodNeeds(pod)
  }

  /// The node that it was given; nil before that.
  package var nodeName: String? { needs.nodeName }
}

extension PodNeeds {
  init(_ pod: Pod) {
    let spec = pod.spec
    nodeName = spec.nodeName.flatMap { $0.isEmpty ? nil : $0 }
    labels = pod.metadata.labels
    priority = spec.priority ?? 0
    amounts = pod.specWithAllocated.amounts
    scoredMilliCPU = amounts.milliCPU > 0 ? amounts.milliCPU : Self.milliCPUDefault
    scoredMemoryBytes = amounts.memoryBytes > 0 ? amounts.memoryBytes : Self.memoryBytesDefault
    let running = spec.containers + spec.initContainers.filter { $0.restartPolicy == "Always" }
    ports = running.flatMap { container in
      container.ports.compactMap { port -> HostPort? in
        let number = port.hostPort ?? (spec.hostNetwork == true ? port.containerPort : 0)
        guard number > 0 else { return nil }
        return HostPort(address: port.hostIP ?? "", protocol: port.protocol ?? "TCP", port: number)
      }
    }
    nodeSelector = spec.nodeSelector
    requiredNodes = spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution
    preferredNodes = spec.affinity?.nodeAffinity?.preferredDuringSchedulingIgnoredDuringExecution ?? []
    tolerations = spec.tolerations
    spreads = spec.topologySpreadConstraints.map { $0.completed(by: pod.metadata.labels) }
    func terms(_ terms: [PodAffinityTerm]?) -> [PodAffinityTerm] {
      (terms ?? []).map { $0.completed(by: pod) }
    }
    affinity = terms(spec.affinity?.podAffinity?.requiredDuringSchedulingIgnoredDuringExecution)
    antiAffinity = terms(spec.affinity?.podAntiAffinity?.requiredDuringSchedulingIgnoredDuringExecution)
    let near = spec.affinity?.podAffinity?.preferredDuringSchedulingIgnoredDuringExecution ?? []
    let far = spec.affinity?.podAntiAffinity?.preferredDuringSchedulingIgnoredDuringExecution ?? []
    preferredAffinity = near.map { term in
      var term = term
      term.podAffinityTerm = term.podAffinityTerm.completed(by: pod)
      return term
    }
    preferredAffinity += far.map { term in
      var term = term
      term.podAffinityTerm = term.podAffinityTerm.completed(by: pod)
      term.weight = -term.weight
      return term
    }
    isGated = !spec.schedulingGates.isEmpty
    claims = spec.volumes.compactMap { volume in
      if let claim = volume.persistentVolumeClaim { return claim.claimName }
      return volume.ephemeral == nil ? nil : "\(pod.metadata.name ?? "")-\(volume.name)"
    }
    images = (spec.containers + spec.initContainers).map { Self.tagged($0.image ?? "") }
    neverPreempts = spec.preemptionPolicy == "Never"
  }

  /// As nodes list images: with a tag.
  private static func tagged(_ image: String) -> String {
    let last = image.split(separator: "/").last ?? ""
    return last.contains(":") || last.contains("@") ? image : "\(image):latest"
  }
}

extension Pod {
  /// The specification with what the node has set aside for each container, while that is more than is asked for: a pod
  /// that was made smaller keeps what it has until the node has taken it back. One that cannot grow on its node counts as
  /// it is there.
  /// - SeeAlso: https://kubernetes.io/docs/tasks/configure-pod-container/resize-container-resources/
  fileprivate var specWithAllocated: PodSpec {
    var counted = spec
    let isInfeasible = status.conditions.contains { $0.type == "PodResizePending" && $0.reason == "Infeasible" }
    for index in counted.containers.indices {
      let allocated = status.containerStatuses.first { $0.name == counted.containers[index].name }?.allocatedResources
      for (name, amount) in allocated ?? [:] {
        let asked = counted.containers[index].resources.requests[name]
        if isInfeasible || Amounts.amount(name, amount) > asked.map({ Amounts.amount(name, $0) }) ?? 0 {
          counted.containers[index].resources.requests[name] = amount
        }
      }
    }
    return counted
  }
}

extension LabelSelector {
  /// With the pod's own values of some labels required, or refused.
  fileprivate func with(_ keys: [String], _ operator: String, of labels: [String: String]) -> LabelSelector {
    var selector = self
    for key in keys {
      guard let value = labels[key] else { continue }
      var requirement = LabelSelectorRequirement()
      (requirement.key, requirement.operator, requirement.values) = (key, `operator`, [value])
      // The API server may have done it already.
      if !selector.matchExpressions.contains(requirement) { selector.matchExpressions.append(requirement) }
    }
    return selector
  }
}

extension TopologySpreadConstraint {
  fileprivate func completed(by labels: [String: String]) -> TopologySpreadConstraint {
    var constraint = self
    constraint.labelSelector = labelSelector?.with(matchLabelKeys, "In", of: labels)
    return constraint
  }
}

extension PodAffinityTerm {
  /// Without namespaces of its own, a term means the pod's.
  fileprivate func completed(by pod: Pod) -> PodAffinityTerm {
    var term = self
    if namespaces.isEmpty, namespaceSelector == nil { term.namespaces = [pod.metadata.namespace ?? ""] }
    term.labelSelector = labelSelector?.with(matchLabelKeys, "In", of: pod.metadata.labels)
      .with(mismatchLabelKeys, "NotIn", of: pod.metadata.labels)
    return term
  }
}
