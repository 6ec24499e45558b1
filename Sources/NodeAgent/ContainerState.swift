/// Why something does not run yet, in the words that Kubernetes uses.
package struct Waiting: Hashable, Sendable {
  package var reason: String
  package var message: String

  package init(_ reason: String, _ message: String = "") { (self.reason, self.message) = (reason, message) }
}

/// Failures in a row, and the time before which nothing is tried again.
struct Backoff: Hashable, Sendable {
  private(set) var failures = 0
  private(set) var until: Milliseconds = 0

  mutating func failed(_ rule: BackoffRule, now: Milliseconds) {
    failures += 1
    until = now + rule.pause(failures: failures)
  }

  /// A container ended: the first time it is started again at once, then after growing pauses.
  mutating func ended(_ rule: BackoffRule, ran: Milliseconds, now: Milliseconds) {
    if ran >= rule.forgottenAfter { failures = 0 }
    until = now + rule.pause(failures: failures)
    failures += 1
  }

  mutating func clear() { self = Backoff() }
}

/// Results of one probe of one running container.
struct ProbeState: Hashable, Sendable {
  private(set) var nextAt: Milliseconds
  private(set) var underWay = false
  private var successes = 0
  private var failures = 0

  init(firstAt: Milliseconds) { nextAt = firstAt }

  mutating func begin(_ rule: ProbeRule, now: Milliseconds) {
    underWay = true
    nextAt = now + rule.period
  }

  /// - Returns: true and false where so many results in a row say so, nil in between.
  mutating func result(_ success: Bool, _ rule: ProbeRule) -> Bool? {
    underWay = false
    successes = success ? successes + 1 : 0
    failures = success ? 0 : failures + 1
    if successes >= rule.successThreshold { return true }
    if failures >= rule.failureThreshold { return false }
    return nil
  }
}

/// One container of a pod.
package struct ContainerState: Hashable, Sendable {
  package enum Phase: Hashable, Sendable {
    case idle
    case pulling
    case starting(attempt: UInt32)
    case running(id: String, attempt: UInt32)
    case stopping(id: String, attempt: UInt32)
  }
  package internal(set) var rule: ContainerRule
  package internal(set) var phase: Phase = .idle
  package internal(set) var waiting: Waiting?
  /// Passed its startup probe, or has none.
  package internal(set) var started = false
  package internal(set) var ready = false
  package internal(set) var lastExit: ContainerExit?
  package internal(set) var nextAttempt: UInt32 = 0
  /// As the runtime calls what it was last made from; empty: not known.
  package internal(set) var imageID = ""
  /// Nanoseconds since 1970.
  package internal(set) var startedAt: Int64 = 0
  /// Ended in the sandbox that there is now: says for init containers that they are done.
  var endedHere = false
  var imageReady = false
  var runningSince: Milliseconds = 0
  var restartBackoff = Backoff()
  var imageBackoff = Backoff()
  var retryStopAt: Milliseconds = 0
  var probes: [ProbeKind: ProbeState] = [:]
  /// The probe that says that this instance must end.
  var failedProbe: ProbeKind?
  /// What is being pulled, starts or runs was asked for by an older form of the pod.
  var isOutdated = false
  /// It was ended to make room for its newer form, whatever the restart policy says.
  var startsAgain = false
  /// Ended instances that the runtime still has, oldest first.
  var ended: [(id: String, attempt: UInt32)] {
    get { endedInstances.map { ($0.id, $0.attempt) } }
    set { endedInstances = newValue.map { Instance(id: $0.id, attempt: $0.attempt) } }
  }
  private var endedInstances: [Instance] = []
  private struct Instance: Hashable, Sendable { var id: String, attempt: UInt32 }

  init(_ rule: ContainerRule) { self.rule = rule }

  /// The instance that runs or is being stopped.
  package var current: (id: String, attempt: UInt32)? {
    switch phase {
    case .running(let id, let attempt), .stopping(let id, let attempt): (id, attempt)
    case .idle, .pulling, .starting: nil
    }
  }

  package var isRunning: Bool { if case .running = phase { true } else { false } }

  /// Something is under way whose answer must be waited for before the sandbox may go.
  var isBusy: Bool {
    switch phase {
    case .starting, .stopping, .running: true
    case .idle, .pulling: false
    }
  }

  package var restartCount: UInt32 { current?.attempt ?? (nextAttempt > 0 ? nextAttempt - 1 : 0) }

  /// Ended and will not be started again.
  var isFinished: Bool {
    guard phase == .idle, let exit = lastExit, !startsAgain else { return false }
    return !rule.restarts(after: exit.code)
  }

  var isDoneInitializing: Bool {
    switch rule.role {
    case .initial: phase == .idle && endedHere && lastExit?.code == 0
    case .sidecar: isRunning && started
    case .main, .ephemeral: true
    }
  }
}
