package import KubeModel

/// The taints by which a node's state keeps pods away from it.
package enum NodeTaints {
  package static let notReady = "node.kubernetes.io/not-ready"
  package static let unreachable = "node.kubernetes.io/unreachable"
  package static let unschedulable = "node.kubernetes.io/unschedulable"

  /// Pressures that keep new pods away, by condition.
  private static let pressures = [
    "MemoryPressure": "node.kubernetes.io/memory-pressure", "DiskPressure": "node.kubernetes.io/disk-pressure",
    "PIDPressure": "node.kubernetes.io/pid-pressure", "NetworkUnavailable": "node.kubernetes.io/network-unavailable",
  ]
  private static let ownKeys = Set(pressures.values).union([notReady, unreachable, unschedulable])

  /// The node's taints as its state asks for them; those that are not about its state stay.
  ///
  /// - Parameter mayEvict: false where no node at all is ready. Then the network or this process is more likely at
  ///   fault than every node, and nothing is evicted.
  package static func desired(for node: Node, mayEvict: Bool, now: Time) -> [Taint] {
    var wanted: [(key: String, effect: String)] = []
    let ready = node.status.conditions.first { $0.type == "Ready" }?.status
    switch ready {
    case "True": break
    case "Unknown":
      wanted.append((unreachable, "NoSchedule"))
      if mayEvict { wanted.append((unreachable, "NoExecute")) }
    case "False":
      wanted.append((notReady, "NoSchedule"))
      if mayEvict { wanted.append((notReady, "NoExecute")) }
    default: wanted.append((notReady, "NoSchedule"))
    }
    for condition in node.status.conditions where condition.status == "True" {
      if let key = pressures[condition.type] { wanted.append((key, "NoSchedule")) }
    }
    if node.spec.unschedulable == true { wanted.append((unschedulable, "NoSchedule")) }
    var taints = node.spec.taints.filter { taint in
      let isOurs = ownKeys.contains(taint.key) && (taint.effect == "NoSchedule" || isEviction(taint))
      return !isOurs || wanted.contains { $0.key == taint.key && $0.effect == taint.effect }
    }
    for (key, effect) in wanted where !taints.contains(where: { $0.key == key && $0.effect == effect }) {
      var taint = Taint()
      taint.key = key
      taint.effect = effect
      taint.timeAdded = now
      taints.append(taint)
    }
    return taints
  }

  private static func isEviction(_ taint: Taint) -> Bool {
    taint.effect == "NoExecute" && (taint.key == notReady || taint.key == unreachable)
  }

  // MARK: eviction

  package enum Eviction: Hashable, Sendable {
    case never
    case now
    case at(Time)
  }

  /// When a pod has to leave a node with these taints.
  /// - Parameter since: when a taint that does not say so was first seen.
  package static func eviction(of pod: Pod, from taints: [Taint], since: (Taint) -> Time, now: Time) -> Eviction {
    let evicting = taints.filter { $0.effect == "NoExecute" }
    var deadline: Int64?
    for taint in evicting {
      let tolerations = pod.spec.tolerations.filter { $0.tolerates(taint) }
      guard !tolerations.isEmpty else { return .now }
      guard let seconds = tolerations.compactMap(\.tolerationSeconds).min() else { continue }
      let until = (taint.timeAdded ?? since(taint)).secondsSinceEpoch + max(0, seconds)
      deadline = min(deadline ?? until, until)
    }
    guard let deadline else { return .never }
    return deadline <= now.secondsSinceEpoch ? .now : .at(Time(secondsSinceEpoch: deadline))
  }
}

extension Toleration {
  func tolerates(_ taint: Taint) -> Bool {
    if let effect, !effect.isEmpty, effect != taint.effect { return false }
    let key = key ?? ""
    if !key.isEmpty, key != taint.key { return false }
    switch self.operator ?? "Equal" {
    case "Exists": return true
    case "Equal", "": return !key.isEmpty && (value ?? "") == (taint.value ?? "")
    default: return false
    }
  }
}
