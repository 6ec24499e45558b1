package import KubeModel

/// The words by which claims, volumes and those who serve them know each other.
package enum VolumeNames {
  package static let provisioner = "martlet.dev/local-path"
  /// On a volume whose directory is on a node, until the node has removed it.
  package static let directoryFinalizer = "martlet.dev/local-path"
  /// On a Node: where its directories for volumes are.
  package static let rootAnnotation = "martlet.dev/local-path-root"
  /// On a Node: names of volumes whose directories it has removed, with commas between; a node may not write volumes.
  package static let removedAnnotation = "martlet.dev/local-path-removed"
  package static let rootDefault = "/var/lib/martlet/local-path"
  package static let className = "local-path"

  package static let bindCompleted = "pv.kubernetes.io/bind-completed"
  package static let boundByController = "pv.kubernetes.io/bound-by-controller"
  package static let provisionedBy = "pv.kubernetes.io/provisioned-by"
  package static let selectedNode = "volume.kubernetes.io/selected-node"
  package static let storageProvisioner = "volume.kubernetes.io/storage-provisioner"
  static let oldStorageProvisioner = "volume.beta.kubernetes.io/storage-provisioner"
  package static let defaultClass = "storageclass.kubernetes.io/is-default-class"
  package static let claimProtection = "kubernetes.io/pvc-protection"
  package static let volumeProtection = "kubernetes.io/pv-protection"
  static let hostName = "kubernetes.io/hostname"
}

extension PersistentVolume {
  /// Whether its claimRef names this claim; one without a uid names whichever has the name.
  package func isFor(_ claim: PersistentVolumeClaim) -> Bool {
    guard let reference = spec.claimRef, reference.namespace == claim.metadata.namespace,
      reference.name == claim.metadata.name
    else { return false }
    return (reference.uid ?? "").isEmpty || reference.uid == claim.metadata.uid
  }

  func isReachable(from node: Node) -> Bool { spec.nodeAffinity?.required?.matches(node) ?? true }

  /// Whether a claim would take this volume, whatever the node.
  package func satisfies(_ claim: PersistentVolumeClaim) -> Bool {
    guard !metadata.isDeleting, spec.claimRef == nil || isFor(claim),
      (spec.storageClassName ?? "") == (claim.spec.storageClassName ?? ""),
      (spec.volumeMode ?? "Filesystem") == (claim.spec.volumeMode ?? "Filesystem"),
      Set(spec.accessModes).isSuperset(of: claim.spec.accessModes)
    else { return false }
    if let selector = claim.spec.selector, !selector.matches(metadata.labels) { return false }
    let wanted = claim.spec.resources.requests["storage"]?.value ?? 0
    return (spec.capacity["storage"]?.value ?? 0) >= wanted
  }

  /// The best of the volumes that would do: one that is meant for the claim, else the smallest.
  package static func best(for claim: PersistentVolumeClaim, among volumes: [PersistentVolume]) -> PersistentVolume? {
    volumes.filter { $0.satisfies(claim) }.min { left, right in
      if left.isFor(claim) != right.isFor(claim) { return left.isFor(claim) }
      let sizes = (left.spec.capacity["storage"]?.value ?? 0, right.spec.capacity["storage"]?.value ?? 0)
      return (sizes.0, left.metadata.name ?? "") < (sizes.1, right.metadata.name ?? "")
    }
  }
}

extension PersistentVolumeClaim {
  package var isBound: Bool {
    !(spec.volumeName ?? "").isEmpty && metadata.annotations[VolumeNames.bindCompleted] != nil
  }
}

extension StorageClass {
  package var waitsForConsumer: Bool { volumeBindingMode == "WaitForFirstConsumer" }
  var isDefault: Bool { metadata.annotations[VolumeNames.defaultClass] == "true" }

  /// The newest of those that are marked as the default.
  static func defaultClass(among classes: [StorageClass]) -> StorageClass? {
    classes.filter(\.isDefault).max {
      ($0.metadata.createdAt, $1.metadata.name ?? "") < ($1.metadata.createdAt, $0.metadata.name ?? "")
    }
  }
}
