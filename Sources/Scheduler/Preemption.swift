internal import KubeClient
package import KubeModel

/// Pods that must not go too many at a time.
package struct DisruptionBudget: Sendable {
  let namespace: String
  let selector: LabelSelector?
  let allowed: Int
  /// Names of pods whose going was granted already.
  let disrupted: Set<String>

  package init(_ budget: PodDisruptionBudget) {
    namespace = budget.metadata.namespace ?? ""
    selector = budget.spec.selector
    allowed = Int(budget.status.disruptionsAllowed ?? 0)
    disrupted = Set(budget.status.disruptedPods.keys)
  }

  func covers(_ pod: PodFacts) -> Bool {
    guard pod.key.namespace == namespace, !pod.needs.labels.isEmpty, !disrupted.contains(pod.key.name) else {
      return false
    }
    return selector?.matches(pod.needs.labels) ?? false
  }
}

/// Room for a pod at the cost of pods that matter less.
package struct Preemption: Sendable {
  /// Nodes that are looked at closely for one pod.
  package static let candidatesMax = 100

  package let node: String
  /// In the order in which they are to go; those that are going already are left out.
  package let victims: [PodFacts]

  private struct Candidate {
    var index: Int
    var victims: [PodFacts]
    var violations: Int

    /// The less harm, the smaller.
    var harm: (Int, Int64, Int64, Int, Int64) {
      let priorities = victims.map { Int64($0.needs.priority) }
      let highest = priorities.max() ?? .min
      let oldest = victims.filter { Int64($0.needs.priority) == highest }.map(\.startedAt).min() ?? 0
      let sum = priorities.reduce(0) { $0 + $1 + (1 << 31) }
      return (violations, highest, sum, victims.count, -oldest)
    }
  }

  /// - Parameters:
  ///   - offset: where to begin among the nodes, so that not always the same are looked at.
  /// - Returns: what to do, or why nothing helps, as events tell it.
  static func plan(
    for pod: PodFacts, _ choice: NodeChoice, _ nodes: [NodeSnapshot], _ budgets: [DisruptionBudget],
    _ index: RelationIndex, offset: Int
  ) -> (Preemption?, message: String) {
    if pod.needs.neverPreempts { return (nil, "not eligible due to preemptionPolicy=Never.") }
    if let name = pod.nominatedNode, let promised = nodes.first(where: { $0.name == name }),
      promised.pods.values.contains(where: { $0.isDeleting && $0.needs.priority < pod.needs.priority })
    {
      return (nil, "not eligible due to a terminating pod on the nominated node.")
    }
    var counted = index
    let relations = Relations(pod, nodes, &counted)
    let evaluation = choice.evaluate(pod, nodes, relations)
    let curable = evaluation.obstacles.filter(\.obstacle.isCurable).map(\.index)
    var reasons: [String: Int] = [:]
    let hopeless = evaluation.obstacles.count - curable.count
    if hopeless > 0 { reasons["Preemption is not helpful for scheduling"] = hopeless }
    var best: Candidate?
    for step in 0..<min(curable.count, candidatesMax) {
      let index = curable[(offset + step) % curable.count]
      switch candidate(index, pod, choice, nodes, relations == nil ? nil : counted, budgets) {
      case .success(let found): if best.map({ found.harm < $0.harm }) ?? true { best = found }
      case .failure(let reason): for words in reason.words { reasons[words, default: 0] += 1 }
      }
    }
    guard let best else {
      let listed = Decision.listed(reasons.map { ($0.key, $0.value) })
      return (nil, "0/\(evaluation.present) nodes are available: \(listed).")
    }
    return (Preemption(node: nodes[best.index].name, victims: best.victims.filter { !$0.isDeleting }), "")
  }

  private struct Reason: Error { let words: [String] }

  private static func candidate(
    _ index: Int, _ pod: PodFacts, _ choice: NodeChoice, _ nodes: [NodeSnapshot],
    _ counted: RelationIndex?, _ budgets: [DisruptionBudget]
  ) -> Result<Candidate, Reason> {
    let lower = nodes[index].pods.values.filter { $0.needs.priority < pod.needs.priority }
    guard !lower.isEmpty else { return .failure(Reason(words: ["No preemption victims found for incoming pod"])) }
    var trial = nodes[index]
    var counted = counted
    func remove(_ other: PodFacts) {
      counted?.remove(other, at: index, nodes)
      trial.remove(other.uid)
    }
    for other in lower { remove(other) }
    let volumes = PodVolumes(pod, choice.volumes)
    func obstacle() -> Obstacle? {
      if counted == nil { return choice.obstacle(pod, trial, volumes, nil) }
      var changed = nodes
      changed[index] = trial
      var relations: Relations?
      if var fresh = counted {
        relations = Relations(pod, changed, &fresh)
        counted = fresh
      }
      return choice.obstacle(pod, trial, volumes, relations.map { ($0, index) })
    }
    if let obstacle = obstacle() {
      var words = [obstacle.words]
      if case .insufficient = obstacle {
        words = []
        NodeChoice.insufficient(pod.needs.amounts, choice.fuller(trial, for: pod)) { words.append($0.words) }
      }
      return .failure(Reason(words: words))
    }
    // Those that matter most are spared first; among them those whose budgets forbid their going.
    let ordered = lower.sorted {
      ($1.needs.priority, $0.startedAt, $0.uid) < ($0.needs.priority, $1.startedAt, $1.uid)
    }
    var left = budgets.map(\.allowed)
    var (violating, others): ([PodFacts], [PodFacts]) = ([], [])
    for other in ordered {
      let covering = budgets.indices.filter { budgets[$0].covers(other) }
      for place in covering { left[place] -= 1 }
      if covering.contains(where: { left[$0] < 0 }) { violating.append(other) } else { others.append(other) }
    }
    var found = Candidate(index: index, victims: [], violations: 0)
    for other in violating + others {
      // One that is going makes room without being told.
      if !other.isDeleting {
        trial.add(other)
        counted?.add(other, at: index, nodes)
        if obstacle() == nil { continue }
        remove(other)
        if violating.contains(where: { $0.uid == other.uid }) { found.violations += 1 }
      }
      found.victims.append(other)
    }
    return .success(found)
  }
}
