import KubeClient
import KubeModel
import Scheduler
import Testing

@Suite struct SpeedTests {
  /// 1,000 nodes, 5,000 pods, each decision over all nodes. The bound is a hundredth of what an optimised build does: it
  /// only catches work that grows with the square of something.
  @Test func aThousandNodesAreDecidedAboutInTime() {
    var core = SchedulerCore(name: "default-scheduler", random: SeededRandom(seed: 1))
    for number in 0..<1000 { core.handle(.node(node("n\(number)", labels: ["zone": "z\(number % 3)"])), at: .zero) }
    let count = 300
    for number in 0..<count {
      core.handle(.pod(pod("p\(number)", ["cpu": "100m", "memory": "64Mi"], owner: "rs\(number % 50)")), at: .zero)
    }
    var bound = 0
    let took = ContinuousClock().measure {
      while case .bind = core.next(at: .zero) { bound += 1 }
    }
    #expect(bound == count)
    #expect(took < .seconds(30))
  }
}
