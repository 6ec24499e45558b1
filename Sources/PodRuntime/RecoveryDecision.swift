/// What becomes of a pod that an earlier daemon left, decided from what is on disk and what still answers.
struct SandboxRecovery: Equatable {
  var machine: SandboxMachine
  /// To be applied once the pod's parts are in place.
  var event: SandboxMachine.Event?

  /// - Parameters:
  ///   - state: nil where the pod was never ready: it was being made.
  ///   - networkProblem: what is wrong with its network, where something is.
  init(state: SandboxState?, shimAnswers: Bool, networkProblem: String?) {
    guard let state else {
      machine = SandboxMachine(phase: .making)
      event = .makeFailed
      return
    }
    switch state.phase {
    case .stopped: machine = SandboxMachine(phase: .stopped)
    case .notReady: machine = SandboxMachine(phase: .notReady(reason: state.reason))
    case .ready:
      if let networkProblem {
        machine = SandboxMachine(phase: .notReady(reason: "its network is lost: \(networkProblem)"))
      } else {
        machine = SandboxMachine(phase: .ready)
        if !shimAnswers { event = .shimLost }
      }
    }
  }
}

/// The same for a container.
struct ContainerRecovery: Equatable {
  var machine: ContainerMachine
  /// What is on disk is older than what was found.
  var needsSaving = false
  /// Nobody will report its end: it must be ended and looked for.
  var isLost = false

  /// - Parameters:
  ///   - state: nil where it was not started, as far as the disk knows.
  ///   - pid: of its process where the shim says that it runs.
  ///   - shimExit: how it ended, from the shim or its exit file.
  ///   - hasProcesses: something is in its cgroup.
  ///   - isPrepared: what is in there waits for its start.
  init(
    state: ContainerState?, pid: Int32?, shimExit: ContainerExit?, hasProcesses: Bool, isPrepared: Bool = false
  ) {
    if let exit = state?.exit {
      machine = ContainerMachine(phase: .exited(exit))
    } else if let shimExit {
      machine = ContainerMachine(phase: .exited(shimExit))
      needsSaving = true
    } else if isPrepared {
      machine = ContainerMachine(phase: .created)
    } else if let pid {
      machine = ContainerMachine(phase: .running(pid: pid))
      needsSaving = state == nil
    } else if state != nil || hasProcesses {
      machine = ContainerMachine(phase: .running(pid: state?.pid ?? 0))
      isLost = true
    } else {
      machine = ContainerMachine(phase: .created)
    }
  }
}
