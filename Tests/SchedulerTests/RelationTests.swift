import KubeClient
import KubeModel
import Scheduler
import Testing

@Suite struct RelationTests {
  private func term(_ label: String, app: String) -> PodAffinityTerm {
    var term = PodAffinityTerm()
    term.topologyKey = label
    var selector = LabelSelector()
    selector.matchLabels = ["app": app]
    term.labelSelector = selector
    return term
  }

  private func near(_ terms: PodAffinityTerm..., far: [PodAffinityTerm] = []) -> (inout Pod) -> Void {
    { pod in
      var affinity = Affinity()
      if !terms.isEmpty {
        affinity.podAffinity = PodAffinity()
        affinity.podAffinity?.requiredDuringSchedulingIgnoredDuringExecution = terms
      }
      if !far.isEmpty {
        affinity.podAntiAffinity = PodAntiAffinity()
        affinity.podAntiAffinity?.requiredDuringSchedulingIgnoredDuringExecution = far
      }
      pod.spec.affinity = affinity
    }
  }

  private func zoned(_ pods: [[PodFacts]]) -> [NodeSnapshot] {
    pods.enumerated().map { NodeSnapshot(node("n\($0)", labels: ["zone": $0 < 2 ? "a" : "b"]), pods: $1) }
  }

  private func web(_ name: String) -> PodFacts { PodFacts(pod(name, labels: ["app": "web"])) }

  @Test func aPodGoesWhereItsCompanyIs() {
    let nodes = zoned([[], [web("w")], []])
    #expect(decide(facts("p", change: near(term("kubernetes.io/hostname", app: "web"))), nodes) == .bind(node: "n1"))
    let found = (0..<20).map { decide(facts("p", change: near(term("zone", app: "web"))), nodes, seed: UInt64($0)) }
    // In the zone of its company, and there where more is free.
    #expect(Set(found) == [.bind(node: "n0")])
    #expect(
      obstacles(facts("p", change: near(term("zone", app: "db"))), nodes)
        == "0/3 nodes are available: 3 node(s) didn't match pod affinity rules.")
  }

  @Test func theFirstOfItsKindMayGoAnywhere() {
    var first = pod("p", labels: ["app": "web"])
    near(term("zone", app: "web"))(&first)
    #expect(decide(PodFacts(first), zoned([[], [], []])).message == "")
  }

  @Test func aPodKeepsAwayFromOthersAndTheyFromIt() {
    let shy = near(far: [term("zone", app: "web")])
    #expect(decide(facts("p", change: shy), zoned([[web("w")], [], []])) == .bind(node: "n2"))
    #expect(
      obstacles(facts("p", change: shy), zoned([[web("w")], [], [web("v")]]))
        == "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules.")
    let nodes = zoned([[facts("shy", change: shy)], [], []])
    #expect(decide(web("w"), nodes) == .bind(node: "n2"))
    #expect(
      obstacles(web("w"), Array(nodes.prefix(2)))
        == "0/2 nodes are available: 2 node(s) didn't satisfy existing pods anti-affinity rules.")
  }

  @Test func otherNamespacesCountOnlyWhereNamed() {
    var stranger = pod("w", labels: ["app": "web"])
    stranger.metadata.namespace = "other"
    let nodes = zoned([[PodFacts(stranger)], [], []])
    var wanted = term("zone", app: "web")
    #expect(decide(facts("p", change: near(wanted)), nodes).message != "")
    wanted.namespaces = ["other"]
    #expect(decide(facts("p", change: near(wanted)), nodes).message == "")
    wanted.namespaces = []
    wanted.namespaceSelector = LabelSelector()
    wanted.namespaceSelector?.matchLabels = ["team": "x"]
    var scheduling = NodeChoice()
    var random = SeededRandom(seed: 1)
    #expect(scheduling.decide(facts("p", change: near(wanted)), nodes: nodes, random: &random).message != "")
    scheduling.namespaces["other"] = ["team": "x"]
    #expect(scheduling.decide(facts("p", change: near(wanted)), nodes: nodes, random: &random).message == "")
  }

  private func spread(_ label: String, skew: Int32 = 1, hard: Bool = true, minDomains: Int32? = nil) -> (inout Pod) ->
    Void
  {
    { pod in
      pod.metadata.labels = ["app": "web"]
      var constraint = TopologySpreadConstraint()
      (constraint.topologyKey, constraint.maxSkew) = (label, skew)
      constraint.whenUnsatisfiable = hard ? "DoNotSchedule" : "ScheduleAnyway"
      constraint.minDomains = minDomains
      constraint.labelSelector = LabelSelector()
      constraint.labelSelector?.matchLabels = ["app": "web"]
      pod.spec.topologySpreadConstraints = [constraint]
    }
  }

  @Test func podsAreSpreadOverZones() {
    let nodes = zoned([[web("w")], [], []])
    #expect(decide(facts("p", change: spread("zone")), nodes) == .bind(node: "n2"))
    #expect(
      obstacles(
        facts("p", change: spread("zone")),
        Array(zoned([[web("w")], [web("v")], []]).prefix(2)) + [
          NodeSnapshot(node("n2", ["pods": "0"], labels: ["zone": "b"])), NodeSnapshot(node("n3")),
        ])
        == "0/4 nodes are available: 1 Too many pods, 1 node(s) didn't match pod topology spread constraints "
        + "(missing required label), 2 node(s) didn't match pod topology spread constraints.")
    #expect(decide(facts("p", change: spread("zone", hard: false)), nodes) == .bind(node: "n2"))
    #expect(
      decide(facts("p", change: spread("zone", minDomains: 3)), zoned([[web("w")], [], [web("v")]])).message != "")
  }
}
