/// How a pod stands, in the words that Kubernetes uses.
extension PodMachine {
  package enum Phase: String, Sendable {
    case pending = "Pending"
    case running = "Running"
    case succeeded = "Succeeded"
    case failed = "Failed"
  }

  package var phase: Phase {
    if failure != nil { return .failed }
    let mains = containers.filter { $0.rule.role == .main }
    if isFinished {
      let good = !initFailed && mains.allSatisfy { $0.lastExit?.code == 0 }
      return good ? .succeeded : .failed
    }
    // A container that is between two runs counts as running: its pod was.
    return initialized && mains.contains { $0.isRunning || $0.lastExit != nil || $0.isBusy } ? .running : .pending
  }

  package var containersReady: Bool {
    if case .ready = sandbox {} else { return false }
    return initialized
      && containers.allSatisfy { [.initial, .ephemeral].contains($0.rule.role) || ($0.isRunning && $0.ready) }
  }

  /// Services may send connections here.
  package var isReady: Bool { containersReady && !isDeleting && failure == nil }
}

extension PodMachine {
  /// All that others may know of a machine.
  package struct Report: Hashable, Sendable {
    package var phase: Phase
    package var isReady: Bool
    package var containersReady: Bool
    package var initialized: Bool
    package var isDeleting: Bool
    package var isGone: Bool
    package var waiting: Waiting?
    package var failure: Waiting?
    package var sandboxID: String?
    package var addresses: [String]
    package var containers: [ContainerState]
    /// Its volumes are there.
    package var holdsVolumes = false

    /// It failed as a whole, and what it used is not free yet.
    var isEnding: Bool { failure != nil && (holdsVolumes || containers.contains(where: \.isBusy)) }
  }

  package var report: Report {
    Report(
      phase: phase, isReady: isReady, containersReady: containersReady, initialized: initialized,
      isDeleting: isDeleting,
      isGone: isGone, waiting: waiting, failure: failure, sandboxID: sandboxID, addresses: addresses,
      containers: containers.map(\.withoutProbeResults), holdsVolumes: volumes != .absent)
  }

  package var sandboxID: String? {
    switch sandbox {
    case .ready(let id), .dead(let id), .clearing(let id), .halting(let id), .halted(let id): id
    case .absent, .making: nil
    }
  }
}

extension ContainerState {
  /// Results of probes come every few seconds and are nobody's concern until they decide something.
  var withoutProbeResults: ContainerState {
    var copy = self
    copy.probes = [:]
    return copy
  }
}
