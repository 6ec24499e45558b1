package import KubeModel

/// What a pass over a terminating namespace found.
package struct NamespaceContent: Sendable {
  /// Objects left, by resource as people write it (`deployments.apps`, `pods.`).
  package var remaining: [String: Int] = [:]
  /// Objects left that carry a finalizer, by the finalizer.
  package var finalizers: [String: Int] = [:]
  /// Resources whose objects could not be deleted or listed, and why.
  package var failures: [String] = []
  /// The longest grace of a pod that is left, in seconds.
  package var graceSeconds: Int64 = 0

  package init() {}

  package var isEmpty: Bool { remaining.isEmpty && failures.isEmpty }

  package mutating func note(_ resource: ResourceType, _ objects: [ObjectMeta]) {
    guard !objects.isEmpty else { return }
    remaining["\(resource.plural).\(resource.group)"] = objects.count
    for object in objects {
      for finalizer in object.finalizers { finalizers[finalizer, default: 0] += 1 }
      graceSeconds = max(graceSeconds, object.deletionGracePeriodSeconds ?? 0)
    }
  }

  // MARK: conditions

  package static let kubernetesFinalizer = "kubernetes"

  /// The five conditions of a namespace that is being deleted; a time changes only with a status.
  package func conditions(after old: [NamespaceCondition], now: Time) -> [NamespaceCondition] {
    var conditions = old
    for new in findings {
      if let index = conditions.firstIndex(where: { $0.type == new.type }) {
        if conditions[index].status != new.status { conditions[index].lastTransitionTime = now }
        conditions[index].status = new.status
        conditions[index].reason = new.reason
        conditions[index].message = new.message
      } else {
        var condition = new
        condition.lastTransitionTime = now
        conditions.append(condition)
      }
    }
    return conditions
  }

  private var findings: [NamespaceCondition] {
    let failure =
      failures.isEmpty
      ? nil
      : "Failed to delete all resource types, \(failures.count) remaining: \(failures.sorted().joined(separator: ", "))"
    let resources = remaining.map { "\($0.key) has \($0.value) resource instances" }.sorted()
    let held = finalizers.map { "\($0.key) in \($0.value) resource instances" }.sorted()
    return [
      condition(
        "NamespaceDeletionDiscoveryFailure", nil, "", "ResourcesDiscovered", "All resources successfully discovered"),
      condition(
        "NamespaceDeletionGroupVersionParsingFailure", nil, "", "ParsedGroupVersions",
        "All legacy kube types successfully parsed"),
      condition(
        "NamespaceDeletionContentFailure", failure, "ContentDeletionFailed", "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization"),
      condition(
        "NamespaceContentRemaining",
        resources.isEmpty ? nil : "Some resources are remaining: \(resources.joined(separator: ", "))",
        "SomeResourcesRemain", "ContentRemoved", "All content successfully removed"),
      condition(
        "NamespaceFinalizersRemaining",
        held.isEmpty ? nil : "Some finalizers are remaining: \(held.joined(separator: ", "))", "SomeFinalizerRemain",
        "ContentRemoved", "All content successfully removed"),
    ]
  }

  private func condition(
    _ type: String, _ problem: String?, _ reason: String, _ fineReason: String, _ fineMessage: String
  ) -> NamespaceCondition {
    var condition = NamespaceCondition()
    condition.type = type
    condition.status = problem == nil ? "False" : "True"
    condition.reason = problem == nil ? fineReason : reason
    condition.message = problem ?? fineMessage
    return condition
  }
}
