import KubeClient
import KubeModel

@testable import Scheduler

/// What other pods mean for a pod: topology spread, and affinity with pods in both directions.
///
/// Counted anew over all pods for each decision: slow and plain, what the kept counts are held against.
struct PlainRelations {
  /// A constraint and how many pods it counts in each value of its label.
  private struct Spread {
    var constraint: TopologySpreadConstraint
    var counts: [String: Int]
    var least: Int
    /// The pod itself would be counted.
    var countsItself: Bool
  }
  /// A label of nodes, and a value.
  private struct Place: Hashable {
    var label: String
    var value: String
  }

  private var hardSpreads: [Spread] = []
  private var softSpreads: [Spread] = []
  /// For each required affinity term, the values of its label where pods match it.
  private var near: [(label: String, values: Set<String>)] = []
  /// No pod anywhere matches the required terms, and the pod itself does: the first of its kind may go anywhere.
  private var isFirst = false
  private var far: Set<Place> = []
  private var farOfOthers: Set<Place> = []
  private var preferences: [Place: Double] = [:]

  /// Nil where no other pod matters.
  init?(_ pod: PodFacts, _ nodes: [NodeSnapshot], _ namespaces: [String: [String: String]]) {
    let needs = pod.needs
    let asks =
      !needs.spreads.isEmpty || !needs.affinity.isEmpty || !needs.antiAffinity.isEmpty
      || !needs.preferredAffinity.isEmpty
    guard asks || nodes.contains(where: { $0.isPresent && $0.pods.values.contains { !$0.needs.antiAffinity.isEmpty } })
    else { return nil }
    for constraint in needs.spreads {
      let spread = Self.spread(constraint, pod, nodes)
      if constraint.whenUnsatisfiable == "DoNotSchedule" {
        hardSpreads.append(spread)
      } else {
        softSpreads.append(spread)
      }
    }
    func matches(_ term: PodAffinityTerm, _ other: PodFacts) -> Bool { term.matches(other, namespaces) }
    near = needs.affinity.map { ($0.topologyKey, []) }
    var anyNear = false
    for node in nodes where node.isPresent {
      for other in node.pods.values {
        for term in other.needs.antiAffinity where matches(term, pod) {
          if let value = node.labels[term.topologyKey] {
            farOfOthers.insert(Place(label: term.topologyKey, value: value))
          }
        }
      }
      guard asks else { continue }
      for other in node.pods.values {
        if !needs.affinity.isEmpty, needs.affinity.allSatisfy({ matches($0, other) }) {
          anyNear = true
          for (index, term) in needs.affinity.enumerated() {
            if let value = node.labels[term.topologyKey] { near[index].values.insert(value) }
          }
        }
        for term in needs.antiAffinity where matches(term, other) {
          if let value = node.labels[term.topologyKey] { far.insert(Place(label: term.topologyKey, value: value)) }
        }
        for weighted in needs.preferredAffinity where matches(weighted.podAffinityTerm, other) {
          let label = weighted.podAffinityTerm.topologyKey
          if let value = node.labels[label] {
            preferences[Place(label: label, value: value), default: 0] += Double(weighted.weight)
          }
        }
      }
    }
    isFirst = !anyNear && !needs.affinity.isEmpty && needs.affinity.allSatisfy { matches($0, pod) }
  }

  private static func spread(
    _ constraint: TopologySpreadConstraint, _ pod: PodFacts, _ nodes: [NodeSnapshot]
  ) -> Spread {
    let selector = constraint.labelSelector
    func counts(_ other: PodFacts) -> Bool {
      // Without a selector no pod is counted.
      selector.map { $0.matches(other.needs.labels) } ?? false && other.key.namespace == pod.key.namespace
        && !other.isDeleting
    }
    var found: [String: Int] = [:]
    for node in nodes where node.isPresent {
      guard let value = node.labels[constraint.topologyKey] else { continue }
      if constraint.nodeAffinityPolicy != "Ignore", !pod.needs.selects(node) { continue }
      if constraint.nodeTaintsPolicy == "Honor", node.hardTaints.contains(where: { !pod.needs.tolerates($0) }) {
        continue
      }
      found[value, default: 0] += node.pods.values.count(where: counts)
    }
    // Fewer places than wanted: the missing ones count as empty.
    let isShort = constraint.minDomains.map { found.count < Int($0) } ?? false
    return Spread(
      constraint: constraint, counts: found, least: isShort ? 0 : found.values.min() ?? 0, countsItself: counts(pod))
  }

  /// What keeps the pod from the node because of others; nil: nothing.
  func obstacle(_ node: NodeSnapshot) -> Obstacle? {
    for spread in hardSpreads {
      guard let value = node.labels[spread.constraint.topologyKey] else { return .spread(missingLabel: true) }
      let skew = (spread.counts[value] ?? 0) + (spread.countsItself ? 1 : 0) - spread.least
      if skew > Int(spread.constraint.maxSkew) { return .spread(missingLabel: false) }
    }
    for (label, values) in near {
      guard let value = node.labels[label], isFirst || values.contains(value) else { return .podAffinity }
    }
    if far.contains(where: { node.labels[$0.label] == $0.value }) { return .podAntiAffinity }
    if farOfOthers.contains(where: { node.labels[$0.label] == $0.value }) { return .antiAffinityOfOthers }
    return nil
  }

  var hasPreferences: Bool { !softSpreads.isEmpty || !preferences.isEmpty }

  /// The sum of the weights of the preferred terms that hold on the node.
  func preference(_ node: NodeSnapshot) -> Double {
    preferences.reduce(0) { $0 + (node.labels[$1.key.label] == $1.key.value ? $1.value : 0) }
  }

  /// How many pods the soft constraints find where the node is; a node without the label counts as crowded.
  func crowd(_ node: NodeSnapshot) -> Double {
    softSpreads.reduce(0) { sum, spread in
      guard let value = node.labels[spread.constraint.topologyKey] else {
        return sum + Double((spread.counts.values.max() ?? 0) + 1)
      }
      return sum + Double(spread.counts[value] ?? 0)
    }
  }
}

extension PodAffinityTerm {
  /// A term without a selector matches no pod; an empty namespace selector means every namespace.
  fileprivate func matches(_ pod: PodFacts, _ namespaces: [String: [String: String]]) -> Bool {
    guard let labelSelector, labelSelector.matches(pod.needs.labels) else { return false }
    if self.namespaces.contains(pod.key.namespace) { return true }
    guard let namespaceSelector else { return false }
    return namespaceSelector.matches(namespaces[pod.key.namespace] ?? [:])
  }
}
