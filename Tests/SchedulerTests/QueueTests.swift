import KubeClient
import KubeModel
import Scheduler
import Testing

@Suite struct QueueTests {
  private func names(_ queue: inout PodQueue, at now: Duration) -> [String] {
    var found: [String] = []
    while let (pod, _) = queue.pop(at: now) { found.append(pod.key.name) }
    return found
  }

  @Test func theHigherPriorityComesFirstThenWhoCameFirst() {
    var queue = PodQueue()
    for (name, priority) in [("a", 0), ("b", 5), ("c", 0), ("d", 5)] {
      queue.put(PodFacts(pod(name, priority: Int32(priority))), at: .zero)
    }
    #expect(names(&queue, at: .zero) == ["b", "d", "a", "c"])
  }

  @Test func aPodWaitsForWhatMayHelpIt() {
    var queue = PodQueue()
    queue.putUnschedulable(facts("a"), failures: 1, [.node, .podGone], at: .zero)
    queue.cluster(changed: .podPlaced, at: .seconds(50))
    #expect(names(&queue, at: .seconds(50)) == [])
    queue.cluster(changed: .podGone, at: .seconds(51))
    #expect(names(&queue, at: .seconds(51)) == ["a"])
  }

  @Test func itBacksOffBeforeItComesAgain() {
    #expect((1...7).map { PodQueue.backoff(failures: $0) } == [1, 2, 4, 8, 10, 10, 10].map { .seconds($0) })
    var queue = PodQueue()
    queue.putUnschedulable(facts("a"), failures: 3, .node, at: .seconds(10))
    queue.cluster(changed: .node, at: .seconds(11))
    #expect(queue.nextTimer == .seconds(14))
    #expect(names(&queue, at: .seconds(13)) == [])
    #expect(names(&queue, at: .seconds(14)) == ["a"])
  }

  @Test func whatNobodyHelpsIsTriedAgainInTheEnd() {
    var queue = PodQueue()
    queue.putUnschedulable(facts("a"), failures: 1, .node, at: .zero)
    #expect(names(&queue, at: .seconds(299)) == [])
    #expect(names(&queue, at: .seconds(300)) == ["a"])
  }

  @Test func newsThatDoNotMatterDoNotWakeAPod() {
    var queue = PodQueue()
    let waiting = pod("a")
    queue.putUnschedulable(PodFacts(waiting), failures: 1, .node, at: .zero)
    var told = waiting
    var condition = PodCondition()
    (condition.type, condition.status) = ("PodScheduled", "False")
    told.status.conditions = [condition]
    queue.put(PodFacts(told), at: .seconds(20))
    #expect(names(&queue, at: .seconds(20)) == [])
    told.spec.tolerations = [toleration("a", "Exists")]
    queue.put(PodFacts(told), at: .seconds(21))
    #expect(names(&queue, at: .seconds(21)) == ["a"])
  }

  @Test func aRemovedPodDoesNotComeBack() {
    var queue = PodQueue()
    queue.put(facts("a"), at: .zero)
    queue.putFailed(facts("b"), failures: 1, at: .zero)
    queue.remove("uid-a")
    queue.remove("uid-b")
    #expect(names(&queue, at: .seconds(1000)) == [])
    #expect(queue.nextTimer == nil)
  }
}
