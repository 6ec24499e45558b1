import KubeClient
import KubeModel
import Scheduler
import Testing

@Suite struct CoreTests {
  private let noVictims =
    "preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."

  private func core(_ nodes: Node..., seed: UInt64 = 1) -> SchedulerCore {
    var core = SchedulerCore(name: "default-scheduler", random: SeededRandom(seed: seed))
    for node in nodes { core.handle(.node(node), at: .zero) }
    return core
  }

  private func text(_ action: SchedulerCore.Action?) -> String {
    switch action {
    case .bind(let pod, let node, _): "\(pod.key.name) to \(node)"
    case .preempt(let pod, let node, let victims, _):
      "\(pod.key.name) on \(node) for \(victims.map(\.key.name).joined(separator: ","))"
    case .reject(let pod, let message): "\(pod.key.name): \(message)"
    case nil: ""
    }
  }

  @Test func anAssumedPodTakesItsRoomAtOnce() {
    var core = core(node("n", ["cpu": "1"]))
    core.handle(.pod(pod("a", ["cpu": "1"])), at: .zero)
    core.handle(.pod(pod("b", ["cpu": "1"])), at: .zero)
    #expect(text(core.next(at: .zero)) == "a to n")
    #expect(text(core.next(at: .zero)) == "b: 0/1 nodes are available: 1 Insufficient cpu. \(noVictims)")
    #expect(text(core.next(at: .zero)) == "")
  }

  @Test func aBindingThatFailsGivesItsRoomBack() {
    var core = core(node("n", ["cpu": "1"]))
    core.handle(.pod(pod("a", ["cpu": "1"])), at: .zero)
    #expect(text(core.next(at: .zero)) == "a to n")
    core.handle(.bindFailed(uid: "uid-a"), at: .zero)
    core.handle(.pod(pod("b", ["cpu": "1"])), at: .zero)
    #expect(text(core.next(at: .zero)) == "b to n")
    core.handle(.podGone(ObjectKey(namespace: "default", name: "b")), at: .milliseconds(500))
    #expect(text(core.next(at: .milliseconds(999))) == "")
    #expect(text(core.next(at: .seconds(1))) == "a to n")
  }

  @Test func aBoundPodThatIsNeverSeenNoLongerCounts() {
    var core = core(node("n", ["cpu": "1"]))
    core.handle(.pod(pod("a", ["cpu": "1"])), at: .zero)
    #expect(text(core.next(at: .zero)) == "a to n")
    core.handle(.bound(uid: "uid-a"), at: .seconds(5))
    #expect(text(core.next(at: .seconds(64))) == "")
    #expect(core.node(of: "uid-a") == "n")
    _ = core.next(at: .seconds(65))
    #expect(core.node(of: "uid-a") == nil)
    #expect(text(core.next(at: .seconds(66))) == "a to n")
  }

  @Test func aConfirmedPodStays() {
    var core = core(node("n", ["cpu": "1"]))
    core.handle(.pod(pod("a", ["cpu": "1"])), at: .zero)
    _ = core.next(at: .zero)
    // The watch may be ahead of the answer.
    core.handle(.pod(pod("a", ["cpu": "1"], on: "n")), at: .zero)
    core.handle(.bound(uid: "uid-a"), at: .zero)
    #expect(text(core.next(at: .seconds(1000))) == "")
    #expect(core.node(of: "uid-a") == "n")
    #expect(core.nodes[0].requested.milliCPU == 1000)
  }

  @Test func newsFromBeforeBindingDoNotScheduleAPodTwice() {
    var core = core(node("n"))
    core.handle(.pod(pod("a")), at: .zero)
    #expect(text(core.next(at: .zero)) == "a to n")
    core.handle(.pod(pod("a", labels: ["x": "y"])), at: .zero)
    #expect(text(core.next(at: .seconds(30))) == "")
  }

  @Test func podsThatEndMakeRoom() {
    var core = core(node("n", ["cpu": "1"]))
    core.handle(.pod(pod("old", ["cpu": "1"], on: "n")), at: .zero)
    core.handle(.pod(pod("a", ["cpu": "1"])), at: .zero)
    #expect(text(core.next(at: .zero)).hasPrefix("a: "))
    core.handle(.pod(pod("old", ["cpu": "1"], on: "n") { $0.status.phase = "Succeeded" }), at: .seconds(2))
    #expect(text(core.next(at: .seconds(2))) == "a to n")
  }

  @Test func aHeartbeatDoesNotWakePodsAndRoomDoes() {
    var core = core(node("n", ["cpu": "1"]))
    core.handle(.pod(pod("a", ["cpu": "2"])), at: .zero)
    #expect(text(core.next(at: .zero)).hasPrefix("a: "))
    var same = node("n", ["cpu": "1"])
    same.status.conditions = [NodeCondition()]
    core.handle(.node(same), at: .seconds(20))
    #expect(text(core.next(at: .seconds(20))) == "")
    core.handle(.node(node("n", ["cpu": "2"])), at: .seconds(21))
    #expect(text(core.next(at: .seconds(21))) == "a to n")
  }

  @Test func whatIsNotForUsIsLeftAlone() {
    var core = core(node("n"))
    core.handle(.pod(pod("a") { $0.spec.schedulerName = "other" }), at: .zero)
    core.handle(.pod(pod("b") { $0.metadata.deletionTimestamp = Time(secondsSinceEpoch: 1) }), at: .zero)
    core.handle(
      .pod(
        pod("c") {
          var gate = PodSchedulingGate()
          gate.name = "x"
          $0.spec.schedulingGates = [gate]
        }), at: .zero)
    #expect(text(core.next(at: .zero)) == "")
    core.handle(.pod(pod("c")), at: .zero)
    #expect(text(core.next(at: .zero)) == "c to n")
  }

  @Test func aNodeThatWentKeepsItsPodsUntilTheyGo() {
    var core = core(node("n", ["cpu": "1"]))
    core.handle(.pod(pod("a", ["cpu": "1"], on: "n")), at: .zero)
    core.handle(.nodeGone("n"), at: .zero)
    core.handle(.pod(pod("b", ["cpu": "1"])), at: .zero)
    #expect(text(core.next(at: .zero)) == "b: no nodes available to schedule pods")
    core.handle(.node(node("n", ["cpu": "1"])), at: .seconds(5))
    #expect(text(core.next(at: .seconds(5))) == "b: 0/1 nodes are available: 1 Insufficient cpu. \(noVictims)")
    core.handle(.nodeGone("n"), at: .seconds(6))
    core.handle(.podGone(ObjectKey(namespace: "default", name: "a")), at: .seconds(6))
    #expect(core.nodes.isEmpty)
  }

  @Test func anotherPodUnderTheSameNameIsAnotherPod() {
    var core = core(node("n", ["cpu": "1"]))
    core.handle(.pod(pod("a", ["cpu": "1"], on: "n")), at: .zero)
    core.handle(.pod(pod("a", ["cpu": "1"]) { $0.metadata.uid = "second" }), at: .zero)
    #expect(core.node(of: "uid-a") == nil)
    #expect(text(core.next(at: .zero)) == "a to n")
  }
}
