package import KubeModel

/// A node and what is on it, as a decision sees it.
package struct NodeSnapshot: Sendable {
  package let name: String
  package private(set) var labels: [String: String] = [:]
  /// Those that keep pods away: NoSchedule and NoExecute.
  package private(set) var hardTaints: [Taint] = []
  /// PreferNoSchedule.
  package private(set) var softTaints: [Taint] = []
  package private(set) var isUnschedulable = false
  package private(set) var allocatable = Amounts()
  /// Bytes of the images that it has, by each name.
  package private(set) var images: [String: Int64] = [:]
  /// False: pods name it, but there is no such node (any more).
  package private(set) var isPresent = false

  package private(set) var requested = Amounts()
  package private(set) var scoredMilliCPU: Int64 = 0
  package private(set) var scoredMemoryBytes: Int64 = 0
  package private(set) var ports: [HostPort] = []
  package private(set) var pods: [String: PodFacts] = [:]
  /// Pods by owner.
  package private(set) var owners: [String: Int] = [:]

  package init(name: String) { self.name = name }

  package init(_ node: Node, pods: [PodFacts] = []) {
    self.init(name: node.metadata.name ?? "")
    set(node)
    for pod in pods { add(pod) }
  }

  package mutating func set(_ node: Node) {
    labels = node.metadata.labels
    hardTaints = node.spec.taints.filter { $0.effect == "NoSchedule" || $0.effect == "NoExecute" }
    softTaints = node.spec.taints.filter { $0.effect == "PreferNoSchedule" }
    isUnschedulable = node.spec.unschedulable ?? false
    allocatable = Amounts(
      allocatable: node.status.allocatable.isEmpty ? node.status.capacity : node.status.allocatable)
    images = [:]
    for image in node.status.images {
      for name in image.names { images[name] = image.sizeBytes ?? 0 }
    }
    isPresent = true
  }

  package mutating func setAbsent() { isPresent = false }

  package mutating func add(_ pod: PodFacts) {
    if pods[pod.uid] != nil { remove(pod.uid) }
    pods[pod.uid] = pod
    requested += pod.needs.amounts
    scoredMilliCPU &+= pod.needs.scoredMilliCPU
    scoredMemoryBytes &+= pod.needs.scoredMemoryBytes
    ports += pod.needs.ports
    if let owner = pod.owner { owners[owner, default: 0] += 1 }
  }

  package mutating func remove(_ uid: String) {
    guard let pod = pods.removeValue(forKey: uid) else { return }
    requested -= pod.needs.amounts
    scoredMilliCPU &-= pod.needs.scoredMilliCPU
    scoredMemoryBytes &-= pod.needs.scoredMemoryBytes
    for port in pod.needs.ports {
      if let index = ports.firstIndex(of: port) { ports.remove(at: index) }
    }
    if let owner = pod.owner, let count = owners[owner] { owners[owner] = count > 1 ? count - 1 : nil }
  }
}
