import JSON
import KubeModel

/// Storage classes, volumes and claims: https://kubernetes.io/docs/concepts/storage/persistent-volumes/
extension FieldErrors {
  private static let accessModes = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"]

  mutating func storageClass(_ storage: StorageClass) {
    metadata(storage.metadata, .clusterBySubdomain)
    if storage.provisioner.isEmpty {
      required(FieldPath("provisioner"))
    } else {
      qualifiedName(FieldPath("provisioner"), storage.provisioner.lowercased())
    }
    if storage.parameters.keys.contains("") {
      invalid(FieldPath("parameters"), "", "field can not be empty.")
    }
    choice(FieldPath("reclaimPolicy"), storage.reclaimPolicy, of: ["Delete", "Retain"])
    choice(FieldPath("volumeBindingMode"), storage.volumeBindingMode, of: ["Immediate", "WaitForFirstConsumer"])
  }

  mutating func updateStorageClass(_ new: StorageClass, _ old: StorageClass) {
    metadataUpdate(new.metadata, old.metadata)
    storageClass(new)
    if new.parameters != old.parameters { forbidden(FieldPath("parameters"), "updates to parameters are forbidden.") }
    if new.provisioner != old.provisioner {
      forbidden(FieldPath("provisioner"), "updates to provisioner are forbidden.")
    }
    if new.reclaimPolicy != old.reclaimPolicy {
      forbidden(FieldPath("reclaimPolicy"), "updates to reclaimPolicy are forbidden.")
    }
    immutable(FieldPath("volumeBindingMode"), new.volumeBindingMode, old.volumeBindingMode)
  }

  private mutating func accessModes(_ modes: [String], _ path: FieldPath, whenEmpty detail: String) {
    if modes.isEmpty { required(path, detail) }
    for (index, mode) in modes.enumerated() where !Self.accessModes.contains(mode) {
      notSupported(path[index], mode, Self.accessModes)
    }
    if modes.contains("ReadWriteOncePod"), modes.count > 1 {
      forbidden(path, "may not use ReadWriteOncePod with other access modes")
    }
  }

  private mutating func storageAmount(_ amounts: [String: Quantity], _ path: FieldPath) {
    guard let amount = amounts["storage"] else { return required(path.key("storage")) }
    if amount.milliValue <= 0 { invalid(path.key("storage"), amount.text, "must be greater than zero") }
  }

  // MARK: volumes

  mutating func persistentVolume(_ volume: PersistentVolume) {
    metadata(volume.metadata, .clusterBySubdomain)
    let (spec, path) = (volume.spec, FieldPath("spec"))
    accessModes(spec.accessModes, path["accessModes"], whenEmpty: "")
    if spec.capacity.isEmpty {
      required(path["capacity"])
    } else if spec.capacity["storage"] == nil || spec.capacity.count > 1 {
      notSupported(path["capacity"], amounts(spec.capacity), ["storage"])
    } else {
      storageAmount(spec.capacity, path["capacity"])
    }
    volumeSource(spec, path)
    choice(
      path["persistentVolumeReclaimPolicy"], spec.persistentVolumeReclaimPolicy, of: ["Delete", "Recycle", "Retain"])
    choice(path["volumeMode"], spec.volumeMode, of: ["Block", "Filesystem"])
    if let name = spec.storageClassName, !name.isEmpty { dnsSubdomain(path["storageClassName"], name) }
    if spec.hostPath?.path == "/", spec.persistentVolumeReclaimPolicy == "Recycle" {
      forbidden(path["persistentVolumeReclaimPolicy"], "may not be 'recycle' for a hostPath mount of '/'")
    }
  }

  private func amounts(_ amounts: [String: Quantity]) -> JSONValue {
    .object(JSONObject(sorted: amounts.mapValues(\.json)))
  }

  /// The fields of a volume that say how it is reached.
  private static let sources = [
    "awsElasticBlockStore", "azureDisk", "azureFile", "cephfs", "cinder", "csi", "fc", "flexVolume", "flocker",
    "gcePersistentDisk", "glusterfs", "hostPath", "iscsi", "local", "nfs", "photonPersistentDisk", "portworxVolume",
    "quobyte", "rbd", "scaleIO", "storageos", "vsphereVolume",
  ]

  private static func source(_ spec: PersistentVolumeSpec) -> JSONObject {
    let all = spec.json.object ?? JSONObject()
    var found = JSONObject()
    for name in sources where all[name] != nil { found[name] = all[name] }
    return found
  }

  private mutating func volumeSource(_ spec: PersistentVolumeSpec, _ path: FieldPath) {
    let found = Self.source(spec)
    if found.isEmpty { required(path, "must specify a volume type") }
    for name in found.keys.dropFirst() { forbidden(path[name], "may not specify more than 1 volume type") }
    if let host = spec.hostPath {
      if host.path.isEmpty { required(path["hostPath"]["path"]) }
      if host.path.split(separator: "/").contains("..") {
        invalid(path["hostPath"]["path"], host.path, "must not contain '..'")
      }
    }
    if let local = spec.local {
      if local.path.isEmpty { required(path["local"]["path"]) }
      if spec.nodeAffinity?.required == nil { required(path["nodeAffinity"], "Local volume requires node affinity") }
    }
    if let nfs = spec.nfs {
      if nfs.server.isEmpty { required(path["nfs"]["server"]) }
      if nfs.path.isEmpty { required(path["nfs"]["path"]) }
      if !nfs.path.isEmpty, !nfs.path.hasPrefix("/") {
        invalid(path["nfs"]["path"], nfs.path, "must be an absolute path")
      }
    }
    if let csi = spec.csi {
      if csi.driver.isEmpty { required(path["csi"]["driver"]) }
      if csi.volumeHandle.isEmpty { required(path["csi"]["volumeHandle"]) }
    }
  }

  mutating func updatePersistentVolume(_ new: PersistentVolume, _ old: PersistentVolume) {
    metadataUpdate(new.metadata, old.metadata)
    persistentVolume(new)
    let path = FieldPath("spec")
    let (now, before) = (Self.source(new.spec), Self.source(old.spec))
    if now != before {
      forbidden(
        path["persistentvolumesource"],
        "spec.persistentvolumesource is immutable after creation\n"
          + Difference.text(.object(before), .object(now), at: "spec"))
    }
    immutable(path["volumeMode"], new.spec.volumeMode, old.spec.volumeMode)
    if let affinity = old.spec.nodeAffinity, new.spec.nodeAffinity != affinity {
      invalid(
        path["nodeAffinity"], new.spec.nodeAffinity?.json ?? .null,
        "field is immutable, except for updating from beta label to GA")
    }
  }

  // MARK: claims

  mutating func claim(_ claim: PersistentVolumeClaim) {
    metadata(claim.metadata, .bySubdomain)
    claimSpec(claim.spec, FieldPath("spec"))
  }

  mutating func claimSpec(_ spec: PersistentVolumeClaimSpec, _ path: FieldPath) {
    accessModes(spec.accessModes, path["accessModes"], whenEmpty: "at least 1 access mode is required")
    labelSelector(spec.selector, path["selector"])
    storageAmount(spec.resources.requests, path["resources"])
    if let name = spec.storageClassName, !name.isEmpty { dnsSubdomain(path["storageClassName"], name) }
    choice(path["volumeMode"], spec.volumeMode, of: ["Block", "Filesystem"])
    if let source = spec.dataSource {
      if source.name.isEmpty { required(path["dataSource"]["name"]) }
      if source.kind.isEmpty { required(path["dataSource"]["kind"]) }
      if (source.apiGroup ?? "").isEmpty, !source.kind.isEmpty, source.kind != "PersistentVolumeClaim" {
        invalid(
          path["dataSource"], source.kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup")
      }
    }
  }

  mutating func updateClaim(_ new: PersistentVolumeClaim, _ old: PersistentVolumeClaim) {
    metadataUpdate(new.metadata, old.metadata)
    claim(new)
    let path = FieldPath("spec")
    var comparable = new.spec
    // A claim is bound once, by giving it the name of its volume, and may ask for more afterwards.
    if (old.spec.volumeName ?? "").isEmpty { comparable.volumeName = old.spec.volumeName }
    if old.spec.storageClassName == nil { comparable.storageClassName = nil }
    comparable.volumeAttributesClassName = old.spec.volumeAttributesClassName
    if old.status.phase == "Bound" { comparable.resources.requests = old.spec.resources.requests }
    if comparable != old.spec {
      forbidden(
        path,
        "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n"
          + Difference.text(old.spec.json, comparable.json, at: "spec"))
    }
    if let now = new.spec.resources.requests["storage"], let before = old.spec.resources.requests["storage"],
      before.isGreater(than: now), old.status.capacity["storage"]?.isGreater(than: now) ?? true
    {
      forbidden(
        path["resources"]["requests"].key("storage"), "field can not be less than status.capacity")
    }
  }

  mutating func updateClaimStatus(_ new: PersistentVolumeClaim, _ old: PersistentVolumeClaim) {
    metadataUpdate(new.metadata, old.metadata)
    for (name, amount) in new.status.capacity.sorted(by: { $0.key < $1.key }) {
      quantity(name, amount, FieldPath("status")["capacity"].key(name))
    }
  }
}
