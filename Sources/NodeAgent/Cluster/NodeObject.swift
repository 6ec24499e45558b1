package import KubeModel

/// What a node says of itself to the API server.
package struct NodeProfile: Hashable, Sendable {
  package var name: String
  /// As the kernel has it: `amd64`, `arm64`.
  package var architecture = ""
  package var kernelVersion = ""
  package var osImage = ""
  package var machineID = ""
  package var systemUUID = ""
  package var bootID = ""
  /// As `martlet://0.1.0`.
  package var runtimeVersion = ""
  package var cpuMilli: Int64 = 0
  package var memoryBytes: Int64 = 0
  package var storageBytes: Int64 = 0
  package var podsMax = 110
  /// IPv4 first where both are there.
  package var addresses: [String] = []
  package var podCIDRs: [String] = []
  /// Where this node's own server listens; 0: it has none.
  package var serverPort: Int32 = 0

  package init(name: String) { self.name = name }

  /// What kubectl shows as the version of a node.
  package static let kubeletVersion = "v1.36.0+martlet"
}

/// How a node is now.
package struct NodeHealth: Hashable, Sendable {
  /// Why the container runtime cannot be used; nil: it can.
  package var runtimeProblem: String?
  package var isShortOfMemory = false
  package var isShortOfDisk = false
  package var isShortOfProcesses = false

  package init() {}

  package init(_ pressures: Set<NodePressure>) {
    isShortOfMemory = pressures.contains(.memory)
    isShortOfDisk = pressures.contains(.disk)
    isShortOfProcesses = pressures.contains(.processes)
  }
}

extension NodeProfile {
  /// The Node as it is registered: everything but what others decide about it.
  package func node(_ health: NodeHealth, over old: Node?, now: Time) -> Node {
    var node = old ?? Node()
    node.metadata.name = name
    node.metadata.labels.merge(labels) { $1 }
    if node.spec.podCIDRs.isEmpty {
      node.spec.podCIDRs = podCIDRs
      node.spec.podCIDR = podCIDRs.first
    }
    var status = node.status
    status.capacity = capacity
    status.allocatable = capacity
    status.addresses = nodeAddresses
    status.daemonEndpoints.kubeletEndpoint.Port = serverPort
    status.nodeInfo.architecture = architecture
    status.nodeInfo.bootID = bootID
    status.nodeInfo.containerRuntimeVersion = runtimeVersion
    status.nodeInfo.kernelVersion = kernelVersion
    status.nodeInfo.kubeletVersion = Self.kubeletVersion
    status.nodeInfo.machineID = machineID
    status.nodeInfo.operatingSystem = "linux"
    status.nodeInfo.osImage = osImage
    status.nodeInfo.systemUUID = systemUUID
    status.conditions = Self.conditions(health, over: node.status.conditions, now: now)
    node.status = status
    return node
  }

  private var labels: [String: String] {
    [
      "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": architecture,
      "beta.kubernetes.io/os": "linux", "beta.kubernetes.io/arch": architecture,
    ]
  }

  private var capacity: [String: Quantity] {
    let cpu = cpuMilli % 1000 == 0 ? "\(cpuMilli / 1000)" : "\(cpuMilli)m"
    let amounts = [
      "cpu": cpu, "memory": "\(memoryBytes / 1024)Ki", "ephemeral-storage": "\(storageBytes / 1024)Ki",
      "pods": "\(podsMax)", "hugepages-1Gi": "0", "hugepages-2Mi": "0",
    ]
    return amounts.compactMapValues { Quantity($0) }
  }

  private var nodeAddresses: [NodeAddress] {
    var seen: Set<Bool> = []
    let internalIPs = addresses.filter { seen.insert($0.contains(":")).inserted }.map { ("InternalIP", $0) }
    return (internalIPs + [("Hostname", name)]).map { type, address in
      var item = NodeAddress()
      (item.type, item.address) = (type, address)
      return item
    }
  }

  private static func conditions(_ health: NodeHealth, over old: [NodeCondition], now: Time) -> [NodeCondition] {
    func condition(_ type: String, _ isTrue: Bool, _ yes: (String, String), _ no: (String, String)) -> NodeCondition {
      var condition = NodeCondition()
      condition.type = type
      condition.status = isTrue ? "True" : "False"
      (condition.reason, condition.message) = isTrue ? yes : no
      let before = old.first { $0.type == type }
      condition.lastTransitionTime = (before?.status == condition.status ? before?.lastTransitionTime : nil) ?? now
      condition.lastHeartbeatTime = now
      return condition
    }
    let own = [
      condition(
        "MemoryPressure", health.isShortOfMemory,
        ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
        ("KubeletHasSufficientMemory", "kubelet has sufficient memory available")),
      condition(
        "DiskPressure", health.isShortOfDisk, ("KubeletHasDiskPressure", "kubelet has disk pressure"),
        ("KubeletHasNoDiskPressure", "kubelet has no disk pressure")),
      condition(
        "PIDPressure", health.isShortOfProcesses,
        ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
        ("KubeletHasSufficientPID", "kubelet has sufficient PID available")),
      condition(
        "Ready", health.runtimeProblem == nil, ("KubeletReady", "kubelet is posting ready status"),
        ("KubeletNotReady", "container runtime is down: \(health.runtimeProblem ?? "")")),
    ]
    return old.filter { other in !own.contains { $0.type == other.type } } + own
  }
}

extension Node {
  /// Whether another status says the same, whatever its heartbeats.
  package func says(_ other: Node) -> Bool {
    func still(_ status: KubeModel.NodeStatus) -> KubeModel.NodeStatus {
      var status = status
      for index in status.conditions.indices { status.conditions[index].lastHeartbeatTime = nil }
      return status
    }
    return still(status) == still(other.status)
  }
}
