package import KubeModel

/// What to do for a claim, given the volumes and classes that there are.
package enum ClaimPlan: Sendable, Hashable {
  case nothing
  /// It names no class, and there is a default one.
  case setClass(String)
  /// Let the volume and the claim name each other.
  case bind(PersistentVolume)
  case provision(PersistentVolume)
  /// It asks for more than its volume has, and the volume is a directory of ours: that grows.
  case expand(PersistentVolume)
  /// Its class is served by another program, which is told by an annotation.
  case leaveTo(provisioner: String)
  case wait(isWarning: Bool, reason: String, message: String)
  /// Its volume is gone, and with it what was on it.
  case lose

  /// - Parameter node: the one chosen for the claim's first pod; nil before that, or where it is gone.
  package init(
    for claim: PersistentVolumeClaim, volumes: [PersistentVolume], classes: [StorageClass], node: Node?
  ) {
    if claim.metadata.isDeleting, !claim.isBound {
      self = .nothing
      return
    }
    if let name = claim.spec.volumeName, !name.isEmpty {
      let plan = Self.named(name, claim, volumes)
      self = Self.growth(plan, claim, classes) ?? plan
      return
    }
    if claim.spec.storageClassName == nil, let standard = StorageClass.defaultClass(among: classes) {
      self = .setClass(standard.metadata.name ?? "")
      return
    }
    let name = claim.spec.storageClassName ?? ""
    let known = classes.first { $0.metadata.name == name }
    let mustWait = known?.waitsForConsumer == true && claim.metadata.annotations[VolumeNames.selectedNode] == nil
    let candidates = volumes.filter { volume in
      volume.isFor(claim) || !mustWait && (node.map { volume.isReachable(from: $0) } ?? true)
    }
    if let volume = PersistentVolume.best(for: claim, among: candidates) {
      self = .bind(volume)
    } else if mustWait {
      self = .wait(
        isWarning: false, reason: "WaitForFirstConsumer",
        message: "waiting for first consumer to be created before binding")
    } else if name.isEmpty {
      self = .wait(
        isWarning: false, reason: "FailedBinding",
        message: "no persistent volumes available for this claim and no storage class is set")
    } else if let known {
      self = Self.dynamic(claim, known, node)
    } else {
      self = .wait(
        isWarning: true, reason: "ProvisioningFailed", message: "storageclass.storage.k8s.io \"\(name)\" not found")
    }
  }

  private static func named(
    _ name: String, _ claim: PersistentVolumeClaim, _ volumes: [PersistentVolume]
  ) -> ClaimPlan {
    guard let volume = volumes.first(where: { $0.metadata.name == name }) else {
      if claim.isBound { return .lose }
      return .wait(
        isWarning: true, reason: "FailedBinding", message: "volume \"\(name)\" not found")
    }
    if volume.isFor(claim) || volume.spec.claimRef == nil {
      if claim.isBound, volume.spec.claimRef == nil { return .lose }
      if !claim.isBound, !volume.satisfies(claim) {
        return .wait(
          isWarning: true, reason: "VolumeMismatch",
          message: "Cannot bind to requested volume \"\(name)\": its size, access modes, mode or class do not match")
      }
      return .bind(volume)
    }
    if claim.isBound { return .lose }
    return .wait(
      isWarning: true, reason: "FailedBinding", message: "volume \"\(name)\" already bound to a different claim.")
  }

  /// Nil where the claim has what it asks for, or its volume cannot grow.
  private static func growth(
    _ plan: ClaimPlan, _ claim: PersistentVolumeClaim, _ classes: [StorageClass]
  ) -> ClaimPlan? {
    guard case .bind(let volume) = plan, claim.isBound, claim.status.phase == "Bound",
      let wanted = claim.spec.resources.requests["storage"], let has = volume.spec.capacity["storage"],
      has.value < wanted.value
    else { return nil }
    let kind = classes.first { $0.metadata.name == claim.spec.storageClassName }
    guard kind?.allowVolumeExpansion == true else {
      return .wait(
        isWarning: true, reason: "VolumeResizeFailed",
        message: "the StorageClass \"\(claim.spec.storageClassName ?? "")\" does not allow volumes to grow")
    }
    guard volume.metadata.annotations[VolumeNames.provisionedBy] == VolumeNames.provisioner else { return nil }
    return .expand(volume)
  }

  // MARK: directories on nodes

  private static func dynamic(_ claim: PersistentVolumeClaim, _ kind: StorageClass, _ node: Node?) -> ClaimPlan {
    switch kind.provisioner {
    case VolumeNames.provisioner: break
    case "kubernetes.io/no-provisioner":
      return .wait(
        isWarning: false, reason: "FailedBinding",
        message: "no persistent volumes available for this claim and no storage class is set")
    default: return .leaveTo(provisioner: kind.provisioner)
    }
    func refuse(_ why: String) -> ClaimPlan {
      .wait(
        isWarning: true, reason: "ProvisioningFailed",
        message: "failed to provision volume with StorageClass \"\(kind.metadata.name ?? "")\": \(why)")
    }
    guard let node else {
      return refuse("configuration error, no node was specified; set volumeBindingMode: WaitForFirstConsumer")
    }
    if claim.spec.selector != nil { return refuse("claim.Spec.Selector is not supported") }
    if claim.spec.volumeMode == "Block" {
      return refuse("a directory is no block device; volumeMode must be Filesystem")
    }
    if claim.spec.accessModes.contains(where: { $0 != "ReadWriteOnce" && $0 != "ReadWriteOncePod" }) {
      return refuse("only the access modes ReadWriteOnce and ReadWriteOncePod are supported")
    }
    return .provision(directory(for: claim, kind, node))
  }

  private static func directory(
    for claim: PersistentVolumeClaim, _ kind: StorageClass, _ node: Node
  ) -> PersistentVolume {
    var volume = PersistentVolume()
    let name = "pvc-\(claim.metadata.uid ?? "")"
    volume.metadata.name = name
    volume.metadata.annotations = [VolumeNames.provisionedBy: VolumeNames.provisioner]
    volume.metadata.finalizers = [VolumeNames.volumeProtection, VolumeNames.directoryFinalizer]
    let root =
      node.metadata.annotations[VolumeNames.rootAnnotation] ?? kind.parameters["path"] ?? VolumeNames.rootDefault
    var source = HostPathVolumeSource()
    source.path = "\(root)/\(name)_\(claim.metadata.namespace ?? "")_\(claim.metadata.name ?? "")"
    source.type = "DirectoryOrCreate"
    volume.spec.hostPath = source
    volume.spec.capacity["storage"] = claim.spec.resources.requests["storage"] ?? Quantity()
    volume.spec.accessModes = claim.spec.accessModes
    volume.spec.volumeMode = "Filesystem"
    volume.spec.storageClassName = kind.metadata.name
    volume.spec.mountOptions = kind.mountOptions
    volume.spec.persistentVolumeReclaimPolicy = kind.reclaimPolicy ?? "Delete"
    var requirement = NodeSelectorRequirement()
    (requirement.key, requirement.operator) = (VolumeNames.hostName, "In")
    requirement.values = [node.metadata.labels[VolumeNames.hostName] ?? node.metadata.name ?? ""]
    var term = NodeSelectorTerm()
    term.matchExpressions = [requirement]
    var selector = NodeSelector()
    selector.nodeSelectorTerms = [term]
    var affinity = VolumeNodeAffinity()
    affinity.required = selector
    volume.spec.nodeAffinity = affinity
    volume.spec.claimRef = reference(to: claim)
    return volume
  }

  package static func reference(to claim: PersistentVolumeClaim) -> ObjectReference {
    var reference = ObjectReference()
    (reference.apiVersion, reference.kind) = ("v1", PersistentVolumeClaim.kind)
    (reference.namespace, reference.name) = (claim.metadata.namespace, claim.metadata.name)
    (reference.uid, reference.resourceVersion) = (claim.metadata.uid, claim.metadata.resourceVersion)
    return reference
  }
}

/// What to do for a volume, given the claim that it names.
package enum VolumePlan: Sendable, Hashable {
  case phase(String)
  /// It was bound by this program to a claim that took another volume: free it.
  case free
  /// Its claim is gone, and its policy says that it goes, too.
  case delete
  /// It should go, but nobody here knows how.
  case fail(reason: String, message: String)

  /// - Parameter claim: of the name that the volume's claimRef has; nil where there is none.
  package init(for volume: PersistentVolume, claim: PersistentVolumeClaim?) {
    guard let reference = volume.spec.claimRef, !(reference.uid ?? "").isEmpty else {
      self = .phase("Available")
      return
    }
    if let claim, claim.metadata.uid == reference.uid {
      switch claim.spec.volumeName ?? "" {
      case volume.metadata.name ?? "": self = .phase("Bound")
      // The claim's own turn will bind it.
      case "": self = .phase(volume.status.phase ?? "Pending")
      default:
        self = volume.metadata.annotations[VolumeNames.boundByController] != nil ? .free : .phase("Released")
      }
      return
    }
    switch volume.spec.persistentVolumeReclaimPolicy ?? "Retain" {
    case "Delete":
      switch volume.metadata.annotations[VolumeNames.provisionedBy] {
      case VolumeNames.provisioner: self = .delete
      case nil:
        self = .fail(
          reason: "VolumeFailedDelete",
          message:
            "error getting deleter volume plugin for volume \"\(volume.metadata.name ?? "")\": no deletable volume plugin matched"
        )
      default: self = .phase("Released")
      }
    case "Recycle":
      self = .fail(
        reason: "VolumeFailedRecycle", message: "the reclaim policy Recycle is not supported; use Delete or Retain")
    default: self = .phase("Released")
    }
  }
}
