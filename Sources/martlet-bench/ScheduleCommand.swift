import ArgumentParser
import KubeClient
import KubeModel
import Scheduler

struct ScheduleCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "schedule",
    abstract: "The scheduler's decisions: pods a second over many simulated nodes, without an API server.",
    discussion: """
      Each round makes a scheduler with nodes in three zones, tells it of all pods at once and then takes one decision
      after another, telling it of each binding as a watch would. Plain pods ask for processor and memory; spread pods
      want to be even over zones; apart pods want no other of their kind on their node.
      """)

  @Option(name: .long, help: "text or json: one object, units in the names.")
  var output = BenchOptions.Format.text
  @Option(name: .long, help: "Simulated nodes.")
  var nodes = 1000
  @Option(name: .long, help: "Pods of a round.")
  var pods = 10_000
  @Option(name: .long, help: "Pods of a round that look at other pods.")
  var relatedPods = 1000
  @Option(name: .long, help: "How often each is measured.")
  var rounds = 3

  func validate() throws {
    guard (1...100_000).contains(nodes), (1...1_000_000).contains(pods), (1...1_000_000).contains(relatedPods),
      rounds > 0
    else { throw ValidationError("--nodes: 1 to 100000; --pods, --related-pods: 1 to 1000000; --rounds: above 0") }
  }

  func run() async throws {
    var report = Report()
    report.set("nodes", nodes)
    for kind in Kind.allCases {
      let count = kind == .plain ? pods : relatedPods
      var rates = Series()
      var decisions = Series()
      for round in 1...rounds {
        let result = try measure(kind, count, seed: UInt64(round))
        rates.add(result.podsPerSecond)
        for value in result.microseconds { decisions.add(value) }
      }
      report.set("\(kind.rawValue)_pods", count)
      report.set("\(kind.rawValue)_pods_per_second", rates.median)
      report.set("\(kind.rawValue)_decision_p50_us", decisions.percentile(0.5))
      report.set("\(kind.rawValue)_decision_p99_us", decisions.percentile(0.99))
    }
    try report.show(as: "schedule", output)
  }

  private enum Kind: String, CaseIterable { case plain, spread, apart }

  private func measure(_ kind: Kind, _ count: Int, seed: UInt64) throws -> (
    podsPerSecond: Double, microseconds: [Double]
  ) {
    var core = SchedulerCore(name: "default-scheduler", random: SeededRandom(seed: seed))
    for number in 0..<nodes { core.handle(.node(node(number)), at: .zero) }
    let made = (0..<count).map { pod(kind, $0) }
    var byUID: [String: Pod] = [:]
    for pod in made { byUID[pod.metadata.uid ?? ""] = pod }
    let clock = ContinuousClock()
    let began = clock.now
    for pod in made { core.handle(.pod(pod), at: .zero) }
    var microseconds: [Double] = []
    microseconds.reserveCapacity(count)
    var bound = 0
    while true {
      let turn = clock.now
      guard let action = core.next(at: .zero) else { break }
      microseconds.append((clock.now - turn) / .microseconds(1))
      guard case .bind(let facts, let node, _) = action, var seen = byUID[facts.uid] else { continue }
      bound += 1
      seen.spec.nodeName = node
      core.handle(.bound(uid: facts.uid), at: .zero)
      core.handle(.pod(seen), at: .zero)
    }
    let seconds = (clock.now - began) / .seconds(1)
    guard bound == count else { throw BenchError("\(kind.rawValue): \(bound) of \(count) pods have a node") }
    return (Double(count) / seconds, microseconds)
  }

  private func node(_ number: Int) -> Node {
    var node = Node()
    node.metadata.name = "node-\(number)"
    node.metadata.labels = [
      "kubernetes.io/hostname": "node-\(number)", "topology.kubernetes.io/zone": "zone-\(number % 3)",
    ]
    for (name, amount) in ["cpu": "32", "memory": "128Gi", "pods": "110", "ephemeral-storage": "1Ti"] {
      node.status.allocatable[name] = Quantity(amount)
    }
    return node
  }

  private func pod(_ kind: Kind, _ number: Int) -> Pod {
    var pod = Pod()
    pod.metadata.name = "pod-\(number)"
    pod.metadata.namespace = "default"
    pod.metadata.uid = "uid-\(number)"
    let application = "app-\(number % 50)"
    pod.metadata.labels = ["app": application]
    var owner = OwnerReference()
    (owner.apiVersion, owner.kind, owner.name, owner.uid) = ("apps/v1", "ReplicaSet", application, application)
    owner.controller = true
    pod.metadata.ownerReferences = [owner]
    pod.spec.schedulerName = "default-scheduler"
    var container = Container()
    container.name = "c"
    container.resources.requests["cpu"] = Quantity("100m")
    container.resources.requests["memory"] = Quantity("128Mi")
    pod.spec.containers = [container]
    var selector = LabelSelector()
    selector.matchLabels = ["app": application]
    switch kind {
    case .plain: break
    case .spread:
      var spread = TopologySpreadConstraint()
      (spread.maxSkew, spread.topologyKey) = (1, "topology.kubernetes.io/zone")
      (spread.whenUnsatisfiable, spread.labelSelector) = ("DoNotSchedule", selector)
      pod.spec.topologySpreadConstraints = [spread]
    case .apart:
      var term = PodAffinityTerm()
      (term.topologyKey, term.labelSelector) = ("kubernetes.io/hostname", selector)
      var apart = PodAntiAffinity()
      apart.requiredDuringSchedulingIgnoredDuringExecution = [term]
      var affinity = Affinity()
      affinity.podAntiAffinity = apart
      pod.spec.affinity = affinity
    }
    return pod
  }
}
