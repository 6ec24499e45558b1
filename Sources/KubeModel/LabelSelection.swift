/// Matching by labels: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/
extension LabelSelector {
  /// An empty selector matches everything. An operator that does not exist matches nothing.
  package func matches(_ labels: [String: String]) -> Bool {
    LabelSelector.matches(labels, equality: matchLabels) && matchExpressions.allSatisfy { $0.matches(labels) }
  }

  package static func matches(_ labels: [String: String], equality: [String: String]) -> Bool {
    equality.allSatisfy { labels[$0.key] == $0.value }
  }
}

extension LabelSelectorRequirement {
  package func matches(_ labels: [String: String]) -> Bool {
    switch `operator` {
    case "In": labels[key].map(values.contains) ?? false
    case "NotIn": labels[key].map { !values.contains($0) } ?? true
    case "Exists": labels[key] != nil
    case "DoesNotExist": labels[key] == nil
    default: false
    }
  }
}
