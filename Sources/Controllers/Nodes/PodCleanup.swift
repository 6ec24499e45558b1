package import KubeModel

/// Which pods are to be removed because nobody else will.
package struct PodCleanup: Sendable {
  /// Seconds that a node must be missing before its pods are taken for orphans.
  package static let quarantineSeconds: Int64 = 40

  package enum Reason: Hashable, Sendable {
    /// There are more finished pods than are kept.
    case finished
    /// Its node is gone.
    case orphaned
    /// To be deleted, and never given to a node that could do it.
    case unscheduled
  }

  private var missingSince: [String: Int64] = [:]
  /// Finished pods that are kept; zero: all.
  package let finishedMax: Int

  package init(finishedMax: Int) { self.finishedMax = finishedMax }

  /// - Parameter nodes: the names of all nodes.
  /// - Returns: the pods to remove, each once. That a node is gone must be asked of the API before its pods are.
  package mutating func plan(pods: [Pod], nodes: Set<String>, now: Time) -> [(pod: Pod, reason: Reason)] {
    var removals: [(pod: Pod, reason: Reason)] = []
    let missing = Set(pods.compactMap(\.spec.nodeName).filter { !$0.isEmpty }).subtracting(nodes)
    missingSince = missingSince.filter { missing.contains($0.key) }
    for node in missing where missingSince[node] == nil { missingSince[node] = now.secondsSinceEpoch }
    for pod in pods {
      let node = pod.spec.nodeName ?? ""
      if node.isEmpty {
        if pod.metadata.isDeleting { removals.append((pod, .unscheduled)) }
      } else if let since = missingSince[node], now.secondsSinceEpoch - since >= Self.quarantineSeconds {
        removals.append((pod, .orphaned))
      }
    }
    let finished = pods.filter {
      $0.isFinished && !$0.metadata.isDeleting && missingSince[$0.spec.nodeName ?? ""] == nil
    }
    guard finishedMax > 0, finished.count > finishedMax else { return removals }
    // Evicted pods first, then the oldest.
    let ordered = finished.sorted { left, right in
      let (first, second) = (left.status.reason == "Evicted", right.status.reason == "Evicted")
      if first != second { return first }
      return (left.metadata.createdAt, left.metadata.name ?? "") < (right.metadata.createdAt, right.metadata.name ?? "")
    }
    return removals + ordered.prefix(finished.count - finishedMax).map { ($0, .finished) }
  }

  /// The status of a pod whose node is gone: it will never finish by itself.
  package static func orphanedStatus(of pod: Pod, now: Time) -> PodStatus? {
    guard !pod.isFinished else { return nil }
    var status = pod.status
    status.phase = "Failed"
    var condition = PodCondition()
    condition.type = "DisruptionTarget"
    condition.status = "True"
    condition.reason = "DeletionByPodGC"
    condition.message = "PodGC: node no longer exists"
    condition.lastTransitionTime = now
    status.conditions.removeAll { $0.type == "DisruptionTarget" }
    status.conditions.append(condition)
    return status
  }
}
