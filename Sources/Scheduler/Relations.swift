internal import KubeClient
internal import KubeModel

/// What other pods mean for a pod: topology spread, and affinity with pods in both directions.
///
/// Made once for a decision, out of counts that are kept; only for pods that ask for it, or where a pod somewhere keeps
/// others away. Nodes are asked about by their place among the nodes of the decision.
struct Relations {
  private struct Spread {
    var lookup: RelationIndex.Lookup
    var least: Int
    var most: Int
    var maxSkew: Int
    /// One where the pod itself would be counted.
    var own: Int
  }

  private var hardSpreads: [Spread] = []
  private var softSpreads: [Spread] = []
  /// For each required affinity term, where pods are that match all of them.
  private var near: [RelationIndex.Lookup] = []
  /// No pod anywhere matches the required terms, and the pod itself does: the first of its kind may go anywhere.
  private var isFirst = false
  private var far: [RelationIndex.Lookup] = []
  private var farOfOthers: [RelationIndex.Lookup] = []
  private var preferences: [(lookup: RelationIndex.Lookup, weight: Double)] = []

  /// Nil where no other pod matters. What is counted for the first time is counted now.
  init?(_ pod: PodFacts, _ nodes: [NodeSnapshot], _ index: inout RelationIndex) {
    let needs = pod.needs
    let asks =
      !needs.spreads.isEmpty || !needs.affinity.isEmpty || !needs.antiAffinity.isEmpty
      || !needs.preferredAffinity.isEmpty
    guard asks || index.hasHolders else { return nil }
    index.beginDecision(nodes)
    for constraint in needs.spreads {
      let spread = Self.spread(constraint, pod, nodes, &index)
      if constraint.whenUnsatisfiable == "DoNotSchedule" {
        hardSpreads.append(spread)
      } else {
        softSpreads.append(spread)
      }
    }
    if !needs.affinity.isEmpty {
      let group = PodGroup(terms: needs.affinity.map(\.group))
      var total = 0
      for term in needs.affinity {
        let found = index.lookup(group, by: term.topologyKey, nodes)
        near.append(found.lookup)
        total = found.total
      }
      isFirst = total == 0 && group.matches(pod, index.namespaces)
    }
    for term in needs.antiAffinity {
      far.append(index.lookup(PodGroup(terms: [term.group]), by: term.topologyKey, nodes).lookup)
    }
    for weighted in needs.preferredAffinity {
      let term = weighted.podAffinityTerm
      let found = index.lookup(PodGroup(terms: [term.group]), by: term.topologyKey, nodes)
      if found.total > 0 { preferences.append((found.lookup, Double(weighted.weight))) }
    }
    farOfOthers = index.holding(pod)
  }

  private static func spread(
    _ constraint: TopologySpreadConstraint, _ pod: PodFacts, _ nodes: [NodeSnapshot], _ index: inout RelationIndex
  ) -> Spread {
    // Without a selector no pod is counted.
    let term = PodGroup.Term(
      namespaces: [pod.key.namespace], namespaceSelector: nil, selector: constraint.labelSelector)
    let choosy =
      constraint.nodeAffinityPolicy != "Ignore" && !(pod.needs.nodeSelector.isEmpty && pod.needs.requiredNodes == nil)
    let shy = constraint.nodeTaintsPolicy == "Honor" && index.hasTaints
    let found = index.spread(
      PodGroup(terms: [term]), by: constraint.topologyKey, nodes,
      where: choosy || shy
        ? { node in
          (!choosy || pod.needs.selects(node)) && (!shy || node.hardTaints.allSatisfy { pod.needs.tolerates($0) })
        } : nil)
    // Fewer places than wanted: the missing ones count as empty.
    let isShort = constraint.minDomains.map { found.places < Int($0) } ?? false
    return Spread(
      lookup: found.lookup, least: isShort ? 0 : found.least, most: found.most, maxSkew: Int(constraint.maxSkew),
      own: !pod.isDeleting && term.matches(pod, index.namespaces) ? 1 : 0)
  }

  /// What keeps the pod from the node because of others; nil: nothing.
  func obstacle(_ node: Int) -> Obstacle? {
    for spread in hardSpreads {
      guard let count = spread.lookup.count(at: node) else { return .spread(missingLabel: true) }
      if Int(count) + spread.own - spread.least > spread.maxSkew { return .spread(missingLabel: false) }
    }
    for lookup in near {
      guard let count = lookup.count(at: node), isFirst || count > 0 else { return .podAffinity }
    }
    if far.contains(where: { ($0.count(at: node) ?? 0) > 0 }) { return .podAntiAffinity }
    if farOfOthers.contains(where: { ($0.count(at: node) ?? 0) > 0 }) { return .antiAffinityOfOthers }
    return nil
  }

  var hasPreferences: Bool { !softSpreads.isEmpty || !preferences.isEmpty }

  /// The sum of the weights of the preferred terms that hold on the node, once for each pod that they match.
  func preference(_ node: Int) -> Double {
    preferences.reduce(0) { $0 + Double($1.lookup.count(at: node) ?? 0) * $1.weight }
  }

  /// How many pods the soft constraints find where the node is; a node without the label counts as crowded.
  func crowd(_ node: Int) -> Double {
    softSpreads.reduce(0) { $0 + Double($1.lookup.count(at: node).map { Int($0) } ?? $1.most + 1) }
  }
}
