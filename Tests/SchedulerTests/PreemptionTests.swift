import KubeClient
import KubeModel
import Scheduler
import Testing

@Suite struct PreemptionTests {
  private func core(_ nodes: [Node], _ pods: [Pod]) -> SchedulerCore {
    var core = SchedulerCore(name: "default-scheduler", random: SeededRandom(seed: 1))
    for node in nodes { core.handle(.node(node), at: .zero) }
    for pod in pods { core.handle(.pod(pod), at: .zero) }
    return core
  }

  private func text(_ action: SchedulerCore.Action?) -> String {
    switch action {
    case .bind(let pod, let node, _): "\(pod.key.name) to \(node)"
    case .preempt(let pod, let node, let victims, _):
      "\(pod.key.name) on \(node) for \(victims.map(\.key.name).sorted().joined(separator: ","))"
    case .reject(_, let message): message
    case nil: ""
    }
  }

  @Test func theLeastThatMattersLeastGoes() {
    var core = core(
      [node("n1", ["cpu": "4"]), node("n2", ["cpu": "4"])],
      [
        pod("a", ["cpu": "2"], on: "n1", priority: 5), pod("b", ["cpu": "2"], on: "n1", priority: 1),
        pod("c", ["cpu": "4"], on: "n2", priority: 7), pod("vip", ["cpu": "2"], priority: 10),
      ])
    #expect(text(core.next(at: .zero)) == "vip on n1 for b")
    core.handle(.podGone(ObjectKey(namespace: "default", name: "b")), at: .seconds(5))
    #expect(text(core.next(at: .seconds(5))) == "vip to n1")
  }

  @Test func roomThatIsPromisedIsNotGivenToOthers() {
    var core = core(
      [node("n1", ["cpu": "2"])], [pod("a", ["cpu": "2"], on: "n1"), pod("vip", ["cpu": "2"], priority: 10)])
    #expect(text(core.next(at: .zero)) == "vip on n1 for a")
    core.handle(.podGone(ObjectKey(namespace: "default", name: "a")), at: .milliseconds(10))
    core.handle(.pod(pod("late", ["cpu": "1"])), at: .milliseconds(20))
    #expect(text(core.next(at: .milliseconds(20))).hasPrefix("0/1 nodes are available: 1 Insufficient cpu."))
    core.handle(.pod(pod("king", ["cpu": "1"], priority: 20)), at: .milliseconds(30))
    #expect(text(core.next(at: .milliseconds(30))) == "king to n1")
  }

  @Test func aBudgetTurnsTheChoice() {
    func guarded(_ name: String, _ node: String, labels: [String: String]) -> Pod {
      pod(name, ["cpu": "2"], on: node, labels: labels, priority: 1)
    }
    var core = core(
      [node("n1", ["cpu": "2"]), node("n2", ["cpu": "2"])],
      [
        guarded("a", "n1", labels: ["app": "db"]), guarded("b", "n2", labels: ["app": "x"]),
        pod("vip", ["cpu": "2"], priority: 10),
      ])
    var budget = PodDisruptionBudget()
    (budget.metadata.name, budget.metadata.namespace) = ("db", "default")
    var selector = LabelSelector()
    selector.matchLabels = ["app": "db"]
    budget.spec.selector = selector
    budget.status.disruptionsAllowed = 0
    core.handle(.budget(budget), at: .zero)
    #expect(text(core.next(at: .zero)) == "vip on n2 for b")
  }

  @Test func whereItDoesNotHelpItSaysSo() {
    var never = pod("p", ["cpu": "4"], priority: 10)
    never.spec.preemptionPolicy = "Never"
    var first = core([node("n1", ["cpu": "2"])], [never])
    #expect(
      text(first.next(at: .zero))
        == "0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never.")
    var second = core(
      [node("n1", taints: ["k=v:NoSchedule"]), node("n2", ["cpu": "2"])],
      [pod("a", ["cpu": "1"], on: "n2"), pod("p", ["cpu": "3"], priority: 10)])
    #expect(
      text(second.next(at: .zero))
        == "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {k: v}. "
        + "preemption: 0/2 nodes are available: 1 Insufficient cpu, 1 Preemption is not helpful for scheduling.")
  }

  @Test func aPodThatKeepsOthersAwayGivesWay() {
    var selector = LabelSelector()
    selector.matchLabels = ["app": "x"]
    var term = PodAffinityTerm()
    (term.topologyKey, term.labelSelector) = ("kubernetes.io/hostname", selector)
    let wanted = term
    var shy = pod("shy", on: "n1", labels: ["app": "x"])
    var away = PodAntiAffinity()
    away.requiredDuringSchedulingIgnoredDuringExecution = [wanted]
    var affinity = Affinity()
    affinity.podAntiAffinity = away
    shy.spec.affinity = affinity
    var core = core([node("n1")], [shy, pod("other", on: "n1"), pod("vip", labels: ["app": "x"], priority: 9)])
    #expect(text(core.next(at: .zero)) == "vip on n1 for shy")
  }

  /// Whatever is there: no pod is taken that matters as much, none that need not go, and the room is enough.
  @Test(arguments: 0..<100) func victimsMatterLessAndAreNeeded(_ seed: Int) throws {
    var dice = SeededRandom(seed: UInt64(seed))
    let nodes = (0..<3).map { node("n\($0)", ["cpu": "8"]) }
    var pods: [Pod] = []
    for place in 0..<3 {
      var left = 8
      while left > 0 {
        let size = min(left, Int.random(in: 1...4, using: &dice))
        left -= size
        pods.append(
          pod(
            "p\(pods.count)", ["cpu": "\(size)"], on: "n\(place)", priority: Int32.random(in: 0...8, using: &dice)))
      }
    }
    let need = Int.random(in: 1...8, using: &dice)
    var core = core(nodes, pods + [pod("vip", ["cpu": "\(need)"], priority: 5)])
    let next = core.next(at: .zero)
    let action = try #require(next)
    func cores(_ pod: Pod) -> Int { Int(pod.spec.containers[0].resources.requests["cpu"]?.value ?? 0) }
    func lower(_ node: String) -> Int {
      pods.filter { $0.spec.nodeName == node && ($0.spec.priority ?? 0) < 5 }.map(cores).reduce(0, +)
    }
    switch action {
    case .preempt(_, let node, let victims, _):
      let gone = pods.filter { pod in victims.contains { $0.key.name == pod.metadata.name } }
      #expect(gone.allSatisfy { ($0.spec.priority ?? 0) < 5 && $0.spec.nodeName == node })
      let freed = gone.map(cores).reduce(0, +)
      #expect(freed >= need)
      for pod in gone { #expect(freed - cores(pod) < need, "\(pod.metadata.name ?? "") need not go") }
    case .reject: #expect((0..<3).allSatisfy { lower("n\($0)") < need })
    case .bind: Issue.record("bound to a full node")
    }
  }
}

@Suite struct VolumeChoiceTests {
  private func claim(
    _ name: String, volume: String? = nil, className: String = "local", modes: [String] = ["ReadWriteOnce"]
  )
    -> PersistentVolumeClaim
  {
    var claim = PersistentVolumeClaim()
    (claim.metadata.name, claim.metadata.namespace, claim.metadata.uid) = (name, "default", "uid-\(name)")
    claim.spec.storageClassName = className
    claim.spec.accessModes = modes
    claim.spec.volumeName = volume
    if volume != nil { claim.metadata.annotations["pv.kubernetes.io/bind-completed"] = "yes" }
    return claim
  }

  private func volume(_ name: String, on node: String) -> PersistentVolume {
    var volume = PersistentVolume()
    volume.metadata.name = name
    volume.spec.storageClassName = "local"
    volume.spec.accessModes = ["ReadWriteOnce"]
    var term = NodeSelectorTerm()
    term.matchExpressions = [requirement("kubernetes.io/hostname", "In", [node])]
    var selector = NodeSelector()
    selector.nodeSelectorTerms = [term]
    var affinity = VolumeNodeAffinity()
    affinity.required = selector
    volume.spec.nodeAffinity = affinity
    return volume
  }

  private func kind(waits: Bool = true, provisioner: String = "martlet.dev/local-path") -> StorageClass {
    var kind = StorageClass()
    kind.metadata.name = "local"
    kind.provisioner = provisioner
    kind.volumeBindingMode = waits ? "WaitForFirstConsumer" : "Immediate"
    return kind
  }

  private func user(_ name: String, of claim: String, on node: String? = nil) -> Pod {
    pod(name, on: node) { pod in
      var source = PersistentVolumeClaimVolumeSource()
      source.claimName = claim
      var volume = Volume()
      (volume.name, volume.persistentVolumeClaim) = ("v", source)
      pod.spec.volumes = [volume]
    }
  }

  private func core(_ events: [SchedulerCore.Event]) -> SchedulerCore {
    var core = SchedulerCore(name: "default-scheduler", random: SeededRandom(seed: 1))
    for name in ["n1", "n2"] { core.handle(.node(node(name)), at: .zero) }
    for event in events { core.handle(event, at: .zero) }
    return core
  }

  private func text(_ action: SchedulerCore.Action?) -> String {
    switch action {
    case .bind(_, let node, let claims): "\(node) \(claims.map(\.name).joined(separator: ","))"
    case .reject(_, let message): message
    default: ""
    }
  }

  @Test func aPodGoesWhereItsVolumeIs() {
    var core = core([.claim(claim("c", volume: "v")), .volume(volume("v", on: "n2")), .pod(user("p", of: "c"))])
    #expect(text(core.next(at: .zero)) == "n2 ")
    var nowhere = self.core([.claim(claim("c", volume: "v")), .volume(volume("v", on: "n9")), .pod(user("p", of: "c"))])
    #expect(
      text(nowhere.next(at: .zero)).hasPrefix(
        "0/2 nodes are available: 2 node(s) didn't match PersistentVolume's node affinity."))
  }

  @Test func aClaimThatWaitsIsToldOfTheNode() {
    var core = core([.storageClass(kind()), .claim(claim("c")), .pod(user("p", of: "c"))])
    #expect(text(core.next(at: .zero)).hasSuffix(" c"))
    var fixed = self.core([
      .storageClass(kind(provisioner: "kubernetes.io/no-provisioner")), .claim(claim("c")),
      .volume(volume("v", on: "n1")),
      .pod(user("p", of: "c")),
    ])
    #expect(text(fixed.next(at: .zero)) == "n1 c")
  }

  @Test func aPodWaitsForItsClaims() {
    var core = core([.pod(user("p", of: "c"))])
    #expect(
      text(core.next(at: .zero))
        == "0/2 nodes are available: persistentvolumeclaim \"c\" not found. "
        + "preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.")
    core.handle(.storageClass(kind(waits: false)), at: .seconds(20))
    core.handle(.claim(claim("c")), at: .seconds(20))
    #expect(text(core.next(at: .seconds(20))).contains("pod has unbound immediate PersistentVolumeClaims"))
    core.handle(.volume(volume("v", on: "n1")), at: .seconds(40))
    core.handle(.claim(claim("c", volume: "v")), at: .seconds(40))
    #expect(text(core.next(at: .seconds(40))) == "n1 ")
  }

  @Test func aClaimForOnePodIsForOnePod() {
    var core = core([
      .claim(claim("c", volume: "v", modes: ["ReadWriteOncePod"])), .volume(volume("v", on: "n1")),
      .pod(user("first", of: "c", on: "n1")), .pod(user("second", of: "c")),
    ])
    #expect(text(core.next(at: .zero)).contains("node has pod using PersistentVolumeClaim with the same name"))
    core.handle(.podGone(ObjectKey(namespace: "default", name: "first")), at: .seconds(20))
    #expect(text(core.next(at: .seconds(20))) == "n1 ")
  }
}
