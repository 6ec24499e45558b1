internal import KubeModel

/// Which of the nodes that would do is the best: each aspect gives 0 to 100, times its weight. Weights as Kubernetes has
/// them by default.
enum Scores {
  private static let taintsWeight = 3.0
  private static let nodeAffinityWeight = 2.0
  private static let spreadWeight = 2.0
  private static let podAffinityWeight = 2.0
  private static let imagesWeight = 1.0
  /// Bytes of images below which they do not count, and beyond which more do not count: of one container.
  private static let imageBytes = (least: 23.0 * 1_048_576, most: 1000.0 * 1_048_576)

  static func total(_ pod: PodFacts, _ nodes: [NodeSnapshot], _ feasible: [Int], _ relations: Relations?) -> [Double] {
    let needs = pod.needs
    var total = feasible.map { resources(needs, nodes[$0]) }
    // By index: a node is too large to be handed around.
    func add(_ weight: Double, lessIsBetter: Bool = false, _ value: (Int) -> Double) {
      let values = feasible.map(value)
      guard let most = values.max(), let least = values.min(), most > least else { return }
      for position in values.indices {
        let part = (values[position] - least) / (most - least)
        total[position] += weight * 100 * (lessIsBetter ? 1 - part : part)
      }
    }
    if feasible.contains(where: { !nodes[$0].softTaints.isEmpty }) {
      add(taintsWeight, lessIsBetter: true) { index in
        Double(nodes[index].softTaints.count { !needs.tolerates($0) })
      }
    }
    if !needs.preferredNodes.isEmpty {
      add(nodeAffinityWeight) { index in
        needs.preferredNodes.reduce(0) { $0 + ($1.preference.matches(nodes[index]) ? Double($1.weight) : 0) }
      }
    }
    if let owner = pod.owner {
      add(spreadWeight, lessIsBetter: true) { Double(nodes[$0].owners[owner] ?? 0) }
    }
    if let images = images(needs, nodes, feasible) {
      for position in total.indices { total[position] += imagesWeight * images[position] }
    }
    if let relations, relations.hasPreferences {
      add(podAffinityWeight) { relations.preference($0) }
      add(spreadWeight, lessIsBetter: true) { relations.crowd($0) }
    }
    return total
  }

  /// How much of the pod's images is on a node already; an image that few have counts less, so that its pods do not all
  /// come to where the first was. Nil where no node has any.
  private static func images(_ needs: PodNeeds, _ nodes: [NodeSnapshot], _ feasible: [Int]) -> [Double]? {
    guard feasible.contains(where: { !nodes[$0].images.isEmpty }) else { return nil }
    var sums = [Double](repeating: 0, count: feasible.count)
    for image in needs.images {
      let sizes = feasible.map { nodes[$0].images[image] ?? 0 }
      let spread = Double(sizes.count { $0 > 0 }) / Double(feasible.count)
      for position in sizes.indices { sums[position] += Double(sizes[position]) * spread }
    }
    let most = imageBytes.most * Double(max(1, needs.images.count))
    return sums.map { 100 * (min(max($0, imageBytes.least), most) - imageBytes.least) / (most - imageBytes.least) }
  }

  /// Least allocated (how much stays free) and balanced allocation (how alike processor and memory are used).
  private static func resources(_ needs: PodNeeds, _ node: NodeSnapshot) -> Double {
    let (cpu, memory) = (node.allocatable.milliCPU, node.allocatable.memoryBytes)
    guard cpu > 0, memory > 0 else { return 0 }
    let cpuPart = min(1, Double(node.scoredMilliCPU &+ needs.scoredMilliCPU) / Double(cpu))
    let memoryPart = min(1, Double(node.scoredMemoryBytes &+ needs.scoredMemoryBytes) / Double(memory))
    let least = 100 * (1 - (cpuPart + memoryPart) / 2)
    // Deviation of two values from their middle.
    let balanced = 100 * (1 - abs(cpuPart - memoryPart) / 2)
    return least + balanced
  }
}
