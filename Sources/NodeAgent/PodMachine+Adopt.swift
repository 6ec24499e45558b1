/// What a restarted agent found of a pod in the runtime.
package struct FoundPod: Hashable, Sendable {
  package struct Sandbox: Hashable, Sendable {
    package var id: String
    package var attempt: UInt32
    package var isReady: Bool
    package var addresses: [String]

    package init(id: String, attempt: UInt32, isReady: Bool, addresses: [String]) {
      (self.id, self.attempt, self.isReady, self.addresses) = (id, attempt, isReady, addresses)
    }
  }
  package struct Container: Hashable, Sendable {
    package enum State: Hashable, Sendable {
      /// Made and never started.
      case created
      /// - startedAt: nanoseconds since 1970. wasReady: as the agent before this one saw it.
      case running(startedAt: Int64, wasReady: Bool)
      case exited(ContainerExit)
    }
    package var name: String
    package var id: String
    package var attempt: UInt32
    package var state: State
    /// As the runtime calls it.
    package var image: String

    package init(name: String, id: String, attempt: UInt32, state: State, image: String = "") {
      (self.name, self.id, self.attempt, self.state, self.image) = (name, id, attempt, state, image)
    }
  }
  package var sandbox: Sandbox?
  /// Of that sandbox only.
  package var containers: [Container]

  package init(sandbox: Sandbox?, containers: [Container]) { (self.sandbox, self.containers) = (sandbox, containers) }
}

extension PodMachine {
  /// Goes on with what an agent before this one started: nothing is started twice, and what runs is not touched.
  package init(_ rules: PodRules, adopting found: FoundPod, now: Milliseconds) {
    self.init(rules)
    guard let sandbox = found.sandbox else { return }
    sandboxAttempt = sandbox.attempt
    self.sandbox = sandbox.isReady ? .ready(id: sandbox.id) : .dead(id: sandbox.id)
    addresses = sandbox.isReady ? sandbox.addresses : []
    for index in containers.indices {
      let name = containers[index].rule.name
      let instances = found.containers.filter { $0.name == name }.sorted { $0.attempt < $1.attempt }
      for instance in instances { containers[index].adopt(instance, isLast: instance == instances.last, now: now) }
      if containers[index].rule.role == .main, !instances.isEmpty { initialized = true }
    }
    if containers.contains(where: \.isRunning) {
      waiting = nil
      firstStartAt = now
    }
  }
}

extension PodMachine {
  /// The pod was over before, as its status says: whatever of it is left ends, and nothing of it starts again.
  package mutating func stayOver(_ reason: String, _ message: String) {
    if isFinished, sandboxID != nil { return }
    failure = Waiting(reason, message)
    volumes = .ready
  }
}

extension ContainerState {
  mutating func adopt(_ found: FoundPod.Container, isLast: Bool, now: Milliseconds) {
    nextAttempt = found.attempt + 1
    imageID = found.image
    switch found.state {
    case .running(let startedAt, let wasReady) where isLast:
      run(id: found.id, attempt: found.attempt, at: startedAt, now: now)
      if wasReady { (started, ready) = (true, true) }
    case .exited(let exit):
      lastExit = exit
      endedHere = true
      ended.append((found.id, found.attempt))
    case .created, .running:
      // Never ran, or was overtaken by a later one: it only has to go.
      ended.append((found.id, found.attempt))
    }
  }
}
