internal import JSON
internal import KubeClient
internal import KubeModel
internal import Logging

/// Binds claims to volumes, makes volumes that are directories of nodes, and lets go what is no longer in use.
final class VolumeController: Sendable {
  private static let claimIndex = "claim"

  private let context: ControllerContext
  private let claims: Informer<PersistentVolumeClaim>
  private let volumes: Informer<PersistentVolume>
  private let classes: Informer<StorageClass>
  private let nodes: Informer<Node>
  private let pods: Informer<Pod>
  private let claimQueue: WorkQueue<ObjectKey>
  private let volumeQueue: WorkQueue<String>
  private let ephemeralQueue: WorkQueue<ObjectKey>
  private let recorder: EventRecorder

  init(_ context: ControllerContext) {
    self.context = context
    claims = context.informers.informer()
    volumes = context.informers.informer()
    classes = context.informers.informer()
    nodes = context.informers.informer()
    pods = context.informers.informer()
    claimQueue = context.queue("claims")
    volumeQueue = context.queue("volumes")
    ephemeralQueue = context.queue("ephemeral claims")
    recorder = context.recorder("persistentvolume-controller")
    pods.addIndex(Self.claimIndex) { pod in pod.claimNames.map { "\(pod.metadata.namespace ?? "")/\($0)" } }
    watch()
  }

  private func watch() {
    claims.onChange { [self] event in
      let claim = event.object
      claimQueue.add(claim.metadata.key)
      if let name = claim.spec.volumeName, !name.isEmpty { volumeQueue.add(name) }
      if case .deleted = event {
        for volume in volumes.list() where volume.isFor(claim) { volumeQueue.add(volume.metadata.name ?? "") }
      }
    }
    volumes.onChange { [self] event in
      let volume = event.object
      volumeQueue.add(volume.metadata.name ?? "")
      if let reference = volume.spec.claimRef {
        claimQueue.add(ObjectKey(namespace: reference.namespace ?? "", name: reference.name ?? ""))
      } else {
        addPending()
      }
    }
    classes.onChange { [self] _ in addPending() }
    nodes.onChange { [self] event in
      if case .updated(let old, let new) = event {
        let key = VolumeNames.removedAnnotation
        guard old.metadata.annotations[key] != new.metadata.annotations[key] else { return }
      }
      if case .added = event { return }
      for volume in volumes.list() where volume.metadata.isDeleting { volumeQueue.add(volume.metadata.name ?? "") }
    }
    pods.onChange { [self] event in
      let pod = event.object
      if pod.spec.volumes.contains(where: { $0.ephemeral != nil }) { ephemeralQueue.add(pod.metadata.key) }
      if case .updated(let old, _) = event, old.spec.nodeName == pod.spec.nodeName { return }
      for name in pod.claimNames { claimQueue.add(ObjectKey(namespace: pod.metadata.namespace ?? "", name: name)) }
    }
  }

  private func addPending() { for claim in claims.list() where !claim.isBound { claimQueue.add(claim.metadata.key) } }

  func run() async throws {
    try await withThrowingDiscardingTaskGroup { group in
      group.addTask { [self] in try await makeDefaultClass() }
      // One at a time: two claims must not choose the same volume.
      group.addTask { [self] in
        try await context.run("persistentvolume-binder", claimQueue, recorder, workers: 1) { [self] key in
          try await pass(claim: key)
        }
      }
      group.addTask { [self] in
        try await context.run("persistentvolume", volumeQueue, workers: 1) { [self] name in
          try await pass(volume: name)
        }
      }
      group.addTask { [self] in
        try await context.run("ephemeral-volume", ephemeralQueue, workers: 1) { [self] key in
          try await makeEphemeral(key)
        }
      }
    }
  }

  /// So that a claim without a class finds a directory on the node of its pod.
  private func makeDefaultClass() async throws {
    guard context.configuration.makesLocalPathClass, classes.get(name: VolumeNames.className) == nil else { return }
    var kind = StorageClass()
    kind.metadata.name = VolumeNames.className
    if StorageClass.defaultClass(among: classes.list()) == nil {
      kind.metadata.annotations[VolumeNames.defaultClass] = "true"
    }
    kind.provisioner = VolumeNames.provisioner
    kind.reclaimPolicy = "Delete"
    kind.volumeBindingMode = "WaitForFirstConsumer"
    // A directory has room for more at any time.
    kind.allowVolumeExpansion = true
    do throws(KubeError) {
      _ = try await context.client.create(kind)
    } catch {
      guard !error.isAlreadyExists else { return }
      context.logger.warning("the StorageClass \(VolumeNames.className) could not be made: \(error)")
    }
  }

  // MARK: claims

  private func pass(claim key: ObjectKey) async throws -> WorkOutcome {
    guard var claim = claims.get(key) else { return .done }
    if try await protect(&claim) { return .done }
    let node = claim.metadata.annotations[VolumeNames.selectedNode].flatMap { nodes.get(name: $0) }
    let plan = ClaimPlan(for: claim, volumes: volumes.list(), classes: classes.list(), node: node)
    switch plan {
    case .nothing: return .done
    case .expand(let volume): try await expand(volume, for: claim)
    case .setClass(let name):
      _ = try await context.client.update(retrying: claim) { fresh in
        guard fresh.spec.storageClassName == nil else { return false }
        fresh.spec.storageClassName = name
        return true
      }
    case .bind(let volume): try await bind(claim, volume)
    case .provision(let volume): try await provision(volume, for: claim)
    case .leaveTo(let provisioner): try await leave(claim, to: provisioner)
    case .wait(let isWarning, let reason, let message):
      recorder.record(claim, isWarning ? .warning : .normal, reason: reason, message)
      if !claim.isBound { try await setPhase("Pending", of: claim) }
    case .lose:
      if claim.status.phase != "Lost" {
        recorder.record(
          claim, .warning, reason: "ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
        )
      }
      try await setPhase("Lost", of: claim)
    }
    return .done
  }

  private func setPhase(_ phase: String, of claim: PersistentVolumeClaim) async throws(KubeError) {
    guard claim.status.phase != phase else { return }
    _ = try await context.client.updateStatus(retrying: claim) { fresh in
      fresh.status.phase = phase
      return true
    }
  }

  private func bind(_ claim: PersistentVolumeClaim, _ volume: PersistentVolume) async throws(KubeError) {
    let client = context.client
    var volume = volume
    if volume.spec.claimRef?.uid != claim.metadata.uid {
      if volume.spec.claimRef == nil { volume.metadata.annotations[VolumeNames.boundByController] = "yes" }
      volume.spec.claimRef = ClaimPlan.reference(to: claim)
      volume = try await client.update(volume)
    }
    if volume.status.phase != "Bound" {
      volume = try await client.updateStatus(retrying: volume) { [now = context.now] fresh in
        (fresh.status.phase, fresh.status.lastPhaseTransitionTime) = ("Bound", now)
        return true
      }
    }
    var claim = claim
    if !claim.isBound {
      if (claim.spec.volumeName ?? "").isEmpty { claim.metadata.annotations[VolumeNames.boundByController] = "yes" }
      claim.spec.volumeName = volume.metadata.name
      claim.metadata.annotations[VolumeNames.bindCompleted] = "yes"
      claim = try await client.update(claim)
    }
    let (modes, capacity) = (volume.spec.accessModes, volume.spec.capacity)
    guard claim.status.phase != "Bound" || claim.status.accessModes != modes || claim.status.capacity != capacity
    else { return }
    _ = try await client.updateStatus(retrying: claim) { fresh in
      (fresh.status.phase, fresh.status.accessModes, fresh.status.capacity) = ("Bound", modes, capacity)
      return true
    }
  }

  /// The directory itself needs nothing: what it may hold is written down. The claim's own turn follows, and tells it.
  private func expand(_ volume: PersistentVolume, for claim: PersistentVolumeClaim) async throws(KubeError) {
    let (wanted, name) = (claim.spec.resources.requests["storage"], claim.metadata.name ?? "")
    _ = try await context.client.update(retrying: volume) { fresh in
      guard fresh.spec.capacity["storage"] != wanted else { return false }
      fresh.spec.capacity["storage"] = wanted
      return true
    }
    _ = try await context.client.updateStatus(retrying: claim) { fresh in
      fresh.status.capacity["storage"] = wanted
      fresh.status.conditions.removeAll { $0.type == "Resizing" || $0.type == "FileSystemResizePending" }
      return true
    }
    recorder.record(
      claim, .normal, reason: "FileSystemResizeSuccessful",
      "the volume of claim \(name) has grown to \(wanted.map { "\($0)" } ?? "")")
  }

  private func provision(_ volume: PersistentVolume, for claim: PersistentVolumeClaim) async throws(KubeError) {
    do throws(KubeError) {
      _ = try await context.client.create(volume)
      recorder.record(
        claim, .normal, reason: "ProvisioningSucceeded",
        "Successfully provisioned volume \(volume.metadata.name ?? "")")
    } catch {
      // It shows in a moment, and is bound then.
      if error.isAlreadyExists || error.isCancelled { return }
      recorder.record(
        claim, .warning, reason: "ProvisioningFailed",
        "failed to provision volume with StorageClass \"\(claim.spec.storageClassName ?? "")\": \(error.message)")
      throw error
    }
    try await setPhase("Pending", of: claim)
  }

  private func leave(_ claim: PersistentVolumeClaim, to provisioner: String) async throws(KubeError) {
    let claim = try await context.client.update(retrying: claim) { fresh in
      guard fresh.metadata.annotations[VolumeNames.storageProvisioner] != provisioner else { return false }
      fresh.metadata.annotations[VolumeNames.storageProvisioner] = provisioner
      fresh.metadata.annotations[VolumeNames.oldStorageProvisioner] = provisioner
      return true
    }
    recorder.record(
      claim, .normal, reason: "ExternalProvisioning",
      "Waiting for a volume to be created either by the external provisioner '\(provisioner)' or manually by the system "
        + "administrator. If volume creation is delayed, please verify that the provisioner is running and correctly "
        + "registered.")
    try await setPhase("Pending", of: claim)
  }

  /// Keeps a claim that goes until no pod uses it.
  /// - Returns: true where it was let go.
  private func protect(_ claim: inout PersistentVolumeClaim) async throws(KubeError) -> Bool {
    let isProtected = claim.metadata.finalizers.contains(VolumeNames.claimProtection)
    guard claim.metadata.isDeleting else {
      if isProtected { return false }
      claim = try await context.client.patch(
        name: claim.metadata.name ?? "", namespace: claim.metadata.namespace,
        .merge(
          MetadataPatch.finalizers(
            claim.metadata.finalizers + [VolumeNames.claimProtection], of: claim.metadata)))
      return false
    }
    guard isProtected else { return false }
    let users = pods.list(index: Self.claimIndex, "\(claim.metadata.namespace ?? "")/\(claim.metadata.name ?? "")")
    guard !users.contains(where: { !($0.spec.nodeName ?? "").isEmpty }) else { return false }
    let _: PersistentVolumeClaim = try await context.client.patch(
      name: claim.metadata.name ?? "", namespace: claim.metadata.namespace,
      .merge(
        MetadataPatch.finalizers(
          claim.metadata.finalizers.filter { $0 != VolumeNames.claimProtection }, of: claim.metadata)))
    return true
  }

  /// The claim of a pod's own, which goes with it.
  private func makeEphemeral(_ key: ObjectKey) async throws -> WorkOutcome {
    guard let pod = pods.get(key), pod.isActive else { return .done }
    for volume in pod.spec.volumes {
      guard let template = volume.ephemeral?.volumeClaimTemplate else { continue }
      let name = "\(key.name)-\(volume.name)"
      if let existing = claims.get(name: name, namespace: key.namespace) {
        if !existing.metadata.isControlled(byUID: pod.metadata.uid) {
          recorder.record(
            pod, .warning, reason: "FailedCreate",
            "PVC \(existing.metadata.key) was not created for pod \(key) (pod is not owner)")
        }
        continue
      }
      var claim = PersistentVolumeClaim()
      (claim.metadata.name, claim.metadata.namespace) = (name, key.namespace)
      (claim.metadata.labels, claim.metadata.annotations) = (template.metadata.labels, template.metadata.annotations)
      claim.metadata.ownerReferences = [pod.asController]
      claim.spec = template.spec
      do throws(KubeError) {
        _ = try await context.client.create(claim)
      } catch {
        if error.isNamespaceTerminating { return .done }
        guard error.isAlreadyExists else { throw error }
      }
    }
    return .done
  }

  // MARK: volumes

  private func pass(volume name: String) async throws -> WorkOutcome {
    guard let volume = volumes.get(name: name) else { return .done }
    if try await release(volume) { return .done }
    var claim: PersistentVolumeClaim?
    if let reference = volume.spec.claimRef {
      let key = ObjectKey(namespace: reference.namespace ?? "", name: reference.name ?? "")
      claim = claims.get(key)
      if claim?.metadata.uid != reference.uid, !(reference.uid ?? "").isEmpty {
        // Data may go with the answer: it must be the API's.
        do throws(KubeError) {
          claim = try await context.client.get(name: key.name, namespace: key.namespace)
        } catch {
          guard error.isNotFound else { throw error }
          claim = nil
        }
      }
    }
    switch VolumePlan(for: volume, claim: claim) {
    case .phase(let phase): try await setPhase(phase, nil, of: volume)
    case .free:
      _ = try await context.client.update(retrying: volume) { fresh in
        fresh.spec.claimRef = nil
        fresh.metadata.annotations[VolumeNames.boundByController] = nil
        return true
      }
    case .delete:
      try await setPhase("Released", nil, of: volume)
      guard !volume.metadata.isDeleting else { return .done }
      do throws(KubeError) {
        try await context.client.delete(PersistentVolume.self, name: name, uid: volume.metadata.uid)
      } catch {
        guard error.isNotFound || error.isConflict else { throw error }
      }
    case .fail(let reason, let message):
      if volume.status.phase != "Failed" { recorder.record(volume, .warning, reason: reason, message) }
      try await setPhase("Failed", message, of: volume)
    }
    return .done
  }

  private func setPhase(_ phase: String, _ message: String?, of volume: PersistentVolume) async throws(KubeError) {
    guard volume.status.phase != phase || volume.status.message != message else { return }
    _ = try await context.client.updateStatus(retrying: volume) { [now = context.now] fresh in
      if fresh.status.phase != phase { fresh.status.lastPhaseTransitionTime = now }
      (fresh.status.phase, fresh.status.message) = (phase, message)
      return true
    }
  }

  /// Takes from a volume that goes what kept it, where that has lost its reason.
  /// - Returns: whether something was taken: its own event follows.
  private func release(_ volume: PersistentVolume) async throws(KubeError) -> Bool {
    let metadata = volume.metadata
    guard metadata.isDeleting else {
      guard !metadata.finalizers.contains(VolumeNames.volumeProtection) else { return false }
      let _: PersistentVolume = try await context.client.patch(
        name: metadata.name ?? "",
        .merge(MetadataPatch.finalizers(metadata.finalizers + [VolumeNames.volumeProtection], of: metadata)))
      return true
    }
    var left = metadata.finalizers
    let isInUse = claims.list().contains { $0.spec.volumeName == metadata.name && volume.isFor($0) }
    if !isInUse { left.removeAll { $0 == VolumeNames.volumeProtection } }
    // Its node is gone, and the directory with it; or the node says that it has removed it.
    if let required = volume.spec.nodeAffinity?.required {
      let homes = nodes.list().filter { required.matches($0) }
      let isRemoved = homes.contains { home in
        (home.metadata.annotations[VolumeNames.removedAnnotation] ?? "").split(separator: ",")
          .contains { $0 == metadata.name ?? "" }
      }
      if homes.isEmpty || isRemoved { left.removeAll { $0 == VolumeNames.directoryFinalizer } }
    }
    guard left != metadata.finalizers else { return false }
    do throws(KubeError) {
      let _: PersistentVolume = try await context.client.patch(
        name: metadata.name ?? "", .merge(MetadataPatch.finalizers(left, of: metadata)))
    } catch {
      guard error.isNotFound else { throw error }
    }
    return true
  }
}

extension Pod {
  /// Of the claims that it uses, those of its own included.
  var claimNames: [String] {
    spec.volumes.compactMap { volume in
      if let claim = volume.persistentVolumeClaim { return claim.claimName }
      return volume.ephemeral == nil ? nil : "\(metadata.name ?? "")-\(volume.name)"
    }
  }
}
