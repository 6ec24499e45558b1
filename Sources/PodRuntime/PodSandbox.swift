internal import ContainerPlan
internal import JSON
internal import Kernel
internal import Logging

/// One pod: performs what the machines of the sandbox and of its containers say, and feeds back what came of it.
///
/// Nothing here holds a lock over a wait: a request puts an event in and waits until the phase is what it wants, so that a
/// long grace of one container keeps neither its siblings nor a removal waiting.
actor PodSandbox {
  nonisolated let record: SandboxRecord
  nonisolated let environment: RuntimeEnvironment
  nonisolated let log: Logger
  var machine: SandboxMachine
  var addresses = SandboxAddresses()
  var shim: Shim?
  var shimPID: Int32 = 0
  var containers: [String: ContainerCell] = [:]
  /// Names taken in this pod, also by containers that are still being created.
  var names: [ContainerName: String] = [:]
  /// Why making, taking down or erasing last failed.
  var lastFailure: RuntimeError?
  private var watchers: [UInt64: CheckedContinuation<Void, Never>] = [:]
  private var nextWatcher: UInt64 = 0
  private let onRemoved: @Sendable (PodSandbox) -> Void

  struct ContainerName: Hashable {
    var name: String
    var attempt: UInt32
  }

  init(
    record: SandboxRecord, machine: SandboxMachine, environment: RuntimeEnvironment,
    onRemoved: @escaping @Sendable (PodSandbox) -> Void
  ) {
    self.record = record
    self.machine = machine
    self.environment = environment
    self.onRemoved = onRemoved
    var log = environment.log
    log[metadataKey: "pod"] = .string(String(record.id.prefix(12)))
    self.log = log
  }

  nonisolated var id: String { record.id }
  nonisolated var directory: String { "\(environment.configuration.podsDirectory)/\(record.id)" }

  var snapshot: SandboxSnapshot {
    SandboxSnapshot(record: record, phase: machine.phase, addresses: addresses, shimPID: shimPID)
  }

  nonisolated func group() throws(RuntimeError) -> Cgroup {
    do throws(CgroupError) {
      return environment.hierarchy.group(try CgroupPath(record.cgroupPath))
    } catch {
      throw RuntimeError(.invalidArgument, stage: "find pod cgroup", subject: record.cgroupPath, cause: error)
    }
  }

  // MARK: Waiting

  /// Returns at the next change of anything in this pod, or when the caller is cancelled.
  func nextChange() async {
    nextWatcher += 1
    let number = nextWatcher
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        if Task.isCancelled { continuation.resume() } else { watchers[number] = continuation }
      }
    } onCancel: {
      // Unstructured: a cancellation handler cannot wait for the actor.
      Task { await self.wake(number) }
    }
  }

  private func wake(_ number: UInt64) { watchers.removeValue(forKey: number)?.resume() }

  func changed() {
    environment.board.publish(snapshot)
    let woken = watchers
    watchers = [:]
    for continuation in woken.values { continuation.resume() }
  }

  func wait(stage: String, until done: () -> Bool) async throws(RuntimeError) {
    while !done() {
      if Task.isCancelled {
        throw RuntimeError(.cancelled, stage: stage, subject: id, reason: "the caller went away; the work goes on")
      }
      await nextChange()
    }
  }

  // MARK: Events and actions

  func apply(_ event: SandboxMachine.Event) {
    let actions = machine.handle(event)
    changed()
    for action in actions { perform(action) }
  }

  private func perform(_ action: SandboxMachine.Action) {
    switch action {
    case .save: saveState()
    case .abandonContainers:
      for id in containers.keys { apply(.shimLost, to: id) }
    case .takeDown(let part):
      // Unstructured: it must end, also when the request that asked for it is cancelled.
      Task {
        do throws(RuntimeError) {
          try await takeDown(part)
          apply(.down(part))
        } catch {
          lastFailure = error
          log.error("taking down \(part.rawValue) failed", metadata: ["error": "\(error)"])
          apply(.downFailed(part, reason: error.description))
        }
      }
    case .erase:
      Task {
        do throws(RuntimeError) {
          try await erase()
          apply(.erased)
        } catch {
          lastFailure = error
          log.error("removing failed", metadata: ["error": "\(error)"])
          apply(.eraseFailed(reason: error.description))
        }
      }
    case .announceStopped:
      announce(.stopped, id)
    case .announceRemoved:
      environment.board.remove(sandbox: id)
      onRemoved(self)
      announce(.removed, id)
    }
  }

  func announce(_ kind: RuntimeEvent.Kind, _ containerID: String) {
    environment.board.announce(
      RuntimeEvent(kind: kind, containerID: containerID, sandboxID: id, at: SystemClock.wallNanoseconds))
  }

  private func saveState() {
    let phase: SandboxState.Phase
    var reason = ""
    switch machine.phase {
    case .ready: phase = .ready
    case .stopped, .removing: phase = .stopped
    case .notReady(let why):
      phase = .notReady
      reason = why
    default: return
    }
    let state = SandboxState(phase: phase, reason: reason, addresses: addresses, shimPID: shimPID)
    do {
      try Files.writeAtomically("\(directory)/state.json", state.json.encoded(pretty: true))
    } catch {
      log.error("writing the pod's state failed", metadata: ["error": "\(error)"])
    }
  }

  // MARK: Stop and remove

  /// Stops everything of the pod and gives back its network. Repeating it is fine.
  func stop() async throws(RuntimeError) {
    apply(.stopRequested)
    try await wait(stage: "stop sandbox") { [.stopped, .removing, .removed].contains(machine.phase) || hasFailed }
    if hasFailed { throw stopFailure("stop sandbox") }
  }

  /// Stops the pod where it runs and removes every trace of it.
  func remove() async throws(RuntimeError) {
    apply(.removeRequested)
    try await wait(stage: "remove sandbox") { machine.phase == .removed || hasFailed }
    if hasFailed { throw stopFailure("remove sandbox") }
  }

  private var hasFailed: Bool {
    if case .notReady = machine.phase { true } else { false }
  }

  private func stopFailure(_ stage: String) -> RuntimeError {
    lastFailure ?? RuntimeError(.failed, stage: stage, subject: id, reason: "did not end; ask again")
  }

  private func takeDown(_ part: SandboxMachine.Part) async throws(RuntimeError) {
    switch part {
    case .containers: try await stopAllContainers()
    case .shim: await endShim()
    case .network:
      guard record.config.network == .pod else { return }
      do {
        try await environment.hooks.network.detach(id)
        addresses = SandboxAddresses()
      } catch {
        throw RuntimeError.wrap(error, stage: "detach network", subject: id)
      }
    case .cgroup:
      try await removeGroup(try group())
      do {
        try await environment.hooks.groups?.remove(record.cgroupPath)
        try environment.madeGroups.removeEmpty(above: record.cgroupPath, in: environment.hierarchy)
      } catch {
        throw RuntimeError.wrap(error, stage: "remove parent cgroup", subject: record.cgroupPath)
      }
    }
  }

  /// A shim that does not end when asked is ended through its cgroup, which also ends the wait for its answer.
  private func endShim() async {
    guard let shim else { return }
    self.shim = nil
    let leaf = try? group().child("shim")
    let log = log
    await withTaskGroup(of: Void.self) { group in
      group.addTask { try? await shim.shutdown() }
      group.addTask {
        do {
          try await Task.sleep(for: .milliseconds(RuntimeBounds.shimWaitMilliseconds))
          log.warning("the shim did not end when asked; it is killed")
          try leaf?.kill()
        } catch is CancellationError {
          return
        } catch {
          log.error("killing the shim failed", metadata: ["error": "\(error)"])
        }
      }
      await group.next()
      group.cancelAll()
    }
    shimPID = 0
  }

  func removeGroup(_ group: Cgroup) async throws(RuntimeError) {
    do throws(SyscallError) {
      try group.remove()
      return
    } catch {
      guard error.errno == Errno.busy else {
        throw RuntimeError(.failed, stage: "remove cgroup", subject: group.path.description, cause: error)
      }
    }
    do throws(CgroupError) {
      try await onFreshThread { () throws(CgroupError) in
        try group.killAndRemove(milliseconds: RuntimeBounds.killWaitMilliseconds)
      }
    } catch {
      throw RuntimeError(.failed, stage: "remove cgroup", subject: group.path.description, cause: error)
    }
  }

  private func erase() async throws(RuntimeError) {
    for id in containers.keys { apply(.removeRequested, to: id) }
    try await wait(stage: "remove containers") {
      containers.values.allSatisfy { $0.machine.phase == .removed || $0.machine.eraseFailed }
    }
    if let failed = containers.values.first(where: \.machine.eraseFailed) {
      throw failed.failure
        ?? RuntimeError(.failed, stage: "remove container", subject: failed.record.id, reason: "files are left")
    }
    do throws(SyscallError) {
      try Files.remove("\(directory)/record.json")
      try Files.removeTree(directory)
    } catch {
      throw RuntimeError(.failed, stage: "remove pod directory", subject: directory, cause: error)
    }
  }
}
