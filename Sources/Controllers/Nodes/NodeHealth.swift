package import KubeModel

/// When a node was last heard of, by the clock of this process: clocks of nodes may differ from it.
package struct NodeHealth: Sendable {
  private struct Heard {
    var at: Int64
    var renewal: Int64?
    var heartbeat: Int64?
  }
  private var nodes: [String: Heard] = [:]
  /// Seconds without a sign of life after which a node counts as lost.
  package let graceSeconds: Int64

  package init(graceSeconds: Int64) { self.graceSeconds = graceSeconds }

  /// Takes note of a node's lease and status. A node is heard of when either has changed; one that is seen for the
  /// first time is heard of now, so that a start of this process condemns nobody.
  package mutating func observe(_ node: Node, lease: Lease?, now: Time) {
    let name = node.metadata.name ?? ""
    let renewal = lease?.spec.renewTime?.microsecondsSinceEpoch
    let heartbeat = node.status.conditions.first { $0.type == "Ready" }?.lastHeartbeatTime?.secondsSinceEpoch
    if let heard = nodes[name], heard.renewal == renewal, heard.heartbeat == heartbeat { return }
    nodes[name] = Heard(at: now.secondsSinceEpoch, renewal: renewal, heartbeat: heartbeat)
  }

  package mutating func forget(_ name: String) { nodes[name] = nil }
  package var names: Set<String> { Set(nodes.keys) }

  /// Seconds until the node counts as lost unless it is heard of; zero or less: it is lost.
  package func secondsLeft(_ name: String, now: Time) -> Int64 {
    guard let heard = nodes[name] else { return graceSeconds }
    return heard.at + graceSeconds - now.secondsSinceEpoch
  }

  private static let conditionTypes = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"]

  /// The conditions of a node that is lost: nothing about it is known any more. Nil where they say so already.
  package static func lostConditions(of node: Node, now: Time) -> [NodeCondition]? {
    var conditions = node.status.conditions
    for type in conditionTypes {
      if let index = conditions.firstIndex(where: { $0.type == type }) {
        guard conditions[index].status != "Unknown" else { continue }
        conditions[index].status = "Unknown"
        conditions[index].reason = "NodeStatusUnknown"
        conditions[index].message = "Kubelet stopped posting node status."
        conditions[index].lastTransitionTime = now
      } else {
        var condition = NodeCondition()
        condition.type = type
        condition.status = "Unknown"
        condition.reason = "NodeStatusNeverUpdated"
        condition.message = "Kubelet never posted node status."
        condition.lastHeartbeatTime = node.metadata.creationTimestamp
        condition.lastTransitionTime = now
        conditions.append(condition)
      }
    }
    return conditions == node.status.conditions ? nil : conditions
  }
}
