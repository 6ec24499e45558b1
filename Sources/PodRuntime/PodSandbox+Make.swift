internal import ContainerPlan
internal import JSON
internal import Kernel
internal import Logging
internal import OCISpec

extension PodSandbox {
  /// Makes the pod: record, cgroup, network and shim, in an order in which every part can be found from the record when
  /// this is interrupted. On failure everything is taken down again before this throws.
  func make() async throws(RuntimeError) {
    changed()
    do throws(RuntimeError) {
      try await makeParts()
      apply(.made)
      announce(.started, id)
    } catch {
      log.error("making the pod failed", metadata: ["error": "\(error)"])
      apply(.makeFailed)
      try? await wait(stage: "undo sandbox") {
        if case .notReady = machine.phase { true } else { machine.phase == .removed }
      }
      lastFailure = error
      throw error
    }
  }

  private func makeParts() async throws(RuntimeError) {
    let config = record.config
    try step("write pod record", directory) { () throws(SyscallError) in
      try Files.makeDirectories("\(directory)/containers")
      try Files.writeAtomically("\(directory)/record.json", record.json.encoded(pretty: true))
    }
    let users = try makeUserNamespace()
    let hold = try await makeGroupsAbove()
    async let attached = attachNetwork(users?.networkPath)
    let local = Result { () throws(RuntimeError) in try makeGroups() }
    // Wait for the network also where the cgroup failed: what is half made cannot be undone.
    let network = await attached
    let shimGroup = try local.get()
    addresses = try network.get()
    try checkNetwork(users)
    try writePodFiles()

    var shimConfiguration = ShimConfiguration(podID: id, directory: directory)
    let ownsUTS = config.network == .pod
    shimConfiguration.hostname = ownsUTS ? hostname : ""
    shimConfiguration.hasOwnUTS = ownsUTS
    shimConfiguration.networkNamespacePath = addresses.namespacePath
    shimConfiguration.userNamespacePath = users?.path
    shimConfiguration.hasOwnIPC = config.interprocess == .pod
    shimConfiguration.sharesProcessNamespace = config.processes == .pod
    shimConfiguration.sysctls = config.sysctls
    shimConfiguration.cgroupDirectory = shimGroup
    do throws(ShimError) {
      adopt(try await Shim.launch(shimConfiguration, program: environment.shimProgram))
    } catch {
      throw RuntimeError(.failed, stage: "start shim", subject: id, cause: error)
    }
    withExtendedLifetime((users, hold)) {}
  }

  private func makeGroupsAbove() async throws(RuntimeError) -> (any GroupKeeper.Hold)? {
    guard let keeper = environment.hooks.groups else { return nil }
    do {
      return try await keeper.make(record.cgroupPath)
    } catch {
      throw RuntimeError.wrap(error, stage: "make pod cgroup", subject: record.cgroupPath)
    }
  }

  /// The pod's user namespace and, where it has its own, the network namespace: that must belong to the other, so that
  /// capabilities of the pod's processes mean anything on its network.
  private func makeUserNamespace() throws(RuntimeError) -> UserNamespace? {
    guard let users = record.config.users else { return nil }
    func ranges(_ mappings: [RuntimeSpec.IDMapping]) -> [IDRange] {
      mappings.map { IDRange(inside: $0.containerID, outside: $0.hostID, count: $0.size) }
    }
    return try step("make user namespace", id) { () throws(SyscallError) in
      try UserNamespace.make(
        uids: ranges(users.uids), gids: ranges(users.gids), withNetwork: record.config.network == .pod)
    }
  }

  private func checkNetwork(_ users: UserNamespace?) throws(RuntimeError) {
    guard let users, let path = addresses.namespacePath else { return }
    guard try step("look at network namespace", path, { () throws(SyscallError) in try users.owns(path) }) else {
      throw RuntimeError(
        .unsupported, stage: "attach network", subject: id,
        reason: "the network namespace does not belong to the pod's user namespace: this node's pod network makes none "
          + "for pods with users of their own; use the node's network or users")
    }
  }

  @concurrent private nonisolated func attachNetwork(
    _ namespacePath: String?
  ) async -> Result<SandboxAddresses, RuntimeError> {
    guard record.config.network == .pod else { return .success(SandboxAddresses()) }
    var request = NetworkRequest(sandboxID: id, config: record.config)
    request.namespacePath = namespacePath
    do {
      return .success(try await environment.hooks.network.attach(request))
    } catch {
      return .failure(.wrap(error, stage: "attach network", subject: id))
    }
  }

  /// The pod's cgroup with its limits, and the leaf that the shim lives in.
  /// - Returns: the leaf's directory.
  private func makeGroups() throws(RuntimeError) -> String {
    let group = try group()
    do throws(CgroupError) {
      try environment.madeGroups.create(group, below: record.madeGroups)
      let limits = record.config.resources.limits
      for warning in try group.apply(limits, tolerateMissing: environment.configuration.toleratesMissingControllers) {
        log.warning("a limit of the pod is left out", metadata: ["limit": "\(warning)"])
      }
      let leaf = try group.child("shim")
      try leaf.create()
      return leaf.directory
    } catch {
      throw Self.limitError(error, stage: "make pod cgroup", subject: group.path.description)
    }
  }

  static func limitError(_ error: CgroupError, stage: String, subject: String) -> RuntimeError {
    let code: RuntimeError.Code =
      switch error {
      case .missingController, .noHierarchy: .unsupported
      case .badPath, .badValue: .invalidArgument
      case .call, .notEmpty: .failed
      }
    return RuntimeError(code, stage: stage, subject: subject, cause: error)
  }

  /// From now on the shim's exits and its end are heard.
  func adopt(_ shim: Shim) {
    self.shim = shim
    shimPID = shim.processID
    let events = shim.events
    // Unstructured: it lives as long as the connection, which the stream's end reports.
    Task { [weak self] in
      for await event in events { await self?.heard(event) }
    }
  }

  private func heard(_ event: ShimEvent) {
    switch event {
    case .exited(let containerID, let exit):
      apply(.exited(ContainerExit(exit)), to: containerID)
    case .disconnected:
      // Asked to end, it is gone from here already.
      guard shim != nil else { return }
      shim = nil
      shimPID = 0
      log.error("the shim died")
      apply(.shimLost)
    }
  }

  func step<R>(_ stage: String, _ subject: String, _ body: () throws(SyscallError) -> R) throws(RuntimeError) -> R {
    do throws(SyscallError) {
      return try body()
    } catch {
      let code: RuntimeError.Code = error.errno == Errno.noSpace ? .resourceExhausted : .failed
      throw RuntimeError(code, stage: stage, subject: subject, cause: error)
    }
  }

  var hostname: String { record.config.hostname.isEmpty ? String(id.prefix(12)) : record.config.hostname }

  /// resolv.conf, hosts and hostname, which containers see as theirs.
  private func writePodFiles() throws(RuntimeError) {
    let config = record.config
    try step("write pod files", directory) { () throws(SyscallError) in
      let hostNetwork = config.network == .node
      let resolver: [UInt8]
      if let names = config.nameResolution {
        resolver = Array(PodFiles.resolverConfiguration(names).utf8)
      } else {
        resolver = Array((try Files.readText("/etc/resolv.conf") ?? "").utf8)
      }
      try Files.writeAtomically("\(directory)/resolv.conf", resolver, mode: 0o644)
      let hosts =
        hostNetwork
        ? try Files.readText("/etc/hosts") ?? ""
        : PodFiles.hosts(hostname: hostname, addresses: [addresses.ipv4, addresses.ipv6].compactMap { $0 })
      try Files.writeAtomically("\(directory)/hosts", Array(hosts.utf8), mode: 0o644)
      let name = hostNetwork ? try Files.readText("/proc/sys/kernel/hostname") ?? "" : hostname + "\n"
      try Files.writeAtomically("\(directory)/hostname", Array(name.utf8), mode: 0o644)
    }
  }
}

/// Texts of the files that a pod's containers see under /etc.
package enum PodFiles {
  package static func resolverConfiguration(_ names: NameResolution) -> String {
    var text = ""
    if !names.searches.isEmpty { text += "search \(names.searches.joined(separator: " "))\n" }
    for server in names.servers { text += "nameserver \(server)\n" }
    if !names.options.isEmpty { text += "options \(names.options.joined(separator: " "))\n" }
    return text
  }

  package static func hosts(hostname: String, addresses: [String]) -> String {
    var text = """
      127.0.0.1\tlocalhost
      ::1\tlocalhost ip6-localhost ip6-loopback
      fe00::0\tip6-localnet
      fe00::0\tip6-mcastprefix
      fe00::1\tip6-allnodes
      fe00::2\tip6-allrouters

      """
    for address in addresses { text += "\(address)\t\(hostname)\n" }
    return text
  }
}

extension ContainerExit {
  init(_ exit: ProcessExit) {
    let code = exit.status.code
    self.init(code: code, finishedAt: exit.finishedAtNanoseconds, reason: Self.reason(code, exit.wasOutOfMemory))
  }

  static func reason(_ code: Int32, _ wasOutOfMemory: Bool) -> String {
    wasOutOfMemory ? "OOMKilled" : code == 0 ? "Completed" : "Error"
  }
}
