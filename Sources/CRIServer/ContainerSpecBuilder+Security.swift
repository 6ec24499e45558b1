internal import CRIModel
internal import ContainerPlan
internal import OCISpec
internal import PodRuntime

extension ContainerSpecBuilder {
  mutating func setCapabilities() throws(RequestRefusal) {
    let request = security.capabilities
    let field = "linux.security_context.capabilities"
    let node = Set(input.nodeCapabilities)
    var names = Set(RuntimeDefaults.capabilities).intersection(node)
    let ambient = try Self.capabilities(request.addAmbientCapabilities, "\(field).add_ambient_capabilities")
    if security.privileged {
      names = node
    } else {
      let add = try Self.capabilities(request.addCapabilities, "\(field).add_capabilities")
      let drop = try Self.capabilities(request.dropCapabilities, "\(field).drop_capabilities")
      if let lacking = add.names.first(where: { !node.contains($0) }) {
        throw .unsupported("\(field).add_capabilities", "\(lacking): martletd lacks it itself")
      }
      if add.all { names = node }
      if drop.all { names = [] }
      names.formUnion(add.names)
      names.subtract(drop.names)
    }
    func ordered(_ names: Set<String>) -> [String] { ContainerDefaults.allCapabilities.filter { names.contains($0) } }
    spec.process.capabilities = RuntimeSpec.CapabilitySets(all: ordered(names))
    guard ambient.all || !ambient.names.isEmpty else { return }
    // What the bounding set lacks cannot be ambient, and the kernel wants ambient ones inheritable.
    if let lacking = ambient.names.first(where: { !names.contains($0) }) {
      throw .invalid("\(field).add_ambient_capabilities", "\(lacking): the container does not have it at all")
    }
    let kept = ordered(ambient.all ? names : Set(ambient.names))
    spec.process.capabilities.inheritable = kept
    spec.process.capabilities.ambient = kept
  }

  /// CHOWN, cap_chown and CAP_CHOWN are the same one.
  private static func capabilities(
    _ texts: [String], _ field: String
  ) throws(RequestRefusal) -> (all: Bool, names: [String]) {
    var all = false
    var names: [String] = []
    for text in texts {
      let upper = text.uppercased()
      if upper == "ALL" {
        all = true
        continue
      }
      let name = upper.hasPrefix("CAP_") ? upper : "CAP_\(upper)"
      guard ContainerDefaults.allCapabilities.contains(name) else {
        throw .invalid(field, "\(text): there is no such capability")
      }
      names.append(name)
    }
    return (all, names)
  }

  /// What is not asked for is the runtime's own business; network and IPC belong to the pod and must agree with it.
  mutating func setNamespaces() throws(RequestRefusal) {
    let options = security.namespaceOptions
    let field = "linux.security_context.namespace_options"
    let pod = input.sandbox.config
    let hasOptions = security.hasNamespaceOptions
    if hasOptions, try SandboxRequestReader.choice(options.network, "\(field).network") != pod.network {
      throw .invalid("\(field).network", "its pod sandbox has \(pod.network.rawValue)")
    }
    if hasOptions, try SandboxRequestReader.choice(options.ipc, "\(field).ipc") != pod.interprocess {
      throw .invalid("\(field).ipc", "its pod sandbox has \(pod.interprocess.rawValue)")
    }
    let processes = hasOptions ? options.pid : .pod
    switch processes {
    case .pod where pod.processes == .pod: context.processNamespace = .pod
    // Asked for nothing in particular, in a pod that does not share: its own.
    case .pod where !hasOptions: context.processNamespace = .container
    case .pod:
      throw .invalid(
        "\(field).pid", "POD needs a pod sandbox that was made with POD, this one has \(pod.processes.rawValue)")
    case .container: context.processNamespace = .container
    case .node: context.processNamespace = .node
    case .target:
      guard !options.targetID.isEmpty else { throw .invalid("\(field).target_id", "is empty") }
      context.processNamespace = .target(containerID: options.targetID)
    case .UNRECOGNIZED(let number): throw .unsupported("\(field).pid", "mode \(number) is unknown")
    }
    if let users = pod.users {
      if options.hasUsernsOptions, try UserNamespaceReader.users(options, field) != users {
        throw .invalid("\(field).userns_options", "its pod sandbox has other mappings")
      }
      spec.linux.namespaces.append(RuntimeSpec.Namespace(.user))
      spec.linux.uidMappings = users.uids
      spec.linux.gidMappings = users.gids
    } else if try UserNamespaceReader.users(options, field) != nil {
      throw .invalid("\(field).userns_options", "its pod sandbox has the node's users")
    }
    context.hasOwnNetwork = pod.network == .pod
    context.hasOwnUTS = pod.network == .pod
    context.hasOwnIPC = pod.interprocess == .pod
    context.sharedMemory = pod.interprocess == .pod ? .pod : .node
  }

  mutating func setSecurity() throws(RequestRefusal) {
    let privileged = security.privileged
    // None of either is how a kubelet asks for an unmasked /proc, which pods may only have in a user namespace of their
    // own; elsewhere it is a caller that did not think of them.
    let isUnmasked = security.maskedPaths.isEmpty && security.readonlyPaths.isEmpty && hasOwnUsers
    if !privileged && !isUnmasked {
      spec.linux.maskedPaths = security.maskedPaths.isEmpty ? RuntimeDefaults.maskedPaths : security.maskedPaths
      spec.linux.readonlyPaths = security.readonlyPaths.isEmpty ? RuntimeDefaults.readonlyPaths : security.readonlyPaths
    }
    for path in spec.linux.maskedPaths { _ = try Self.absolutePath(path, "linux.security_context.masked_paths") }
    for path in spec.linux.readonlyPaths { _ = try Self.absolutePath(path, "linux.security_context.readonly_paths") }
    spec.linux.seccomp = try seccomp(privileged: privileged)
    spec.process.apparmorProfile =
      try ConfinementReader.profile(security, hasDefault: input.hasDefaultProfile) ?? ""
    let labels = try ConfinementReader.labels(security.selinuxOptions, "linux.security_context.selinux_options")
    spec.process.selinuxLabel = labels?.process ?? ""
    spec.linux.mountLabel = labels?.mount ?? ""
  }

  private func seccomp(privileged: Bool) throws(RequestRefusal) -> RuntimeSpec.Seccomp? {
    if privileged { return nil }
    let standard = { SeccompTemplate.standard.profile(capabilities: spec.process.capabilities.bounding) }
    if security.hasSeccomp {
      switch security.seccomp.profileType {
      case .runtimeDefault: return standard()
      case .unconfined: return nil
      case .localhost:
        guard let profile = input.localhostSeccomp else {
          throw .invalid("linux.security_context.seccomp.localhost_ref", "\(security.seccomp.localhostRef): not read")
        }
        return profile.profile(capabilities: spec.process.capabilities.bounding)
      case .UNRECOGNIZED(let number):
        throw .unsupported("linux.security_context.seccomp.profile_type", "type \(number) is unknown")
      }
    }
    switch security.seccompProfilePath {
    // As CRI has it: who asks for no profile gets none. Kubelets and our own node always ask for one or the other.
    case "", "unconfined": return nil
    case "runtime/default", "docker/default": return standard()
    default:
      throw .unsupported(
        "linux.security_context.seccomp_profile_path", "\(security.seccompProfilePath): use seccomp with localhost_ref")
    }
  }

  mutating func setResources() throws(RequestRefusal) {
    kept.resources = try ResourceReader.resources(config.linux.resources, "linux.resources")
    let adjustment = kept.resources.oomScoreAdjustment
    guard (-1000...1000).contains(adjustment) else {
      throw .invalid("linux.resources.oom_score_adj", "\(adjustment) is not between -1000 and 1000")
    }
    spec.process.oomScoreAdjust = Int(adjustment)
  }
}

/// Reads CRI's resource message.
enum ResourceReader {
  static func resources(_ message: CRILinuxContainerResources, _ field: String) throws(RequestRefusal) -> LinuxResources
  {
    var resources = LinuxResources()
    resources.cpuPeriod = message.cpuPeriod
    resources.cpuQuota = message.cpuQuota
    resources.cpuShares = message.cpuShares
    resources.memoryLimit = message.memoryLimitInBytes
    resources.memorySwapLimit = message.memorySwapLimitInBytes
    resources.oomScoreAdjustment = message.oomScoreAdj
    resources.cpus = message.cpusetCpus
    resources.memoryNodes = message.cpusetMems
    for limit in message.hugepageLimits { resources.hugepages[limit.pageSize] = limit.limit }
    resources.unified = message.unified
    for (name, value) in [("cpu_period", message.cpuPeriod), ("cpu_shares", message.cpuShares)] where value < 0 {
      throw .invalid("\(field).\(name)", "\(value) is negative")
    }
    for (name, value) in [("cpuset_cpus", message.cpusetCpus), ("cpuset_mems", message.cpusetMems)] {
      let plain = value.utf8.allSatisfy { (48...57).contains($0) || $0 == UInt8(ascii: ",") || $0 == UInt8(ascii: "-") }
      guard plain else { throw .invalid("\(field).\(name)", "\(value): a list like 0-3,7 is needed") }
    }
    return resources
  }

  static func message(_ resources: LinuxResources) -> CRILinuxContainerResources {
    var message = CRILinuxContainerResources()
    message.cpuPeriod = resources.cpuPeriod
    message.cpuQuota = resources.cpuQuota
    message.cpuShares = resources.cpuShares
    message.memoryLimitInBytes = resources.memoryLimit
    message.memorySwapLimitInBytes = resources.memorySwapLimit
    message.oomScoreAdj = resources.oomScoreAdjustment
    message.cpusetCpus = resources.cpus
    message.cpusetMems = resources.memoryNodes
    message.hugepageLimits = resources.hugepages.sorted { $0.key < $1.key }.map { size, limit in
      var entry = CRIHugepageLimit()
      entry.pageSize = size
      entry.limit = limit
      return entry
    }
    message.unified = resources.unified
    return message
  }
}

/// Names that a request may use.
package enum ContainerDefaults {
  /// In the kernel's order.
  package static let allCapabilities = [
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
    "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN",
    "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
  ]

  /// The names of a mask as /proc/PID/status writes it.
  package static func capabilities(mask: UInt64) -> [String] {
    allCapabilities.enumerated().filter { mask >> UInt64($0.offset) & 1 == 1 }.map(\.element)
  }
}

/// The signal that asks a container to end.
enum StopSignal {
  /// As the kernel numbers them on the processors that Martlet runs on.
  private static let numbers: [String: Int32] = [
    "HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "TRAP": 5, "ABRT": 6, "IOT": 6, "BUS": 7, "FPE": 8, "KILL": 9, "USR1": 10,
    "SEGV": 11, "USR2": 12, "PIPE": 13, "ALRM": 14, "TERM": 15, "STKFLT": 16, "CHLD": 17, "CLD": 17, "CONT": 18,
    "STOP": 19, "TSTP": 20, "TTIN": 21, "TTOU": 22, "URG": 23, "XCPU": 24, "XFSZ": 25, "VTALRM": 26, "PROF": 27,
    "WINCH": 28, "IO": 29, "POLL": 29, "PWR": 30, "SYS": 31,
  ]
  private static let realTimeMin: Int32 = 34
  private static let realTimeMax: Int32 = 64

  static func number(requested: CRISignal, image: String?) throws(RequestRefusal) -> Int32 {
    switch requested {
    case .runtimeDefault:
      guard let image else { return 15 }
      guard let number = number(of: image) else {
        throw .invalid("image stop signal", "\(image): there is no such signal")
      }
      return number
    case .UNRECOGNIZED(let number): throw .unsupported("stop_signal", "\(number) is unknown")
    default:
      guard let number = number(of: name(requested)) else {
        throw .unsupported("stop_signal", "\(requested) is unknown")
      }
      return number
    }
  }

  /// "SIGTERM", "TERM", "15", "SIGRTMIN+3".
  static func number(of text: String) -> Int32? {
    if let number = Int32(text) { return (1...realTimeMax).contains(number) ? number : nil }
    let upper = text.uppercased()
    let name = upper.hasPrefix("SIG") ? String(upper.dropFirst(3)) : upper
    if let number = numbers[name] { return number }
    if name == "RTMIN" { return realTimeMin }
    if name == "RTMAX" { return realTimeMax }
    if name.hasPrefix("RTMIN+"), let offset = Int32(name.dropFirst(6)), (0...30).contains(offset) {
      return realTimeMin + offset
    }
    if name.hasPrefix("RTMAX-"), let offset = Int32(name.dropFirst(6)), (0...30).contains(offset) {
      return realTimeMax - offset
    }
    return nil
  }

  /// CRI's enumeration as a signal name: sigrtminplus3 is RTMIN+3.
  private static func name(_ signal: CRISignal) -> String {
    "\(signal)".uppercased().replacing("PLUS", with: "+").replacing("MINUS", with: "-")
  }

  static func signal(_ number: Int32) -> CRISignal {
    CRISignal.allCases.first { $0 != .runtimeDefault && Self.number(of: name($0)) == number } ?? .runtimeDefault
  }
}
