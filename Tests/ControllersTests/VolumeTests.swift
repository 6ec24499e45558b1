import KubeModel
import Testing

@testable import Controllers

@Suite struct VolumeTests {
  private func claim(
    _ size: String = "1Gi", className: String? = "local-path", change: (inout PersistentVolumeClaim) -> Void = { _ in }
  ) -> PersistentVolumeClaim {
    var claim = PersistentVolumeClaim()
    (claim.metadata.name, claim.metadata.namespace, claim.metadata.uid) = ("data", "default", "c-1")
    claim.spec.accessModes = ["ReadWriteOnce"]
    claim.spec.resources.requests["storage"] = Quantity(size)
    claim.spec.storageClassName = className
    change(&claim)
    return claim
  }

  private func volume(
    _ name: String, _ size: String = "1Gi", className: String = "local-path",
    change: (inout PersistentVolume) -> Void = { _ in }
  ) -> PersistentVolume {
    var volume = PersistentVolume()
    volume.metadata.name = name
    volume.spec.capacity["storage"] = Quantity(size)
    volume.spec.accessModes = ["ReadWriteOnce"]
    volume.spec.storageClassName = className
    change(&volume)
    return volume
  }

  private func kind(
    _ name: String = "local-path", provisioner: String = VolumeNames.provisioner, waits: Bool = true,
    standard: Bool = false
  ) -> StorageClass {
    var kind = StorageClass()
    kind.metadata.name = name
    kind.provisioner = provisioner
    kind.volumeBindingMode = waits ? "WaitForFirstConsumer" : "Immediate"
    if standard { kind.metadata.annotations[VolumeNames.defaultClass] = "true" }
    return kind
  }

  private func node(_ name: String = "n1") -> Node {
    var node = Node()
    node.metadata.name = name
    node.metadata.labels["kubernetes.io/hostname"] = name
    return node
  }

  private func chosen(_ claim: inout PersistentVolumeClaim) {
    claim.metadata.annotations[VolumeNames.selectedNode] = "n1"
  }

  private func words(_ plan: ClaimPlan) -> String {
    switch plan {
    case .nothing: "nothing"
    case .setClass(let name): "class \(name)"
    case .bind(let volume): "bind \(volume.metadata.name ?? "")"
    case .provision(let volume): "provision \(volume.metadata.name ?? "")"
    case .expand(let volume): "expand \(volume.metadata.name ?? "")"
    case .leaveTo(let provisioner): "leave to \(provisioner)"
    case .wait(_, let reason, let message): "\(reason): \(message)"
    case .lose: "lose"
    }
  }

  private func plan(
    _ claim: PersistentVolumeClaim, _ volumes: [PersistentVolume] = [], _ classes: [StorageClass]? = nil,
    on node: Node? = nil
  ) -> String {
    words(ClaimPlan(for: claim, volumes: volumes, classes: classes ?? [kind()], node: node))
  }

  @Test(arguments: [
    ("1Gi", true, "bind pv"), ("2Gi", true, "expand pv"), ("2Gi", false, "VolumeResizeFailed: the StorageClass"),
  ])
  func aDirectoryGrowsWhereItsClassAllowsIt(wanted: String, allowed: Bool, outcome: String) {
    var growing = kind()
    growing.allowVolumeExpansion = allowed
    let bound = claim(wanted) {
      $0.spec.volumeName = "pv"
      $0.metadata.annotations[VolumeNames.bindCompleted] = "yes"
      $0.status.phase = "Bound"
    }
    let volume = volume("pv") {
      $0.metadata.annotations[VolumeNames.provisionedBy] = VolumeNames.provisioner
      $0.spec.claimRef = ClaimPlan.reference(to: bound)
    }
    #expect(plan(bound, [volume], [growing]).hasPrefix(outcome))
  }

  @Test func aClaimTakesTheSmallestVolumeThatDoes() {
    let classes = [kind(waits: false)]
    let volumes = [
      volume("big", "10Gi"), volume("small", "2Gi"), volume("tiny", "1Mi"), volume("other", className: "x"),
    ]
    #expect(plan(claim(), volumes, classes) == "bind small")
    let meant = volume("meant", "20Gi") { $0.spec.claimRef = ClaimPlan.reference(to: claim()) }
    #expect(plan(claim(), volumes + [meant], classes) == "bind meant")
    let taken = volume("taken", "1Gi") { volume in
      var reference = ClaimPlan.reference(to: claim())
      reference.uid = "another"
      volume.spec.claimRef = reference
    }
    #expect(plan(claim(), [taken], classes).hasPrefix("ProvisioningFailed"))
  }

  @Test func aClaimThatWaitsForItsPodTakesNothingBeforeItsNodeIsKnown() {
    #expect(
      plan(claim(), [volume("v")]) == "WaitForFirstConsumer: waiting for first consumer to be created before binding")
    #expect(plan(claim(change: chosen), [volume("v")], on: node()) == "bind v")
    let elsewhere = volume("v") { volume in
      var requirement = NodeSelectorRequirement()
      (requirement.key, requirement.operator, requirement.values) = ("kubernetes.io/hostname", "In", ["n2"])
      var term = NodeSelectorTerm()
      term.matchExpressions = [requirement]
      var selector = NodeSelector()
      selector.nodeSelectorTerms = [term]
      var affinity = VolumeNodeAffinity()
      affinity.required = selector
      volume.spec.nodeAffinity = affinity
    }
    #expect(plan(claim(change: chosen), [elsewhere], on: node()) == "provision pvc-c-1")
    #expect(plan(claim(change: chosen), [elsewhere], on: node("n2")) == "bind v")
  }

  @Test func aDirectoryIsMadeForItsNodeAlone() {
    guard
      case .provision(let made) = ClaimPlan(
        for: claim(change: chosen), volumes: [], classes: [kind()], node: node())
    else {
      Issue.record("nothing is provisioned")
      return
    }
    #expect(made.spec.hostPath?.path == "/var/lib/martlet/local-path/pvc-c-1_default_data")
    #expect(made.spec.hostPath?.type == "DirectoryOrCreate")
    #expect(made.spec.claimRef?.uid == "c-1")
    #expect(made.spec.persistentVolumeReclaimPolicy == "Delete")
    #expect(made.isReachable(from: node()))
    #expect(!made.isReachable(from: node("n2")))
    #expect(made.metadata.finalizers == [VolumeNames.volumeProtection, VolumeNames.directoryFinalizer])
  }

  @Test func whatCannotBeMadeSaysWhy() {
    #expect(plan(claim(className: "")).hasPrefix("FailedBinding: no persistent volumes available"))
    #expect(plan(claim(className: "x")) == "ProvisioningFailed: storageclass.storage.k8s.io \"x\" not found")
    #expect(plan(claim(), [], [kind(waits: false)]).contains("no node was specified"))
    #expect(
      plan(
        claim { claim in
          chosen(&claim)
          claim.spec.accessModes = ["ReadWriteMany"]
        }, on: node()
      ).contains("only the access modes ReadWriteOnce"))
    #expect(plan(claim(), [], [kind(provisioner: "csi.example", waits: false)]) == "leave to csi.example")
    #expect(plan(claim(className: nil), [], [kind(), kind("std", standard: true)]) == "class std")
  }

  @Test func aBoundClaimWithoutItsVolumeIsLost() {
    let bound = claim { claim in
      claim.spec.volumeName = "v"
      claim.metadata.annotations[VolumeNames.bindCompleted] = "yes"
    }
    #expect(plan(bound) == "lose")
    #expect(plan(bound, [volume("v") { $0.spec.claimRef = ClaimPlan.reference(to: bound) }]) == "bind v")
    #expect(plan(claim { $0.spec.volumeName = "v" }, [volume("v", "1Mi")]).hasPrefix("VolumeMismatch"))
  }

  @Test func aVolumeWhoseClaimIsGoneStaysOrGoesByItsPolicy() {
    func plan(_ policy: String, by provisioner: String? = nil, claim: PersistentVolumeClaim? = nil) -> VolumePlan {
      VolumePlan(
        for: volume("v") { volume in
          volume.spec.claimRef = ClaimPlan.reference(to: self.claim())
          volume.spec.persistentVolumeReclaimPolicy = policy
          volume.metadata.annotations[VolumeNames.provisionedBy] = provisioner
        }, claim: claim)
    }
    #expect(plan("Retain") == .phase("Released"))
    #expect(plan("Delete", by: VolumeNames.provisioner) == .delete)
    #expect(plan("Delete", by: "csi.example") == .phase("Released"))
    if case .fail(let reason, _) = plan("Delete") {
      #expect(reason == "VolumeFailedDelete")
    } else {
      Issue.record("kept")
    }
    if case .fail(let reason, _) = plan("Recycle") {
      #expect(reason == "VolumeFailedRecycle")
    } else {
      Issue.record("kept")
    }
    #expect(plan("Delete", by: VolumeNames.provisioner, claim: claim { $0.spec.volumeName = "v" }) == .phase("Bound"))
    #expect(VolumePlan(for: volume("v"), claim: nil) == .phase("Available"))
  }
}
