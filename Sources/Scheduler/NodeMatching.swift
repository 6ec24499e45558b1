package import KubeModel

/// Matching of pods with nodes by labels and taints.
/// - SeeAlso: https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/ and …/taint-and-toleration/
extension PodNeeds {
  /// By nodeSelector and required node affinity.
  package func selects(_ node: NodeSnapshot) -> Bool {
    for (key, value) in nodeSelector where node.labels[key] != value { return false }
    guard let requiredNodes else { return true }
    return requiredNodes.nodeSelectorTerms.contains { $0.matches(node) }
  }

  func tolerates(_ taint: Taint) -> Bool { tolerations.contains { $0.tolerates(taint) } }
}

extension NodeSelectorTerm {
  /// A term without requirements matches nothing.
  package func matches(_ node: NodeSnapshot) -> Bool {
    if matchExpressions.isEmpty, matchFields.isEmpty { return false }
    for requirement in matchExpressions where !requirement.matches(node.labels[requirement.key]) { return false }
    for requirement in matchFields {
      guard requirement.key == "metadata.name", requirement.matches(node.name) else { return false }
    }
    return true
  }
}

extension NodeSelectorRequirement {
  /// An operator that does not exist matches nothing.
  func matches(_ value: String?) -> Bool {
    switch `operator` {
    case "In": value.map(values.contains) ?? false
    case "NotIn": value.map { !values.contains($0) } ?? true
    case "Exists": value != nil
    case "DoesNotExist": value == nil
    case "Gt": compare(value, >)
    case "Lt": compare(value, <)
    default: false
    }
  }

  private func compare(_ value: String?, _ isIn: (Int64, Int64) -> Bool) -> Bool {
    guard let value = value.flatMap({ Int64($0) }), values.count == 1, let bound = Int64(values[0]) else {
      return false
    }
    return isIn(value, bound)
  }
}

extension Toleration {
  func tolerates(_ taint: Taint) -> Bool {
    if let effect, !effect.isEmpty, effect != taint.effect { return false }
    let key = key ?? ""
    if !key.isEmpty, key != taint.key { return false }
    switch `operator` ?? "" {
    case "Exists": return true
    // Without a key only Exists means every taint.
    case "", "Equal": return !key.isEmpty && (value ?? "") == (taint.value ?? "")
    default: return false
    }
  }
}
