package import Kernel
internal import ContainerPlan
internal import JSON
internal import Logging
internal import OCISpec

/// A process to run in a running container; everything else it takes over from the container.
package struct ExecRequest: Sendable, Hashable {
  package var command: [String]
  package var terminal: Bool
  /// nil is for ever.
  package var timeoutSeconds: Double?

  package init(command: [String], terminal: Bool = false, timeoutSeconds: Double? = nil) {
    self.command = command
    self.terminal = terminal
    self.timeoutSeconds = timeoutSeconds
  }
}

/// Descriptors for a process's standard streams; a nil one is /dev/null.
package struct ProcessDescriptors: ~Copyable, Sendable {
  package var stdin: OwnedFD?
  package var stdout: OwnedFD?
  package var stderr: OwnedFD?

  package init(stdin: consuming OwnedFD? = nil, stdout: consuming OwnedFD? = nil, stderr: consuming OwnedFD? = nil) {
    self.stdin = stdin
    self.stdout = stdout
    self.stderr = stderr
  }
}

extension PodSandbox {
  private func runningShim(_ id: String, _ stage: String) throws(RuntimeError) -> Shim {
    guard let cell = containers[id] else { throw Self.noContainer(id) }
    guard case .running = cell.machine.phase else {
      throw RuntimeError(.failedPrecondition, stage: stage, subject: id, reason: "the container is not running")
    }
    guard let shim else {
      throw RuntimeError(.failedPrecondition, stage: stage, subject: id, reason: "the pod's shim is gone")
    }
    return shim
  }

  private func execPlan(_ id: String, _ request: ExecRequest) async throws(RuntimeError) -> Plan {
    guard !request.command.isEmpty else {
      throw RuntimeError(.invalidArgument, stage: "exec", subject: id, reason: "the command is empty")
    }
    let template: ExecTemplate
    if let known = containers[id]?.execTemplate {
      template = known
    } else {
      template = try await recompile(id).template
    }
    var process = template.process
    process.arguments = request.command
    process.terminal = request.terminal
    do throws(PlanError) {
      return try Plan.exec(process, seccompProgram: template.seccompProgram, users: template.users)
    } catch {
      throw RuntimeError(.invalidArgument, stage: "plan exec", subject: id, cause: error)
    }
  }

  func exec(
    _ id: String, _ request: ExecRequest, _ descriptors: consuming ProcessDescriptors
  ) async throws(RuntimeError) -> ExecProcess {
    _ = try runningShim(id, "exec")
    let plan = try await execPlan(id, request)
    let shim = try runningShim(id, "exec")
    do throws(ShimError) {
      return try await shim.exec(
        id, plan: plan, stdin: descriptors.stdin.take(), stdout: descriptors.stdout.take(),
        stderr: descriptors.stderr.take(), timeoutSeconds: request.timeoutSeconds)
    } catch {
      throw RuntimeError(.failed, stage: "exec", subject: id, cause: error)
    }
  }

  func execCapturing(_ id: String, _ request: ExecRequest) async throws(RuntimeError) -> ExecOutput {
    _ = try runningShim(id, "exec")
    let plan = try await execPlan(id, request)
    let shim = try runningShim(id, "exec")
    do throws(ShimError) {
      return try await shim.execCapturing(
        id, plan: plan, maxBytes: RuntimeBounds.execOutputBytesMax, timeoutSeconds: request.timeoutSeconds)
    } catch {
      throw RuntimeError(.failed, stage: "exec", subject: id, cause: error)
    }
  }

  func attach(_ id: String, _ descriptors: consuming ProcessDescriptors) async throws(RuntimeError) {
    let shim = try runningShim(id, "attach")
    do throws(ShimError) {
      try await shim.attach(
        id, stdin: descriptors.stdin.take(), stdout: descriptors.stdout.take(), stderr: descriptors.stderr.take())
    } catch {
      throw RuntimeError(.failed, stage: "attach", subject: id, cause: error)
    }
  }

  func closeStdin(_ id: String) async throws(RuntimeError) {
    let shim = try runningShim(id, "close standard input")
    do throws(ShimError) { try await shim.closeStdin(id) } catch {
      throw RuntimeError(.failed, stage: "close standard input", subject: id, cause: error)
    }
  }

  func resize(_ id: String, columns: UInt16, rows: UInt16) async throws(RuntimeError) {
    let shim = try runningShim(id, "resize terminal")
    do throws(ShimError) { try await shim.resize(id, columns: columns, rows: rows) } catch {
      throw RuntimeError(.failed, stage: "resize terminal", subject: id, cause: error)
    }
  }

  func reopenLog(_ id: String) async throws(RuntimeError) {
    let shim = try runningShim(id, "reopen log")
    guard let path = containers[id]?.record.config.logPath, !path.isEmpty else {
      throw RuntimeError(.failedPrecondition, stage: "reopen log", subject: id, reason: "the container has no log")
    }
    do throws(ShimError) { try await shim.reopenLog(id, path: path) } catch {
      throw RuntimeError(.failed, stage: "reopen log", subject: path, cause: error)
    }
  }

  /// Waits until the container has ended; returns at once where it is not running.
  func waitUntilEnded(_ id: String) async throws(RuntimeError) -> ContainerExit? {
    try await wait(stage: "wait for container") { containers[id]?.machine.isRunning != true }
    return containers[id]?.snapshot.exit
  }

  /// Changes the limits of a container that has not ended, and keeps them in its record.
  func updateResources(_ id: String, _ update: LinuxResources) throws(RuntimeError) {
    guard var cell = containers[id] else { throw Self.noContainer(id) }
    switch cell.machine.phase {
    case .created, .starting, .running: break
    default:
      throw RuntimeError(.failedPrecondition, stage: "update resources", subject: id, reason: "the container has ended")
    }
    guard update.oomScoreAdjustment == 0 || update.oomScoreAdjustment == cell.record.config.resources.oomScoreAdjustment
    else {
      throw RuntimeError(
        .unsupported, stage: "update resources", subject: id,
        reason: "oom_score_adj of a running container cannot be changed")
    }
    do throws(CgroupError) {
      let tolerate = environment.configuration.toleratesMissingControllers
      let limits = update.limits(over: cell.record.config.resources)
      for warning in try containerGroupUnchecked(id).apply(limits, tolerateMissing: tolerate) {
        log.warning("a limit is left out", metadata: ["container": "\(id)", "limit": "\(warning)"])
      }
    } catch {
      throw Self.limitError(error, stage: "update resources", subject: id)
    }
    cell.record.config.resources = cell.record.config.resources.updated(by: update)
    containers[id] = cell
    environment.board.publish(cell.snapshot)
    let path = "\(environment.places(of: id, in: self.id).directory)/record.json"
    try step("write container record", id) { () throws(SyscallError) in
      try Files.writeAtomically(path, cell.record.json.encoded(pretty: true))
    }
  }

  private nonisolated func containerGroupUnchecked(_ id: String) throws(CgroupError) -> Cgroup {
    try environment.hierarchy.group(try CgroupPath(record.cgroupPath)).child(id)
  }

  func updatePodResources(_ update: LinuxResources) throws(RuntimeError) {
    do throws(CgroupError) {
      let group = environment.hierarchy.group(try CgroupPath(record.cgroupPath))
      let tolerate = environment.configuration.toleratesMissingControllers
      let limits = update.limits(over: record.config.resources)
      for warning in try group.apply(limits, tolerateMissing: tolerate) {
        log.warning("a limit of the pod is left out", metadata: ["limit": "\(warning)"])
      }
    } catch {
      throw Self.limitError(error, stage: "update pod resources", subject: id)
    }
  }
}
