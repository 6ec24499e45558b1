import JSON
import KubeModel

/// What a kind asks of its metadata.
struct MetadataRules {
  let isNamespaced: Bool
  let name: @Sendable (String) -> [String]

  static let bySubdomain = MetadataRules(isNamespaced: true, name: NameRules.dnsSubdomain)
  static let clusterBySubdomain = MetadataRules(isNamespaced: false, name: NameRules.dnsSubdomain)
  static let clusterByLabel = MetadataRules(isNamespaced: false, name: NameRules.dnsLabel)
  static let byLabel = MetadataRules(isNamespaced: true, name: NameRules.dnsLabel)
  static let byPathSegment = MetadataRules(isNamespaced: true, name: NameRules.pathSegment)
  static let clusterByPathSegment = MetadataRules(isNamespaced: false, name: NameRules.pathSegment)
  static let service = MetadataRules(isNamespaced: true, name: NameRules.dnsLabel)

  static let annotationsBytesMax = 256 << 10
}

extension FieldErrors {
  /// Metadata of an object that is to be created; its name has been generated where that was asked for.
  mutating func metadata(_ metadata: ObjectMeta, _ rules: MetadataRules) {
    let path = FieldPath("metadata")
    if let prefix = metadata.generateName, !prefix.isEmpty {
      invalid(path["generateName"], prefix, NameRules.asPrefix(prefix, rules.name))
    }
    if let name = metadata.name, !name.isEmpty {
      invalid(path["name"], name, rules.name(name))
    } else {
      required(path["name"], "name or generateName is required")
    }
    switch (rules.isNamespaced, metadata.namespace ?? "") {
    case (true, ""): required(path["namespace"])
    case (true, let namespace): invalid(path["namespace"], namespace, NameRules.dnsLabel(namespace))
    case (false, ""): break
    case (false, _): forbidden(path["namespace"], "not allowed on this type")
    }
    notNegative(path["generation"], metadata.generation)
    commonMetadata(metadata, path)
    finalizers(metadata.finalizers, path["finalizers"])
  }

  private mutating func commonMetadata(_ metadata: ObjectMeta, _ path: FieldPath) {
    labels(metadata.labels, path["labels"])
    annotations(metadata.annotations, path["annotations"])
    ownerReferences(metadata.ownerReferences, path["ownerReferences"])
  }

  mutating func metadataUpdate(_ new: ObjectMeta, _ old: ObjectMeta) {
    let path = FieldPath("metadata")
    if old.deletionTimestamp != nil {
      let added = Set(new.finalizers).subtracting(old.finalizers).sorted()
      if !added.isEmpty {
        let shown = added.map { "\"\($0)\"" }.joined(separator: ", ")
        forbidden(
          path["finalizers"],
          "no new finalizers can be added if the object is being deleted, found new finalizers []string{\(shown)}")
      }
    }
    notNegative(path["generation"], new.generation)
    immutable(path["name"], new.name, old.name)
    immutable(path["namespace"], new.namespace ?? "", old.namespace ?? "")
    // What is absent here is kept by the server.
    if let uid = new.uid, !uid.isEmpty { immutable(path["uid"], uid, old.uid) }
    if let created = new.creationTimestamp { immutable(path["creationTimestamp"], created, old.creationTimestamp) }
    if let deleted = new.deletionTimestamp { immutable(path["deletionTimestamp"], deleted, old.deletionTimestamp) }
    if let grace = new.deletionGracePeriodSeconds {
      immutable(path["deletionGracePeriodSeconds"], grace, old.deletionGracePeriodSeconds)
    }
    commonMetadata(new, path)
    standardFinalizers(new.finalizers, path["finalizers"])
  }

  mutating func labels(_ labels: [String: String], _ path: FieldPath) {
    for (key, value) in labels.sorted(by: { $0.key < $1.key }) {
      invalid(path, key, NameRules.qualifiedName(key))
      invalid(path, value, NameRules.labelValue(value))
    }
  }

  mutating func annotations(_ annotations: [String: String], _ path: FieldPath) {
    var bytes = 0
    for (key, value) in annotations.sorted(by: { $0.key < $1.key }) {
      invalid(path, key, NameRules.qualifiedName(key.lowercased()))
      bytes += key.utf8.count + value.utf8.count
    }
    if bytes > MetadataRules.annotationsBytesMax { tooLong(path, MetadataRules.annotationsBytesMax) }
  }

  private mutating func ownerReferences(_ references: [OwnerReference], _ path: FieldPath) {
    var controller: OwnerReference?
    for (index, reference) in references.enumerated() {
      let version = reference.apiVersion.split(separator: "/", omittingEmptySubsequences: false)
      if reference.apiVersion.isEmpty {
        required(path[index]["apiVersion"], "must not be empty")
      } else if version.count > 2 || version.last?.isEmpty != false {
        invalid(path[index]["apiVersion"], reference.apiVersion, "must be <group>/<version> or <version>")
      }
      if reference.kind.isEmpty { required(path[index]["kind"], "must not be empty") }
      if reference.name.isEmpty { required(path[index]["name"], "must not be empty") }
      if reference.uid.isEmpty { required(path[index]["uid"], "must not be empty") }
      if reference.apiVersion == "v1", reference.kind == "Event" {
        invalid(path[index], reference.json, "/v1, Kind=Event is disallowed from being an owner")
      }
      guard reference.controller == true else { continue }
      if let controller {
        invalid(
          path, .array(references.map(\.json)),
          """
          Only one reference can have Controller set to true. Found "true" in references for \
          \(controller.kind)/\(controller.name) and \(reference.kind)/\(reference.name)
          """)
      } else {
        controller = reference
      }
    }
  }

  private mutating func finalizers(_ finalizers: [String], _ path: FieldPath) {
    for finalizer in finalizers { invalid(path, finalizer, NameRules.qualifiedName(finalizer)) }
    if finalizers.contains("orphan"), finalizers.contains("foregroundDeletion") {
      invalid(path, JSONValue(finalizers), "finalizer orphan and foregroundDeletion cannot be both set")
    }
    standardFinalizers(finalizers, path)
  }

  private mutating func standardFinalizers(_ finalizers: [String], _ path: FieldPath) {
    for (index, finalizer) in finalizers.enumerated() { standardFinalizer(finalizer, path[index]) }
  }

  /// The last is the server's, on definitions.
  private static let standardFinalizers: Set<String> = [
    "kubernetes", "orphan", "foregroundDeletion", "customresourcecleanup.apiextensions.k8s.io",
  ]

  /// Names without a prefix are Kubernetes' own.
  mutating func standardFinalizer(_ finalizer: String, _ path: FieldPath) {
    if finalizer.contains("/") || Self.standardFinalizers.contains(finalizer) { return }
    invalid(path, finalizer, "name is neither a standard finalizer name nor is it fully qualified")
  }

  // MARK: selectors

  mutating func labelSelector(_ selector: LabelSelector?, _ path: FieldPath) {
    guard let selector else { return }
    labels(selector.matchLabels, path["matchLabels"])
    for (index, requirement) in selector.matchExpressions.enumerated() {
      let at = path["matchExpressions"][index]
      selectorValues(requirement.operator, requirement.values, at)
      invalid(at["key"], requirement.key, NameRules.qualifiedName(requirement.key))
      for (number, value) in requirement.values.enumerated() {
        invalid(at["values"][number], value, NameRules.labelValue(value))
      }
    }
  }

  mutating func selectorValues(_ operation: String, _ values: [String], _ path: FieldPath) {
    switch operation {
    case "In", "NotIn":
      if values.isEmpty { required(path["values"], "must be specified when `operator` is 'In' or 'NotIn'") }
    case "Exists", "DoesNotExist":
      if !values.isEmpty {
        forbidden(path["values"], "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
      }
    default: invalid(path["operator"], operation, "not a valid selector operator")
    }
  }

  // MARK: small rules that many kinds share

  mutating func notNegative(_ path: FieldPath, _ value: (some BinaryInteger)?) {
    if let value, value < 0 { invalid(path, value, "must be greater than or equal to 0") }
  }

  mutating func immutable<T: KubeValue>(_ path: FieldPath, _ new: T?, _ old: T?) {
    if new != old { invalid(path, new?.json ?? .null, "field is immutable") }
  }

  /// Empty or absent: a default stands there, or nothing is needed.
  mutating func choice(_ path: FieldPath, _ value: String?, of supported: [String]) {
    if let value, !value.isEmpty, !supported.contains(value) { notSupported(path, value, supported) }
  }

  mutating func dnsLabel(_ path: FieldPath, _ value: String) { invalid(path, value, NameRules.dnsLabel(value)) }
  mutating func dnsSubdomain(_ path: FieldPath, _ value: String) { invalid(path, value, NameRules.dnsSubdomain(value)) }
  mutating func qualifiedName(_ path: FieldPath, _ value: String) {
    invalid(path, value, NameRules.qualifiedName(value))
  }

  mutating func port(_ path: FieldPath, _ port: IntOrString) {
    switch port {
    case .int(let number):
      for message in NameRules.portNumber(Int64(number)) { invalid(path, number, message) }
    case .string(let name): invalid(path, name, NameRules.portName(name))
    }
  }

  mutating func portNumber(_ path: FieldPath, _ number: Int32) {
    for message in NameRules.portNumber(Int64(number)) { invalid(path, number, message) }
  }
}
