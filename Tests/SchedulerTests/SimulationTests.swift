import KubeClient
import KubeModel
import Scheduler
import Testing

/// A cluster that changes at random while the scheduler works, with bindings that fail and news that come late.
@Suite struct SimulationTests {
  private struct World {
    var dice: SeededRandom
    var core: SchedulerCore
    var nodes: [String: Node] = [:]
    /// The most that a node of this name ever had.
    var cores: [String: Int] = [:]
    var pods: [String: Pod] = [:]
    /// Bindings on their way.
    var bindings: [(pod: String, uid: String, node: String)] = []
    /// Changes that the scheduler has not heard of.
    var unheard: [SchedulerCore.Event] = []
    var now: Duration = .zero
    var made = 0
    var problems: [String] = []
  }

  private let colours = ["red", "green", "blue"]

  @Test(arguments: 0..<80) func noNodeIsOvercommittedAndNoPodForgotten(_ seed: Int) {
    var world = World(
      dice: SeededRandom(seed: UInt64(seed)),
      core: SchedulerCore(name: "default-scheduler", random: SeededRandom(seed: UInt64(seed) + 1)))
    for _ in 0..<400 { step(&world) }
    // Calm: what is on its way arrives, and time passes.
    for _ in 0..<60 {
      hear(&world, all: true)
      while let action = world.core.next(at: world.now) { take(action, &world) }
      while !world.bindings.isEmpty { finishBinding(&world, mayFail: false) }
      world.now += .seconds(7)
    }
    check(&world)
    #expect(world.problems == [])
    for pod in world.pods.values where pod.spec.nodeName == nil {
      let free = world.nodes.values.filter { fits(pod, $0, world) }
      #expect(free.isEmpty, "\(pod.metadata.name ?? "") has no node, but would fit on \(free.count)")
    }
  }

  private func step(_ world: inout World) {
    switch Int.random(in: 0..<100, using: &world.dice) {
    case 0..<25: addPod(&world)
    case 25..<32: deletePod(&world)
    case 32..<38: changeNode(&world)
    case 38..<40: deleteNode(&world)
    case 40..<65: hear(&world, all: false)
    case 65..<85:
      if let action = world.core.next(at: world.now) { take(action, &world) }
    case 85..<95: finishBinding(&world, mayFail: true)
    default: world.now += .milliseconds(Int.random(in: 1...4000, using: &world.dice))
    }
    check(&world)
  }

  private func addPod(_ world: inout World) {
    world.made += 1
    let cpu = Int.random(in: 0...8, using: &world.dice) * 250
    let colour = Int.random(in: 0..<9, using: &world.dice)
    let port = Int.random(in: 0..<6, using: &world.dice)
    let made = pod(
      "p\(world.made)", cpu > 0 ? ["cpu": "\(cpu)m", "memory": "\(cpu)Mi"] : [:], owner: "rs\(colour % 4)"
    ) {
      if colour < 3 { $0.spec.nodeSelector = ["colour": colours[colour]] }
      if colour == 4 { $0.spec.tolerations = [toleration("spot", "Exists")] }
      if port == 0 {
        var container = ContainerPort()
        (container.containerPort, container.hostPort, container.protocol) = (80, 8080, "TCP")
        $0.spec.containers[0].ports = [container]
      }
    }
    world.pods["p\(world.made)"] = made
    world.unheard.append(.pod(made))
  }

  private func deletePod(_ world: inout World) {
    guard let name = world.pods.keys.sorted().randomElement(using: &world.dice) else { return }
    let gone = world.pods.removeValue(forKey: name)
    if let gone { world.unheard.append(.podGone(ObjectKey(gone))) }
  }

  private func changeNode(_ world: inout World) {
    let name = "n\(Int.random(in: 0..<6, using: &world.dice))"
    // Nodes only grow, also where one comes again: nobody can know of a smaller one before hearing of it.
    let cores = max(world.cores[name] ?? 0, Int.random(in: 1...6, using: &world.dice))
    world.cores[name] = cores
    let made = node(
      name, ["cpu": "\(cores)", "memory": "4Gi", "pods": "6"],
      labels: ["colour": colours[Int.random(in: 0..<3, using: &world.dice)]],
      taints: Int.random(in: 0..<3, using: &world.dice) == 0 ? ["spot=yes:NoSchedule"] : [],
      isUnschedulable: Int.random(in: 0..<8, using: &world.dice) == 0)
    world.nodes[name] = made
    world.unheard.append(.node(made))
  }

  private func deleteNode(_ world: inout World) {
    guard let name = world.nodes.keys.sorted().randomElement(using: &world.dice) else { return }
    world.nodes[name] = nil
    world.unheard.append(.nodeGone(name))
    // What keeps nodes in order deletes its pods, too.
    for (key, pod) in world.pods.sorted(by: { $0.key < $1.key }) where pod.spec.nodeName == name {
      world.pods[key] = nil
      world.unheard.append(.podGone(ObjectKey(pod)))
    }
  }

  private func hear(_ world: inout World, all: Bool) {
    while !world.unheard.isEmpty {
      world.core.handle(world.unheard.removeFirst(), at: world.now)
      if !all { return }
    }
  }

  private func take(_ action: SchedulerCore.Action, _ world: inout World) {
    switch action {
    case .preempt: world.problems.append("preempted though all are of one priority")
    case .bind(let pod, let node, _): world.bindings.append((pod.key.name, pod.uid, node))
    case .reject(_, let message): if message.isEmpty { world.problems.append("rejected without a reason") }
    }
  }

  private func finishBinding(_ world: inout World, mayFail: Bool) {
    guard !world.bindings.isEmpty else { return }
    let index = Int.random(in: 0..<world.bindings.count, using: &world.dice)
    let (name, uid, node) = world.bindings.remove(at: index)
    if world.pods[name]?.spec.nodeName != nil { world.problems.append("\(name) bound twice") }
    let fails = mayFail && Int.random(in: 0..<5, using: &world.dice) == 0
    guard !fails, world.pods[name] != nil, world.nodes[node] != nil else {
      return world.core.handle(.bindFailed(uid: uid), at: world.now)
    }
    world.pods[name]?.spec.nodeName = node
    if let bound = world.pods[name] { world.unheard.append(.pod(bound)) }
    world.core.handle(.bound(uid: uid), at: world.now)
  }

  private func on(_ node: String, _ world: World) -> [Pod] { world.pods.values.filter { $0.spec.nodeName == node } }

  /// An independent sum over what the cluster holds.
  private func check(_ world: inout World) {
    for (name, node) in world.nodes {
      let pods = on(name, world)
      let cpu = pods.reduce(0) { $0 + ($1.spec.containers[0].resources.requests["cpu"]?.milliValue ?? 0) }
      let ports = pods.flatMap { $0.spec.containers[0].ports.compactMap(\.hostPort) }
      if cpu > node.status.allocatable["cpu"]?.milliValue ?? 0 { world.problems.append("\(name): \(cpu) millicores") }
      if pods.count > 6 { world.problems.append("\(name): \(pods.count) pods") }
      if ports.count != Set(ports).count { world.problems.append("\(name): ports \(ports)") }
    }
  }

  private func fits(_ pod: Pod, _ node: Node, _ world: World) -> Bool {
    let pods = on(node.metadata.name ?? "", world)
    func sum(_ resource: String) -> Int64 {
      (pods + [pod]).reduce(0) { $0 + ($1.spec.containers[0].resources.requests[resource]?.milliValue ?? 0) }
    }
    let asks = pod.spec.containers[0].resources.requests["cpu"] != nil
    let hasRoom = ["cpu", "memory"].allSatisfy { sum($0) <= node.status.allocatable[$0]?.milliValue ?? 0 }
    let ports = pods.flatMap { $0.spec.containers[0].ports }
    return !(node.spec.unschedulable ?? false) && (node.spec.taints.isEmpty || !pod.spec.tolerations.isEmpty)
      && pod.spec.nodeSelector.allSatisfy { node.metadata.labels[$0.key] == $0.value } && pods.count < 6
      && (!asks || hasRoom) && (pod.spec.containers[0].ports.isEmpty || ports.isEmpty)
  }
}
