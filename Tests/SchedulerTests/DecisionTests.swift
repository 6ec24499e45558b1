import KubeClient
import KubeModel
import Scheduler
import Testing

@Suite struct DecisionTests {
  @Test(arguments: [("500m", false, 1000), ("2", false, 2000), ("2", true, 1000)] as [(String, Bool, Int64)])
  func aResizedPodCountsAsTheLargerUntilItsNodeHasDoneIt(asked: String, isInfeasible: Bool, counted: Int64) {
    let resized = facts("p", ["cpu": asked]) {
      var container = ContainerStatus()
      container.name = "c"
      container.allocatedResources = quantities(["cpu": "1"])
      $0.status.containerStatuses = [container]
      var condition = PodCondition()
      (condition.type, condition.status, condition.reason) = ("PodResizePending", "True", "Infeasible")
      if isInfeasible { $0.status.conditions = [condition] }
    }
    #expect(resized.needs.amounts.milliCPU == counted)
  }

  struct Case: Sendable, CustomTestStringConvertible {
    var name: String
    var node: Node
    var pod: Pod
    var others: [Pod] = []
    /// Empty: the pod may be there.
    var obstacle: String

    var testDescription: String { name }
  }

  private static func affinity(_ terms: [[NodeSelectorRequirement]], fields: [NodeSelectorRequirement] = []) -> Affinity
  {
    var selector = NodeSelector()
    selector.nodeSelectorTerms = terms.map { requirements in
      var term = NodeSelectorTerm()
      term.matchExpressions = requirements
      return term
    }
    if !fields.isEmpty {
      var term = NodeSelectorTerm()
      term.matchFields = fields
      selector.nodeSelectorTerms.append(term)
    }
    var node = NodeAffinity()
    node.requiredDuringSchedulingIgnoredDuringExecution = selector
    var affinity = Affinity()
    affinity.nodeAffinity = node
    return affinity
  }

  private static func withPort(_ port: Int32, _ address: String? = nil, _ protocol: String = "TCP") -> (inout Pod) ->
    Void
  {
    { pod in
      var container = ContainerPort()
      (container.containerPort, container.hostPort, container.hostIP, container.protocol) = (
        80, port, address, `protocol`
      )
      pod.spec.containers[0].ports = [container]
    }
  }

  private static let affinityWords = "node(s) didn't match Pod's node affinity/selector"
  private static let portWords = "node(s) didn't have free ports for the requested pod ports"

  static let cases: [Case] = [
    Case(name: "it fits", node: node("n"), pod: pod("p", ["cpu": "4", "memory": "8Gi"]), obstacle: ""),
    Case(name: "a little too much", node: node("n"), pod: pod("p", ["cpu": "4001m"]), obstacle: "Insufficient cpu"),
    Case(
      name: "others count", node: node("n"), pod: pod("p", ["memory": "5Gi"]), others: [pod("q", ["memory": "4Gi"])],
      obstacle: "Insufficient memory"),
    Case(
      name: "nothing asked where all is taken", node: node("n"), pod: pod("p"), others: [pod("q", ["cpu": "9"])],
      obstacle: ""),
    Case(
      name: "storage", node: node("n"), pod: pod("p", ["ephemeral-storage": "101Gi"]),
      obstacle: "Insufficient ephemeral-storage"),
    Case(
      name: "a device that the node lacks", node: node("n"), pod: pod("p", ["example.com/gpu": "1"]),
      obstacle: "Insufficient example.com/gpu"),
    Case(
      name: "a device", node: node("n", ["example.com/gpu": "2"]), pod: pod("p", ["example.com/gpu": "2"]), obstacle: ""
    ),
    Case(
      name: "too many pods", node: node("n", ["pods": "1"]), pod: pod("p"), others: [pod("q")],
      obstacle: "Too many pods"),
    Case(
      name: "absurd amounts", node: node("n"), pod: pod("p", ["memory": "9E"]),
      others: [pod("q", ["memory": "9E"]), pod("r", ["memory": "9E"])], obstacle: "Insufficient memory"),
    Case(
      name: "an unschedulable node", node: node("n", isUnschedulable: true), pod: pod("p"),
      obstacle: "node(s) were unschedulable"),
    Case(
      name: "an unschedulable node, tolerated", node: node("n", isUnschedulable: true),
      pod: pod("p") { $0.spec.tolerations = [toleration("node.kubernetes.io/unschedulable", "Exists")] }, obstacle: ""),
    Case(
      name: "a taint", node: node("n", taints: ["a=b:NoSchedule"]), pod: pod("p"),
      obstacle: "node(s) had untolerated taint {a: b}"),
    Case(
      name: "a taint without value", node: node("n", taints: ["node.kubernetes.io/not-ready:NoExecute"]), pod: pod("p"),
      obstacle: "node(s) had untolerated taint {node.kubernetes.io/not-ready: }"),
    Case(name: "a soft taint", node: node("n", taints: ["a=b:PreferNoSchedule"]), pod: pod("p"), obstacle: ""),
    Case(
      name: "a tolerated taint", node: node("n", taints: ["a=b:NoSchedule"]),
      pod: pod("p") { $0.spec.tolerations = [toleration("a", "Equal", "b", effect: "NoSchedule")] }, obstacle: ""),
    Case(
      name: "another effect tolerated", node: node("n", taints: ["a=b:NoExecute"]),
      pod: pod("p") { $0.spec.tolerations = [toleration("a", "Equal", "b", effect: "NoSchedule")] },
      obstacle: "node(s) had untolerated taint {a: b}"),
    Case(
      name: "another value tolerated", node: node("n", taints: ["a=b:NoSchedule"]),
      pod: pod("p") { $0.spec.tolerations = [toleration("a", nil, "c")] },
      obstacle: "node(s) had untolerated taint {a: b}"),
    Case(
      name: "everything tolerated", node: node("n", taints: ["a=b:NoSchedule", "c:NoExecute"]),
      pod: pod("p") { $0.spec.tolerations = [toleration(nil, "Exists")] }, obstacle: ""),
    Case(
      name: "no key and Equal tolerates nothing", node: node("n", taints: ["a:NoSchedule"]),
      pod: pod("p") { $0.spec.tolerations = [toleration(nil, "Equal", "")] },
      obstacle: "node(s) had untolerated taint {a: }"),
    Case(
      name: "a selector", node: node("n", labels: ["disk": "ssd"]),
      pod: pod("p") { $0.spec.nodeSelector = ["disk": "ssd"] }, obstacle: ""),
    Case(
      name: "a selector that does not match", node: node("n", labels: ["disk": "hdd"]),
      pod: pod("p") { $0.spec.nodeSelector = ["disk": "ssd"] }, obstacle: affinityWords),
    Case(
      name: "one of several terms", node: node("n", labels: ["zone": "b"]),
      pod: pod("p") {
        $0.spec.affinity = affinity([
          [requirement("zone", "In", ["a"])], [requirement("zone", "Exists"), requirement("x", "DoesNotExist")],
        ])
      }, obstacle: ""),
    Case(
      name: "no requirement matches nothing", node: node("n"), pod: pod("p") { $0.spec.affinity = affinity([[]]) },
      obstacle: affinityWords),
    Case(
      name: "greater than", node: node("n", labels: ["cores": "8"]),
      pod: pod("p") { $0.spec.affinity = affinity([[requirement("cores", "Gt", ["7"])]]) }, obstacle: ""),
    Case(
      name: "less than", node: node("n", labels: ["cores": "8"]),
      pod: pod("p") { $0.spec.affinity = affinity([[requirement("cores", "Lt", ["8"])]]) }, obstacle: affinityWords),
    Case(
      name: "not in, without the label", node: node("n"),
      pod: pod("p") { $0.spec.affinity = affinity([[requirement("zone", "NotIn", ["a"])]]) }, obstacle: ""),
    Case(
      name: "by name, as daemon sets do", node: node("n"),
      pod: pod("p") { $0.spec.affinity = affinity([], fields: [requirement("metadata.name", "In", ["m"])]) },
      obstacle: affinityWords),
    Case(
      name: "the same port", node: node("n"), pod: pod("p", change: withPort(80)),
      others: [pod("q", change: withPort(80))],
      obstacle: portWords),
    Case(
      name: "the same port of UDP", node: node("n"), pod: pod("p", change: withPort(80, nil, "UDP")),
      others: [pod("q", change: withPort(80))], obstacle: ""),
    Case(
      name: "the same port of another address", node: node("n"), pod: pod("p", change: withPort(80, "127.0.0.1")),
      others: [pod("q", change: withPort(80, "127.0.0.2"))], obstacle: ""),
    Case(
      name: "the same port of every address", node: node("n"), pod: pod("p", change: withPort(80, "127.0.0.1")),
      others: [pod("q", change: withPort(80, "0.0.0.0"))], obstacle: portWords),
    Case(
      name: "the first obstacle counts", node: node("n", taints: ["a:NoSchedule"]), pod: pod("p", ["cpu": "99"]),
      obstacle: "node(s) had untolerated taint {a: }"),
  ]

  @Test(arguments: cases) func filters(_ item: Case) {
    let snapshot = NodeSnapshot(item.node, pods: item.others.map { PodFacts($0) })
    let expected: String = item.obstacle.isEmpty ? "" : "0/1 nodes are available: 1 \(item.obstacle)."
    #expect(decide(PodFacts(item.pod), [snapshot]).message == expected)
  }

  @Test func reasonsAreCountedAndSorted() {
    let nodes = [
      NodeSnapshot(node("a", ["cpu": "1", "memory": "1Gi"])), NodeSnapshot(node("b", ["cpu": "1"])),
      NodeSnapshot(node("c", taints: ["k=v:NoSchedule"])),
    ]
    #expect(
      obstacles(facts("p", ["cpu": "2", "memory": "2Gi"]), nodes)
        == "0/3 nodes are available: 1 Insufficient memory, 1 node(s) had untolerated taint {k: v}, 2 Insufficient cpu."
    )
    #expect(obstacles(facts("p"), []) == "no nodes available to schedule pods")
  }

  @Test func requestsAreSummedAsContainersRun() {
    func amounts(_ change: (inout Pod) -> Void) -> Int64 { facts("p", change: change).needs.amounts.milliCPU }
    #expect(amounts { $0.spec.containers = [container(["cpu": "1"]), container(["cpu": "500m"])] } == 1500)
    // Init containers run one after another, before the others.
    #expect(
      amounts {
        $0.spec.containers = [container(["cpu": "1"])]
        $0.spec.initContainers = [container(["cpu": "3"]), container(["cpu": "2"])]
      } == 3000)
    // Sidecars go on beside all that follow them.
    #expect(
      amounts {
        $0.spec.containers = [container(["cpu": "1"])]
        $0.spec.initContainers = [container(["cpu": "1"], always: true), container(["cpu": "3"])]
      } == 4000)
    #expect(
      amounts {
        $0.spec.containers = [container(["cpu": "2"])]
        $0.spec.initContainers = [container(["cpu": "2"]), container(["cpu": "1"], always: true)]
      } == 3000)
    #expect(amounts { $0.spec.containers = [container(limits: ["cpu": "2"])] } == 2000)
    #expect(
      amounts {
        $0.spec.containers = [container(["cpu": "2"])]
        $0.spec.overhead = quantities(["cpu": "250m"])
      } == 2250)
    #expect(
      amounts {
        $0.spec.containers = [container(["cpu": "2"])]
        var whole = ResourceRequirements()
        whole.requests = quantities(["cpu": "5"])
        $0.spec.resources = whole
      } == 5000)
  }

  @Test func theEmptierNodeIsBetter() {
    let nodes = [
      NodeSnapshot(node("full"), pods: [facts("q", ["cpu": "3", "memory": "6Gi"])]), NodeSnapshot(node("empty")),
    ]
    for seed in 0..<20 {
      #expect(decide(facts("p", ["cpu": "1"]), nodes, seed: UInt64(seed)) == .bind(node: "empty"))
    }
  }

  @Test func podsOfOneOwnerAreSpread() {
    var nodes = ["a", "b", "c"].map { NodeSnapshot(node($0)) }
    for number in 0..<9 {
      let next = PodFacts(pod("p\(number)", ["cpu": "100m"], owner: "rs"))
      guard case .bind(let name) = decide(next, nodes, seed: UInt64(number)),
        let index = nodes.firstIndex(where: { $0.name == name })
      else { return #expect(Bool(false)) }
      nodes[index].add(next)
    }
    #expect(nodes.map { $0.owners["rs"] } == [3, 3, 3])
  }

  @Test func aSoftTaintAndAPreferenceWeighMoreThanRoom() {
    let busy = facts("q", ["cpu": "2", "memory": "4Gi"])
    let tainted = [
      NodeSnapshot(node("free", taints: ["a:PreferNoSchedule"])), NodeSnapshot(node("busy"), pods: [busy]),
    ]
    #expect(decide(facts("p"), tainted) == .bind(node: "busy"))
    let preferred = [NodeSnapshot(node("free")), NodeSnapshot(node("busy", labels: ["disk": "ssd"]), pods: [busy])]
    let wish = facts("p") { pod in
      var term = PreferredSchedulingTerm()
      term.weight = 1
      term.preference.matchExpressions = [requirement("disk", "In", ["ssd"])]
      var affinity = NodeAffinity()
      affinity.preferredDuringSchedulingIgnoredDuringExecution = [term]
      pod.spec.affinity = Affinity()
      pod.spec.affinity?.nodeAffinity = affinity
    }
    #expect(decide(wish, preferred) == .bind(node: "busy"))
  }

  @Test func tiesAreDrawn() {
    let nodes = (0..<4).map { NodeSnapshot(node("n\($0)")) }
    let drawn = Set((0..<100).map { decide(facts("p"), nodes, seed: UInt64($0)) })
    #expect(drawn.count == 4)
    #expect(decide(facts("p"), nodes, seed: 7) == decide(facts("p"), nodes, seed: 7))
  }
}
