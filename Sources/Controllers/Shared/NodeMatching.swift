internal import KubeModel

/// Which nodes a pod may be on, by labels and names, as the scheduler sees it.
extension NodeSelector {
  func matches(_ node: Node) -> Bool { nodeSelectorTerms.contains { $0.matches(node) } }
}

extension NodeSelectorTerm {
  /// A term without requirements matches nothing.
  func matches(_ node: Node) -> Bool {
    if matchExpressions.isEmpty, matchFields.isEmpty { return false }
    return matchExpressions.allSatisfy { $0.matches(node.metadata.labels[$0.key]) }
      && matchFields.allSatisfy { $0.key == "metadata.name" && $0.matches(node.metadata.name) }
  }
}

extension NodeSelectorRequirement {
  func matches(_ value: String?) -> Bool {
    switch `operator` {
    case "In": return value.map(values.contains) ?? false
    case "NotIn": return value.map { !values.contains($0) } ?? true
    case "Exists": return value != nil
    case "DoesNotExist": return value == nil
    case "Gt", "Lt":
      guard let number = value.flatMap({ Int64($0) }), values.count == 1, let bound = Int64(values[0]) else {
        return false
      }
      return `operator` == "Gt" ? number > bound : number < bound
    default: return false
    }
  }
}
