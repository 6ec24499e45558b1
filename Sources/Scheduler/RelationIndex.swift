internal import KubeClient
internal import KubeModel

/// Pods that terms mean: each that all the terms match.
struct PodGroup: Hashable, Sendable {
  struct Term: Hashable, Sendable {
    var namespaces: [String]
    var namespaceSelector: LabelSelector?
    var selector: LabelSelector?

    /// A term without a selector matches no pod; an empty namespace selector means every namespace.
    func matches(_ pod: PodFacts, _ labels: [String: [String: String]]) -> Bool {
      guard let selector, selector.matches(pod.needs.labels) else { return false }
      if namespaces.contains(pod.key.namespace) { return true }
      guard let namespaceSelector else { return false }
      return namespaceSelector.matches(labels[pod.key.namespace] ?? [:])
    }

    /// A label that every pod has which the term matches; nil where there is no such.
    var certainLabel: Label? {
      if let first = selector?.matchLabels.min(by: { $0.key < $1.key }) {
        return Label(key: first.key, value: first.value)
      }
      let only = selector?.matchExpressions.first { $0.operator == "In" && $0.values.count == 1 }
      return only.map { Label(key: $0.key, value: $0.values[0]) }
    }
  }
  struct Label: Hashable, Sendable {
    var key: String
    var value: String
  }

  var terms: [Term]

  func matches(_ pod: PodFacts, _ labels: [String: [String: String]]) -> Bool {
    terms.allSatisfy { $0.matches(pod, labels) }
  }
}

extension PodAffinityTerm {
  var group: PodGroup.Term {
    PodGroup.Term(namespaces: namespaces, namespaceSelector: namespaceSelector, selector: labelSelector)
  }
}

/// Numbers of what may concern a pod, found by its labels.
private struct LabelBuckets: Sendable {
  private var byLabel: [PodGroup.Label: [Int]] = [:]
  private var others: [Int] = []

  mutating func insert(_ number: Int, _ label: PodGroup.Label?) {
    if let label { byLabel[label, default: []].append(number) } else { others.append(number) }
  }

  func forEach(of labels: [String: String], _ body: (Int) -> Void) {
    for number in others { body(number) }
    for (key, value) in labels { byLabel[PodGroup.Label(key: key, value: value)]?.forEach(body) }
  }
}

/// How pods lie among the nodes, kept as they come and go: what a pod asks about others is answered by a look at counts,
/// not at all pods.
///
/// What nobody has asked about yet is counted once over all pods, and kept up from then on.
struct RelationIndex: Sendable {
  /// Groups and labels of nodes that are kept; with one more all are forgotten and counted anew as they are asked for.
  static let talliesMax = 2048
  static let topologiesMax = 64

  /// A label of nodes: its values as numbers, and which a node has.
  private struct Topology: Sendable {
    var numbers: [String: Int32] = [:]
    /// -1: it has not the label.
    var ofNode: [Int32] = []
    /// By value: nodes that are there.
    var nodes: [Int32] = []

    mutating func number(_ value: String?) -> Int32 {
      guard let value else { return -1 }
      if let number = numbers[value] { return number }
      numbers[value] = Int32(nodes.count)
      nodes.append(0)
      return Int32(nodes.count - 1)
    }
  }
  /// Pods of a group: all of them, and without those that are going.
  private struct Counts: Sendable {
    var all: [Int32] = []
    var staying: [Int32] = []

    mutating func add(_ amount: Int32, at place: Int, isStaying: Bool) {
      if place >= all.count {
        all += [Int32](repeating: 0, count: place + 1 - all.count)
        staying += [Int32](repeating: 0, count: place + 1 - staying.count)
      }
      all[place] += amount
      if isStaying { staying[place] += amount }
    }
  }
  private struct Tally: Sendable {
    let group: PodGroup
    var perNode = Counts()
    /// By number of the topology.
    var perValue: [Int: Counts] = [:]
    var total: Int32 = 0
  }
  /// Pods that keep away those that their term means.
  private struct Holders: Sendable {
    let term: PodGroup.Term
    let topology: Int
    var perValue: [Int32] = []
    var total: Int32 = 0
  }
  private struct HolderKey: Hashable, Sendable {
    var term: PodGroup.Term
    var label: String
  }

  private var isPresent: [Bool] = []
  /// Nodes that keep pods away by taints.
  private var taintedNodes = 0
  private var topologies: [Topology] = []
  private var topologyNumbers: [String: Int] = [:]
  private var topologyLabels: [String] = []
  private var tallies: [Tally] = []
  private var tallyNumbers: [PodGroup: Int] = [:]
  private var tallyBuckets = LabelBuckets()
  private var holders: [Holders] = []
  private var holderNumbers: [HolderKey: Int] = [:]
  private var holderBuckets = LabelBuckets()
  private(set) var namespaces: [String: [String: String]] = [:]

  init() {}

  init(_ nodes: [NodeSnapshot], _ namespaces: [String: [String: String]]) {
    self.namespaces = namespaces
    for index in nodes.indices { appended(index, nodes) }
  }

  // MARK: what changes

  mutating func setNamespaces(_ labels: [String: [String: String]], _ nodes: [NodeSnapshot]) {
    namespaces = labels
    if tallies.contains(where: { $0.group.terms.contains { $0.namespaceSelector != nil } }) { forget(nodes) }
  }

  /// A node that was put behind all others.
  mutating func appended(_ index: Int, _ nodes: [NodeSnapshot]) {
    isPresent.append(false)
    for number in topologies.indices { topologies[number].ofNode.append(-1) }
    if nodes[index].isPresent { show(index, nodes) }
  }

  /// The last node takes the place of one that is not there and holds no pods.
  mutating func removed(_ index: Int) {
    func swap<T>(_ values: inout [T]) {
      values.swapAt(index, values.count - 1)
      values.removeLast()
    }
    swap(&isPresent)
    for number in topologies.indices { swap(&topologies[number].ofNode) }
    let last = isPresent.count
    for number in tallies.indices {
      // Counts reach as far as somebody was counted.
      func move(_ values: inout [Int32]) {
        if last < values.count {
          if index < last { values[index] = values[last] }
          values.removeLast()
        } else if index < values.count {
          values[index] = 0
        }
      }
      move(&tallies[number].perNode.all)
      move(&tallies[number].perNode.staying)
    }
  }

  /// Before the labels, taints or presence of a node change: it is as if it were not there.
  mutating func hide(_ index: Int, _ nodes: [NodeSnapshot]) {
    guard isPresent[index] else { return }
    for pod in nodes[index].pods.values { count(pod, -1, at: index, nodes) }
    for number in topologies.indices {
      let value = topologies[number].ofNode[index]
      if value >= 0 { topologies[number].nodes[Int(value)] -= 1 }
      topologies[number].ofNode[index] = -1
    }
    if !nodes[index].hardTaints.isEmpty { taintedNodes -= 1 }
    isPresent[index] = false
  }

  /// After it.
  mutating func show(_ index: Int, _ nodes: [NodeSnapshot]) {
    guard !isPresent[index], nodes[index].isPresent else { return }
    isPresent[index] = true
    for number in topologies.indices { place(index, in: number, nodes) }
    if !nodes[index].hardTaints.isEmpty { taintedNodes += 1 }
    for pod in nodes[index].pods.values { count(pod, 1, at: index, nodes) }
  }

  /// - Parameter pod: is on the node now.
  mutating func add(_ pod: PodFacts, at index: Int, _ nodes: [NodeSnapshot]) {
    if isPresent[index] { count(pod, 1, at: index, nodes) }
  }

  mutating func remove(_ pod: PodFacts, at index: Int, _ nodes: [NodeSnapshot]) {
    if isPresent[index] { count(pod, -1, at: index, nodes) }
  }

  /// Nothing that is counted differs: the same pod before and after its binding.
  static func countsTheSame(_ one: PodFacts, _ other: PodFacts) -> Bool {
    one === other
      || one.key == other.key && one.isDeleting == other.isDeleting && one.needs.labels == other.needs.labels
        && one.needs.antiAffinity == other.needs.antiAffinity
  }

  private mutating func count(_ pod: PodFacts, _ amount: Int32, at index: Int, _ nodes: [NodeSnapshot]) {
    var concerned: [Int] = []
    tallyBuckets.forEach(of: pod.needs.labels) { number in
      if tallies[number].group.matches(pod, namespaces) { concerned.append(number) }
    }
    for number in concerned { tally(number, amount, at: index, isStaying: !pod.isDeleting) }
    for term in pod.needs.antiAffinity {
      let number = holder(term, nodes)
      holders[number].total += amount
      let value = topologies[holders[number].topology].ofNode[index]
      guard value >= 0 else { continue }
      let missing = Int(value) + 1 - holders[number].perValue.count
      if missing > 0 { holders[number].perValue += [Int32](repeating: 0, count: missing) }
      holders[number].perValue[Int(value)] += amount
    }
  }

  private mutating func tally(_ number: Int, _ amount: Int32, at index: Int, isStaying: Bool) {
    tallies[number].total += amount
    tallies[number].perNode.add(amount, at: index, isStaying: isStaying)
    for topology in tallies[number].perValue.keys {
      let value = topologies[topology].ofNode[index]
      if value >= 0 { tallies[number].perValue[topology]?.add(amount, at: Int(value), isStaying: isStaying) }
    }
  }

  // MARK: what is kept

  private mutating func place(_ index: Int, in number: Int, _ nodes: [NodeSnapshot]) {
    let value = topologies[number].number(nodes[index].labels[topologyLabels[number]])
    topologies[number].ofNode[index] = value
    if value >= 0 { topologies[number].nodes[Int(value)] += 1 }
  }

  private mutating func topology(_ label: String, _ nodes: [NodeSnapshot]) -> Int {
    if let number = topologyNumbers[label] { return number }
    topologies.append(Topology())
    topologyLabels.append(label)
    let number = topologies.count - 1
    topologyNumbers[label] = number
    topologies[number].ofNode = [Int32](repeating: -1, count: isPresent.count)
    for index in isPresent.indices where isPresent[index] { place(index, in: number, nodes) }
    return number
  }

  private mutating func holder(_ term: PodAffinityTerm, _ nodes: [NodeSnapshot]) -> Int {
    let key = HolderKey(term: term.group, label: term.topologyKey)
    if let number = holderNumbers[key] { return number }
    holders.append(Holders(term: key.term, topology: topology(key.label, nodes)))
    holderNumbers[key] = holders.count - 1
    holderBuckets.insert(holders.count - 1, key.term.certainLabel)
    return holders.count - 1
  }

  private mutating func tally(_ group: PodGroup, _ nodes: [NodeSnapshot]) -> Int {
    if let number = tallyNumbers[group] { return number }
    var made = Tally(group: group)
    for index in isPresent.indices where isPresent[index] {
      for pod in nodes[index].pods.values where group.matches(pod, namespaces) {
        made.total += 1
        made.perNode.add(1, at: index, isStaying: !pod.isDeleting)
      }
    }
    tallies.append(made)
    tallyNumbers[group] = tallies.count - 1
    tallyBuckets.insert(tallies.count - 1, group.terms.lazy.compactMap(\.certainLabel).first)
    return tallies.count - 1
  }

  /// Begins anew: what is asked for is counted again.
  private mutating func forget(_ nodes: [NodeSnapshot]) {
    let labels = namespaces
    self = RelationIndex(nodes, labels)
  }

  // MARK: what is asked

  /// How many pods of a group are where each node is.
  struct Lookup: Sendable {
    /// -1: not in any place.
    let ofNode: [Int32]
    let counts: [Int32]

    /// Nil where the node has not the label.
    func count(at node: Int) -> Int32? {
      let place = Int(ofNode[node])
      if place < 0 { return nil }
      return place < counts.count ? counts[place] : 0
    }
  }

  /// Makes room for what a decision asks for; to be called before it.
  mutating func beginDecision(_ nodes: [NodeSnapshot]) {
    let values = topologies.reduce(0) { $0 + $1.nodes.count }
    if tallies.count > Self.talliesMax || holders.count > Self.talliesMax || topologies.count > Self.topologiesMax
      || values > 4 * (nodes.count + 1) * max(1, topologies.count) + Self.talliesMax
    {
      forget(nodes)
    }
  }

  var hasHolders: Bool { holders.contains { $0.total > 0 } }

  /// - Parameter staying: without those that are going.
  mutating func lookup(
    _ group: PodGroup, by label: String, staying: Bool = false, _ nodes: [NodeSnapshot]
  ) -> (lookup: Lookup, total: Int) {
    let place = topology(label, nodes)
    let number = tally(group, nodes)
    if tallies[number].perValue[place] == nil {
      var counts = Counts()
      for index in tallies[number].perNode.all.indices {
        let (value, all) = (topologies[place].ofNode[index], tallies[number].perNode.all[index])
        guard value >= 0, all != 0 else { continue }
        let stays = tallies[number].perNode.staying[index]
        counts.add(stays, at: Int(value), isStaying: true)
        counts.add(all - stays, at: Int(value), isStaying: false)
      }
      tallies[number].perValue[place] = counts
    }
    let counts = tallies[number].perValue[place] ?? Counts()
    return (
      Lookup(ofNode: topologies[place].ofNode, counts: staying ? counts.staying : counts.all),
      Int(tallies[number].total)
    )
  }

  /// Pods of a group by the values of a label, over those nodes that count; and how many values those have.
  mutating func spread(
    _ group: PodGroup, by label: String, _ nodes: [NodeSnapshot], where counts: ((NodeSnapshot) -> Bool)?
  ) -> (lookup: Lookup, least: Int, places: Int, most: Int) {
    let found = lookup(group, by: label, staying: true, nodes).lookup
    let place = topology(label, nodes)
    var sums = [Int32](repeating: 0, count: topologies[place].nodes.count)
    var isThere = topologies[place].nodes.map { $0 > 0 }
    if let counts {
      isThere = [Bool](repeating: false, count: sums.count)
      let perNode = tallies[tally(group, nodes)].perNode.staying
      for index in isPresent.indices where isPresent[index] {
        let value = Int(topologies[place].ofNode[index])
        guard value >= 0, counts(nodes[index]) else { continue }
        isThere[value] = true
        if index < perNode.count { sums[value] += perNode[index] }
      }
    } else {
      for index in found.counts.indices { sums[index] = found.counts[index] }
    }
    let there = isThere.indices.filter { isThere[$0] }
    return (
      Lookup(ofNode: found.ofNode, counts: sums), there.map { Int(sums[$0]) }.min() ?? 0, there.count,
      there.map { Int(sums[$0]) }.max() ?? 0
    )
  }

  /// Whether any node keeps pods away by taints.
  var hasTaints: Bool { taintedNodes > 0 }

  /// Where pods are that do not want this one near them.
  func holding(_ pod: PodFacts) -> [Lookup] {
    var found: [Lookup] = []
    holderBuckets.forEach(of: pod.needs.labels) { number in
      let holder = holders[number]
      guard holder.total > 0, holder.term.matches(pod, namespaces) else { return }
      found.append(Lookup(ofNode: topologies[holder.topology].ofNode, counts: holder.perValue))
    }
    return found
  }
}
