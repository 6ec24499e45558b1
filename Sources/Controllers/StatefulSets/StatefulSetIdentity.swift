package import KubeModel

/// What the pods of a StatefulSet are called and keep.
extension StatefulSet {
  package static let podNameLabel = "statefulset.kubernetes.io/pod-name"
  package static let podIndexLabel = "apps.kubernetes.io/pod-index"

  var firstOrdinal: Int { Int(spec.ordinals?.start ?? 0) }
  var desired: Int { Int(spec.replicas ?? 1) }
  var isOrdered: Bool { spec.podManagementPolicy != "Parallel" }
  /// Pods with a lower number than this keep the old template.
  var partition: Int { Int(spec.updateStrategy.rollingUpdate?.partition ?? 0) }
  var deletesClaimsWithItself: Bool { spec.persistentVolumeClaimRetentionPolicy?.whenDeleted == "Delete" }
  var deletesClaimsWhenScaled: Bool { spec.persistentVolumeClaimRetentionPolicy?.whenScaled == "Delete" }

  /// Pods that an update may take at a time.
  var maxUnavailable: Int {
    guard let wanted = spec.updateStrategy.rollingUpdate?.maxUnavailable else { return 1 }
    return max(1, wanted.scaled(total: desired, roundingUp: true))
  }

  package func podName(_ ordinal: Int) -> String { "\(metadata.name ?? "")-\(ordinal)" }

  /// The number in a pod's name; nil where it is no name that this set gives.
  package func ordinal(of pod: Pod) -> Int? {
    guard let name = pod.metadata.name, let own = metadata.name, name.hasPrefix("\(own)-"),
      let number = Int(name.dropFirst(own.count + 1)), number >= 0, podName(number) == name
    else { return nil }
    return number
  }

  package func claimName(_ template: PersistentVolumeClaim, _ ordinal: Int) -> String {
    "\(template.metadata.name ?? "")-\(podName(ordinal))"
  }

  /// The claims that a pod of the set keeps, as they would be made.
  package func claims(_ ordinal: Int) -> [PersistentVolumeClaim] {
    spec.volumeClaimTemplates.map { template in
      var claim = PersistentVolumeClaim()
      claim.metadata.name = claimName(template, ordinal)
      claim.metadata.namespace = metadata.namespace
      claim.metadata.labels = template.metadata.labels.merging(spec.selector.matchLabels) { $1 }
      claim.metadata.annotations = template.metadata.annotations
      claim.spec = template.spec
      if deletesClaimsWithItself { claim.metadata.ownerReferences = [asController] }
      return claim
    }
  }

  /// The pod of a number, by a template of the set's history.
  package func pod(_ ordinal: Int, template: PodTemplateSpec, revision: String) -> Pod {
    var pod = Pod()
    let name = podName(ordinal)
    pod.metadata.name = name
    pod.metadata.namespace = metadata.namespace
    pod.metadata.labels = template.metadata.labels
    pod.metadata.annotations = template.metadata.annotations
    pod.metadata.finalizers = template.metadata.finalizers
    pod.metadata.ownerReferences = [asController]
    pod.spec = template.spec
    pod.metadata.labels[RevisionPlan.hashLabel] = revision
    setIdentity(of: &pod, ordinal)
    pod.spec.hostname = name
    pod.spec.subdomain = spec.serviceName
    let claimed = Set(spec.volumeClaimTemplates.compactMap(\.metadata.name))
    pod.spec.volumes.removeAll { claimed.contains($0.name) }
    for template in spec.volumeClaimTemplates {
      var volume = Volume()
      volume.name = template.metadata.name ?? ""
      var source = PersistentVolumeClaimVolumeSource()
      source.claimName = claimName(template, ordinal)
      volume.persistentVolumeClaim = source
      pod.spec.volumes.append(volume)
    }
    return pod
  }

  func setIdentity(of pod: inout Pod, _ ordinal: Int) {
    pod.metadata.labels[Self.podNameLabel] = podName(ordinal)
    pod.metadata.labels[Self.podIndexLabel] = String(ordinal)
  }

  /// Who a claim goes with, by the set's retention policy.
  ///
  /// - Parameter condemned: its pod, where the set no longer has a place for that.
  /// - Returns: nil where the claim's owners are as they should be, or somebody else controls it.
  func owners(of claim: PersistentVolumeClaim, pod: Pod?, isCondemned: Bool) -> [OwnerReference]? {
    var wanted = claim.metadata.ownerReferences.filter { reference in
      let isSet = reference.uid == metadata.uid
      let isPod = reference.kind == Pod.kind && reference.name == pod?.metadata.name
      return !isSet && !isPod
    }
    if isCondemned, deletesClaimsWhenScaled {
      guard let pod else { return nil }
      wanted.append(pod.asController)
    } else if deletesClaimsWithItself {
      wanted.append(asController)
    }
    guard wanted.count(where: { $0.controller == true }) <= 1 else { return nil }
    return wanted == claim.metadata.ownerReferences ? nil : wanted
  }
}
