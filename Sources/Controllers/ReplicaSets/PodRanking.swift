package import KubeModel

/// Which pods of too many go first: those that are missed least.
///
/// The order is that of Kubernetes: without a node, then pending, not ready, cheap by their own word, crowded on their
/// node, ready for a short time, restarted often, young.
package struct PodRanking {
  /// A pod's own word on what its deletion costs; a whole number of 32 bits, 0 where there is none.
  package static let costAnnotation = "controller.kubernetes.io/pod-deletion-cost"

  private struct Ranked {
    let pod: Pod
    let cost: Int32
    let neighbours: Int
    let restarts: Int32
    let readySince: Int64?
    var isAssigned: Bool { !(pod.spec.nodeName ?? "").isEmpty }
    var phase: Int {
      switch pod.status.phase {
      case "Running": 2
      case "Unknown": 1
      default: 0
      }
    }
  }

  /// - Parameter related: the pods that do the same work, of this and of sibling sets; they tell how crowded a node is.
  package static func toDelete(_ count: Int, of pods: [Pod], related: [Pod], now: Time) -> [Pod] {
    guard count > 0 else { return [] }
    guard count < pods.count else { return pods }
    var onNode: [String: Int] = [:]
    for pod in related where pod.isActive { onNode[pod.spec.nodeName ?? "", default: 0] += 1 }
    let ranked = pods.map { pod in
      Ranked(
        pod: pod, cost: pod.metadata.annotations[costAnnotation].flatMap { Int32($0) } ?? 0,
        neighbours: onNode[pod.spec.nodeName ?? ""] ?? 0,
        restarts: (pod.status.containerStatuses + pod.status.initContainerStatuses).map(\.restartCount).max() ?? 0,
        readySince: pod.isReady ? pod.readyCondition?.lastTransitionTime?.secondsSinceEpoch ?? 0 : nil)
    }
    return ranked.sorted { goesBefore($0, $1, now: now) }.prefix(count).map(\.pod)
  }

  private static func goesBefore(_ left: Ranked, _ right: Ranked, now: Time) -> Bool {
    if left.isAssigned != right.isAssigned { return !left.isAssigned }
    if left.phase != right.phase { return left.phase < right.phase }
    if (left.readySince == nil) != (right.readySince == nil) { return left.readySince == nil }
    if left.cost != right.cost { return left.cost < right.cost }
    if left.neighbours != right.neighbours { return left.neighbours > right.neighbours }
    let ready = (magnitude(of: left.readySince ?? 0, now: now), magnitude(of: right.readySince ?? 0, now: now))
    if ready.0 != ready.1 { return ready.0 < ready.1 }
    if left.restarts != right.restarts { return left.restarts > right.restarts }
    let age = (
      magnitude(of: left.pod.metadata.createdAt, now: now), magnitude(of: right.pod.metadata.createdAt, now: now)
    )
    if age.0 != age.1 { return age.0 < age.1 }
    return (left.pod.metadata.uid ?? "", left.pod.metadata.name ?? "")
      < (right.pod.metadata.uid ?? "", right.pod.metadata.name ?? "")
  }

  /// The binary logarithm of an age in nanoseconds. Ages that differ by less than a factor of two mostly count as the
  /// same, so that not always the youngest go.
  private static func magnitude(of moment: Int64, now: Time) -> Int {
    let age = min(now.secondsSinceEpoch - moment, Int64.max / 1_000_000_000)
    return age <= 0 ? -1 : Int64.bitWidth - 1 - (age * 1_000_000_000).leadingZeroBitCount
  }
}
