package import KubeModel

/// A volume of a pod: what to make, with everything that goes into it.
package struct VolumePlan: Hashable, Sendable {
  package enum HostPathKind: String, Hashable, Sendable {
    case any = ""
    case directory = "Directory"
    case directoryOrCreate = "DirectoryOrCreate"
    case file = "File"
    case fileOrCreate = "FileOrCreate"
    case socket = "Socket"
    case characterDevice = "CharDevice"
    case blockDevice = "BlockDevice"
  }
  /// A file of a projection.
  package struct File: Hashable, Sendable {
    /// Relative to the volume, without `..`.
    package var path: String
    package var bytes: [UInt8]
    package var mode: UInt32

    package init(path: String, bytes: [UInt8], mode: UInt32) {
      (self.path, self.bytes, self.mode) = (path, bytes, mode)
    }
  }
  package enum Source: Hashable, Sendable {
    /// - inMemory: tmpfs. sizeLimitBytes: nil is no limit of its own.
    case emptyDirectory(inMemory: Bool, sizeLimitBytes: Int64?)
    case hostPath(String, HostPathKind)
    /// A directory that must be there, or is made for whoever comes.
    case localDirectory(String, isMade: Bool)
    /// The container runtime's own business: an image, mounted by its name.
    case image(String)
    /// Files that are swapped as one when they change.
    case projection([File])
  }
  package var name: String
  package var source: Source

  package init(name: String, source: Source) { (self.name, self.source) = (name, source) }

  /// The volumes of a pod, in its order.
  ///
  /// - Throws: `TranslationError` for a ConfigMap, Secret or key that is not there and not optional.
  package static func volumes(
    of pod: Pod, objects: PodObjects, facts: NodeFacts
  ) throws(TranslationError) -> [VolumePlan] {
    var plans: [VolumePlan] = []
    for volume in pod.spec.volumes {
      plans.append(VolumePlan(name: volume.name, source: try source(volume, pod, objects, facts)))
    }
    return plans
  }

  private static func source(
    _ volume: Volume, _ pod: Pod, _ objects: PodObjects, _ facts: NodeFacts
  ) throws(TranslationError) -> Source {
    if let empty = volume.emptyDir {
      let limit = empty.sizeLimit.map(\.value).flatMap { $0 > 0 ? $0 : nil }
      return .emptyDirectory(inMemory: empty.medium == "Memory", sizeLimitBytes: limit)
    }
    if let host = volume.hostPath { return .hostPath(host.path, HostPathKind(rawValue: host.type ?? "") ?? .any) }
    if let image = volume.image { return .image(image.reference ?? "") }
    if let claim = pod.claim(of: volume) {
      switch objects.claims[claim] {
      case .hostPath(let path, let kind): return .hostPath(path, kind)
      case .local(let path): return .localDirectory(path, isMade: false)
      case .provisioned(let path): return .localDirectory(path, isMade: true)
      case nil: throw TranslationError("persistentvolumeclaim \"\(claim)\" not found")
      }
    }
    var projection = Projection(pod: pod, objects: objects, facts: facts, volume: volume.name)
    if let secret = volume.secret {
      projection.defaultMode = secret.defaultMode
      try projection.addSecret(secret.secretName, secret.items, secret.optional)
    } else if let map = volume.configMap {
      projection.defaultMode = map.defaultMode
      try projection.addConfigMap(map.name, map.items, map.optional)
    } else if let downward = volume.downwardAPI {
      projection.defaultMode = downward.defaultMode
      try projection.addFields(downward.items)
    } else if let projected = volume.projected {
      projection.defaultMode = projected.defaultMode
      for source in projected.sources {
        if let secret = source.secret { try projection.addSecret(secret.name, secret.items, secret.optional) }
        if let map = source.configMap { try projection.addConfigMap(map.name, map.items, map.optional) }
        if let downward = source.downwardAPI { try projection.addFields(downward.items) }
        if let token = source.serviceAccountToken { try projection.addToken(token) }
      }
    } else {
      throw TranslationError("volume \"\(volume.name)\" has a source that is not supported")
    }
    return .projection(projection.files)
  }
}

/// Collects the files of one volume; of two with the same path the later one wins, as Kubernetes has it.
private struct Projection {
  let pod: Pod
  let objects: PodObjects
  let facts: NodeFacts
  let volume: String
  var defaultMode: Int32?
  private(set) var files: [VolumePlan.File] = []

  init(pod: Pod, objects: PodObjects, facts: NodeFacts, volume: String) {
    (self.pod, self.objects, self.facts, self.volume) = (pod, objects, facts, volume)
  }

  private mutating func add(_ path: String, _ bytes: [UInt8], _ mode: Int32?) throws(TranslationError) {
    guard Names.isInnerPath(path), !path.hasPrefix("..") else {
      throw TranslationError("volume \"\(volume)\": \"\(path)\" cannot be a file's name")
    }
    files.removeAll { $0.path == path }
    files.append(.init(path: path, bytes: bytes, mode: UInt32(bitPattern: mode ?? defaultMode ?? 0o644) & 0o777))
  }

  private mutating func add(
    _ content: [String: [UInt8]], _ items: [KeyToPath], _ what: String, optional: Bool?
  ) throws(TranslationError) {
    if items.isEmpty {
      for (key, bytes) in content.sorted(by: { $0.key < $1.key }) { try add(key, bytes, nil) }
    }
    for item in items {
      if let bytes = content[item.key] {
        try add(item.path, bytes, item.mode)
      } else if optional != true {
        let kind = what.hasPrefix("secret") ? "secret" : "config"
        throw failure("\(what) references non-existent \(kind) key: \(item.key)")
      }
    }
  }

  mutating func addSecret(_ name: String?, _ items: [KeyToPath], _ optional: Bool?) throws(TranslationError) {
    let secret = objects.secrets[name ?? ""]
    if secret == nil, optional != true { throw missing("secret", name) }
    try add(secret?.allBytes ?? [:], items, "secret \"\(name ?? "")\"", optional: optional)
  }

  mutating func addConfigMap(_ name: String?, _ items: [KeyToPath], _ optional: Bool?) throws(TranslationError) {
    let map = objects.configMaps[name ?? ""]
    if map == nil, optional != true { throw missing("configmap", name) }
    let content = (map?.data.mapValues { Array($0.utf8) } ?? [:]).merging(map?.binaryData.mapValues(\.bytes) ?? [:]) {
      $1
    }
    try add(content, items, "configmap \"\(name ?? "")\"", optional: optional)
  }

  mutating func addFields(_ items: [DownwardAPIVolumeFile]) throws(TranslationError) {
    for item in items {
      var text = ""
      if let field = item.fieldRef {
        text = try FieldReference.value(of: field.fieldPath, pod: pod, facts: facts, podIPs: [])
      } else if let selector = item.resourceFieldRef {
        let containers = pod.spec.initContainers + pod.spec.containers
        guard let container = containers.first(where: { $0.name == selector.containerName }) else {
          throw TranslationError("volume \"\(volume)\": no container \"\(selector.containerName ?? "")\"")
        }
        text = try FieldReference.value(of: selector, container: container, facts: facts)
      }
      try add(item.path, Array(text.utf8), item.mode)
    }
  }

  mutating func addToken(_ source: ServiceAccountTokenProjection) throws(TranslationError) {
    guard let token = objects.tokens[TokenKey(source)] else {
      throw failure("no token of service account \(pod.spec.serviceAccountName ?? "default")")
    }
    try add(source.path, Array(token.utf8), nil)
  }

  private func missing(_ kind: String, _ name: String?) -> TranslationError {
    failure("\(kind) \"\(name ?? "")\" not found")
  }

  private func failure(_ why: String) -> TranslationError {
    TranslationError(reason: "ContainerCreating", "MountVolume.SetUp failed for volume \"\(volume)\" : \(why)")
  }
}
