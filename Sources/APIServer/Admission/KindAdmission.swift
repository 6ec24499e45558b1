import JSON
import KubeModel
import ObjectStore

/// What creation adds to jobs, claims, volumes and definitions.
extension APIServer {
  /// A job's pods are told from all others by its uid.
  static func prepareJob(_ object: inout JSONObject) {
    var spec = object[object: "spec"]
    guard spec["manualSelector"]?.bool != true else { return }
    let (uid, name) = (ObjectMetadata(object).uid, ObjectMetadata(object).name)
    var labels = spec[object: "template"][object: "metadata"][object: "labels"]
    for (key, value) in [
      ("batch.kubernetes.io/controller-uid", uid), ("batch.kubernetes.io/job-name", name), ("controller-uid", uid),
      ("job-name", name),
    ] {
      labels[key] = .string(value)
    }
    spec[object: "template"][object: "metadata"]["labels"] = .object(labels)
    if spec["selector"] == nil {
      spec["selector"] = ["matchLabels": ["batch.kubernetes.io/controller-uid": .string(uid)]]
    }
    object["spec"] = .object(spec)
  }

  private static let defaultClassAnnotations = [
    "storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class",
  ]

  /// A claim that names no class gets the default one: of several, the newest.
  func prepareClaim(_ object: inout JSONObject) {
    Self.protect(&object, "kubernetes.io/pvc-protection")
    object["status"] = ["phase": "Pending"]
    let hasOldAnnotation =
      object[object: "metadata"][object: "annotations"]["volume.beta.kubernetes.io/storage-class"] != nil
    guard object[object: "spec"]["storageClassName"] == nil, !hasOldAnnotation else { return }
    let classes = store.list(prefix: "/storageclasses.storage.k8s.io/").objects.compactMap {
      Self.decoded($0, as: StorageClass.self)
    }
    let defaults = classes.filter { storage in
      Self.defaultClassAnnotations.contains { storage.metadata.annotations[$0] == "true" }
    }
    let newest = defaults.max { one, other in
      let (left, right) = (
        one.metadata.creationTimestamp?.json.string ?? "", other.metadata.creationTimestamp?.json.string ?? ""
      )
      return left == right ? one.metadata.name ?? "" > other.metadata.name ?? "" : left < right
    }
    if let name = newest?.metadata.name { object[object: "spec"]["storageClassName"] = .string(name) }
  }

  static func prepareVolume(_ object: inout JSONObject) {
    protect(&object, "kubernetes.io/pv-protection")
    object["status"] = ["phase": "Pending"]
  }

  /// What is in use does not go before its user.
  private static func protect(_ object: inout JSONObject, _ finalizer: String) {
    var finalizers = object[object: "metadata"]["finalizers"]?.array ?? []
    guard !finalizers.contains(.string(finalizer)) else { return }
    finalizers.append(.string(finalizer))
    object[object: "metadata"]["finalizers"] = .array(finalizers)
  }
}
