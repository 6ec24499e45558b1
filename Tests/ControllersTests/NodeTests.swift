import Kernel
import KubeModel
import Testing

@testable import Controllers

@Suite struct NodeTests {
  private func node(_ name: String = "n1", ready: String? = "True", heartbeat: Int64 = 0) -> Node {
    var node = Node()
    node.metadata.name = name
    node.metadata.uid = "node-\(name)"
    guard let ready else { return node }
    var condition = NodeCondition()
    (condition.type, condition.status, condition.lastHeartbeatTime) = ("Ready", ready, time(heartbeat))
    node.status.conditions = [condition]
    return node
  }

  private func lease(_ renewed: Int64) -> Lease {
    var lease = Lease()
    lease.spec.renewTime = MicroTime(microsecondsSinceEpoch: renewed * 1_000_000)
    return lease
  }

  private func taint(_ key: String, _ effect: String, added: Int64? = nil) -> Taint {
    var taint = Taint()
    (taint.key, taint.effect, taint.timeAdded) = (key, effect, added.map(time))
    return taint
  }

  @Test func aNodeIsLostWhenItsLeaseStandsStillByOurClock() {
    var health = NodeHealth(graceSeconds: 40)
    health.observe(node(), lease: lease(5000), now: time(100))
    #expect(health.secondsLeft("n1", now: time(139)) == 1)
    health.observe(node(), lease: lease(5010), now: time(139))
    #expect(health.secondsLeft("n1", now: time(139)) == 40)
    health.observe(node(), lease: lease(5010), now: time(170))
    #expect(health.secondsLeft("n1", now: time(179)) == 0)
    health.observe(node(heartbeat: 9), lease: lease(5010), now: time(180))
    #expect(health.secondsLeft("n1", now: time(180)) == 40)
  }

  @Test func nothingIsKnownAnyMoreOfALostNode() throws {
    let conditions = try #require(NodeHealth.lostConditions(of: node(), now: time(7)))
    #expect(conditions.map(\.type) == ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"])
    #expect(conditions.allSatisfy { $0.status == "Unknown" })
    #expect(
      conditions[0].reason == "NodeStatusUnknown" && conditions[0].message == "Kubelet stopped posting node status.")
    #expect(conditions[1].reason == "NodeStatusNeverUpdated")
    var lost = node()
    lost.status.conditions = conditions
    #expect(NodeHealth.lostConditions(of: lost, now: time(9)) == nil)
  }

  struct Row: Sendable { var ready: String?; var mayEvict: Bool; var taints: [String] }

  @Test(arguments: [
    Row(ready: "True", mayEvict: true, taints: []),
    Row(ready: nil, mayEvict: true, taints: ["not-ready NoSchedule"]),
    Row(ready: "False", mayEvict: true, taints: ["not-ready NoSchedule", "not-ready NoExecute"]),
    Row(ready: "Unknown", mayEvict: true, taints: ["unreachable NoSchedule", "unreachable NoExecute"]),
    Row(ready: "Unknown", mayEvict: false, taints: ["unreachable NoSchedule"]),
  ])
  func taintsFollowTheState(_ row: Row) {
    var node = node(ready: row.ready)
    node.spec.taints = [taint("mine", "NoExecute"), taint(NodeTaints.notReady, "NoExecute", added: 1)]
    let taints = NodeTaints.desired(for: node, mayEvict: row.mayEvict, now: time(5))
    #expect(taints.first { $0.key == "mine" } != nil)
    let own = taints.filter { $0.key != "mine" }.map { "\($0.key.split(separator: "/")[1]) \($0.effect)" }
    #expect(Set(own) == Set(row.taints))
    node.spec.taints = taints
    #expect(NodeTaints.desired(for: node, mayEvict: row.mayEvict, now: time(9)) == taints)
  }

  @Test func aCordonedNodeUnderPressureTakesNoPods() {
    var node = node()
    node.spec.unschedulable = true
    var pressure = NodeCondition()
    (pressure.type, pressure.status) = ("DiskPressure", "True")
    node.status.conditions.append(pressure)
    let keys = NodeTaints.desired(for: node, mayEvict: true, now: time(1)).map(\.key)
    #expect(keys == ["node.kubernetes.io/disk-pressure", "node.kubernetes.io/unschedulable"])
    node.spec.unschedulable = nil
    node.status.conditions.removeLast()
    #expect(NodeTaints.desired(for: node, mayEvict: true, now: time(1)).isEmpty)
  }

  @Test func aPodLeavesWhenItsTolerationEnds() {
    func pod(_ tolerations: [(key: String?, seconds: Int64?)]) -> Pod {
      var pod = Make.pod("p")
      pod.spec.tolerations = tolerations.map { key, seconds in
        var toleration = Toleration()
        (toleration.key, toleration.operator, toleration.effect, toleration.tolerationSeconds) =
          (key, "Exists", "NoExecute", seconds)
        return toleration
      }
      return pod
    }
    func when(_ pod: Pod, _ now: Int64, added: Int64? = 100) -> NodeTaints.Eviction {
      NodeTaints.eviction(
        of: pod, from: [taint(NodeTaints.unreachable, "NoExecute", added: added), taint("x", "NoSchedule")],
        since: { _ in time(50) }, now: time(now))
    }
    #expect(when(pod([]), 100) == .now)
    #expect(when(pod([(NodeTaints.notReady, nil)]), 100) == .now)
    #expect(when(pod([(NodeTaints.unreachable, nil)]), 100) == .never)
    #expect(when(pod([(nil, nil)]), 100) == .never)
    #expect(when(pod([(NodeTaints.unreachable, 300)]), 100) == .at(time(400)))
    #expect(when(pod([(NodeTaints.unreachable, 300)]), 400) == .now)
    #expect(when(pod([(NodeTaints.unreachable, 300), (nil, 10)]), 100) == .at(time(110)))
    #expect(when(pod([(NodeTaints.unreachable, 300)]), 100, added: nil) == .at(time(350)))
  }

  @Test func nodesGetPartsThatDoNotOverlap() throws {
    let addressing = try PodAddressing(clusterCIDRs: ["10.244.0.0/22"], lengths: [.ipv4: 24])
    var used: [String] = []
    while let parts = addressing.free(besides: used) { used += parts }
    #expect(used == ["10.244.0.0/24", "10.244.1.0/24", "10.244.2.0/24", "10.244.3.0/24"])
    #expect(addressing.free(besides: ["10.244.0.0/23"]) == ["10.244.2.0/24"])
    #expect(addressing.free(besides: ["10.244.0.128/25", "junk"]) == ["10.244.1.0/24"])
    #expect(addressing.free(besides: ["10.0.0.0/8"]) == nil)
  }

  @Test func nodesGetAPartOfEachFamily() throws {
    let addressing = try PodAddressing(clusterCIDRs: ["10.87.0.0/16", "fd87:6d61:7274::/64"])
    #expect(addressing.free(besides: []) == ["10.87.0.0/21", "fd87:6d61:7274::/80"])
    #expect(
      addressing.free(besides: ["10.87.0.0/21", "fd87:6d61:7274::/80", "fd87:6d61:7274:0:2::/80"])
        == ["10.87.8.0/21", "fd87:6d61:7274:0:1::/80"])
    #expect(addressing.free(besides: ["fd87:6d61:7274::/48"]) == nil)
  }

  @Test(arguments: [
    ["10.244.0.0"], ["10.244.0/16"], ["300.1.1.1/16"], ["10.0.0.0/26"], ["10.0.0.0/4"], ["10.0.0.0/16", "10.1.0.0/16"],
  ])
  func aRangeThatCannotBeCutIsRefused(ranges: [String]) {
    #expect(throws: PodAddressing.Refusal.self) { try PodAddressing(clusterCIDRs: ranges, lengths: [.ipv4: 24]) }
  }

  @Test func podsOfLostNodesFinishedOnesAndThoseWithoutANodeAreRemoved() {
    var cleanup = PodCleanup(finishedMax: 1)
    var stuck = Make.pod("stuck", node: nil, phase: "Pending")
    stuck.metadata.deletionTimestamp = time(1)
    let pods = [
      stuck, Make.pod("orphan", node: "gone"), Make.pod("fine"), Make.pod("waiting", node: nil),
      Make.pod("done-2", phase: "Succeeded", created: 2), Make.pod("done-1", phase: "Failed", created: 1),
    ]
    func removed(_ now: Int64) -> [String] {
      cleanup.plan(pods: pods, nodes: ["n1"], now: time(now)).map { "\($0.pod.metadata.name ?? "") \($0.reason)" }
    }
    #expect(removed(0) == ["stuck unscheduled", "done-1 finished"])
    #expect(removed(39) == ["stuck unscheduled", "done-1 finished"])
    #expect(removed(40) == ["stuck unscheduled", "orphan orphaned", "done-1 finished"])
    #expect(PodCleanup.orphanedStatus(of: pods[1], now: time(1))?.phase == "Failed")
    #expect(PodCleanup.orphanedStatus(of: pods[4], now: time(1)) == nil)
  }

  @Test func aNamespaceSaysWhatKeepsIt() {
    var content = NamespaceContent()
    var held = ObjectMeta()
    held.finalizers = ["example.com/hold"]
    held.deletionGracePeriodSeconds = 30
    content.note(Pod.resource, [held, ObjectMeta()])
    content.note(Deployment.resource, [])
    let conditions = content.conditions(after: [], now: time(5))
    let told = conditions.map { "\($0.type) \($0.status) \($0.reason ?? "")" }
    #expect(
      told == [
        "NamespaceDeletionDiscoveryFailure False ResourcesDiscovered",
        "NamespaceDeletionGroupVersionParsingFailure False ParsedGroupVersions",
        "NamespaceDeletionContentFailure False ContentDeleted", "NamespaceContentRemaining True SomeResourcesRemain",
        "NamespaceFinalizersRemaining True SomeFinalizerRemain",
      ])
    #expect(conditions[3].message == "Some resources are remaining: pods. has 2 resource instances")
    #expect(content.graceSeconds == 30 && !content.isEmpty)
    let empty = NamespaceContent().conditions(after: conditions, now: time(9))
    #expect(empty[3].status == "False" && empty[3].lastTransitionTime == time(9))
    #expect(empty[0].lastTransitionTime == time(5))
  }
}
