@testable import PodRuntime

/// Draws that a seed repeats.
struct Draw: RandomNumberGenerator {
  private var state: UInt64
  init(seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 &+ 0x1234_5678 }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &self) < percent }
}

/// A node with one pod, on which the daemon performs what the machines say, late and in any order, and may be killed at
/// any point. What lies on disk and what runs survives the daemon.
struct LifecycleWorld {
  // What is really there.
  var hasNetwork = false
  var hasGroup = false
  var shimAlive = false
  struct Process: Equatable {
    var alive: Bool
    /// As the kernel would say it.
    var code: Int32
    /// The shim wrote it down.
    var exitOnDisk: Bool
  }
  var processes: [String: Process] = [:]
  /// Created, and their process waits for the start.
  var prepared: Set<String> = []

  // What lies on disk.
  var hasRecord = false
  var sandboxState: SandboxState?
  var containerRecords: Set<String> = []
  var containerStates: [String: ContainerState] = [:]

  // The daemon.
  var isUp = true
  var sandbox: SandboxMachine?
  var containers: [String: ContainerMachine] = [:]
  var startedAt: [String: Bool] = [:]
  /// Work in flight; what an action does and which event it feeds back.
  var pending: [(inout LifecycleWorld) -> Void] = []

  // What may never happen.
  var violations: [String] = []
  /// Ids that somebody asked to stop, or whose pod was asked to.
  var askedToStop: Set<String> = []
  var shimDied = false
  /// The next parts that fail to come down.
  var failuresLeft = 0

  static let addresses = SandboxAddresses(ipv4: "10.0.0.2")

  mutating func violate(_ text: String) { violations.append(text) }

  // MARK: Daemon

  mutating func makeSandbox(fails: Bool) {
    sandbox = SandboxMachine()
    hasRecord = true
    pending.append { world in
      world.hasGroup = true
      world.hasNetwork = true
      world.pending.append { world in
        if fails {
          world.apply(.makeFailed)
        } else {
          world.shimAlive = true
          world.pending.append { $0.apply(.made) }
        }
      }
    }
  }

  mutating func apply(_ event: SandboxMachine.Event) {
    guard isUp, var machine = sandbox else { return }
    let actions = machine.handle(event)
    sandbox = machine
    for action in actions { perform(action) }
  }

  private mutating func perform(_ action: SandboxMachine.Action) {
    switch action {
    case .save: saveSandbox()
    case .abandonContainers: for id in containers.keys.sorted() { apply(.shimLost, to: id) }
    case .takeDown(let part): takeDown(part)
    case .erase: pending.append { $0.eraseSandbox() }
    case .announceStopped: break
    case .announceRemoved: sandbox = nil
    }
  }

  private mutating func saveSandbox() {
    guard let machine = sandbox else { return }
    let phase: SandboxState.Phase
    var reason = ""
    switch machine.phase {
    case .ready: phase = .ready
    case .stopped, .removing: phase = .stopped
    case .notReady(let why): (phase, reason) = (.notReady, why)
    default: return
    }
    sandboxState = SandboxState(phase: phase, reason: reason, addresses: Self.addresses, shimPID: 1)
  }

  private mutating func takeDown(_ part: SandboxMachine.Part) {
    pending.append { world in
      if world.failuresLeft > 0, part == .network {
        world.failuresLeft -= 1
        world.apply(.downFailed(part, reason: "busy"))
        return
      }
      switch part {
      case .containers:
        for id in world.containers.keys.sorted() {
          world.askedToStop.insert(id)
          world.apply(.stopRequested(graceMilliseconds: 0), to: id)
        }
        world.waitForContainers()
        return
      case .shim:
        if world.processes.values.contains(where: \.alive) && world.shimAlive {
          world.violate("shim ended before containers")
        }
        world.shimAlive = false
        world.prepared = []
      case .network: world.hasNetwork = false
      case .cgroup:
        if world.shimAlive { world.violate("cgroup removed with the shim in it") }
        for id in world.processes.keys where world.processes[id]?.alive == true { world.end(id, code: 137) }
        world.hasGroup = false
      }
      world.apply(.down(part))
    }
  }

  private mutating func waitForContainers() {
    if containers.values.contains(where: \.isRunning) {
      pending.append { $0.waitForContainers() }
    } else {
      apply(.down(.containers))
    }
  }

  private mutating func eraseSandbox() {
    for id in containers.keys.sorted() { apply(.removeRequested, to: id) }
    guard containers.isEmpty else {
      pending.append { $0.eraseSandbox() }
      return
    }
    hasRecord = false
    sandboxState = nil
    apply(.erased)
  }

  mutating func create(_ id: String) {
    guard isUp, sandbox?.phase == .ready, containers[id] == nil else { return }
    containerRecords.insert(id)
    containers[id] = ContainerMachine()
    // The shim may have failed at it, or be one that cannot.
    if shimAlive, containerRecords.count % 3 != 0 { prepared.insert(id) }
  }

  /// Refused where the pod is not ready, as the daemon does.
  mutating func start(_ id: String) {
    guard sandbox?.phase == .ready else { return }
    apply(.startRequested, to: id)
  }

  mutating func apply(_ event: ContainerMachine.Event, to id: String) {
    guard isUp, var machine = containers[id] else { return }
    let actions = machine.handle(event)
    containers[id] = machine
    for action in actions { perform(action, on: id) }
  }

  private mutating func perform(_ action: ContainerMachine.Action, on id: String) {
    switch action {
    case .launch:
      pending.append { world in
        guard world.shimAlive else {
          world.apply(.startFailed(Self.exit(128)), to: id)
          return
        }
        world.prepared.remove(id)
        world.processes[id] = Process(alive: true, code: 0, exitOnDisk: false)
        world.pending.append { $0.apply(.started(pid: 7), to: id) }
      }
    case .signal:
      if !askedToStop.contains(id) { violate("\(id) signalled unasked") }
      pending.append { world in if world.processes.count % 2 == 0 { world.end(id, code: 143) } }
    case .kill:
      if !askedToStop.contains(id) { violate("\(id) killed unasked") }
      pending.append { $0.end(id, code: 137) }
    case .armGrace: pending.append { $0.apply(.graceElapsed, to: id) }
    case .armKill: break
    case .collect:
      if shimAlive && processes[id]?.alive == true && !askedToStop.contains(id) {
        violate("\(id) collected with its shim alive")
      }
      pending.append { world in
        world.end(id, code: 137)
        let known = world.processes[id].flatMap { $0.exitOnDisk ? $0.code : nil }
        world.apply(.exited(Self.exit(known ?? 137)), to: id)
      }
    case .save:
      guard let machine = containers[id] else { return }
      if case .exited(let exit) = machine.phase {
        containerStates[id] = ContainerState(startedAt: 1, pid: 7, exit: exit)
      } else {
        containerStates[id] = ContainerState(startedAt: 1, pid: 7)
      }
    case .announceStarted, .announceExited: break
    case .erase:
      pending.append { world in
        if world.processes[id]?.alive == true { world.violate("\(id) erased while it runs") }
        world.containerRecords.remove(id)
        world.containerStates[id] = nil
        world.processes[id] = nil
        world.prepared.remove(id)
        world.apply(.erased, to: id)
      }
    case .announceRemoved: containers[id] = nil
    }
  }

  static func exit(_ code: Int32) -> ContainerExit { ContainerExit(code: code, finishedAt: 1, reason: "Error") }

  // MARK: The rest of the world

  /// A process ends; its shim writes that down and reports it, if it lives.
  mutating func end(_ id: String, code: Int32) {
    guard processes[id]?.alive == true else { return }
    processes[id] = Process(alive: false, code: code, exitOnDisk: shimAlive)
    guard shimAlive else { return }
    pending.append { $0.apply(.exited(Self.exit(code)), to: id) }
  }

  mutating func killShim() {
    guard shimAlive else { return }
    shimAlive = false
    shimDied = true
    // They see the end of its socket.
    prepared = []
    // With their shim gone, containers may be ended at any time.
    askedToStop.formUnion(processes.keys)
    pending.append { $0.apply(.shimLost) }
  }

  /// SIGKILL: everything in memory is gone, everything else stays.
  mutating func killDaemon() {
    isUp = false
    sandbox = nil
    containers = [:]
    pending = []
  }

  /// What `Runtime.recover` does.
  mutating func restartDaemon() {
    isUp = true
    guard hasRecord else {
      containerRecords = []
      return
    }
    let recovery = SandboxRecovery(state: sandboxState, shimAnswers: shimAlive, networkProblem: nil)
    sandbox = recovery.machine
    var lost: [String] = []
    for id in containerRecords.sorted() {
      let process = processes[id]
      let exit = process.flatMap { $0.exitOnDisk ? Self.exit($0.code) : nil }
      let alive = process?.alive == true
      let container = ContainerRecovery(
        state: containerStates[id], pid: alive && shimAlive ? 7 : nil, shimExit: exit,
        hasProcesses: alive || prepared.contains(id), isPrepared: prepared.contains(id))
      containers[id] = container.machine
      if container.needsSaving, case .exited(let exit) = container.machine.phase {
        containerStates[id] = ContainerState(startedAt: 1, pid: 7, exit: exit)
      }
      if container.isLost { lost.append(id) }
    }
    if let event = recovery.event { apply(event) }
    for id in lost { apply(.shimLost, to: id) }
  }

  /// Lets everything in flight end.
  mutating func settle(_ draw: inout Draw, limit: Int = 10_000) {
    var steps = 0
    while !pending.isEmpty && steps < limit {
      step(&draw)
      steps += 1
    }
    if steps == limit { violate("does not settle") }
  }

  mutating func step(_ draw: inout Draw) {
    guard !pending.isEmpty else { return }
    pending.remove(at: Int.random(in: 0..<pending.count, using: &draw))(&self)
  }

  var remains: [String] {
    var left: [String] = []
    if hasNetwork { left.append("network") }
    if hasGroup { left.append("cgroup") }
    if shimAlive { left.append("shim") }
    if hasRecord || sandboxState != nil { left.append("record") }
    left += processes.filter { $0.value.alive }.map { "process \($0.key)" }
    left += containerRecords.map { "container record \($0)" }
    left += prepared.map { "process \($0), which waits for its start" }
    return left
  }
}
