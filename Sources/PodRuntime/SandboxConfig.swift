package import ContainerPlan
package import Kernel

/// What makes two requests for a sandbox the same request.
package struct SandboxIdentity: Hashable, Sendable, CustomStringConvertible {
  package var namespace: String
  package var name: String
  package var uid: String
  package var attempt: UInt32

  package init(namespace: String, name: String, uid: String, attempt: UInt32) {
    self.namespace = namespace
    self.name = name
    self.uid = uid
    self.attempt = attempt
  }

  package var description: String { "\(namespace)/\(name) (uid \(uid), attempt \(attempt))" }
}

/// Whose namespace a container is in, as CRI's NamespaceMode.
package enum NamespaceChoice: String, Sendable, Equatable {
  case pod, container, node, target
}

/// A port of a pod that is also reached on the node.
package struct PortMapping: Hashable, Sendable {
  package enum Transport: String, Sendable { case tcp, udp, sctp }
  package var transport: Transport
  package var containerPort: UInt16
  package var hostPort: UInt16
  /// Empty for every local address.
  package var hostAddress: String

  package init(transport: Transport, containerPort: UInt16, hostPort: UInt16, hostAddress: String) {
    self.transport = transport
    self.containerPort = containerPort
    self.hostPort = hostPort
    self.hostAddress = hostAddress
  }
}

/// Name resolution of a pod, as resolv.conf says it.
package struct NameResolution: Hashable, Sendable {
  package var servers: [String]
  package var searches: [String]
  package var options: [String]

  package init(servers: [String] = [], searches: [String] = [], options: [String] = []) {
    self.servers = servers
    self.searches = searches
    self.options = options
  }

  package var isEmpty: Bool { servers.isEmpty && searches.isEmpty && options.isEmpty }
}

/// Resources as CRI's LinuxContainerResources counts them; 0 and "" are "not set".
package struct LinuxResources: Hashable, Sendable {
  /// Microseconds.
  package var cpuPeriod: Int64 = 0
  /// Microseconds a period; negative is no limit.
  package var cpuQuota: Int64 = 0
  package var cpuShares: Int64 = 0
  /// Bytes.
  package var memoryLimit: Int64 = 0
  /// Bytes of memory and swap together; negative is no limit.
  package var memorySwapLimit: Int64 = 0
  /// -1000…1000.
  package var oomScoreAdjustment: Int64 = 0
  package var cpus = ""
  package var memoryNodes = ""
  /// Page size to bytes.
  package var hugepages: [String: UInt64] = [:]
  package var unified: [String: String] = [:]

  package init() {}

  /// The same as files of cgroup v2. Swap is counted apart from memory there.
  package var limits: CgroupLimits {
    var limits = CgroupLimits()
    if cpuShares > 0 { limits.cpuShares = UInt64(cpuShares) }
    if cpuQuota > 0 {
      limits.cpuQuotaMicroseconds = cpuQuota
      limits.cpuPeriodMicroseconds = cpuPeriod > 0 ? UInt64(cpuPeriod) : nil
    }
    if memoryLimit > 0 { limits.memoryBytesMax = UInt64(memoryLimit) }
    if memorySwapLimit > 0 && memoryLimit > 0 && memorySwapLimit >= memoryLimit {
      limits.swapBytesMax = UInt64(memorySwapLimit - memoryLimit)
    }
    if !cpus.isEmpty { limits.cpus = cpus }
    if !memoryNodes.isEmpty { limits.memoryNodes = memoryNodes }
    // The kubelet names every page size it knows with a limit of 0, also where the node has none of them.
    limits.hugepageBytesMax = hugepages.filter { $0.value > 0 }
    limits.unified = unified
    return limits
  }

  /// What a change writes over the limits that it comes upon: also what it lifts, and what counts together with
  /// something that it leaves.
  package func limits(over earlier: LinuxResources) -> CgroupLimits {
    let merged = earlier.updated(by: self)
    var limits = limits
    if cpuQuota != 0 || cpuPeriod != 0 {
      limits.cpuQuotaMicroseconds = merged.limits.cpuQuotaMicroseconds ?? (cpuQuota < 0 ? -1 : nil)
      limits.cpuPeriodMicroseconds = merged.cpuPeriod > 0 ? UInt64(merged.cpuPeriod) : nil
    }
    if memoryLimit != 0 || memorySwapLimit != 0 {
      limits.swapBytesMax = merged.limits.swapBytesMax ?? (earlier.limits.swapBytesMax == nil ? nil : .max)
    }
    if memoryLimit < 0, earlier.memoryLimit > 0 { limits.memoryBytesMax = .max }
    // A limit of 0 pages is one, where an earlier one was set.
    for (size, limit) in hugepages where limit == 0 && earlier.hugepages[size] ?? 0 > 0 {
      limits.hugepageBytesMax[size] = 0
    }
    return limits
  }

  /// `self` with every field that `update` sets.
  package func updated(by update: LinuxResources) -> LinuxResources {
    var merged = self
    if update.cpuPeriod != 0 { merged.cpuPeriod = update.cpuPeriod }
    if update.cpuQuota != 0 { merged.cpuQuota = update.cpuQuota }
    if update.cpuShares != 0 { merged.cpuShares = update.cpuShares }
    if update.memoryLimit != 0 { merged.memoryLimit = update.memoryLimit }
    if update.memorySwapLimit != 0 { merged.memorySwapLimit = update.memorySwapLimit }
    if update.oomScoreAdjustment != 0 { merged.oomScoreAdjustment = update.oomScoreAdjustment }
    if !update.cpus.isEmpty { merged.cpus = update.cpus }
    if !update.memoryNodes.isEmpty { merged.memoryNodes = update.memoryNodes }
    merged.hugepages.merge(update.hugepages) { $1 }
    merged.unified.merge(update.unified) { $1 }
    return merged
  }
}

/// Everything that a caller asked of a sandbox. Two requests of one identity must agree in all of it.
package struct SandboxConfig: Hashable, Sendable {
  package var identity: SandboxIdentity
  package var hostname: String
  /// Absolute path on the node, or empty: no logs are kept.
  package var logDirectory: String
  package var nameResolution: NameResolution?
  package var hostPorts: [PortMapping]
  package var labels: [String: String]
  package var annotations: [String: String]
  /// Empty: Martlet's own parent.
  package var cgroupParent: String
  package var sysctls: [String: String]
  package var network: NamespaceChoice
  package var processes: NamespaceChoice
  package var interprocess: NamespaceChoice
  package var resources: LinuxResources
  /// Privileged containers are allowed in it.
  package var privileged: Bool
  package var runtimeHandler: String
  /// Of the user namespace that the pod's other namespaces belong to; nil: the node's.
  package var users: UserMappings?

  package init(identity: SandboxIdentity) {
    self.identity = identity
    hostname = ""
    logDirectory = ""
    nameResolution = nil
    hostPorts = []
    labels = [:]
    annotations = [:]
    cgroupParent = ""
    sysctls = [:]
    network = .pod
    processes = .container
    interprocess = .pod
    resources = LinuxResources()
    privileged = false
    runtimeHandler = ""
  }
}

/// Where a sandbox is reached.
package struct SandboxAddresses: Hashable, Sendable {
  package var ipv4: String?
  package var ipv6: String?
  /// The pinned network namespace; nil on the node's own network.
  package var namespacePath: String?
  /// The node's end of the link, for statistics.
  package var hostLink: String?

  package init(ipv4: String? = nil, ipv6: String? = nil, namespacePath: String? = nil, hostLink: String? = nil) {
    self.ipv4 = ipv4
    self.ipv6 = ipv6
    self.namespacePath = namespacePath
    self.hostLink = hostLink
  }
}

/// What a sandbox asks of the pod network.
package struct NetworkRequest: Hashable, Sendable {
  package var sandboxID: String
  package var identity: SandboxIdentity
  package var annotations: [String: String]
  package var portMappings: [PortMapping]
  package var nameResolution: NameResolution?
  package var cgroupParent: String
  /// The network namespace to use, new and with nothing in it, where it has to be a certain one: it belongs to the pod's
  /// user namespace. A path that leads to it until the request is answered; nil: any new one.
  package var namespacePath: String?

  package init(sandboxID: String, config: SandboxConfig) {
    self.sandboxID = sandboxID
    identity = config.identity
    annotations = config.annotations
    portMappings = config.hostPorts
    nameResolution = config.nameResolution
    cgroupParent = config.cgroupParent
  }
}

/// The pod network as closures, so that this room and PodNetwork know nothing of each other.
package struct NetworkProvider: Sendable {
  /// Makes namespace, link and addresses of a sandbox. A second call for the same sandbox gives the same answer.
  package var attach: @Sendable (NetworkRequest) async throws -> SandboxAddresses
  /// Takes all of it away; one that is gone already is no error.
  package var detach: @Sendable (_ sandboxID: String) async throws -> Void
  /// Adopts what the known sandboxes have and takes away the rest. Called once, before anything else. Gives those whose
  /// network is broken, each with what is wrong.
  package var start: @Sendable (_ knownSandboxIDs: Set<String>) async throws -> [String: String]

  package init(
    start: @escaping @Sendable (Set<String>) async throws -> [String: String],
    attach: @escaping @Sendable (NetworkRequest) async throws -> SandboxAddresses,
    detach: @escaping @Sendable (String) async throws -> Void
  ) {
    self.start = start
    self.attach = attach
    self.detach = detach
  }
}
