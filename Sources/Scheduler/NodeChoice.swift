internal import KubeModel

/// Why a pod may not be on a node, in Kubernetes' words; a node has those of the first kind that it fails.
package enum Obstacle: Hashable, Sendable {
  case unschedulable
  case nodeName
  case taint(key: String, value: String)
  case affinity
  case ports
  case insufficient(String)
  case tooManyPods
  case spread(missingLabel: Bool)
  case podAffinity
  case podAntiAffinity
  case antiAffinityOfOthers
  case claimInUse
  case volumeAffinity
  case volumeBinding
  /// Of the pod's claims, whatever the node: in its words.
  case claim(String)

  package var words: String {
    switch self {
    case .unschedulable: "node(s) were unschedulable"
    case .nodeName: "node(s) didn't match the requested node name"
    case .taint(let key, let value): "node(s) had untolerated taint {\(key): \(value)}"
    case .affinity: "node(s) didn't match Pod's node affinity/selector"
    case .ports: "node(s) didn't have free ports for the requested pod ports"
    case .insufficient(let resource): "Insufficient \(resource)"
    case .tooManyPods: "Too many pods"
    case .spread(let missingLabel):
      "node(s) didn't match pod topology spread constraints\(missingLabel ? " (missing required label)" : "")"
    case .podAffinity: "node(s) didn't match pod affinity rules"
    case .podAntiAffinity: "node(s) didn't match pod anti-affinity rules"
    case .antiAffinityOfOthers: "node(s) didn't satisfy existing pods anti-affinity rules"
    case .claimInUse:
      "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
    case .volumeAffinity: "node(s) didn't match PersistentVolume's node affinity"
    case .volumeBinding: "node(s) didn't find available persistent volumes to bind"
    case .claim(let problem): problem
    }
  }

  /// What may take it away.
  var remedies: Remedies {
    switch self {
    case .unschedulable, .nodeName, .taint, .affinity: .node
    case .ports, .insufficient, .tooManyPods: [.node, .podGone]
    case .spread, .podAffinity, .podAntiAffinity, .antiAffinityOfOthers: [.node, .podGone, .podPlaced]
    case .claimInUse: [.node, .podGone, .volume]
    case .volumeAffinity, .volumeBinding, .claim: [.node, .volume]
    }
  }

  /// Whether fewer pods on the node could take it away.
  var isCurable: Bool {
    switch self {
    case .ports, .insufficient, .tooManyPods, .podAntiAffinity, .antiAffinityOfOthers, .claimInUse: true
    case .spread(let missingLabel): !missingLabel
    case .unschedulable, .nodeName, .taint, .affinity, .podAffinity, .volumeAffinity, .volumeBinding, .claim: false
    }
  }
}

/// Changes of the cluster that can make room for a pod.
package struct Remedies: OptionSet, Hashable, Sendable {
  package let rawValue: UInt8
  package init(rawValue: UInt8) { self.rawValue = rawValue }
  /// A node came, or changed its labels, taints or resources.
  package static let node = Remedies(rawValue: 1)
  /// A pod left its node, or ended there.
  package static let podGone = Remedies(rawValue: 2)
  /// A pod got its node, or changed its labels there.
  package static let podPlaced = Remedies(rawValue: 4)
  /// A claim, a volume or a storage class came or changed.
  package static let volume = Remedies(rawValue: 8)
  package static let all: Remedies = [.node, .podGone, .podPlaced, .volume]
}

/// Where a pod goes.
package enum Decision: Hashable, Sendable {
  case bind(node: String)
  /// `counts` says of how many of the nodes each is true; empty where there are no nodes.
  case unschedulable(nodes: Int, counts: [Obstacle: Int])

  /// As events and conditions tell it: `0/3 nodes are available: 1 Insufficient cpu, 2 Too many pods.`
  package var message: String {
    guard case .unschedulable(let nodes, let counts) = self else { return "" }
    if nodes == 0 { return "no nodes available to schedule pods" }
    for case .claim(let problem) in counts.keys { return "0/\(nodes) nodes are available: \(problem)." }
    let reasons = Self.listed(counts.map { ($0.key.words, $0.value) })
    return "0/\(nodes) nodes are available: \(reasons)."
  }

  /// `1 Insufficient cpu, 2 Too many pods`
  static func listed(_ counts: [(words: String, count: Int)]) -> String {
    counts.map { "\($0.count) \($0.words)" }.sorted().joined(separator: ", ")
  }

  package var remedies: Remedies {
    guard case .unschedulable(_, let counts) = self else { return [] }
    return counts.keys.reduce(.node) { $0.union($1.remedies) }
  }
}

/// Decides where a pod goes: filters, then scores. Pure.
package struct NodeChoice: Sendable {
  /// Labels of the namespaces, for affinity that selects them.
  package var namespaces: [String: [String: String]] = [:]

  package var volumes = VolumeFacts()
  /// Pods that were promised room, by node: what others may not take, unless they matter more.
  package var nominated: [String: [PodFacts]] = [:]

  package init() {}

  /// What was found out about the nodes for one pod.
  struct Evaluation {
    var feasible: [Int] = []
    var obstacles: [(index: Int, obstacle: Obstacle)] = []
    var present = 0
  }

  /// - Parameters:
  ///   - nodes: those not present are passed over.
  ///   - random: draws between nodes of the same score.
  package func decide(
    _ pod: PodFacts, nodes: [NodeSnapshot], random: inout some RandomNumberGenerator
  ) -> Decision {
    var index = RelationIndex(nodes, namespaces)
    return decide(pod, nodes: nodes, Relations(pod, nodes, &index), random: &random)
  }

  func decide(
    _ pod: PodFacts, nodes: [NodeSnapshot], _ relations: Relations?, random: inout some RandomNumberGenerator
  ) -> Decision {
    let evaluation = evaluate(pod, nodes, relations)
    let feasible = evaluation.feasible
    guard let first = feasible.first else { return refusal(pod, nodes, evaluation) }
    if feasible.count == 1 { return .bind(node: nodes[first].name) }
    if let promised = pod.nominatedNode, feasible.contains(where: { nodes[$0].name == promised }) {
      return .bind(node: promised)
    }
    let scores = Scores.total(pod, nodes, feasible, relations)
    var best = feasible[0]
    var bestScore = -Double.infinity
    var ties = 0
    for (position, index) in feasible.enumerated() {
      if scores[position] > bestScore {
        (best, bestScore, ties) = (index, scores[position], 1)
      } else if scores[position] == bestScore {
        ties += 1
        if Int.random(in: 0..<ties, using: &random) == 0 { best = index }
      }
    }
    return .bind(node: nodes[best].name)
  }

  func evaluate(_ pod: PodFacts, _ nodes: [NodeSnapshot], _ relations: Relations?) -> Evaluation {
    var evaluation = Evaluation()
    let volumes = PodVolumes(pod, volumes)
    for index in nodes.indices where nodes[index].isPresent {
      evaluation.present += 1
      if let obstacle = obstacle(pod, nodes[index], volumes, relations.map { ($0, index) }) {
        evaluation.obstacles.append((index, obstacle))
      } else {
        evaluation.feasible.append(index)
      }
    }
    return evaluation
  }

  /// What keeps the pod from the node, room that is promised to others included; nil: nothing.
  /// - Parameter relations: and where the node is among those that they are about.
  func obstacle(
    _ pod: PodFacts, _ node: NodeSnapshot, _ volumes: PodVolumes?, _ relations: (Relations, Int)?
  ) -> Obstacle? {
    let own = nominated.isEmpty ? Self.obstacle(pod.needs, node) : Self.obstacle(pod.needs, fuller(node, for: pod))
    if let own { return own }
    return volumes?.obstacle(node) ?? relations.flatMap { $0.0.obstacle($0.1) }
  }

  /// The node with those on it that were promised its room and matter as much.
  func fuller(_ node: NodeSnapshot, for pod: PodFacts) -> NodeSnapshot {
    guard let promised = nominated[node.name] else { return node }
    var fuller = node
    for other in promised where other.uid != pod.uid && other.needs.priority >= pod.needs.priority { fuller.add(other) }
    return fuller
  }

  private func refusal(_ pod: PodFacts, _ nodes: [NodeSnapshot], _ evaluation: Evaluation) -> Decision {
    var counts: [Obstacle: Int] = [:]
    for (index, obstacle) in evaluation.obstacles {
      if case .insufficient = obstacle {
        Self.insufficient(pod.needs.amounts, fuller(nodes[index], for: pod)) { counts[$0, default: 0] += 1 }
      } else {
        counts[obstacle, default: 0] += 1
      }
    }
    return .unschedulable(nodes: evaluation.present, counts: counts)
  }

  /// What keeps the pod from the node, of the node alone; nil: nothing. Where amounts are missing, it is the first of them.
  static func obstacle(_ needs: PodNeeds, _ node: NodeSnapshot) -> Obstacle? {
    if node.isUnschedulable, !needs.tolerates(Self.unschedulableTaint) { return .unschedulable }
    if let name = needs.nodeName, name != node.name { return .nodeName }
    for taint in node.hardTaints where !needs.tolerates(taint) {
      return .taint(key: taint.key, value: taint.value ?? "")
    }
    if !needs.selects(node) { return .affinity }
    if !needs.ports.isEmpty, needs.ports.contains(where: { port in node.ports.contains { port.conflicts(with: $0) } }) {
      return .ports
    }
    return lacks(needs.amounts, node) ? .insufficient("") : nil
  }

  private static let unschedulableTaint: Taint = {
    var taint = Taint()
    (taint.key, taint.effect) = ("node.kubernetes.io/unschedulable", "NoSchedule")
    return taint
  }()

  /// Compared so that nothing overflows; a pod that asks for none of a resource is not hindered by its lack.
  private static func lacks(_ amounts: Amounts, _ node: NodeSnapshot) -> Bool {
    if node.requested.pods &+ amounts.pods > node.allocatable.pods { return true }
    if amounts.milliCPU > 0, amounts.milliCPU > node.allocatable.milliCPU &- node.requested.milliCPU { return true }
    if amounts.memoryBytes > 0, amounts.memoryBytes > node.allocatable.memoryBytes &- node.requested.memoryBytes {
      return true
    }
    if amounts.storageBytes > 0, amounts.storageBytes > node.allocatable.storageBytes &- node.requested.storageBytes {
      return true
    }
    return amounts.others.contains { name, amount in
      amount > (node.allocatable.others[name] ?? 0) &- (node.requested.others[name] ?? 0)
    }
  }

  static func insufficient(_ amounts: Amounts, _ node: NodeSnapshot, _ report: (Obstacle) -> Void) {
    let (has, used) = (node.allocatable, node.requested)
    if used.pods &+ amounts.pods > has.pods { report(.tooManyPods) }
    func check(_ name: String, _ amount: Int64, _ free: Int64) {
      if amount > 0, amount > free { report(.insufficient(name)) }
    }
    check("cpu", amounts.milliCPU, has.milliCPU &- used.milliCPU)
    check("memory", amounts.memoryBytes, has.memoryBytes &- used.memoryBytes)
    check("ephemeral-storage", amounts.storageBytes, has.storageBytes &- used.storageBytes)
    for (name, amount) in amounts.others { check(name, amount, (has.others[name] ?? 0) &- (used.others[name] ?? 0)) }
  }
}
