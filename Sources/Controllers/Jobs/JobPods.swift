package import KubeModel

/// What the pods of a Job look like, and what they say when they are done.
extension Job {
  /// On every pod of a Job until it is counted.
  package static let trackingFinalizer = "batch.kubernetes.io/job-tracking"
  package static let indexKey = "batch.kubernetes.io/job-completion-index"
  /// How often an index was tried in vain before, where that is limited for each.
  package static let indexFailuresKey = "batch.kubernetes.io/job-index-failure-count"
  static let uidLabel = "batch.kubernetes.io/controller-uid"
  static let nameLabel = "batch.kubernetes.io/job-name"

  var isIndexed: Bool { spec.completionMode == "Indexed" }
  var parallelism: Int { Int(spec.parallelism ?? 1) }
  var isSuspended: Bool { spec.suspend == true }
  /// Pods whose going is awaited before others take their place.
  var waitsForTermination: Bool {
    (spec.podReplacementPolicy ?? (spec.podFailurePolicy == nil ? "" : "Failed")) == "Failed"
  }

  package var finishedCondition: JobCondition? {
    status.conditions.first { ($0.type == "Complete" || $0.type == "Failed") && $0.status == "True" }
  }

  /// Of its pods; where none is given, the label that all its pods carry.
  var effectiveSelector: LabelSelector {
    if let selector = spec.selector, !selector.isEmpty { return selector }
    var own = LabelSelector()
    own.matchLabels = [Self.uidLabel: metadata.uid ?? ""]
    return own
  }

  package func pod(index: Int?, failures: Int = 0) -> Pod {
    var pod = Pod()
    let name = metadata.name ?? ""
    pod.metadata.generateName = index.map { "\(name)-\($0)-" } ?? "\(name)-"
    pod.metadata.namespace = metadata.namespace
    pod.metadata.labels = spec.template.metadata.labels
    for key in [Self.uidLabel, "controller-uid"] { pod.metadata.labels[key] = metadata.uid ?? "" }
    // A label is shorter than a name may be.
    if name.utf8.count <= 63 { for key in [Self.nameLabel, "job-name"] { pod.metadata.labels[key] = name } }
    pod.metadata.annotations = spec.template.metadata.annotations
    pod.metadata.finalizers = spec.template.metadata.finalizers + [Self.trackingFinalizer]
    pod.metadata.ownerReferences = [asController]
    pod.spec = spec.template.spec
    guard let index else { return pod }
    pod.metadata.labels[Self.indexKey] = String(index)
    pod.metadata.annotations[Self.indexKey] = String(index)
    if spec.backoffLimitPerIndex != nil { pod.metadata.annotations[Self.indexFailuresKey] = String(failures) }
    pod.spec.hostname = "\(name)-\(index)"
    for place in pod.spec.containers.indices { Self.tellIndex(&pod.spec.containers[place]) }
    for place in pod.spec.initContainers.indices { Self.tellIndex(&pod.spec.initContainers[place]) }
    return pod
  }

  private static func tellIndex(_ container: inout Container) {
    let name = "JOB_COMPLETION_INDEX"
    guard !container.env.contains(where: { $0.name == name }) else { return }
    var field = ObjectFieldSelector()
    (field.apiVersion, field.fieldPath) = ("v1", "metadata.annotations['\(indexKey)']")
    var source = EnvVarSource()
    source.fieldRef = field
    var variable = EnvVar()
    (variable.name, variable.valueFrom) = (name, source)
    container.env.append(variable)
  }

  package func index(of pod: Pod) -> Int? {
    (pod.metadata.annotations[Self.indexKey] ?? pod.metadata.labels[Self.indexKey]).flatMap { Int($0) }
      .flatMap { $0 >= 0 && $0 < Int(spec.completions ?? 0) ? $0 : nil }
  }

  // MARK: failures

  package enum FailureVerdict: Hashable, Sendable {
    case count
    case ignore
    case failIndex
    case failJob(String)
  }

  /// What the Job's policy says to a pod that failed.
  package func verdict(on pod: Pod) -> FailureVerdict {
    for (number, rule) in (spec.podFailurePolicy?.rules ?? []).enumerated() {
      let reason: String?
      if let wanted = rule.onExitCodes {
        reason = Self.exit(pod, wanted).map { name, code in
          "Container \(name) for pod \(pod.metadata.namespace ?? "")/\(pod.metadata.name ?? "") failed with exit code \(code)"
            + " matching \(rule.action) rule at index \(number)"
        }
      } else {
        reason = rule.onPodConditions.first { wanted in
          pod.status.conditions.contains { $0.type == wanted.type && $0.status == (wanted.status ?? "True") }
        }.map {
          "Pod \(pod.metadata.namespace ?? "")/\(pod.metadata.name ?? "") has condition \($0.type) matching"
            + " \(rule.action) rule at index \(number)"
        }
      }
      guard let reason else { continue }
      switch rule.action {
      case "FailJob": return .failJob(reason)
      case "FailIndex": return spec.backoffLimitPerIndex == nil ? .count : .failIndex
      case "Ignore": return .ignore
      default: return .count
      }
    }
    return .count
  }

  private static func exit(_ pod: Pod, _ wanted: PodFailurePolicyOnExitCodesRequirement) -> (String, Int32)? {
    for status in pod.status.initContainerStatuses + pod.status.containerStatuses {
      guard let end = status.state.terminated, end.exitCode != 0 else { continue }
      if let name = wanted.containerName, name != status.name { continue }
      let isListed = wanted.values.contains(end.exitCode)
      if isListed == (wanted.operator == "In") { return (status.name, end.exitCode) }
    }
    return nil
  }
}

extension Pod {
  /// When its last container ended.
  var finishedAt: Int64? {
    guard isFinished else { return nil }
    let ends = status.containerStatuses.compactMap { $0.state.terminated?.finishedAt?.secondsSinceEpoch }
    return ends.max() ?? metadata.deletionTimestamp?.secondsSinceEpoch ?? metadata.createdAt
  }
}
