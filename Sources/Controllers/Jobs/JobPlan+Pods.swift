internal import KubeModel

/// How many pods a running Job has, and which.
extension JobPlan {
  mutating func manage() {
    if job.isIndexed { manageIndexes() } else { manageCount() }
    creations = Array(creations.prefix(Self.burstMax))
    discards = Array(discards.prefix(Self.burstMax))
  }

  private mutating func manageCount() {
    let wanted: Int
    if let completions = job.spec.completions {
      wanted = min(job.parallelism, max(0, Int(completions) - succeeded))
    } else {
      wanted = succeeded > 0 ? min(active.count, job.parallelism) : job.parallelism
    }
    if active.count > wanted {
      discards = PodRanking.toDelete(active.count - wanted, of: active, related: active, now: now)
      return
    }
    let missing = wanted - active.count - (job.waitsForTermination ? terminating.count : 0)
    guard missing > 0, mayReplace(pods) else { return }
    creations = (0..<min(missing, Self.burstMax)).map { _ in job.pod(index: nil) }
  }

  private mutating func manageIndexes() {
    let completions = Int(job.spec.completions ?? 0)
    var taken: Set<Int> = []
    var running: [Pod] = []
    for pod in active.sorted(by: {
      ($0.metadata.createdAt, $0.metadata.name ?? "") < ($1.metadata.createdAt, $1.metadata.name ?? "")
    }) {
      guard let index = job.index(of: pod), !completed.contains(index), !failedIndexes.contains(index),
        taken.insert(index).inserted
      else {
        discards.append(pod)
        continue
      }
      running.append(pod)
    }
    let left = completions - completed.numbers.union(failedIndexes.numbers).count
    let wanted = min(job.parallelism, max(0, left))
    if running.count > wanted {
      // The highest numbers first: the lower ones were begun earlier.
      let surplus = running.sorted { (job.index(of: $0) ?? 0) > (job.index(of: $1) ?? 0) }
      discards += surplus.prefix(running.count - wanted)
      return
    }
    var room = wanted - running.count
    if job.waitsForTermination {
      for pod in terminating { if let index = job.index(of: pod), taken.insert(index).inserted { room -= 1 } }
    }
    let isPerIndex = job.spec.backoffLimitPerIndex != nil
    guard room > 0, isPerIndex || mayReplace(pods) else { return }
    var past: [Int: [Pod]] = [:]
    if isPerIndex { for pod in pods { if let index = job.index(of: pod) { past[index, default: []].append(pod) } } }
    for index in 0..<completions where room > 0 && creations.count < Self.burstMax {
      if taken.contains(index) || completed.contains(index) || failedIndexes.contains(index) { continue }
      let before = past[index] ?? []
      guard !isPerIndex || mayReplace(before) else { continue }
      creations.append(job.pod(index: index, failures: failures(before)))
      room -= 1
    }
  }

  /// Failures of one index so far, those that the policy ignores left out.
  private func failures(_ pods: [Pod]) -> Int {
    pods.map { pod in
      let before = Int(pod.metadata.annotations[Job.indexFailuresKey] ?? "0") ?? 0
      let counts = pod.status.phase == "Failed" && job.verdict(on: pod) != .ignore
      return before + (counts ? 1 : 0)
    }.max() ?? 0
  }

  /// Whether the wait after the last failures is over; asks to be called again otherwise.
  private mutating func mayReplace(_ pods: [Pod]) -> Bool {
    let success = pods.filter { $0.status.phase == "Succeeded" }.compactMap(\.finishedAt).max() ?? .min
    let failures = pods.filter { $0.status.phase == "Failed" }.compactMap(\.finishedAt).filter { $0 > success }
    guard let last = failures.max() else { return true }
    var delay = Self.firstBackoffSeconds
    for _ in 1..<max(2, min(failures.count, 30)) where failures.count > 1 {
      delay = min(delay * 2, Self.backoffSecondsMax)
    }
    let left = last + delay - now.secondsSinceEpoch
    if left <= 0 { return true }
    again(after: left)
    return false
  }
}
