internal import ContainerPlan
internal import JSON
internal import Kernel
internal import Logging
internal import OCISpec

extension PodSandbox {
  /// Creates a container: directories, cgroup with limits, plan and record. Nothing runs yet.
  ///
  /// The same request again gives the same container; another request under a taken name is an error.
  func createContainer(
    name: String, attempt: UInt32, request: [UInt8], compile: ContainerCompiler
  ) async throws(RuntimeError) -> String {
    let key = ContainerName(name: name, attempt: attempt)
    if let taken = names[key] { return try await existing(taken, key, request) }
    try requireReady("create container", name)
    let id = randomHex(bytes: 32)
    names[key] = id
    let places = environment.places(of: id, in: self.id)
    do throws(RuntimeError) {
      let compiled: CompiledContainer
      do {
        compiled = try await compile(places, snapshot)
      } catch {
        throw RuntimeError.wrap(error, stage: "compile container", subject: name, code: .invalidArgument)
      }
      // While the image was looked up, the pod may have been stopped.
      try requireReady("create container", name)
      try commit(compiled, places, request)
    } catch {
      var forgetting = try? beginToForget(id)
      try? await finish(&forgetting, id)
      try? await removeGroup(containerGroup(id))
      try? await eraseFiles(places)
      await environment.hooks.releaseImage(id)
      names[key] = nil
      changed()
      throw error
    }
    announce(.created, id)
    changed()
    return id
  }

  private func requireReady(_ stage: String, _ subject: String) throws(RuntimeError) {
    guard machine.phase == .ready else {
      throw RuntimeError(
        .failedPrecondition, stage: stage, subject: subject, reason: "the pod \(id) is not ready (\(machine.phase))")
    }
  }

  private func existing(
    _ id: String, _ key: ContainerName, _ request: [UInt8]
  ) async throws(RuntimeError) -> String {
    let subject = "\(key.name), attempt \(key.attempt)"
    try await wait(stage: "create container") { containers[id] != nil || names[key] != id }
    guard names[key] == id, containers[id] != nil else {
      throw RuntimeError(
        .unavailable, stage: "create container", subject: subject, reason: "an earlier create failed; ask again")
    }
    let path = "\(environment.places(of: id, in: self.id).directory)/request.json"
    let earlier = try step("compare requests", subject) { () throws(SyscallError) in
      try Files.read(path, maxBytes: RuntimeBounds.recordBytesMax)
    }
    guard earlier == request else {
      throw RuntimeError(
        .alreadyExists, stage: "create container", subject: subject,
        reason: "container \(id) has that name and another configuration; remove it or use another attempt")
    }
    return id
  }

  private func commit(
    _ compiled: CompiledContainer, _ places: ContainerPlaces, _ request: [UInt8]
  ) throws(RuntimeError) {
    let id = places.containerID
    try checkTarget(compiled)
    try checkUsers(compiled)
    for warning in compiled.warnings {
      log.warning("left out", metadata: ["container": "\(id)", "what": "\(warning)"])
    }
    let record = ContainerRecord(
      id: id, sandboxID: self.id, createdAt: SystemClock.wallNanoseconds, config: compiled.config)
    try makeDirectories(places)
    if !compiled.config.logPath.isEmpty {
      try step("make log directory", compiled.config.logPath) { () throws(SyscallError) in
        try Files.makeDirectories(Files.parent(of: compiled.config.logPath), mode: 0o755)
      }
    }
    let plan = try Self.compilePlan(compiled, subject: compiled.config.name)
    try makeContainerGroup(id, compiled)
    // From here on its plan is on its way beside all that follows.
    let isPrepared = prepare(id, plan, compiled.config)
    try step("write container record", id) { () throws(SyscallError) in
      try Files.writeAtomically("\(places.directory)/request.json", request)
      // The record comes last: a directory without one is a container that was never created.
      try Files.writeAtomically("\(places.directory)/record.json", record.json.encoded(pretty: true))
    }
    var cell = ContainerCell(record: record, machine: ContainerMachine())
    cell.plan = plan
    cell.isPrepared = isPrepared
    cell.execTemplate = ExecTemplate(
      process: compiled.specification.process, seccompProgram: compiled.context.seccompProgram,
      users: self.record.config.users)
    containers[id] = cell
    environment.board.publish(cell.snapshot)
  }

  /// Whatever is wrong with it, its start tells.
  private func prepare(_ id: String, _ plan: Plan, _ config: ContainerConfig) -> Bool {
    guard let shim, let request = try? startRequest(id, plan, config) else { return false }
    return (try? shim.prepare(request)) ?? false
  }

  /// A container whose processes another one shall see must be a running one of this pod.
  private func checkTarget(_ compiled: CompiledContainer) throws(RuntimeError) {
    guard case .target(let target) = compiled.context.processNamespace else { return }
    guard let cell = containers[target] else { throw Self.noContainer(target) }
    guard case .running = cell.machine.phase else {
      throw RuntimeError(
        .failedPrecondition, stage: "create container", subject: target,
        reason: "it is the target of a shared PID namespace and is not running")
    }
  }

  /// A container is in its pod's user namespace, or both are in the node's.
  private func checkUsers(_ compiled: CompiledContainer) throws(RuntimeError) {
    let asked: UserMappings?
    do throws(PlanError) { asked = try UserMappings.asked(by: compiled.specification) } catch {
      throw RuntimeError(.invalidArgument, stage: "plan container", subject: compiled.config.name, cause: error)
    }
    guard asked == record.config.users else {
      throw RuntimeError(
        .invalidArgument, stage: "create container", subject: compiled.config.name,
        reason: asked == nil
          ? "its pod has a user namespace, and the container asks for none"
          : "the mappings are not those of its pod's user namespace")
    }
  }

  private func makeDirectories(_ places: ContainerPlaces) throws(RuntimeError) {
    try step("make container directories", places.containerID) { () throws(SyscallError) in
      try Files.makeDirectories(places.directory)
      // The writable layer's mode is what the container sees of its root directory.
      try Files.makeDirectories(places.storageDirectory)
      try Files.makeDirectories(places.upperDirectory, mode: 0o755)
      try Files.makeDirectories(places.workDirectory)
    }
    guard let users = record.config.users, let root = try? users.hostRoot() else { return }
    try step("give the writable layer to the pod's root", places.containerID) { () throws(SyscallError) in
      try Files.chown(places.upperDirectory, user: root.user, group: root.group)
    }
  }

  private static func compilePlan(_ compiled: CompiledContainer, subject: String) throws(RuntimeError) -> Plan {
    var context = compiled.context
    context.hasAppArmor = SecurityModules.hasAppArmor
    context.hasSELinux = SecurityModules.hasSELinux
    do throws(PlanError) {
      return try Plan.container(compiled.specification, root: compiled.root, context: context)
    } catch {
      throw RuntimeError(.invalidArgument, stage: "plan container", subject: subject, cause: error)
    }
  }

  private func makeContainerGroup(_ id: String, _ compiled: CompiledContainer) throws(RuntimeError) {
    let group = try containerGroup(id)
    do throws(CgroupError) {
      // Beside the shim's, which the pod was made with.
      try group.createBeside()
      let tolerate = environment.configuration.toleratesMissingControllers
      for warning in try group.apply(compiled.config.resources.limits, tolerateMissing: tolerate) {
        log.warning("a limit is left out", metadata: ["container": "\(id)", "limit": "\(warning)"])
      }
    } catch {
      throw Self.limitError(error, stage: "make container cgroup", subject: compiled.config.name)
    }
  }

  /// Makes plan and exec template again from the request on disk: the container was created by an earlier daemon.
  func recompile(_ id: String) async throws(RuntimeError) -> (plan: Plan, template: ExecTemplate) {
    let places = environment.places(of: id, in: self.id)
    let request = try step("read request", id) { () throws(SyscallError) in
      try Files.read("\(places.directory)/request.json", maxBytes: RuntimeBounds.recordBytesMax)
    }
    let compiled: CompiledContainer
    do {
      compiled = try await environment.hooks.recompile(request, places, snapshot)
    } catch {
      throw RuntimeError.wrap(error, stage: "compile container", subject: id)
    }
    let template = ExecTemplate(
      process: compiled.specification.process, seccompProgram: compiled.context.seccompProgram,
      users: record.config.users)
    containers[id]?.execTemplate = template
    return (try Self.compilePlan(compiled, subject: id), template)
  }
}
