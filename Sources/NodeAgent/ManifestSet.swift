internal import JSON
package import KubeModel
package import PodTranslation
package import YAML

/// Where an object of a manifest stands.
package struct ManifestPlace: Hashable, Sendable {
  package var file: String
  /// Counted from 1.
  package var document: Int

  package init(file: String, document: Int) { (self.file, self.document) = (file, document) }
}

/// What is wrong with a manifest, and where. Everything else in it, and every other one, still counts.
package struct ManifestError: Error, Hashable, CustomStringConvertible {
  package var place: ManifestPlace
  /// As `Pod default/web`; empty where not even that is known.
  package var object: String
  /// As `spec.containers[0].image`; empty where it is the document as a whole.
  package var field: String
  package var problem: String

  package var description: String {
    let what = [object, field].filter { !$0.isEmpty }.joined(separator: ": ")
    return "\(place.file), document \(place.document): \(what.isEmpty ? "" : what + ": ")\(problem)"
  }
}

/// An object and its place.
package struct Placed<Object: KubeKind>: Hashable, Sendable {
  package var object: Object
  package var place: ManifestPlace

  package var name: String { object.metadata.name ?? "" }
  package var namespace: String { object.metadata.namespace ?? "default" }
  package var key: String { "\(namespace)/\(name)" }
}

/// What all the manifests of a node say together.
package struct ManifestSet: Hashable, Sendable {
  package private(set) var pods: [Placed<Pod>] = []
  package private(set) var services: [Placed<Service>] = []
  package private(set) var configMaps: [Placed<ConfigMap>] = []
  package private(set) var secrets: [Placed<Secret>] = []
  package private(set) var errors: [ManifestError] = []
  /// Objects of one kind with one name: the first by file and document wins.
  private var taken: [String: ManifestPlace] = [:]

  package init() {}

  /// What the name of each pod ends in.
  private var suffix = ""

  /// Files of the set are read in the order of their names, so that the same directory always gives the same set.
  ///
  /// - Parameter suffix: what is put behind the name of each pod.
  package init(
    files: [String: [UInt8]], nodeName: String, suffix: String = "", limits: YAMLLimits = YAMLLimits()
  ) {
    self.suffix = suffix
    for (file, bytes) in files.sorted(by: { $0.key < $1.key }) { add(file, bytes, nodeName, limits) }
  }

  package mutating func report(_ error: ManifestError) { errors.append(error) }

  private mutating func add(_ file: String, _ bytes: [UInt8], _ nodeName: String, _ limits: YAMLLimits) {
    guard let text = String(validating: bytes, as: UTF8.self) else {
      errors.append(
        ManifestError(
          place: ManifestPlace(file: file, document: 1), object: "", field: "", problem: "is not UTF-8 text"))
      return
    }
    for document in Self.documents(file, text, limits) {
      let place = ManifestPlace(file: file, document: document.number)
      switch document.content {
      case .failure(let error):
        errors.append(ManifestError(place: place, object: "", field: "", problem: error.description))
      case .success(let value): add(value, place, nodeName)
      }
    }
  }

  private static func documents(_ file: String, _ text: String, _ limits: YAMLLimits) -> [YAMLDocument] {
    guard file.hasSuffix(".json") else { return YAML.documents(text, limits: limits) }
    do throws(JSONError) {
      let value = try JSONValue.parse(
        text, limits: JSONLimits(maxBytes: limits.fileBytesMax, maxDepth: limits.depthMax))
      return [YAMLDocument(number: 1, content: .success(value))]
    } catch {
      return [YAMLDocument(number: 1, content: .failure(YAMLError("\(error)")))]
    }
  }

  private mutating func add(_ value: JSONValue, _ place: ManifestPlace, _ nodeName: String) {
    let object = Self.title(value)
    do throws(ModelError) {
      let type = try AnyKind.type(of: value)
      if type is Pod.Type {
        try add(Pod(strict: value), place, nodeName)
      } else if type is Service.Type {
        try add(Service(strict: value), SupportedFields.service, place, to: \.services)
      } else if type is ConfigMap.Type {
        try add(ConfigMap(strict: value), SupportedFields.configMap, place, to: \.configMaps)
      } else if type is Secret.Type {
        try add(Secret(strict: value), SupportedFields.secret, place, to: \.secrets)
      } else {
        throw ModelError(problems: [FieldProblem(path: "kind", kind: .notSupported("in a manifest of a node"))])
      }
    } catch {
      for problem in error.problems {
        errors.append(ManifestError(place: place, object: object, field: problem.path, problem: problem.reason))
      }
    }
  }

  private static func title(_ value: JSONValue) -> String {
    guard let kind = value["kind"]?.string else { return "" }
    guard let name = value["metadata"]?["name"]?.string else { return kind }
    return "\(kind) \(value["metadata"]?["namespace"]?.string ?? "default")/\(name)"
  }

  private mutating func add(_ written: Pod, _ place: ManifestPlace, _ nodeName: String) throws(ModelError) {
    var written = written
    if let name = written.metadata.name, !name.isEmpty { written.metadata.name = name + suffix }
    var problems = PodValidation.problems(in: written)
    if let name = written.spec.nodeName, name != nodeName {
      problems.append(
        FieldProblem(path: "spec.nodeName", kind: .invalid("\"\(name)\" is not this node, \"\(nodeName)\"")))
    }
    guard problems.isEmpty else { throw ModelError(problems: problems) }
    var pod = written
    pod.applyDefaults()
    pod.status = PodStatus()
    if pod.metadata.uid == nil { pod.metadata.uid = StaticPod.uid(of: pod, file: place.file, nodeName: nodeName) }
    pod.spec.nodeName = nodeName
    try claim("Pod", Placed(object: pod, place: place))
    pods.append(Placed(object: pod, place: place))
  }

  private mutating func add<Object: KubeKind>(
    _ written: Object, _ supported: SupportedFields, _ place: ManifestPlace,
    to list: WritableKeyPath<ManifestSet, [Placed<Object>]>
  ) throws(ModelError) {
    let problems = PodValidation.problems(in: written.metadata) + supported.refusals(in: written.json)
    guard problems.isEmpty else { throw ModelError(problems: problems) }
    var object = written
    object.applyDefaults()
    if object.metadata.namespace == nil { object.metadata.namespace = "default" }
    try claim(Object.kind, Placed(object: object, place: place))
    self[keyPath: list].append(Placed(object: object, place: place))
  }

  private mutating func claim<Object>(_ kind: String, _ placed: Placed<Object>) throws(ModelError) {
    let key = "\(kind) \(placed.key)"
    if let other = taken[key] {
      let why = "\"\(placed.name)\" is already defined in \(other.file), document \(other.document)"
      throw ModelError(problems: [FieldProblem(path: "metadata.name", kind: .invalid(why))])
    }
    taken[key] = placed.place
  }

  /// ConfigMaps and Secrets of a namespace.
  package func objects(in namespace: String) -> PodObjects {
    var objects = PodObjects()
    for map in configMaps where map.namespace == namespace { objects.configMaps[map.name] = map.object }
    for secret in secrets where secret.namespace == namespace { objects.secrets[secret.name] = secret.object }
    return objects
  }
}

/// Pods that come from files.
package enum StaticPod {
  /// A uid that stays the same for the same pod in the same file on the same node, and changes with any of them.
  package static func uid(of pod: Pod, file: String, nodeName: String) -> String {
    // FNV-1a, 128 bits.
    var hash: UInt128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d
    func mix(_ bytes: some Sequence<UInt8>) {
      for byte in bytes { hash = (hash ^ UInt128(byte)) &* 0x0000_0000_0100_0000_0000_0000_0000_013b }
      hash = (hash ^ 0xFF) &* 0x0000_0000_0100_0000_0000_0000_0000_013b
    }
    mix(nodeName.utf8)
    mix(file.utf8)
    mix(pod.json.encoded())
    var digits = String(hash, radix: 16)
    digits = String(repeating: "0", count: 32 - digits.count) + digits
    var parts: [Substring] = []
    var rest = digits[...]
    for length in [8, 4, 4, 4, 12] {
      parts.append(rest.prefix(length))
      rest = rest.dropFirst(length)
    }
    return parts.joined(separator: "-")
  }

  /// The same for the bytes of a file: what tells one version of a manifest from another.
  package static func fingerprint(_ bytes: [UInt8]) -> String {
    var hash: UInt128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d
    for byte in bytes { hash = (hash ^ UInt128(byte)) &* 0x0000_0000_0100_0000_0000_0000_0000_013b }
    return String(hash, radix: 16)
  }
}
