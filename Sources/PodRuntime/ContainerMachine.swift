/// How a container ended.
package struct ContainerExit: Sendable, Hashable {
  /// 0…255; 128 + n where signal n ended it.
  package var code: Int32
  /// Nanoseconds since 1970.
  package var finishedAt: Int64
  /// One word as CRI clients expect it: Completed, Error, OOMKilled, StartError, ShimLost.
  package var reason: String
  /// A sentence, empty where the reason says it all.
  package var message: String

  package init(code: Int32, finishedAt: Int64, reason: String, message: String = "") {
    self.code = code
    self.finishedAt = finishedAt
    self.reason = reason
    self.message = message
  }
}

/// The life of one container: events in, actions out. No clock, no I/O.
///
/// Late and doubled events are legal and do nothing. Whatever happens, a container that runs and is asked to stop
/// passes through signal, grace, cgroup kill, and a bounded wait; the last step reports instead of waiting for ever.
package struct ContainerMachine: Sendable, Equatable {
  package enum Phase: Sendable, Hashable {
    case created
    /// Handed to the shim; its answer is on the way.
    case starting
    case running(pid: Int32)
    case exited(ContainerExit)
    /// What is left of it is being deleted.
    case removing
    case removed
  }

  /// How far stopping has gone.
  package enum Stopping: Int, Sendable, Equatable, Comparable {
    case no, graceful, killing
    /// Survived the kill for the whole bounded wait: in the kernel, not ours to end.
    case stuck
    package static func < (left: Stopping, right: Stopping) -> Bool { left.rawValue < right.rawValue }
  }

  package enum Event: Sendable, Equatable {
    case startRequested
    case started(pid: Int32)
    case startFailed(ContainerExit)
    /// Grace in milliseconds; 0 kills at once.
    case stopRequested(graceMilliseconds: Int64)
    case graceElapsed
    case killElapsed
    case exited(ContainerExit)
    /// The shim is gone, so no exit event will come.
    case shimLost
    case removeRequested
    /// Files, cgroup and writable layer are gone.
    case erased
    /// Erasing failed; the next removal tries again.
    case eraseFailed
  }

  package enum Action: Sendable, Equatable {
    case launch
    /// The stop signal to the first process.
    case signal
    /// SIGKILL to everything in the cgroup.
    case kill
    /// `graceElapsed` after so many milliseconds.
    case armGrace(milliseconds: Int64)
    /// `killElapsed` after `Bounds.killWait`.
    case armKill
    /// Kill what is left without the shim, wait until the cgroup is empty, find the exit on disk, send `exited`.
    case collect
    case save
    case announceStarted
    case announceExited
    case erase
    case announceRemoved
  }

  package private(set) var phase: Phase
  package private(set) var stopping: Stopping = .no
  package private(set) var removalWanted = false
  private var pendingGrace: Int64?
  private var lost = false
  /// The container was removed before it was removed completely.
  package private(set) var eraseFailed = false

  package init(phase: Phase = .created) { self.phase = phase }

  package var isRunning: Bool {
    switch phase {
    case .starting, .running: true
    default: false
    }
  }

  package mutating func handle(_ event: Event) -> [Action] {
    switch (phase, event) {
    case (.created, .startRequested):
      phase = .starting
      return [.launch]
    case (.created, .removeRequested), (.exited, .removeRequested):
      phase = .removing
      return [.erase]

    case (.starting, .started(let pid)):
      phase = .running(pid: pid)
      var actions: [Action] = [.save, .announceStarted]
      if lost { actions.append(.collect) }
      if let grace = pendingGrace { actions += beginStop(graceMilliseconds: grace) }
      return actions
    case (.starting, .startFailed(let exit)), (.starting, .exited(let exit)), (.running, .exited(let exit)):
      return end(exit)
    case (.starting, .stopRequested(let grace)):
      pendingGrace = min(grace, pendingGrace ?? grace)
      return []
    case (.starting, .removeRequested):
      removalWanted = true
      pendingGrace = 0
      return []
    case (.starting, .shimLost):
      lost = true
      return []

    case (.running, .stopRequested(let grace)):
      return beginStop(graceMilliseconds: grace)
    case (.running, .removeRequested):
      removalWanted = true
      return beginStop(graceMilliseconds: 0)
    case (.running, .graceElapsed) where stopping == .graceful:
      stopping = .killing
      return [.kill, .armKill]
    case (.running, .killElapsed) where stopping == .killing:
      stopping = .stuck
      return []
    case (.running, .shimLost) where !lost:
      lost = true
      return [.collect]

    case (.removing, .removeRequested) where eraseFailed:
      eraseFailed = false
      return [.erase]
    case (.removing, .erased):
      phase = .removed
      return [.announceRemoved]
    case (.removing, .eraseFailed):
      eraseFailed = true
      return []
    default: return []
    }
  }

  private mutating func beginStop(graceMilliseconds: Int64) -> [Action] {
    if graceMilliseconds <= 0 {
      guard stopping != .killing else { return [] }
      stopping = .killing
      return [.kill, .armKill]
    }
    switch stopping {
    case .no:
      stopping = .graceful
      return [.signal, .armGrace(milliseconds: graceMilliseconds)]
    case .graceful:
      // Each caller was promised its own grace at most: the shortest timer wins, later ones find nothing to do.
      return [.armGrace(milliseconds: graceMilliseconds)]
    case .killing: return []
    case .stuck:
      stopping = .killing
      return [.kill, .armKill]
    }
  }

  private mutating func end(_ exit: ContainerExit) -> [Action] {
    phase = .exited(exit)
    var actions: [Action] = [.save, .announceExited]
    if removalWanted {
      phase = .removing
      actions.append(.erase)
    }
    return actions
  }
}
