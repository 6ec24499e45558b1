/// What is to be done next.
extension PodMachine {
  mutating func decide(_ now: Milliseconds) -> [PodAction] {
    if let deadline = rules.activeDeadline, let start = firstStartAt, failure == nil, !isDeleting, !isFinished {
      if now >= start + deadline {
        failure = Waiting("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
      } else {
        wake(start + deadline)
      }
    }
    if isDeleting || failure != nil { return decideEnd(now) }
    switch volumes {
    case .absent:
      guard pause(volumeBackoff.until, now) else { return [] }
      volumes = .making
      return [.makeVolumes]
    case .making, .dropping: return []
    case .ready: break
    }
    switch sandbox {
    case .absent:
      if isFinished { return [] }
      guard pause(sandboxBackoff.until, now) else { return [] }
      sandbox = .making
      return [.makeSandbox(attempt: sandboxAttempt)]
    case .dead(let id): return decideDead(id, now)
    case .ready(let id): return decideContainers(sandboxID: id, now)
    case .making, .clearing, .halting, .halted: return []
    }
  }

  /// True where the time has come; else asks to be woken then.
  private mutating func pause(_ until: Milliseconds, _ now: Milliseconds) -> Bool {
    if now >= until { return true }
    wake(until)
    return false
  }

  private mutating func wake(_ at: Milliseconds) { wakeAt = min(wakeAt ?? at, at) }

  /// Every container that is not a sidecar or init container has ended for good.
  package var isFinished: Bool {
    let mains = containers.filter { $0.rule.role == .main }
    return mains.allSatisfy(\.isFinished) || initFailed
  }

  /// An init container failed and is not tried again, so the others never start.
  package var initFailed: Bool {
    containers.contains { $0.rule.role == .initial && $0.isFinished && $0.lastExit?.code != 0 }
  }

  // MARK: a pod that shall run

  /// A sandbox that died takes its containers with it; when the last is known to have ended it makes room for another.
  private mutating func decideDead(_ id: String, _ now: Milliseconds) -> [PodAction] {
    if let actions = stopAll(now) { return actions }
    if isFinished {
      sandbox = .halted(id: id)
      return []
    }
    guard pause(sandboxBackoff.until, now) else { return [] }
    sandbox = .clearing(id: id)
    return [.clearSandbox(id: id)]
  }

  private mutating func decideContainers(sandboxID: String, _ now: Milliseconds) -> [PodAction] {
    var actions: [PodAction] = []
    if isFinished { return finish(sandboxID: sandboxID, now) }
    for index in containers.indices where containers[index].rule.role == .ephemeral {
      actions += keepRunning(index, now)
    }
    for index in containers.indices where containers[index].rule.role != .ephemeral {
      let role = containers[index].rule.role
      if role == .main, !initialized {
        initialized = containers.allSatisfy { $0.rule.role == .main || $0.isDoneInitializing }
        if !initialized { break }
      }
      // Once past, an init container stays done; a sidecar is kept running for ever.
      if role != .initial || !initialized { actions += keepRunning(index, now) }
      if role != .main, !initialized, !containers[index].isDoneInitializing { break }
    }
    if !initialized {
      for index in containers.indices where containers[index].rule.role == .main && containers[index].lastExit == nil {
        containers[index].waiting = Waiting("PodInitializing")
      }
    }
    for index in containers.indices { actions += probe(index, now) }
    return actions
  }

  private mutating func keepRunning(_ index: Int, _ now: Milliseconds) -> [PodAction] {
    let name = containers[index].rule.name
    guard containers[index].phase == .idle else { return stopUnhealthy(index, now) }
    if containers[index].rule.role == .initial, containers[index].isDoneInitializing { return [] }
    let endedForGood = containers[index].endedHere && containers[index].isFinished
    if endedForGood || (containers[index].isFinished && [.main, .ephemeral].contains(containers[index].rule.role)) {
      return []
    }
    let restart = containers[index].restartBackoff
    guard pause(restart.until, now) else {
      if containers[index].lastExit != nil, containers[index].waiting == nil {
        let seconds = max(1, (restart.until - now + 999) / 1000)
        let pod = rules.title.isEmpty ? "" : " pod=\(rules.title)"
        containers[index].waiting = Waiting(
          "CrashLoopBackOff", "back-off \(Self.span(seconds)) restarting failed container=\(name)\(pod)")
      }
      return []
    }
    if containers[index].imageReady {
      containers[index].phase = .starting(attempt: containers[index].nextAttempt)
      containers[index].waiting = Waiting("ContainerCreating")
      return [.start(container: name, attempt: containers[index].nextAttempt)] + forgetOld(index)
    }
    guard pause(containers[index].imageBackoff.until, now) else {
      if let failed = containers[index].waiting, failed.reason == "ErrImagePull" {
        let image = containers[index].rule.image
        containers[index].waiting = Waiting(
          "ImagePullBackOff", "Back-off pulling image \"\(image)\": ErrImagePull: \(failed.message)")
      }
      return []
    }
    containers[index].phase = .pulling
    if containers[index].imageBackoff.failures == 0 { containers[index].waiting = Waiting("ContainerCreating") }
    return [.pull(container: name)]
  }

  /// As `10s`, `2m40s`.
  private static func span(_ seconds: Milliseconds) -> String {
    seconds < 60 ? "\(seconds)s" : "\(seconds / 60)m\(seconds % 60)s"
  }

  /// The last ended instance stays, for its log; those before it go.
  private mutating func forgetOld(_ index: Int) -> [PodAction] {
    let old = containers[index].ended.dropLast()
    containers[index].ended.removeFirst(old.count)
    let name = containers[index].rule.name
    return old.map { .forget(container: name, id: $0.id, attempt: $0.attempt) }
  }

  /// Ended instances of a pod that is over: its status tells how they ended.
  mutating func forgetFinished() -> [PodAction] {
    guard isFinished || failure != nil, !containers.contains(where: \.isBusy) else { return [] }
    var actions: [PodAction] = []
    for index in containers.indices {
      let name = containers[index].rule.name
      actions += containers[index].ended.map { .forget(container: name, id: $0.id, attempt: $0.attempt) }
      containers[index].ended = []
    }
    return actions
  }

  private mutating func stopUnhealthy(_ index: Int, _ now: Milliseconds) -> [PodAction] {
    let kind = containers[index].failedProbe
    guard kind != nil || containers[index].isOutdated, case .running(let id, let attempt) = containers[index].phase
    else { return [] }
    guard pause(containers[index].retryStopAt, now) else { return [] }
    containers[index].phase = .stopping(id: id, attempt: attempt)
    let grace = kind.flatMap { containers[index].rule.probes[$0]?.graceSeconds } ?? rules.graceSeconds
    return [.stop(container: containers[index].rule.name, id: id, graceSeconds: grace)]
  }

  private mutating func probe(_ index: Int, _ now: Milliseconds) -> [PodAction] {
    guard case .running(let id, _) = containers[index].phase, containers[index].failedProbe == nil else { return [] }
    var actions: [PodAction] = []
    for kind in ProbeKind.allCases {
      guard let rule = containers[index].rule.probes[kind], var state = containers[index].probes[kind] else { continue }
      if kind != .startup, !containers[index].started { continue }
      if state.underWay { continue }
      if now >= state.nextAt {
        state.begin(rule, now: now)
        containers[index].probes[kind] = state
        actions.append(.probe(container: containers[index].rule.name, id: id, kind))
      } else {
        wake(state.nextAt)
      }
    }
    return actions
  }

  /// All work is done: sidecars stop, last started first, then the sandbox.
  private mutating func finish(sandboxID: String, _ now: Milliseconds) -> [PodAction] {
    if stopDeadline == nil { stopDeadline = now + rules.graceSeconds * 1000 }
    if let actions = stopAll(now) { return actions }
    guard pause(sandboxBackoff.until, now) else { return [] }
    sandbox = .halting(id: sandboxID)
    return [.haltSandbox(id: sandboxID)]
  }

  // MARK: a pod that shall end

  private mutating func decideEnd(_ now: Milliseconds) -> [PodAction] {
    switch ending {
    case nil:
      ending = .withdrawing
      if stopDeadline == nil { stopDeadline = now + rules.graceSeconds * 1000 }
      return cancelPulls() + [.withdraw]
    case .withdrawing, .tearingDown: return []
    case .stopping: break
    }
    let cancelled = cancelPulls()
    if let actions = stopAll(now) { return cancelled + actions }
    if volumes == .making || volumes == .dropping { return cancelled }
    switch sandbox {
    case .making, .clearing, .halting: return cancelled
    case .ready(let id) where !isDeleting:
      guard pause(sandboxBackoff.until, now) else { return cancelled }
      sandbox = .halting(id: id)
      return cancelled + [.haltSandbox(id: id)]
    case .absent, .ready, .dead, .halted: break
    }
    // What failed as a whole does not run again: what it holds is free for others.
    if !isDeleting, volumes == .ready {
      volumes = .dropping
      return cancelled + [.dropVolumes]
    }
    guard isDeleting, pause(retryTeardownAt, now) else { return cancelled }
    ending = .tearingDown
    return cancelled + [.tearDown]
  }

  private mutating func cancelPulls() -> [PodAction] {
    var actions: [PodAction] = []
    for index in containers.indices where containers[index].phase == .pulling {
      containers[index].phase = .idle
      actions.append(.cancelPull(container: containers[index].rule.name))
    }
    return actions
  }

  /// Stops what runs: containers first, then sidecars one by one in reverse order.
  /// - Returns: nil where nothing runs any more.
  private mutating func stopAll(_ now: Milliseconds) -> [PodAction]? {
    let others = containers.indices.filter { containers[$0].rule.role != .sidecar && containers[$0].isBusy }
    if !others.isEmpty { return others.flatMap { stop($0, now) } }
    guard let last = containers.indices.last(where: { containers[$0].isBusy }) else { return nil }
    return stop(last, now)
  }

  private mutating func stop(_ index: Int, _ now: Milliseconds) -> [PodAction] {
    guard case .running(let id, let attempt) = containers[index].phase,
      pause(containers[index].retryStopAt, now)
    else { return [] }
    containers[index].phase = .stopping(id: id, attempt: attempt)
    let left = max(0, ((stopDeadline ?? now) - now + 999) / 1000)
    return [.stop(container: containers[index].rule.name, id: id, graceSeconds: left)]
  }
}
