import JSON
import KubeModel

/// Volumes of a pod: https://kubernetes.io/docs/concepts/storage/volumes/
extension FieldErrors {
  private static let modeWords = "must be a number between 0 and 0777 (octal), both inclusive"

  /// The volumes that mounts may name: those in which nothing is wrong.
  mutating func volumes(_ volumes: [Volume], podName: String?, _ path: FieldPath) -> [String: Volume] {
    var good: [String: Volume] = [:]
    for (index, volume) in volumes.enumerated() {
      let at = path[index]
      let before = list.count
      source(of: volume, at)
      if volume.name.isEmpty { required(at["name"]) } else { dnsLabel(at["name"], volume.name) }
      if good[volume.name] != nil { duplicate(at["name"], volume.name) }
      if list.count == before { good[volume.name] = volume }
      if let podName, let claim = volume.persistentVolumeClaim,
        volumes.contains(where: { $0.ephemeral != nil && "\(podName)-\($0.name)" == claim.claimName })
      {
        invalid(
          at["persistentVolumeClaim"]["claimName"], claim.claimName,
          "must not reference a PVC that gets created for an ephemeral volume")
      }
    }
    return good
  }

  private mutating func source(of volume: Volume, _ path: FieldPath) {
    let sources = Self.sources(of: volume)
    guard let first = sources.first else { return required(path, "must specify a volume type") }
    for extra in sources.dropFirst() { forbidden(path[extra], "may not specify more than 1 volume type") }
    let at = path[first]
    switch first {
    case "emptyDir": emptyDir(volume.emptyDir, at)
    case "hostPath": hostPath(volume.hostPath, at)
    case "secret":
      if (volume.secret?.secretName ?? "").isEmpty { required(at["secretName"]) }
      mode(at["defaultMode"], volume.secret?.defaultMode)
      items(volume.secret?.items ?? [], at["items"])
    case "configMap":
      if (volume.configMap?.name ?? "").isEmpty { required(at["name"]) }
      mode(at["defaultMode"], volume.configMap?.defaultMode)
      items(volume.configMap?.items ?? [], at["items"])
    case "downwardAPI":
      mode(at["defaultMode"], volume.downwardAPI?.defaultMode)
      for item in volume.downwardAPI?.items ?? [] { downwardItem(item, at) }
    case "projected": projected(volume.projected, at)
    case "persistentVolumeClaim":
      if (volume.persistentVolumeClaim?.claimName ?? "").isEmpty { required(at["claimName"]) }
    case "nfs": nfs(volume.nfs, at)
    case "csi":
      if (volume.csi?.driver ?? "").isEmpty { required(at["driver"]) }
    case "ephemeral":
      if volume.ephemeral?.volumeClaimTemplate == nil { required(at["volumeClaimTemplate"]) }
    case "image":
      if (volume.image?.reference ?? "").isEmpty { required(at["reference"]) }
      choice(at["pullPolicy"], volume.image?.pullPolicy, of: ["Always", "IfNotPresent", "Never"])
    default: break
    }
  }

  /// Names of the sources that are set, in the order in which they are looked at.
  private static func sources(of volume: Volume) -> [String] {
    let present: [(String, Bool)] = [
      ("emptyDir", volume.emptyDir != nil), ("hostPath", volume.hostPath != nil), ("gitRepo", volume.gitRepo != nil),
      ("gcePersistentDisk", volume.gcePersistentDisk != nil),
      ("awsElasticBlockStore", volume.awsElasticBlockStore != nil), ("secret", volume.secret != nil),
      ("nfs", volume.nfs != nil), ("iscsi", volume.iscsi != nil), ("glusterfs", volume.glusterfs != nil),
      ("flocker", volume.flocker != nil), ("persistentVolumeClaim", volume.persistentVolumeClaim != nil),
      ("rbd", volume.rbd != nil), ("cinder", volume.cinder != nil), ("cephFS", volume.cephfs != nil),
      ("quobyte", volume.quobyte != nil), ("downwardAPI", volume.downwardAPI != nil), ("fc", volume.fc != nil),
      ("flexVolume", volume.flexVolume != nil), ("configMap", volume.configMap != nil),
      ("azureFile", volume.azureFile != nil), ("vsphereVolume", volume.vsphereVolume != nil),
      ("photonPersistentDisk", volume.photonPersistentDisk != nil), ("portworxVolume", volume.portworxVolume != nil),
      ("azureDisk", volume.azureDisk != nil), ("storageos", volume.storageos != nil),
      ("projected", volume.projected != nil), ("scaleIO", volume.scaleIO != nil), ("csi", volume.csi != nil),
      ("ephemeral", volume.ephemeral != nil), ("image", volume.image != nil),
    ]
    return present.filter(\.1).map(\.0)
  }

  private mutating func emptyDir(_ source: EmptyDirVolumeSource?, _ path: FieldPath) {
    if let limit = source?.sizeLimit, limit.milliValue < 0 || limit.isTooLarge {
      forbidden(path["sizeLimit"], "SizeLimit field must be a valid resource quantity")
    }
  }

  private mutating func hostPath(_ source: HostPathVolumeSource?, _ path: FieldPath) {
    guard let source, !source.path.isEmpty else { return required(path["path"]) }
    if hasBacksteps(source.path) { invalid(path["path"], source.path, "must not contain '..'") }
    choice(
      path["type"], source.type,
      of: [
        "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket",
      ])
  }

  private mutating func nfs(_ source: NFSVolumeSource?, _ path: FieldPath) {
    guard let source else { return }
    if source.server.isEmpty { required(path["server"]) }
    if source.path.isEmpty { required(path["path"]) }
    if !source.path.hasPrefix("/") { invalid(path["path"], source.path, "must be an absolute path") }
  }

  // MARK: files made from objects

  private mutating func mode(_ path: FieldPath, _ mode: Int32?) {
    if let mode, !(0...0o777).contains(mode) { invalid(path, mode, Self.modeWords) }
  }

  private mutating func items(_ items: [KeyToPath], _ path: FieldPath) {
    for (index, item) in items.enumerated() { self.item(item, path[index]) }
  }

  private mutating func item(_ item: KeyToPath, _ path: FieldPath) {
    if item.key.isEmpty { required(path["key"]) }
    if item.path.isEmpty { required(path["path"]) }
    unreservedPath(path["path"], item.path)
    mode(path["mode"], item.mode)
  }

  private mutating func downwardItem(_ item: DownwardAPIVolumeFile, _ path: FieldPath) {
    if item.path.isEmpty { required(path["path"]) }
    unreservedPath(path["path"], item.path)
    switch (item.fieldRef, item.resourceFieldRef) {
    case (let field?, let resource):
      fieldReference(field, of: Self.volumeFields, path["fieldRef"])
      if resource != nil {
        invalid(path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")
      }
    case (nil, let resource?): resourceReference(resource, needsContainer: true, path["resourceFieldRef"])
    case (nil, nil): required(path, "one of fieldRef and resourceFieldRef is required")
    }
    mode(path["mode"], item.mode)
  }

  private mutating func projected(_ source: ProjectedVolumeSource?, _ path: FieldPath) {
    guard let source else { return }
    mode(path["defaultMode"], source.defaultMode)
    var places: Set<String> = []
    for (index, projection) in source.sources.enumerated() {
      self.projection(projection, in: path, path["sources"][index], &places)
    }
  }

  private mutating func projection(
    _ projection: VolumeProjection, in volume: FieldPath, _ path: FieldPath, _ places: inout Set<String>
  ) {
    var kinds = 0
    func take(_ file: String, of name: String, _ errors: inout FieldErrors) {
      if !file.isEmpty, !places.insert(file).inserted { errors.invalid(volume, name, "conflicting duplicate paths") }
    }
    if let secret = projection.secret {
      kinds += 1
      if (secret.name ?? "").isEmpty { required(path["secret"]["name"]) }
      for (index, item) in secret.items.enumerated() {
        self.item(item, path["secret"]["items"][index])
        take(item.path, of: secret.name ?? "", &self)
      }
    }
    if let map = projection.configMap {
      kinds += 1
      if (map.name ?? "").isEmpty { required(path["configMap"]["name"]) }
      for (index, item) in map.items.enumerated() {
        self.item(item, path["configMap"]["items"][index])
        take(item.path, of: map.name ?? "", &self)
      }
    }
    if let downward = projection.downwardAPI {
      kinds += 1
      for item in downward.items {
        downwardItem(item, path["downwardAPI"])
        take(item.path, of: "downwardAPI", &self)
      }
    }
    if let token = projection.serviceAccountToken {
      kinds += 1
      serviceAccountToken(token, path["serviceAccountToken"])
      take(token.path, of: token.path, &self)
    }
    if projection.clusterTrustBundle != nil { kinds += 1 }
    if projection.podCertificate != nil { kinds += 1 }
    if kinds == 0 { required(path, "must specify one of: `secret`, `configMap`, `downwardAPI`, `serviceAccountToken`") }
    if kinds > 1 { forbidden(path, "may not specify more than 1 volume type per source") }
  }

  private mutating func serviceAccountToken(_ token: ServiceAccountTokenProjection, _ path: FieldPath) {
    if let seconds = token.expirationSeconds {
      if seconds < 600 {
        invalid(path["expirationSeconds"], seconds, "may not specify a duration less than 10 minutes")
      }
      if seconds > 1 << 32 {
        invalid(path["expirationSeconds"], seconds, "may not specify a duration larger than 2^32 seconds")
      }
    }
    if token.path.isEmpty { required(path["path"]) } else { unreservedPath(path["path"], token.path) }
  }
}
