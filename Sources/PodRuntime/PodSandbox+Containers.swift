internal import ContainerPlan
internal import JSON
internal import Kernel
internal import Logging
internal import OCISpec

/// What a pod knows of one container.
struct ContainerCell {
  var record: ContainerRecord
  var machine: ContainerMachine
  var startedAt: Int64 = 0
  var pid: Int32 = 0
  /// From creation to start; made again from the request after a restart of the daemon.
  var plan: Plan?
  /// What an exec takes over from the container; made again likewise.
  var execTemplate: ExecTemplate?
  /// Why it did not start or could not be removed.
  var failure: RuntimeError?
  /// The shim has been asked to take its first steps, and it waits for its start.
  var isPrepared = false
  /// What is on disk says that it was started.
  var startIsSaved = false
  /// Grace and kill timers, cancelled when it ends.
  var timers: [Task<Void, Never>] = []

  var snapshot: ContainerSnapshot {
    ContainerSnapshot(record: record, phase: machine.phase, startedAt: startedAt, pid: pid)
  }
}

struct ExecTemplate: Sendable {
  var process: RuntimeSpec.Process
  var seccompProgram: [UInt8]?
  var users: UserMappings?
}

/// What the shim was asked to forget, until it has.
struct Forgetting {
  let shim: Shim
  let asked: ShimConnection.Asked
}

extension PodSandbox {
  // MARK: Events and actions

  func apply(_ event: ContainerMachine.Event, to containerID: String) {
    guard var cell = containers[containerID] else { return }
    let actions = cell.machine.handle(event)
    if case .started(let pid) = event, case .running = cell.machine.phase { cell.pid = pid }
    if !cell.machine.isRunning {
      for timer in cell.timers { timer.cancel() }
      cell.timers = []
    }
    containers[containerID] = cell
    environment.board.publish(cell.snapshot)
    for action in actions { perform(action, on: containerID) }
    changed()
  }

  private func perform(_ action: ContainerMachine.Action, on id: String) {
    switch action {
    // At once, up to where it waits for the shim.
    case .launch: Task.immediate { await launch(id) }
    case .signal: Task { await signal(id) }
    case .kill: killGroup(of: id)
    case .armGrace(let milliseconds): arm(.graceElapsed, after: milliseconds, on: id)
    case .armKill: arm(.killElapsed, after: Int64(RuntimeBounds.killWaitMilliseconds), on: id)
    case .collect: Task { await collect(id) }
    case .save: saveContainerState(id)
    case .announceStarted: announce(.started, id)
    case .announceExited:
      announce(.stopped, id)
      // Children outlive the first process where the PID namespace is shared: they go with it.
      Task { await emptyGroup(of: id) }
    case .erase: Task { await eraseContainer(id) }
    case .announceRemoved: forgetContainer(id)
    }
  }

  private func arm(_ event: ContainerMachine.Event, after milliseconds: Int64, on id: String) {
    let timer = Task { [weak self] in
      do { try await Task.sleep(for: .milliseconds(milliseconds)) } catch { return }
      await self?.apply(event, to: id)
    }
    containers[id]?.timers.append(timer)
  }

  nonisolated func containerGroup(_ id: String) throws(RuntimeError) -> Cgroup {
    let pod = try group()
    do throws(CgroupError) { return try pod.child(id) } catch {
      throw RuntimeError(.failed, stage: "find container cgroup", subject: id, cause: error)
    }
  }

  private func killGroup(of id: String) {
    do {
      try containerGroup(id).kill()
    } catch {
      log.error("killing the container's cgroup failed", metadata: ["container": "\(id)", "error": "\(error)"])
    }
  }

  private func signal(_ id: String) async {
    guard let cell = containers[id], let shim else { return }
    do {
      try await shim.signal(id, cell.record.config.stopSignal)
    } catch {
      // The grace that runs meanwhile ends in a kill that needs no shim.
      log.warning("the stop signal was not delivered", metadata: ["container": "\(id)", "error": "\(error)"])
    }
  }

  private func launch(_ id: String) async {
    do throws(RuntimeError) {
      guard let cell = containers[id] else { return }
      guard let shim else {
        throw RuntimeError(.failedPrecondition, stage: "start container", subject: id, reason: "the pod's shim is gone")
      }
      let plan: Plan
      if let ready = cell.plan { plan = ready } else { plan = try await recompile(id).plan }
      let request = try startRequest(id, plan, cell.record.config)
      containers[id]?.startedAt = SystemClock.wallNanoseconds
      let pid: Int32
      do throws(ShimError) {
        let started = try await shim.startNoting(request, isPrepared: cell.isPrepared)
        pid = started.processID
        if started.scoreWasRefused { noteScore(of: id, pid) }
      } catch {
        throw RuntimeError(.failed, stage: "start container", subject: id, cause: error)
      }
      containers[id]?.plan = nil
      containers[id]?.isPrepared = false
      apply(.started(pid: pid), to: id)
    } catch {
      containers[id]?.failure = error
      containers[id]?.plan = nil
      containers[id]?.isPrepared = false
      let exit = ContainerExit(
        code: Self.exitCode(of: error), finishedAt: SystemClock.wallNanoseconds, reason: "StartError",
        message: error.description)
      apply(.startFailed(exit), to: id)
    }
  }

  func startRequest(_ id: String, _ plan: Plan, _ config: ContainerConfig) throws(RuntimeError) -> ContainerStart {
    var request = ContainerStart(containerID: id, plan: plan)
    request.logPath = config.logPath.isEmpty ? nil : config.logPath
    request.hasStdin = config.stdin
    request.stdinOnce = config.stdinOnce
    request.cgroupDirectory = try containerGroup(id).directory
    return request
  }

  /// What is reported is what the process has, not what was asked for.
  private func noteScore(of id: String, _ pid: Int32) {
    guard let text = try? Files.readText("/proc/\(pid)/oom_score_adj"),
      let score = Int64(text.prefix { $0 != "\n" }),
      let asked = containers[id]?.record.config.resources.oomScoreAdjustment
    else { return }
    log.warning(
      "the kernel refused an oom_score_adj: martletd lacks CAP_SYS_RESOURCE",
      metadata: ["container": "\(id)", "asked": "\(asked)", "has": "\(score)"])
    containers[id]?.record.config.resources.oomScoreAdjustment = score
    guard let record = containers[id]?.record else { return }
    do {
      let path = "\(environment.places(of: id, in: self.id).directory)/record.json"
      try Files.writeAtomically(path, record.json.encoded(pretty: true))
    } catch {
      log.error("writing the container's record failed", metadata: ["container": "\(id)", "error": "\(error)"])
    }
  }

  /// As shells and other runtimes count it: 127 not found, 126 not executable, 128 everything else.
  private static func exitCode(of error: RuntimeError) -> Int32 {
    guard let shimError = error.cause as? ShimError, case .plan(let failure) = shimError else { return 128 }
    guard failure.operation.hasPrefix("exec") else { return 128 }
    switch failure.errno {
    case Errno.noEntry: return 127
    case Errno.access, Errno.noExec, Errno.isDirectory: return 126
    default: return 128
    }
  }

  func saveContainerState(_ id: String) {
    guard let cell = containers[id] else { return }
    let state = ContainerState(startedAt: cell.startedAt, pid: cell.pid, exit: cell.snapshot.exit)
    let directory = environment.places(of: id, in: self.id).directory
    // The shim has written the end down before it told of it, and a restart reads that.
    if let exit = state.exit, exit.message.isEmpty, cell.startIsSaved, Files.exists("\(directory)/exit") { return }
    do {
      try Files.writeAtomically("\(directory)/state.json", state.json.encoded(pretty: true))
      containers[id]?.startIsSaved = state.exit == nil
    } catch {
      log.error("writing the container's state failed", metadata: ["container": "\(id)", "error": "\(error)"])
    }
  }

  /// Ends a container whose shim is gone, and finds out how it ended.
  private func collect(_ id: String) async {
    do {
      let group = try containerGroup(id)
      let emptied = try await onFreshThread { () throws(SyscallError) in
        try group.kill()
        return try group.waitUntilEmpty(milliseconds: RuntimeBounds.killWaitMilliseconds)
      }
      if !emptied { log.error("a container of the dead shim cannot be killed", metadata: ["container": "\(id)"]) }
    } catch {
      log.error("killing a container of the dead shim failed", metadata: ["container": "\(id)", "error": "\(error)"])
    }
    let directory = environment.places(of: id, in: self.id).directory
    if let exit = Self.readExitFile(directory) {
      apply(.exited(exit), to: id)
    } else {
      let exit = ContainerExit(
        code: 137, finishedAt: SystemClock.wallNanoseconds, reason: "ShimLost",
        message: "the shim of the pod died, and the container was ended with it")
      apply(.exited(exit), to: id)
    }
  }

  func emptyGroup(of id: String) async {
    do throws(RuntimeError) {
      try await removeGroup(try containerGroup(id))
    } catch {
      log.error("the container's cgroup is left", metadata: ["container": "\(id)", "error": "\(error)"])
    }
  }

  private func eraseContainer(_ id: String) async {
    do throws(RuntimeError) {
      // Beside the rest: it answers when nothing of it runs.
      var forgetting = try beginToForget(id)
      do throws(RuntimeError) {
        // One that waited for its start has to end before its group can go.
        if containers[id]?.isPrepared == true { try await finish(&forgetting, id) }
        try await removeGroup(try containerGroup(id))
        try await eraseFiles(environment.places(of: id, in: self.id))
      } catch {
        try? await finish(&forgetting, id)
        throw error
      }
      try await finish(&forgetting, id)
      apply(.erased, to: id)
    } catch {
      containers[id]?.failure = error
      log.error("removing a container failed", metadata: ["container": "\(id)", "error": "\(error)"])
      apply(.eraseFailed, to: id)
    }
  }

  /// nil where the shim is gone, and all that it had with it.
  func beginToForget(_ id: String) throws(RuntimeError) -> Forgetting? {
    guard let shim else { return nil }
    do throws(ShimError) { return Forgetting(shim: shim, asked: try shim.beginToForget(id)) } catch {
      if case .disconnected = error { return nil }
      throw RuntimeError(.failed, stage: "forget container", subject: id, cause: error)
    }
  }

  /// Waits for it once.
  func finish(_ forgetting: inout Forgetting?, _ id: String) async throws(RuntimeError) {
    guard let asked = forgetting.take() else { return }
    do throws(ShimError) { try await asked.shim.finish(asked.asked) } catch {
      if case .disconnected = error { return }
      throw RuntimeError(.failed, stage: "forget container", subject: id, cause: error)
    }
  }

  func eraseFiles(_ places: ContainerPlaces) async throws(RuntimeError) {
    do throws(SyscallError) {
      // Without its record it is gone: an interruption from here on leaves only files, which the next start removes.
      try Files.remove("\(places.directory)/record.json")
      if try !Sandbox.removeUnwritten(layer: places.storageDirectory) {
        // A writable layer can be large: not on Swift's pool.
        try await onFreshThread { () throws(SyscallError) in try Files.removeTree(places.storageDirectory) }
      }
      for name in ["request.json", "state.json", "exit"] { try Files.remove("\(places.directory)/\(name)") }
      if try !Sandbox.removeIfEmpty(directory: places.directory) { try Files.removeTree(places.directory) }
    } catch {
      throw RuntimeError(.failed, stage: "remove container files", subject: places.containerID, cause: error)
    }
  }

  private func forgetContainer(_ id: String) {
    guard let cell = containers.removeValue(forKey: id) else { return }
    names.removeValue(forKey: ContainerName(name: cell.record.config.name, attempt: cell.record.config.attempt))
    environment.board.remove(container: id)
    announce(.removed, id)
    let release = environment.hooks.releaseImage
    Task { await release(id) }
  }

  // MARK: Requests

  func startContainer(_ id: String) async throws(RuntimeError) {
    guard let cell = containers[id] else { throw Self.noContainer(id) }
    switch cell.machine.phase {
    case .created:
      guard machine.phase == .ready else {
        throw RuntimeError(.failedPrecondition, stage: "start container", subject: id, reason: "its pod is not ready")
      }
      apply(.startRequested, to: id)
    case .starting, .running: break
    case .exited, .removing, .removed:
      throw RuntimeError(
        .failedPrecondition, stage: "start container", subject: id,
        reason: "it has ended; create another one to run it again")
    }
    try await wait(stage: "start container") { containers[id]?.machine.phase != .starting }
    if let failure = containers[id]?.failure { throw failure }
  }

  func stopContainer(_ id: String, graceMilliseconds: Int64) async throws(RuntimeError) {
    guard containers[id]?.machine.isRunning == true else { return }
    apply(.stopRequested(graceMilliseconds: min(graceMilliseconds, RuntimeBounds.graceMillisecondsMax)), to: id)
    try await waitForEnd(of: id)
  }

  private func waitForEnd(of id: String) async throws(RuntimeError) {
    try await wait(stage: "stop container") {
      guard let machine = containers[id]?.machine else { return true }
      return !machine.isRunning || machine.stopping == .stuck
    }
    if let machine = containers[id]?.machine, machine.isRunning {
      throw RuntimeError(
        .deadlineExceeded, stage: "stop container", subject: id,
        reason: "still there \(RuntimeBounds.killWaitMilliseconds) ms after its cgroup was killed; "
          + "a process hangs in the kernel (see /proc/\(containers[id]?.pid ?? 0)/stack)")
    }
  }

  func stopAllContainers() async throws(RuntimeError) {
    for id in containers.keys { apply(.stopRequested(graceMilliseconds: 0), to: id) }
    for id in containers.keys { try await waitForEnd(of: id) }
  }

  func removeContainer(_ id: String) async throws(RuntimeError) {
    guard containers[id] != nil else { return }
    containers[id]?.failure = nil
    apply(.removeRequested, to: id)
    try await wait(stage: "remove container") {
      guard let machine = containers[id]?.machine else { return true }
      return machine.eraseFailed || machine.stopping == .stuck
    }
    guard let cell = containers[id] else { return }
    throw cell.failure
      ?? RuntimeError(
        .deadlineExceeded, stage: "remove container", subject: id, reason: "it cannot be killed; ask again")
  }

  static func noContainer(_ id: String) -> RuntimeError {
    RuntimeError(.notFound, stage: "find container", subject: id, reason: "there is no such container")
  }
}
