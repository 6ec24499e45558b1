package import Kernel
package import Logging
internal import Synchronization

/// The pods of one node: each is an actor of its own, and nothing waits for another's work.
package final class Runtime: Sendable {
  let environment: RuntimeEnvironment
  private let index = Mutex(Index())

  private struct Index {
    var sandboxes: [String: PodSandbox] = [:]
    var identities: [SandboxIdentity: String] = [:]
  }

  /// Makes the directories (0700) and finds the cgroup hierarchy. Nothing is recovered yet: call `recover`.
  /// - Requires: root.
  package init(configuration: RuntimeConfiguration, hooks: RuntimeHooks, log: Logger) async throws(RuntimeError) {
    do throws(SyscallError) {
      try Files.makeDirectories(configuration.podsDirectory, mode: 0o700)
      try Files.makeDirectories(configuration.containersDirectory, mode: 0o700)
    } catch {
      throw RuntimeError(.failed, stage: "make directories", subject: configuration.runDirectory, cause: error)
    }
    let hierarchy: CgroupHierarchy
    do throws(CgroupError) {
      hierarchy = try CgroupHierarchy.discover()
    } catch {
      throw RuntimeError(.unsupported, stage: "find cgroup hierarchy", subject: "", cause: error)
    }
    let program: ShimProgram
    do throws(ShimError) {
      program = try await ShimProgram(path: configuration.shimPath)
    } catch {
      throw RuntimeError(.failed, stage: "load shim", subject: configuration.shimPath ?? "martlet-shim", cause: error)
    }
    let boot: String
    do throws(SyscallError) { boot = try bootID() } catch {
      throw RuntimeError(.failed, stage: "read boot id", subject: "", cause: error)
    }
    environment = RuntimeEnvironment(
      configuration: configuration, hooks: hooks, hierarchy: hierarchy, bootID: boot, shimProgram: program, log: log,
      board: Board(), madeGroups: MadeGroups())
  }

  package var controllers: [String] { environment.hierarchy.controllers }
  package var configuration: RuntimeConfiguration { environment.configuration }

  // MARK: Index

  func insert(_ sandbox: PodSandbox) {
    index.withLock {
      $0.sandboxes[sandbox.id] = sandbox
      $0.identities[sandbox.record.config.identity] = sandbox.id
    }
  }

  func removeFromIndex(_ sandbox: PodSandbox) {
    index.withLock {
      $0.sandboxes[sandbox.id] = nil
      if $0.identities[sandbox.record.config.identity] == sandbox.id {
        $0.identities[sandbox.record.config.identity] = nil
      }
    }
  }

  private func actor(_ id: String) -> PodSandbox? {
    if let exact = index.withLock({ $0.sandboxes[id] }) { return exact }
    guard let full = environment.board.sandbox(id)?.id else { return nil }
    return index.withLock { $0.sandboxes[full] }
  }

  private func required(_ id: String) throws(RuntimeError) -> PodSandbox {
    guard let found = actor(id) else {
      throw RuntimeError(.notFound, stage: "find sandbox", subject: id, reason: "there is no such pod sandbox")
    }
    return found
  }

  private func owner(_ containerID: String) throws(RuntimeError) -> (PodSandbox, String) {
    guard let container = environment.board.container(containerID), let sandbox = actor(container.sandboxID) else {
      throw PodSandbox.noContainer(containerID)
    }
    return (sandbox, container.id)
  }

  // MARK: Lists

  package var sandboxes: [SandboxSnapshot] { environment.board.sandboxes.filter { !$0.isHidden } }
  package var containers: [ContainerSnapshot] { environment.board.containers }
  package func sandbox(_ id: String) -> SandboxSnapshot? {
    environment.board.sandbox(id).flatMap { $0.isHidden ? nil : $0 }
  }
  package func container(_ id: String) -> ContainerSnapshot? { environment.board.container(id) }
  package func events() -> AsyncStream<RuntimeEvent> { environment.board.follow() }

  // MARK: Sandboxes

  /// Makes and starts a pod sandbox. The same request again gives the same one; another under a taken name is an error.
  package func runSandbox(_ config: SandboxConfig) async throws(RuntimeError) -> String {
    let id = randomHex(bytes: 32)
    let parent = config.cgroupParent.isEmpty ? environment.configuration.cgroupParent : config.cgroupParent
    let path: CgroupPath
    do {
      path =
        try environment.hooks.groups.map { try CgroupPath($0.path(parent, id)) } ?? CgroupPath(parent).appending(id)
    } catch {
      throw RuntimeError(.invalidArgument, stage: "name pod cgroup", subject: parent, cause: error)
    }
    let record = SandboxRecord(
      id: id, bootID: environment.bootID, createdAt: SystemClock.wallNanoseconds, cgroupPath: path.description,
      madeGroups: missingGroups(above: path), config: config)
    let (sandbox, isNew) = index.withLock { index in
      if let taken = index.identities[config.identity], let existing = index.sandboxes[taken] {
        return (existing, false)
      }
      let sandbox = newActor(record, SandboxMachine())
      index.sandboxes[id] = sandbox
      index.identities[config.identity] = id
      return (sandbox, true)
    }
    if isNew {
      // Unstructured: a caller that goes away leaves no half-made pod; asking again finds this one.
      let making = Task { () async -> Result<Void, RuntimeError> in
        do throws(RuntimeError) { return .success(try await sandbox.make()) } catch { return .failure(error) }
      }
      try await making.value.get()
      return id
    }
    return try await same(sandbox, config)
  }

  /// Groups above `path` that are not there yet.
  private func missingGroups(above path: CgroupPath) -> [String] {
    guard environment.hooks.groups == nil else { return [] }
    var missing: [String] = []
    var next = path.parent
    // Those that an earlier pod made as well: its record may be gone when a restarted daemon asks whose they are.
    while let group = next, environment.madeGroups.contains(group) || !environment.hierarchy.group(group).exists {
      missing.append(group.description)
      next = group.parent
    }
    return missing
  }

  private func same(_ sandbox: PodSandbox, _ config: SandboxConfig) async throws(RuntimeError) -> String {
    let subject = config.identity.description
    guard sandbox.record.config == config else {
      throw RuntimeError(
        .alreadyExists, stage: "run sandbox", subject: subject,
        reason: "sandbox \(sandbox.id) has that name and another configuration; remove it or use another attempt")
    }
    try await sandbox.waitUntilMade()
    return sandbox.id
  }

  func newActor(_ record: SandboxRecord, _ machine: SandboxMachine) -> PodSandbox {
    PodSandbox(record: record, machine: machine, environment: environment) { [weak self] sandbox in
      self?.removeFromIndex(sandbox)
    }
  }

  /// Stopping what is not there succeeds.
  package func stopSandbox(_ id: String) async throws(RuntimeError) { try await actor(id)?.stop() }

  /// Removing what is not there succeeds.
  package func removeSandbox(_ id: String) async throws(RuntimeError) { try await actor(id)?.remove() }

  package func updateSandboxResources(_ id: String, _ update: LinuxResources) async throws(RuntimeError) {
    try await required(id).updatePodResources(update)
  }

  // MARK: Containers

  package func createContainer(
    in sandboxID: String, name: String, attempt: UInt32, request: [UInt8], compile: ContainerCompiler
  ) async throws(RuntimeError) -> String {
    try await required(sandboxID).createContainer(name: name, attempt: attempt, request: request, compile: compile)
  }

  package func startContainer(_ id: String) async throws(RuntimeError) {
    let (sandbox, id) = try owner(id)
    try await sandbox.startContainer(id)
  }

  /// Stopping what is not there, or has ended, succeeds.
  package func stopContainer(_ id: String, graceMilliseconds: Int64) async throws(RuntimeError) {
    guard let container = environment.board.container(id) else { return }
    try await actor(container.sandboxID)?.stopContainer(container.id, graceMilliseconds: graceMilliseconds)
  }

  /// Removing what is not there succeeds; what runs is killed first.
  package func removeContainer(_ id: String) async throws(RuntimeError) {
    guard let container = environment.board.container(id) else { return }
    try await actor(container.sandboxID)?.removeContainer(container.id)
  }

  package func updateContainerResources(_ id: String, _ update: LinuxResources) async throws(RuntimeError) {
    let (sandbox, id) = try owner(id)
    try await sandbox.updateResources(id, update)
  }

  package func reopenLog(_ id: String) async throws(RuntimeError) {
    let (sandbox, id) = try owner(id)
    try await sandbox.reopenLog(id)
  }

  // MARK: Processes in containers

  /// Runs a command to its end. Output beyond 16 MiB a stream is dropped while it is read.
  package func execCapturing(_ id: String, _ request: ExecRequest) async throws(RuntimeError) -> ExecOutput {
    let (sandbox, id) = try owner(id)
    return try await sandbox.execCapturing(id, request)
  }

  package func exec(
    _ id: String, _ request: ExecRequest, _ descriptors: consuming ProcessDescriptors
  ) async throws(RuntimeError) -> ExecProcess {
    let (sandbox, id) = try owner(id)
    return try await sandbox.exec(id, request, descriptors)
  }

  package func attach(_ id: String, _ descriptors: consuming ProcessDescriptors) async throws(RuntimeError) {
    let (sandbox, id) = try owner(id)
    try await sandbox.attach(id, descriptors)
  }

  package func closeStdin(_ id: String) async throws(RuntimeError) {
    let (sandbox, id) = try owner(id)
    try await sandbox.closeStdin(id)
  }

  package func resize(_ id: String, columns: UInt16, rows: UInt16) async throws(RuntimeError) {
    let (sandbox, id) = try owner(id)
    try await sandbox.resize(id, columns: columns, rows: rows)
  }

  package func waitUntilEnded(_ id: String) async throws(RuntimeError) -> ContainerExit? {
    let (sandbox, id) = try owner(id)
    return try await sandbox.waitUntilEnded(id)
  }

  // MARK: Figures

  /// The container's cgroup figures; nil where its cgroup is gone.
  package func statistics(of container: ContainerSnapshot) -> CgroupStatistics? {
    guard let sandbox = environment.board.sandbox(container.sandboxID) else { return nil }
    return statistics(sandbox.record.cgroupPath + "/" + container.id)
  }

  package func statistics(of sandbox: SandboxSnapshot) -> CgroupStatistics? { statistics(sandbox.record.cgroupPath) }

  private func statistics(_ path: String) -> CgroupStatistics? {
    guard let path = try? CgroupPath(path) else { return nil }
    let group = environment.hierarchy.group(path)
    return group.exists ? group.statistics() : nil
  }

  /// Where the container's writable layer lies.
  package func writableLayer(of container: ContainerSnapshot) -> String {
    environment.places(of: container.id, in: container.sandboxID).upperDirectory
  }
}

extension PodSandbox {
  /// For a caller that asked for what is being made already.
  func waitUntilMade() async throws(RuntimeError) {
    try await wait(stage: "run sandbox") { ![.making, .undoing].contains(machine.phase) }
    switch machine.phase {
    case .ready: return
    default: throw lastFailure ?? notUsable()
    }
  }

  private func notUsable() -> RuntimeError {
    RuntimeError(
      .alreadyExists, stage: "run sandbox", subject: record.config.identity.description,
      reason: "sandbox \(id) has that name and is no longer ready; remove it or use another attempt")
  }
}
