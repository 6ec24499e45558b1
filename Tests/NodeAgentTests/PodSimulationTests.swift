import NodeAgent
import Testing

/// A seeded generator: SplitMix64.
struct Dice: RandomNumberGenerator {
  private var state: UInt64
  init(seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }
  mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &self) < percent }
}

/// A runtime and a disk as a pod's machine meets them: slow, failing, forgetful, and now and then without an agent.
private struct World {
  struct Instance {
    var name: String
    var attempt: UInt32
    var sandbox: String
    var exit: ContainerExit?
    var started: Bool
  }
  var dice: Dice
  var now: Milliseconds = 0
  var rules: PodRules
  var machine: PodMachine
  var sandboxes: [String: (attempt: UInt32, alive: Bool)] = [:]
  var instances: [String: Instance] = [:]
  var hasVolumes = false
  var isWithdrawn = false
  var deletedAt: Milliseconds?
  /// Percent of actions that fail.
  var failures = 15
  var crashes = true
  var underWay: [(at: Milliseconds, action: PodAction)] = []
  var ids = 0
  var problems: [String] = []
  /// Init containers that ended well, by sandbox.
  var initialized: [String: Set<String>] = [:]

  init(seed: UInt64, rules: PodRules) {
    dice = Dice(seed: seed)
    self.rules = rules
    machine = PodMachine(rules)
  }

  mutating func fresh(_ prefix: String) -> String {
    ids += 1
    return "\(prefix)\(ids)"
  }

  mutating func tell(_ event: PodEvent) {
    for action in machine.handle(event, now: now) { begin(action) }
  }

  mutating func begin(_ action: PodAction) {
    check(action)
    let delay = Milliseconds.random(in: 0...(dice.chance(10) ? 5_000 : 300), using: &dice)
    underWay.append((now + delay, action))
  }

  /// What must never be asked for.
  mutating func check(_ action: PodAction) {
    if underWay.contains(where: { $0.action == action }), action != .makeVolumes {
      if case .cancelPull = action {} else { problems.append("\(action) is asked for while it is under way") }
    }
    switch action {
    case .start(let name, _):
      if deletedAt != nil { problems.append("\(name) is started after deletion") }
      if instances.values.contains(where: { $0.name == name && $0.started && $0.exit == nil }) {
        problems.append("\(name) is started while it runs")
      }
      if !hasVolumes { problems.append("\(name) is started without its volumes") }
      let role = rules.containers.first { $0.name == name }?.role
      let alive = sandboxes.first { $0.value.alive }?.key ?? ""
      let inits = Set(rules.containers.filter { $0.role == .initial }.map(\.name))
      if role == .main, !inits.isSubset(of: initialized[alive] ?? []), !alive.isEmpty {
        problems.append("\(name) is started before the init containers ended well")
      }
    case .makeSandbox: if !sandboxes.isEmpty { problems.append("a second sandbox is made") }
    case .stop(let name, _, _):
      if deletedAt != nil, !isWithdrawn,
        !machine.containers.contains(where: { $0.rule.name == name && $0.failedForTest })
      {
        problems.append("\(name) is stopped while Services lead to it")
      }
    case .tearDown:
      if instances.values.contains(where: { $0.exit == nil && $0.started }) {
        problems.append("torn down while something runs")
      }
    case .dropVolumes:
      if instances.values.contains(where: { $0.exit == nil && $0.started }) {
        problems.append("volumes go while something runs")
      }
    default: break
    }
  }

  /// The action's effect, and what the agent hears of it.
  mutating func finish(_ action: PodAction) -> PodEvent? {
    let fails = dice.chance(failures)
    switch action {
    case .makeVolumes:
      if fails { return .volumesFailed(reason: "FailedMount", message: "no") }
      hasVolumes = true
      return .volumesMade
    case .makeSandbox(let attempt):
      if fails { return .sandboxFailed(message: "no") }
      if let same = sandboxes.first(where: { $0.value.attempt == attempt && $0.value.alive }) {
        return .sandboxMade(id: same.key, addresses: ["10.0.0.1"])
      }
      let id = fresh("s")
      sandboxes[id] = (attempt, true)
      return .sandboxMade(id: id, addresses: ["10.0.0.1"])
    case .clearSandbox(let id):
      if fails { return .sandboxFailed(message: "no") }
      sandboxes[id] = nil
      instances = instances.filter { $0.value.sandbox != id }
      return .sandboxCleared
    case .haltSandbox(let id):
      if fails { return .sandboxFailed(message: "no") }
      sandboxes[id]?.alive = false
      return .sandboxHalted
    case .pull(let name):
      return fails ? .imageFailed(container: name, reason: "ErrImagePull", message: "no") : .imageReady(container: name)
    case .start(let name, let attempt): return start(name, attempt, fails)
    case .stop(let name, let id, _):
      if fails { return .stopFailed(container: name, id: id, message: "no") }
      if instances[id] == nil {
        return .exited(container: name, ContainerExit(id: id, attempt: 0, code: 137, reason: "ContainerStatusUnknown"))
      }
      end(id, code: 143)
      return instances[id]?.exit.map { .exited(container: name, $0) }
    case .probe(let name, let id, let kind):
      return .probed(container: name, id: id, kind, success: !dice.chance(failures), message: "")
    case .forget(_, let id, _):
      instances[id] = nil
      return nil
    case .cancelPull: return nil
    case .withdraw:
      isWithdrawn = true
      return .withdrawn
    case .dropVolumes:
      hasVolumes = false
      return .volumesDropped
    case .tearDown:
      if fails {
        if dice.chance(50) { instances = [:] }
        return .teardownFailed(message: "no")
      }
      (sandboxes, instances, hasVolumes) = ([:], [:], false)
      return .tornDown
    }
  }

  private mutating func start(_ name: String, _ attempt: UInt32, _ fails: Bool) -> PodEvent {
    guard let sandbox = sandboxes.first(where: { $0.value.alive })?.key else {
      return .startFailed(
        container: name, attempt: attempt, id: nil, reason: "CreateContainerError", message: "no sandbox")
    }
    if fails, dice.chance(50) {
      return .startFailed(container: name, attempt: attempt, id: nil, reason: "CreateContainerError", message: "no")
    }
    let id = fresh("c")
    if instances.values.contains(where: { $0.name == name && $0.started && $0.exit == nil }) {
      problems.append("\(name) runs twice")
    }
    instances[id] = Instance(name: name, attempt: attempt, sandbox: sandbox, exit: nil, started: !fails)
    if fails {
      return .startFailed(container: name, attempt: attempt, id: id, reason: "RunContainerError", message: "no")
    }
    return .started(container: name, id: id, attempt: attempt, at: now * 1_000_000)
  }

  mutating func end(_ id: String, code: Int32) {
    guard var instance = instances[id], instance.exit == nil, instance.started else { return }
    instance.exit = ContainerExit(id: id, attempt: instance.attempt, code: code)
    instances[id] = instance
    if code == 0 { initialized[instance.sandbox, default: []].insert(instance.name) }
  }

  /// Containers end by themselves: init containers soon and mostly well, others now and then.
  mutating func live() {
    for (id, instance) in instances.sorted(by: { $0.key < $1.key }) where instance.exit == nil && instance.started {
      let role = rules.containers.first { $0.name == instance.name }?.role
      if role == .initial, dice.chance(30) { end(id, code: dice.chance(failures) ? 1 : 0) }
      if role != .initial, dice.chance(failures / 5) { end(id, code: dice.chance(50) ? 0 : 1) }
    }
    if dice.chance(failures / 15), let id = sandboxes.keys.sorted().first {
      sandboxes[id]?.alive = false
      for (instanceID, instance) in instances where instance.sandbox == id { end(instanceID, code: 137); _ = instance }
    }
  }

  /// What a look at the runtime's lists says, sometimes twice.
  mutating func observe() {
    for _ in 0..<(dice.chance(20) ? 2 : 1) {
      if case .ready(let id) = machine.sandbox, sandboxes[id]?.alive != true { tell(.sandboxDied(id: id)) }
      for container in machine.containers {
        guard let (id, attempt) = container.current else { continue }
        if let instance = instances[id] {
          if let exit = instance.exit { tell(.exited(container: container.rule.name, exit)) }
        } else {
          tell(.exited(container: container.rule.name, ContainerExit(id: id, attempt: attempt, code: 137)))
        }
      }
    }
  }

  /// The agent dies: what was under way happened or did not, and nobody heard.
  mutating func crash() {
    let pending = underWay
    underWay = []
    for (_, action) in pending where dice.chance(50) { _ = finish(action) }
    // The next one finds what the runtime has.
    guard let sandbox = sandboxes.sorted(by: { $0.value.attempt < $1.value.attempt }).last else {
      machine = PodMachine(rules)
      resume()
      return
    }
    var found = FoundPod(
      sandbox: .init(
        id: sandbox.key, attempt: sandbox.value.attempt, isReady: sandbox.value.alive, addresses: ["10.0.0.1"]),
      containers: [])
    for (id, instance) in instances.sorted(by: { $0.key < $1.key }) where instance.sandbox == sandbox.key {
      let state: FoundPod.Container.State =
        instance.exit.map { .exited($0) }
        ?? (instance.started ? .running(startedAt: 0, wasReady: false) : .created)
      found.containers.append(.init(name: instance.name, id: id, attempt: instance.attempt, state: state))
    }
    machine = PodMachine(rules, adopting: found, now: now)
    resume()
  }

  private mutating func resume() {
    tell(.tick)
    if deletedAt != nil {
      isWithdrawn = false
      tell(.deletionRequested(graceSeconds: nil))
    }
  }

  mutating func step() {
    now += Milliseconds.random(in: 1...400, using: &dice)
    let due = underWay.filter { $0.at <= now }
    underWay.removeAll { $0.at <= now }
    for (_, action) in due.shuffled(using: &dice) {
      guard let event = finish(action) else { continue }
      tell(event)
      // Answers may come twice, but for those of probes, which carry no number of their own.
      if dice.chance(5) { if case .probed = event {} else { tell(event) } }
    }
    live()
    if dice.chance(30) { observe() }
    if let wakeAt = machine.wakeAt, wakeAt <= now { tell(.tick) }
    if crashes, dice.chance(1) { crash() }
  }

  /// Ready, or done, or some of it done for good while the rest runs.
  var isSettled: Bool {
    machine.isFinished
      || machine.containers.allSatisfy { container in
        container.rule.role == .initial || (container.isRunning && container.ready)
          || (container.lastExit.map {
            container.rule.restart == .never || ($0.code == 0 && container.rule.restart == .onFailure)
          } ?? false)
      }
  }

  mutating func delete() {
    deletedAt = now
    tell(.deletionRequested(graceSeconds: nil))
  }
}

extension ContainerState {
  /// A container that its own probe ends may be stopped while Services still lead to the pod.
  fileprivate var failedForTest: Bool { rule.probes[.liveness] != nil || rule.probes[.startup] != nil }
}

private func rules(_ containers: [ContainerRule]) -> PodRules {
  var rules = PodRules()
  rules.graceSeconds = 5
  rules.containers = containers
  rules.backoff = BackoffRule(scaledBy: 0.1)
  return rules
}

private func probe(_ period: Milliseconds = 500) -> ProbeRule {
  var rule = ProbeRule()
  rule.period = period
  return rule
}

private let shapes: [(name: String, rules: PodRules)] = [
  ("one container", rules([ContainerRule(name: "a", role: .main, restart: .always)])),
  (
    "init, sidecar and two containers with probes",
    rules([
      ContainerRule(name: "i", role: .initial, restart: .onFailure),
      ContainerRule(name: "s", role: .sidecar, restart: .always, probes: [.startup: probe()]),
      ContainerRule(name: "j", role: .initial, restart: .onFailure),
      ContainerRule(name: "a", role: .main, restart: .always, probes: [.liveness: probe(), .readiness: probe()]),
      ContainerRule(name: "b", role: .main, restart: .always),
    ])
  ),
  (
    "a job",
    rules([
      ContainerRule(name: "i", role: .initial, restart: .onFailure),
      ContainerRule(name: "s", role: .sidecar, restart: .always),
      ContainerRule(name: "a", role: .main, restart: .onFailure),
    ])
  ),
  (
    "never again",
    rules([
      ContainerRule(name: "i", role: .initial, restart: .never), ContainerRule(name: "a", role: .main, restart: .never),
      ContainerRule(name: "b", role: .main, restart: .never),
    ])
  ),
]

@Suite struct PodSimulationTests {
  private static let seeds: [UInt64] = Array(0..<250)

  @Test(arguments: shapes.map(\.name)) func goneMeansGoneAtWhateverStepDeletionComes(_ shape: String) throws {
    let rules = try #require(shapes.first { $0.name == shape }?.rules)
    for seed in Self.seeds {
      var world = World(seed: seed, rules: rules)
      world.tell(.tick)
      for _ in 0..<Int.random(in: 0...400, using: &world.dice) { world.step() }
      world.delete()
      // Faults do not last for ever; then neither does the pod.
      for _ in 0..<200 { world.step() }
      (world.failures, world.crashes) = (0, false)
      var steps = 0
      while !world.machine.isGone, steps < 3000 {
        world.step()
        steps += 1
      }
      let left = "sandboxes \(world.sandboxes.count), containers \(world.instances.count), volumes \(world.hasVolumes)"
      #expect(world.machine.isGone, "seed \(seed): \(left), \(world.machine.report)")
      #expect(world.sandboxes.isEmpty && world.instances.isEmpty && !world.hasVolumes, "seed \(seed): \(left)")
      #expect(world.problems == [], "seed \(seed)")
      if !world.problems.isEmpty || !world.machine.isGone { return }
    }
  }

  @Test(arguments: shapes.map(\.name)) func whenFaultsEndThePodIsReadyOrDone(_ shape: String) throws {
    let rules = try #require(shapes.first { $0.name == shape }?.rules)
    for seed in Self.seeds {
      var world = World(seed: seed, rules: rules)
      world.tell(.tick)
      for _ in 0..<300 { world.step() }
      (world.failures, world.crashes) = (0, false)
      var steps = 0
      while !world.isSettled, steps < 3000 {
        world.step()
        steps += 1
      }
      #expect(world.isSettled, "seed \(seed): \(world.machine.report)")
      #expect(world.problems == [], "seed \(seed)")
      if !world.problems.isEmpty || !world.isSettled { return }
    }
  }
}
