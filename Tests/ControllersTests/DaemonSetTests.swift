import KubeModel
import Testing

@testable import Controllers

@Suite struct DaemonSetTests {
  static func set(surge: Int32 = 0, unavailable: Int32 = 1) -> DaemonSet {
    var set = DaemonSet()
    (set.metadata.name, set.metadata.namespace, set.metadata.uid) = ("agent", "default", "d-1")
    set.metadata.generation = 1
    set.spec.selector.matchLabels = ["app": "web"]
    set.spec.template = Make.template(image: "v1")
    set.spec.updateStrategy.type = "RollingUpdate"
    var rolling = RollingUpdateDaemonSet()
    (rolling.maxSurge, rolling.maxUnavailable) = (.int(surge), .int(unavailable))
    set.spec.updateStrategy.rollingUpdate = rolling
    return set
  }

  static func node(_ name: String, labels: [String: String] = [:], taints: [(String, String)] = []) -> Node {
    var node = Node()
    (node.metadata.name, node.metadata.labels) = (name, labels)
    node.spec.taints = taints.map { key, effect in
      var taint = Taint()
      (taint.key, taint.effect) = (key, effect)
      return taint
    }
    return node
  }

  struct Case: Sendable {
    let name: String
    let labels: [String: String]
    let taints: [(String, String)]
    let run: Bool
    let stay: Bool
  }

  @Test(arguments: [
    Case(name: "a plain node", labels: ["disk": "ssd"], taints: [], run: true, stay: true),
    Case(name: "another label", labels: ["disk": "hdd"], taints: [], run: false, stay: false),
    Case(name: "a taint", labels: ["disk": "ssd"], taints: [("spot", "NoSchedule")], run: false, stay: true),
    Case(name: "an evicting taint", labels: ["disk": "ssd"], taints: [("spot", "NoExecute")], run: false, stay: false),
    Case(name: "a wish only", labels: ["disk": "ssd"], taints: [("spot", "PreferNoSchedule")], run: true, stay: true),
    Case(
      name: "not ready", labels: ["disk": "ssd"],
      taints: [(NodeTaints.notReady, "NoExecute"), (NodeTaints.unschedulable, "NoSchedule")], run: true, stay: true),
  ])
  func aNodeIsWantedByItsLabelsAndTaints(_ item: Case) {
    var set = Self.set()
    set.spec.template.spec.nodeSelector = ["disk": "ssd"]
    let wish = set.wants(Self.node("n", labels: item.labels, taints: item.taints))
    #expect(wish.run == item.run, "\(item.name)")
    #expect(wish.stay == item.stay, "\(item.name)")
  }

  @Test func aPodIsMadeForOneNodeAndToleratesWhatDaemonsDo() {
    let pod = Self.set().pod(on: "n1", hash: "h")
    #expect(DaemonSet.node(of: pod) == "n1")
    #expect(pod.metadata.labels[RevisionPlan.hashLabel] == "h")
    #expect(pod.spec.tolerations.contains { $0.key == NodeTaints.unschedulable && $0.effect == "NoSchedule" })
    #expect(!pod.spec.tolerations.contains { $0.key == "node.kubernetes.io/network-unavailable" })
  }

  @Test func aNodeThatGoesOutOfTheSetLosesItsPod() {
    var set = Self.set()
    var pod = set.pod(on: "n1", hash: "h")
    (pod.metadata.name, pod.metadata.uid, pod.spec.nodeName) = ("p", "p", "n1")
    set.spec.template.spec.nodeSelector = ["disk": "ssd"]
    let plan = DaemonSetPlan(for: set, nodes: [Self.node("n1")], pods: [pod], hash: "h", now: time(9))
    #expect(plan.deletions.count == 1)
    #expect(plan.status.desiredNumberScheduled == 0)
    #expect(plan.status.numberMisscheduled == 1)
  }

  @Test(arguments: UInt64(0)..<60)
  func everyNodeHasOnePodOfTheNewTemplateInTheEndAndNeverTooManyAreMissing(seed: UInt64) {
    var world = PodWorld(seed: seed)
    let surge = Int32(seed % 3 == 0 ? 2 : 0)
    let set = Self.set(surge: surge, unavailable: surge > 0 ? 0 : 2)
    var nodes = (0..<6).map { Self.node("n\($0)") }
    var hash = "h0"
    func turn(isCalm: Bool) {
      let plan = DaemonSetPlan(for: set, nodes: nodes, pods: world.all, hash: hash, now: world.time)
      let available = nodes.count { node in
        world.all.contains { $0.isReady && !$0.metadata.isDeleting && DaemonSet.node(of: $0) == node.metadata.name }
      }
      let healthy = Set(plan.deletions.filter(\.isReady).compactMap { DaemonSet.node(of: $0) })
      let stillServed = healthy.filter { node in
        world.all.contains { pod in
          pod.isReady && !pod.metadata.isDeleting && DaemonSet.node(of: pod) == node
            && !plan.deletions.contains { $0.metadata.uid == pod.metadata.uid }
        }
      }
      let after = available - healthy.count + stillServed.count
      let floor = nodes.count - set.maxUnavailable(of: nodes.count)
      if after < available, after < floor {
        world.problems.append("\(after) available of \(nodes.count) nodes")
      }
      for pod in plan.creations { world.create(pod) }
      for pod in plan.deletions { world.delete(pod) }
    }
    for step in 0..<400 {
      if world.dice.oneIn(2) { turn(isCalm: false) } else { world.step() }
      if step % 90 == 60 { hash = "h\(step)" }
      if step == 200 { nodes.append(Self.node("n9")) }
    }
    world.isTroubled = false
    world.now += 100
    for _ in 0..<600 {
      turn(isCalm: true)
      world.step()
    }
    #expect(world.problems == [])
    #expect(world.all.compactMap { DaemonSet.node(of: $0) }.sorted() == nodes.compactMap(\.metadata.name).sorted())
    #expect(world.all.allSatisfy { $0.metadata.labels[RevisionPlan.hashLabel] == hash && $0.isReady })
    let rest = DaemonSetPlan(for: set, nodes: nodes, pods: world.all, hash: hash, now: world.time)
    #expect(rest.creations.isEmpty && rest.deletions.isEmpty)
    #expect(rest.status.numberAvailable == Int32(nodes.count))
    #expect(rest.status.updatedNumberScheduled == Int32(nodes.count))
  }
}
