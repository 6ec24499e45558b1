internal import KubeModel

/// How one template's pods give way to another's.
extension DeploymentPlan {
  // MARK: rolling

  /// At most `desired + maxSurge` pods in all, at least `desired - maxUnavailable` available, at every step.
  mutating func roll() {
    keepCurrent(mayCreate: true)
    guard let current = new else { return }
    let size = newSize(of: current)
    if size != current.size, scale(current, to: size) { return }
    if shrinkOld() { return }
    if DeploymentStatusPlan.isComplete(deployment, deployment.status) { cleanUp() }
  }

  /// The size that the current set may have now.
  func newSize(of current: ReplicaSet) -> Int {
    let desired = deployment.desired
    guard deployment.isRolling, current.size < desired else { return desired }
    let room = desired + deployment.maxSurge - all.reduce(0) { $0 + $1.size }
    return room <= 0 ? current.size : current.size + min(room, desired - current.size)
  }

  /// Takes from the old sets what may go: first what is not available anyway, then what the new ones make up for.
  private mutating func shrinkOld() -> Bool {
    guard let current = new, !activeOld.isEmpty else { return false }
    let minimum = deployment.desired - deployment.maxUnavailable
    let newMissing = current.size - current.lastingAvailable
    var budget = all.reduce(0) { $0 + $1.size } - minimum - newMissing
    guard budget > 0 else { return false }
    var changed = false
    for set in activeOld where budget > 0 && set.isObserved {
      let broken = min(budget, set.size - set.lastingAvailable)
      guard broken > 0 else { continue }
      budget -= broken
      changed = scale(set, to: set.size - broken) || changed
    }
    var spare = all.reduce(0) { $0 + $1.lastingAvailable } - minimum
    for set in activeOld where spare > 0 {
      let count = min(set.size, spare)
      spare -= count
      changed = scale(set, to: set.size - count) || changed
    }
    return changed
  }

  // MARK: recreating

  mutating func recreate(_ activePods: Set<String>) {
    keepCurrent(mayCreate: false)
    var shrunk = false
    for set in activeOld { shrunk = scale(set, to: 0) || shrunk }
    if shrunk { return }
    let stillThere = old.contains { set in
      set.status.replicas > 0 || set.metadata.uid.map(activePods.contains) ?? false
    }
    if stillThere { return }
    if new == nil { keepCurrent(mayCreate: true) }
    guard let current = new else { return }
    if current.size != deployment.desired, scale(current, to: deployment.desired) { return }
    if DeploymentStatusPlan.isComplete(deployment, deployment.status) { cleanUp() }
  }

  // MARK: another size

  /// Shares a change of the Deployment's size among its sets.
  mutating func resize() {
    if let only = activeOrLatest {
      scale(only, to: deployment.desired)
      return
    }
    if let current = new, isSaturated(current) {
      for set in activeOld { scale(set, to: 0) }
      return
    }
    if deployment.isRolling { resizeInProportion() }
  }

  /// The one set that has pods, or the newest where none has; nil in the middle of a rollout.
  private var activeOrLatest: ReplicaSet? {
    let active = all.filter { $0.size > 0 }
    switch active.count {
    case 0: return new ?? old.last
    case 1: return active[0]
    default: return nil
    }
  }

  private func isSaturated(_ set: ReplicaSet) -> Bool {
    set.metadata.annotations[DeploymentAnnotations.desiredReplicas].flatMap { Int($0) } == deployment.desired
      && set.size == deployment.desired && set.lastingAvailable == deployment.desired
  }

  /// Each set gets its share of the change by its part of the whole; the largest takes what rounding leaves.
  private mutating func resizeInProportion() {
    let active = all.filter { $0.size > 0 }
    let allowed = deployment.desired > 0 ? deployment.desired + deployment.maxSurge : 0
    let toAdd = allowed - active.reduce(0) { $0 + $1.size }
    let ordered = active.sorted { left, right in
      if left.size != right.size { return left.size > right.size }
      return toAdd > 0 ? Self.isOlder(right, left) : Self.isOlder(left, right)
    }
    var sizes = ordered.map(\.size)
    var added = 0
    for (index, set) in ordered.enumerated() where toAdd != 0 && toAdd != added {
      let share = share(of: set)
      let part = toAdd > 0 ? min(share, toAdd - added) : max(share, toAdd - added)
      sizes[index] += part
      added += part
    }
    if toAdd != 0, !sizes.isEmpty { sizes[0] = max(0, sizes[0] + toAdd - added) }
    if toAdd < 0 { sizes = sparingTheAvailable(ordered, sizes) }
    for (set, size) in zip(ordered, sizes) { scale(set, to: size) }
  }

  /// Shifts a reduction from sets whose available pods are needed to sets with pods that are not available yet.
  private func sparingTheAvailable(_ sets: [ReplicaSet], _ planned: [Int]) -> [Int] {
    var sizes = planned
    func left(_ index: Int) -> Int { min(sizes[index], sets[index].lastingAvailable) }
    var missing = deployment.desired - deployment.maxUnavailable - sets.indices.reduce(0) { $0 + left($1) }
    for taker in sets.indices where missing > 0 && sets[taker].lastingAvailable > sizes[taker] {
      for giver in sets.indices where giver != taker {
        let spare = sizes[giver] - Int(sets[giver].status.availableReplicas ?? 0)
        let count = min(missing, sets[taker].lastingAvailable - sizes[taker], spare)
        guard count > 0 else { continue }
        sizes[taker] += count
        sizes[giver] -= count
        missing -= count
      }
    }
    return sizes
  }

  /// What a set would gain (or lose) if it kept its part of the Deployment's greatest size.
  private func share(of set: ReplicaSet) -> Int {
    if deployment.desired == 0 { return -set.size }
    let noted = set.metadata.annotations[DeploymentAnnotations.maxReplicas].flatMap { Int($0) }
    let before = noted ?? Int(deployment.status.replicas ?? 0)
    guard before > 0 else { return 0 }
    let size = Double(set.size) * Double(deployment.desired + deployment.maxSurge) / Double(before)
    return Int(size.rounded()) - set.size
  }
}
