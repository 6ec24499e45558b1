/// One pod from its manifest to nothing, as a value: events in, actions out. It knows no clock, no file and no socket.
///
/// After each event it compares what is with what shall be and gives the next actions. An action is given once and then
/// waited for, so that nothing is ever done twice at a time; what failed is tried again after a pause.
package struct PodMachine: Sendable {
  enum Volumes: Hashable, Sendable {
    case absent
    case making
    case ready
    case dropping
  }
  package enum Sandbox: Hashable, Sendable {
    case absent
    case making
    case ready(id: String)
    case dead(id: String)
    case clearing(id: String)
    case halting(id: String)
    case halted(id: String)
  }
  enum Ending: Hashable, Sendable {
    case withdrawing
    case stopping
    case tearingDown
  }

  package let rules: PodRules
  package internal(set) var containers: [ContainerState]
  package internal(set) var sandbox: Sandbox = .absent
  package internal(set) var addresses: [String] = []
  /// Why the pod as a whole waits.
  package internal(set) var waiting: Waiting?
  /// Why the pod failed as a whole: evicted, past its deadline.
  package internal(set) var failure: Waiting?
  package internal(set) var isDeleting = false
  package internal(set) var isGone = false
  package internal(set) var initialized = false
  /// The time at which the machine wants to be ticked; nil: no time matters.
  package internal(set) var wakeAt: Milliseconds?

  var volumes: Volumes = .absent
  var volumeBackoff = Backoff()
  var sandboxBackoff = Backoff()
  var sandboxAttempt: UInt32 = 0
  var ending: Ending?
  var retryTeardownAt: Milliseconds = 0
  /// When the last container must have been killed.
  var stopDeadline: Milliseconds?
  var firstStartAt: Milliseconds?

  package init(_ rules: PodRules) {
    self.rules = rules
    containers = rules.containers.map(ContainerState.init)
    waiting = Waiting("ContainerCreating")
  }

  /// - Parameter now: never less than at an earlier call.
  package mutating func handle(_ event: PodEvent, now: Milliseconds) -> [PodAction] {
    guard !isGone else { return [] }
    apply(event, now)
    wakeAt = nil
    return (event == .spaceNeeded ? forgetFinished() : []) + decide(now)
  }

  // MARK: what an event changes

  private mutating func apply(_ event: PodEvent, _ now: Milliseconds) {
    switch event {
    case .tick: break
    case .volumesMade where volumes == .making:
      volumes = .ready
      volumeBackoff.clear()
      waiting = Waiting("ContainerCreating")
    case .volumesFailed(let reason, let message) where volumes == .making:
      volumes = .absent
      volumeBackoff.failed(rules.backoff, now: now)
      waiting = Waiting(reason, message)
    case .sandboxMade(let id, let addresses) where sandbox == .making:
      sandbox = .ready(id: id)
      self.addresses = addresses
      sandboxBackoff.clear()
      waiting = nil
    case .sandboxFailed(let message): sandboxFailed(message, now)
    case .sandboxDied(let id) where sandbox == .ready(id: id):
      sandbox = .dead(id: id)
      addresses = []
    case .sandboxCleared: if case .clearing = sandbox { sandboxCleared(now) }
    case .sandboxHalted: if case .halting(let id) = sandbox { sandbox = .halted(id: id) }
    case .contentChanged:
      volumeBackoff.clear()
      for index in containers.indices where containers[index].waiting?.reason == "CreateContainerConfigError" {
        containers[index].restartBackoff.clear()
      }
    case .containerAdded(let rule):
      if !containers.contains(where: { $0.rule.name == rule.name }) { containers.append(ContainerState(rule)) }
    case .withdrawn where ending == .withdrawing: ending = .stopping
    case .deletionRequested(let grace): requestDeletion(grace, now)
    case .failed(let reason, let message, let grace) where failure == nil && !isDeleting:
      failure = Waiting(reason, message)
      if let grace { stopDeadline = now + grace * 1000 }
    case .volumesDropped where volumes == .dropping: volumes = .absent
    case .tornDown where ending == .tearingDown: isGone = true
    case .teardownFailed(let message) where ending == .tearingDown:
      ending = .stopping
      retryTeardownAt = now + rules.backoff.teardown
      waiting = Waiting("Terminating", message)
    default: applyToContainer(event, now)
    }
  }

  private mutating func sandboxFailed(_ message: String, _ now: Milliseconds) {
    switch sandbox {
    case .making: sandbox = .absent
    case .clearing(let id): sandbox = .dead(id: id)
    case .halting(let id): sandbox = .ready(id: id)
    case .absent, .ready, .dead, .halted: return
    }
    sandboxBackoff.failed(rules.backoff, now: now)
    waiting = Waiting("CreatePodSandboxError", message)
  }

  private mutating func sandboxCleared(_ now: Milliseconds) {
    sandbox = .absent
    sandboxAttempt += 1
    initialized = false
    for index in containers.indices {
      containers[index].ended = []
      containers[index].endedHere = false
    }
  }

  private mutating func requestDeletion(_ grace: Int64?, _ now: Milliseconds) {
    let deadline = now + (grace ?? rules.graceSeconds) * 1000
    // A second request may only shorten the first.
    if isDeleting, let known = stopDeadline, known <= deadline { return }
    if isDeleting, let known = stopDeadline, known > deadline {
      for index in containers.indices {
        // Stopping again with less time left is how a running stop is hurried.
        if case .stopping(let id, let attempt) = containers[index].phase {
          containers[index].phase = .running(id: id, attempt: attempt)
        }
      }
    }
    isDeleting = true
    stopDeadline = deadline
    waiting = Waiting("Terminating")
  }

  private mutating func applyToContainer(_ event: PodEvent, _ now: Milliseconds) {
    switch event {
    case .imageReady(let name, let image):
      change(name) { container in
        guard container.phase == .pulling else { return }
        container.phase = .idle
        container.imageBackoff.clear()
        container.imageReady = !container.isOutdated
        if container.imageReady { container.imageID = image }
        container.isOutdated = false
      }
    case .outdated(let name): change(name) { if $0.isBusy { $0.isOutdated = true } }
    case .imageChanged(let name, let image): change(name) { $0.changeImage(image) }
    case .imageFailed(let name, let reason, let message):
      let rule = rules.backoff
      change(name) { container in
        guard container.phase == .pulling else { return }
        container.phase = .idle
        if container.isOutdated {
          container.isOutdated = false
          return
        }
        container.imageBackoff.failed(rule, now: now)
        container.waiting = Waiting(reason, message)
      }
    case .started(let name, let id, let attempt, let at):
      change(name) { container in
        guard container.phase == .starting(attempt: attempt) else { return }
        container.run(id: id, attempt: attempt, at: at, now: now)
      }
      if firstStartAt == nil { firstStartAt = now }
    case .startFailed(let name, let attempt, let id, let reason, let message):
      let rule = rules.backoff
      change(name) { container in
        guard container.phase == .starting(attempt: attempt) else { return }
        container.failToStart(attempt: attempt, id: id, Waiting(reason, message), rule, now: now)
      }
    case .exited(let name, let exit):
      let rule = rules.backoff
      change(name) { container in
        guard container.current?.id == exit.id else { return }
        container.end(exit, rule, now: now)
      }
    case .stopFailed(let name, let id, let message):
      let pause = rules.backoff.teardown
      change(name) { container in
        guard case .stopping(let current, let attempt) = container.phase, current == id else { return }
        container.phase = .running(id: current, attempt: attempt)
        container.retryStopAt = now + pause
        container.waiting = Waiting("StopFailed", message)
      }
    case .probed(let name, let id, let kind, let success, let message):
      change(name) { $0.probed(id: id, kind, success, message) }
    default: break
    }
  }

  mutating func change(_ name: String, _ body: (inout ContainerState) -> Void) {
    if let index = containers.firstIndex(where: { $0.rule.name == name }) { body(&containers[index]) }
  }
}

extension ContainerState {
  mutating func run(id: String, attempt: UInt32, at: Int64, now: Milliseconds) {
    phase = .running(id: id, attempt: attempt)
    waiting = nil
    startedAt = at
    runningSince = now
    nextAttempt = attempt + 1
    endedHere = false
    imageReady = false
    startsAgain = false
    failedProbe = nil
    started = rule.probes[.startup] == nil
    ready = started && rule.probes[.readiness] == nil
    probes = [:]
    for (kind, probe) in rule.probes { probes[kind] = ProbeState(firstAt: now + probe.initialDelay) }
  }

  mutating func failToStart(
    attempt: UInt32, id: String?, _ why: Waiting, _ rule: BackoffRule, now: Milliseconds
  ) {
    phase = .idle
    imageReady = false
    isOutdated = false
    // What was never made is no restart: the next try has the same number.
    nextAttempt = id == nil ? attempt : attempt + 1
    if let id {
      // It was made, so it counts as one that ran and ended.
      let exit = ContainerExit(id: id, attempt: attempt, code: 128, reason: "StartError", message: why.message)
      lastExit = exit
      endedHere = true
      ended.append((id, attempt))
      restartBackoff.ended(rule, ran: 0, now: now)
    } else {
      restartBackoff.failed(rule, now: now)
    }
    waiting = why
  }

  mutating func end(_ exit: ContainerExit, _ rule: BackoffRule, now: Milliseconds) {
    lastExit = exit
    endedHere = true
    ended.append((exit.id, exit.attempt))
    phase = .idle
    (started, ready) = (false, false)
    probes = [:]
    waiting = nil
    restartBackoff.ended(rule, ran: now - runningSince, now: now)
    guard isOutdated else { return }
    (isOutdated, startsAgain) = (false, true)
    restartBackoff.clear()
  }

  mutating func changeImage(_ image: String) {
    guard rule.image != image else { return }
    rule.image = image
    imageReady = false
    imageBackoff.clear()
    if phase == .idle {
      if ["ErrImagePull", "ImagePullBackOff"].contains(waiting?.reason) { waiting = nil }
    } else {
      isOutdated = true
    }
  }

  mutating func probed(id: String, _ kind: ProbeKind, _ success: Bool, _ message: String) {
    guard case .running(id, _) = phase, let probe = rule.probes[kind], var state = probes[kind] else { return }
    let verdict = state.result(success, probe)
    probes[kind] = state
    switch (kind, verdict) {
    case (.startup, true):
      started = true
      probes[.startup] = nil
      if rule.probes[.readiness] == nil { ready = true }
    case (.readiness, let verdict?):
      ready = verdict
      waiting = verdict ? nil : Waiting("Unready", "readiness probe failed: \(message)")
    case (.startup, false), (.liveness, false):
      failedProbe = kind
      ready = false
      waiting = Waiting("Unhealthy", "\(kind.rawValue) probe failed: \(message)")
    default: break
    }
  }
}
