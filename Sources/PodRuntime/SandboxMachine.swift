/// The life of one pod sandbox: events in, actions out. No clock, no I/O.
///
/// Making is one step with an undo; taking down is three that wait only for what they must: the cgroup waits for the
/// shim, which lives in it, and the network for nobody but the containers.
package struct SandboxMachine: Sendable, Equatable {
  package enum Phase: Sendable, Hashable {
    case making
    /// The request failed or was withdrawn; what it made is being taken down and then erased.
    case undoing
    case ready
    /// Its shim died, or taking it down failed: nothing can start in it, and it can be stopped and removed.
    case notReady(reason: String)
    case stopping
    case stopped
    case removing
    case removed
  }

  /// What is taken down.
  package enum Part: String, Sendable, Equatable, CaseIterable, Comparable {
    case containers, shim, network, cgroup
    package static func < (left: Part, right: Part) -> Bool { left.order < right.order }
    private var order: Int { Part.allCases.firstIndex(of: self) ?? 0 }
  }

  package enum Event: Sendable, Equatable {
    case made
    case makeFailed
    case shimLost
    case stopRequested
    case removeRequested
    case down(Part)
    case downFailed(Part, reason: String)
    case erased
    case eraseFailed(reason: String)
  }

  package enum Action: Sendable, Equatable {
    case save
    /// Tell every container that the shim is gone.
    case abandonContainers
    case takeDown(Part)
    /// Remove the containers' and then the sandbox's own files.
    case erase
    case announceStopped
    case announceRemoved
  }

  package private(set) var phase: Phase
  package private(set) var removalWanted = false
  /// Parts not yet down, while stopping or undoing.
  package private(set) var remaining: Set<Part> = []
  private var inFlight: Set<Part> = []
  private var failures: [Part: String] = [:]

  package init(phase: Phase = .making) { self.phase = phase }

  package mutating func handle(_ event: Event) -> [Action] {
    switch (phase, event) {
    case (.making, .made):
      phase = .ready
      return [.save] + (removalWanted ? beginTakingDown(into: .stopping) : [])
    case (.making, .makeFailed):
      return beginTakingDown(into: .undoing)
    case (.making, .stopRequested), (.making, .removeRequested):
      // What is being made may still appear: wait for it, then take it down.
      removalWanted = true
      return []

    case (.ready, .shimLost):
      phase = .notReady(reason: "the shim of the sandbox died")
      return [.save, .abandonContainers]
    case (.ready, .stopRequested), (.notReady, .stopRequested):
      return beginTakingDown(into: .stopping)
    case (.ready, .removeRequested), (.notReady, .removeRequested):
      removalWanted = true
      return beginTakingDown(into: .stopping)

    case (.stopping, .removeRequested):
      removalWanted = true
      return []
    case (.stopping, .down(let part)), (.undoing, .down(let part)):
      guard inFlight.remove(part) != nil else { return [] }
      remaining.remove(part)
      return advance()
    case (.stopping, .downFailed(let part, let reason)), (.undoing, .downFailed(let part, let reason)):
      guard inFlight.remove(part) != nil else { return [] }
      failures[part] = reason
      return advance()

    case (.stopped, .removeRequested):
      phase = .removing
      return [.erase]
    case (.removing, .erased):
      phase = .removed
      return [.announceRemoved]
    case (.removing, .eraseFailed(let reason)):
      phase = .notReady(reason: reason)
      return [.save]
    default: return []
    }
  }

  private mutating func beginTakingDown(into next: Phase) -> [Action] {
    phase = next
    remaining = Set(Part.allCases)
    inFlight = []
    failures = [:]
    return advance()
  }

  /// Starts every part whose predecessors are down; ends the taking down where nothing is left to wait for.
  private mutating func advance() -> [Action] {
    let startable = remaining.filter { part in
      guard !inFlight.contains(part), failures[part] == nil else { return false }
      switch part {
      case .containers: return true
      case .shim, .network: return !remaining.contains(.containers)
      case .cgroup: return !remaining.contains(.shim)
      }
    }
    if !startable.isEmpty {
      inFlight.formUnion(startable)
      return startable.sorted().map { .takeDown($0) }
    }
    guard inFlight.isEmpty else { return [] }
    if remaining.isEmpty { return takenDown() }
    let reason = failures.sorted { $0.key < $1.key }.map { "\($0.key.rawValue): \($0.value)" }.joined(separator: "; ")
    removalWanted = false
    phase = .notReady(reason: reason)
    return [.save]
  }

  private mutating func takenDown() -> [Action] {
    if phase == .undoing || removalWanted {
      let wasUndoing = phase == .undoing
      phase = .removing
      return wasUndoing ? [.erase] : [.save, .announceStopped, .erase]
    }
    phase = .stopped
    return [.save, .announceStopped]
  }
}
