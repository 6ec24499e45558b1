internal import KubeClient
internal import KubeModel

extension ObjectMeta {
  func isControlled(byUID uid: String?) -> Bool {
    guard let uid, let reference = controllerReference else { return false }
    return reference.uid == uid
  }

  var isDeleting: Bool { deletionTimestamp != nil }
  var key: ObjectKey { ObjectKey(namespace: namespace ?? "", name: name ?? "") }
  /// What Kubernetes takes for the age of an object whose time is not known: the oldest there is.
  var createdAt: Int64 { creationTimestamp?.secondsSinceEpoch ?? 0 }
}

extension KubeKind {
  /// The reference by which this object manages others; those wait with going until a foreground deletion is done.
  var asController: OwnerReference {
    var reference = OwnerReference()
    reference.apiVersion = Self.apiVersion
    reference.kind = Self.kind
    reference.name = metadata.name ?? ""
    reference.uid = metadata.uid ?? ""
    reference.controller = true
    reference.blockOwnerDeletion = true
    return reference
  }
}

extension Pod {
  /// Neither finished nor being deleted: one that counts.
  var isActive: Bool { !isFinished && !metadata.isDeleting }
  var isFinished: Bool { status.phase == "Succeeded" || status.phase == "Failed" }
  var readyCondition: PodCondition? { status.conditions.first { $0.type == "Ready" } }
  var isReady: Bool { readyCondition?.status == "True" }

  /// When the pod has been ready for long enough; nil where it is not ready, or does not say since when.
  func availableSince(minReadySeconds: Int32) -> Time? {
    guard let condition = readyCondition, condition.status == "True" else { return nil }
    if minReadySeconds == 0 { return condition.lastTransitionTime ?? Time() }
    guard let since = condition.lastTransitionTime else { return nil }
    return Time(secondsSinceEpoch: since.secondsSinceEpoch + Int64(minReadySeconds))
  }

  func isAvailable(minReadySeconds: Int32, now: Time) -> Bool {
    guard let since = availableSince(minReadySeconds: minReadySeconds) else { return false }
    return minReadySeconds == 0 || since.secondsSinceEpoch <= now.secondsSinceEpoch
  }
}

extension LabelSelector {
  var isEmpty: Bool { matchLabels.isEmpty && matchExpressions.isEmpty }
}

extension IntOrString {
  /// A number as it is, a percentage as its part of `total`; zero where it is neither.
  func scaled(total: Int, roundingUp: Bool) -> Int {
    switch self {
    case .int(let number): return Int(number)
    case .string(let text):
      guard text.hasSuffix("%"), let percent = Int(text.dropLast()), (0...1_000_000).contains(percent) else { return 0 }
      return roundingUp ? (percent * total + 99) / 100 : percent * total / 100
    }
  }
}
