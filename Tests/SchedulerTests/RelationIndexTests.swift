import KubeClient
import KubeModel
import Testing

@testable import Scheduler

/// A cluster of pods that want to be near others, or far from them, changes at random; what is kept must be what is counted
/// anew over all pods.
@Suite struct RelationIndexTests {
  private struct World {
    var dice: SeededRandom
    var core: SchedulerCore
    var namespaces: [String: [String: String]] = [:]
    var pods: [String: Pod] = [:]
    var made = 0

    mutating func draw(_ bound: Int) -> Int { Int.random(in: 0..<bound, using: &dice) }
  }

  private func selector(_ world: inout World) -> LabelSelector {
    var selector = LabelSelector()
    switch world.draw(4) {
    case 0:
      var requirement = LabelSelectorRequirement()
      (requirement.key, requirement.operator) = ("app", world.draw(2) == 0 ? "Exists" : "In")
      if requirement.operator == "In" { requirement.values = ["a\(world.draw(3))"] }
      selector.matchExpressions = [requirement]
    case 1: selector.matchLabels = ["app": "a\(world.draw(3))", "tier": "t\(world.draw(2))"]
    default: selector.matchLabels = ["app": "a\(world.draw(3))"]
    }
    return selector
  }

  private func term(_ world: inout World) -> PodAffinityTerm {
    var term = PodAffinityTerm()
    term.topologyKey = ["kubernetes.io/hostname", "zone", "rack"][world.draw(3)]
    term.labelSelector = selector(&world)
    switch world.draw(4) {
    case 0: term.namespaces = ["default", "other"]
    case 1:
      var wanted = LabelSelector()
      wanted.matchLabels = world.draw(2) == 0 ? ["team": "x"] : [:]
      term.namespaceSelector = wanted
    default: break
    }
    return term
  }

  private func made(_ world: inout World, on node: String?) -> Pod {
    world.made += 1
    let name = "p\(world.made)"
    var made = pod(name, on: node, labels: ["app": "a\(world.draw(3))", "tier": "t\(world.draw(2))"])
    if world.draw(4) == 0 { made.metadata.namespace = "other" }
    var affinity = Affinity()
    if world.draw(4) == 0 {
      affinity.podAffinity = PodAffinity()
      let terms = (0...world.draw(2)).map { _ in term(&world) }
      affinity.podAffinity?.requiredDuringSchedulingIgnoredDuringExecution = terms
    }
    if world.draw(3) == 0 {
      affinity.podAntiAffinity = PodAntiAffinity()
      affinity.podAntiAffinity?.requiredDuringSchedulingIgnoredDuringExecution = [term(&world)]
    }
    if world.draw(3) == 0 {
      var weighted = WeightedPodAffinityTerm()
      (weighted.weight, weighted.podAffinityTerm) = (Int32(1 + world.draw(100)), term(&world))
      if affinity.podAffinity == nil { affinity.podAffinity = PodAffinity() }
      affinity.podAffinity?.preferredDuringSchedulingIgnoredDuringExecution = [weighted]
    }
    made.spec.affinity = affinity
    if world.draw(2) == 0 {
      var spread = TopologySpreadConstraint()
      (spread.maxSkew, spread.topologyKey) = (
        Int32(1 + world.draw(2)), ["zone", "kubernetes.io/hostname"][world.draw(2)]
      )
      spread.whenUnsatisfiable = ["DoNotSchedule", "ScheduleAnyway"][world.draw(2)]
      spread.labelSelector = selector(&world)
      if world.draw(3) == 0 { spread.nodeTaintsPolicy = "Honor" }
      if world.draw(3) == 0 { spread.nodeAffinityPolicy = "Ignore" }
      if world.draw(3) == 0 { spread.minDomains = Int32(1 + world.draw(4)) }
      made.spec.topologySpreadConstraints = [spread]
    }
    if world.draw(4) == 0 { made.spec.nodeSelector = ["zone": "z\(world.draw(3))"] }
    return made
  }

  private func step(_ world: inout World) {
    switch world.draw(20) {
    case 0..<7:
      let fresh = made(&world, on: "n\(world.draw(6))")
      world.pods[fresh.metadata.name ?? ""] = fresh
      world.core.handle(.pod(fresh), at: .zero)
    case 7..<9:
      guard let name = world.pods.keys.sorted().randomElement(using: &world.dice), var changed = world.pods[name] else {
        return
      }
      if world.draw(2) == 0 { changed.metadata.deletionTimestamp = Time(secondsSinceEpoch: 1) }
      changed.metadata.labels["app"] = "a\(world.draw(3))"
      world.pods[name] = changed
      world.core.handle(.pod(changed), at: .zero)
    case 9..<13:
      guard let name = world.pods.keys.sorted().randomElement(using: &world.dice),
        let gone = world.pods.removeValue(forKey: name)
      else { return }
      world.core.handle(.podGone(ObjectKey(gone)), at: .zero)
    case 13..<17:
      var labels = ["zone": "z\(world.draw(3))"]
      if world.draw(2) == 0 { labels["rack"] = "r\(world.draw(4))" }
      world.core.handle(
        .node(node("n\(world.draw(6))", labels: labels, taints: world.draw(4) == 0 ? ["spot=yes:NoSchedule"] : [])),
        at: .zero)
    case 17: world.core.handle(.nodeGone("n\(world.draw(6))"), at: .zero)
    case 18:
      let name = ["default", "other"][world.draw(2)]
      world.namespaces[name] = world.draw(2) == 0 ? ["team": "x"] : [:]
      world.core.handle(.namespace(name, labels: world.namespaces[name]), at: .zero)
    default:
      // One that waits, and is decided about.
      let fresh = made(&world, on: nil)
      world.core.handle(.pod(fresh), at: .zero)
      if case .bind(let facts, let node, _)? = world.core.next(at: .zero) {
        var bound = fresh
        guard facts.uid == fresh.metadata.uid else { return }
        bound.spec.nodeName = node
        world.pods[fresh.metadata.name ?? ""] = bound
        world.core.handle(.bound(uid: facts.uid), at: .zero)
        world.core.handle(.pod(bound), at: .zero)
      } else {
        world.core.handle(.podGone(ObjectKey(fresh)), at: .zero)
      }
    }
  }

  @Test(arguments: 0..<24) func keptCountsAreWhatACountOverAllPodsSays(_ seed: Int) {
    var world = World(
      dice: SeededRandom(seed: UInt64(seed)),
      core: SchedulerCore(name: "default-scheduler", random: SeededRandom(seed: UInt64(seed))))
    for number in 0..<200 {
      step(&world)
      let asking = PodFacts(made(&world, on: nil))
      let nodes = world.core.nodes
      var kept = world.core.relations
      let (one, other) = (Relations(asking, nodes, &kept), PlainRelations(asking, nodes, world.namespaces))
      for index in nodes.indices where nodes[index].isPresent {
        #expect(one?.obstacle(index) == other?.obstacle(nodes[index]), "seed \(seed), step \(number)")
        #expect(one?.preference(index) ?? 0 == other?.preference(nodes[index]) ?? 0, "seed \(seed), step \(number)")
        #expect(one?.crowd(index) ?? 0 == other?.crowd(nodes[index]) ?? 0, "seed \(seed), step \(number)")
      }
      // Whoever was asked about once is kept from then on.
      if seed % 2 == 0 { world.core.learn(kept) }
    }
  }
}

extension SchedulerCore {
  fileprivate mutating func learn(_ kept: RelationIndex) { relations = kept }
}
