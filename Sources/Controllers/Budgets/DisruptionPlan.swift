package import KubeModel

/// How many of the pods that a PodDisruptionBudget covers may be evicted now.
package struct DisruptionPlan: Sendable {
  /// Seconds within which a pod whose eviction was granted has to be seen going; else the grant is void.
  package static let evictionSeconds: Int64 = 120

  package private(set) var status: PodDisruptionBudgetStatus
  /// When to plan again although nothing changed.
  package private(set) var againAfterSeconds: Int64?

  /// - Parameters:
  ///   - pods: those that the budget selects.
  ///   - wanted: how many pods their controllers ask for in all; nil where one of them cannot be asked.
  package init(for budget: PodDisruptionBudget, pods: [Pod], wanted: Int?, now: Time) {
    status = budget.status
    var disrupted: [String: Time] = [:]
    let byName = Dictionary(pods.map { ($0.metadata.name ?? "", $0) }) { first, _ in first }
    for (name, time) in budget.status.disruptedPods {
      guard let pod = byName[name], !pod.metadata.isDeleting else { continue }
      let left = time.secondsSinceEpoch + Self.evictionSeconds - now.secondsSinceEpoch
      guard left > 0 else { continue }
      disrupted[name] = time
      againAfterSeconds = min(againAfterSeconds ?? left, left)
    }
    let counting = pods.filter { !$0.isFinished }
    let healthy = counting.count {
      $0.isReady && !$0.metadata.isDeleting && disrupted[$0.metadata.name ?? ""] == nil
    }
    let (expected, desired) = Self.numbers(budget.spec, pods: counting.count, wanted: wanted)
    let isKnown = expected != nil
    status.disruptedPods = disrupted
    status.currentHealthy = Int32(clamping: healthy)
    status.desiredHealthy = Int32(clamping: desired)
    status.expectedPods = Int32(clamping: expected ?? 0)
    let allowed = isKnown && (expected ?? 0) > 0 ? max(0, healthy - desired) : 0
    status.disruptionsAllowed = Int32(clamping: allowed)
    status.observedGeneration = budget.metadata.generation ?? 0
    setCondition(isKnown: isKnown, allowed: allowed, budget, now)
  }

  private static func numbers(
    _ spec: PodDisruptionBudgetSpec, pods: Int, wanted: Int?
  ) -> (expected: Int?, desired: Int) {
    if let most = spec.maxUnavailable {
      guard let wanted else { return (nil, 0) }
      return (wanted, max(0, wanted - most.scaled(total: wanted, roundingUp: true)))
    }
    guard let least = spec.minAvailable else { return (pods, 0) }
    if case .int(let number) = least { return (pods, Int(number)) }
    guard let wanted else { return (nil, 0) }
    return (wanted, least.scaled(total: wanted, roundingUp: true))
  }

  private mutating func setCondition(isKnown: Bool, allowed: Int, _ budget: PodDisruptionBudget, _ now: Time) {
    var condition = Condition()
    condition.type = "DisruptionAllowed"
    condition.observedGeneration = budget.metadata.generation ?? 0
    if !isKnown {
      (condition.status, condition.reason) = ("False", "SyncFailed")
      condition.message = "found no controller with a size for a selected pod"
    } else {
      (condition.status, condition.reason) =
        allowed > 0 ? ("True", "SufficientPods") : ("False", "InsufficientPods")
    }
    let old = status.conditions.first { $0.type == condition.type }
    condition.lastTransitionTime = old?.status == condition.status ? old?.lastTransitionTime ?? now : now
    status.conditions.removeAll { $0.type == condition.type }
    status.conditions.append(condition)
  }
}
