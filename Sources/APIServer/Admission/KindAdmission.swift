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
      Self.decoded($0, as: StorageClass.self)?.metadata
    }
    if let name = Self.defaultClass(classes, Self.defaultClassAnnotations) {
      object[object: "spec"]["storageClassName"] = .string(name)
    }
  }

  /// An ingress that names no class gets the default one: of several, the newest.
  func prepareIngress(_ object: inout JSONObject) {
    object["status"] = ["loadBalancer": [:]]
    guard object[object: "spec"]["ingressClassName"] == nil,
      object[object: "metadata"][object: "annotations"]["kubernetes.io/ingress.class"] == nil
    else { return }
    let classes = store.list(prefix: "/ingressclasses.networking.k8s.io/").objects.compactMap {
      Self.decoded($0, as: IngressClass.self)?.metadata
    }
    if let name = Self.defaultClass(classes, ["ingressclass.kubernetes.io/is-default-class"]) {
      object[object: "spec"]["ingressClassName"] = .string(name)
    }
  }

  /// Of the classes that say they are the default, the newest.
  private static func defaultClass(_ classes: [ObjectMeta], _ annotations: [String]) -> String? {
    let defaults = classes.filter { metadata in annotations.contains { metadata.annotations[$0] == "true" } }
    return defaults.max { one, other in
      let (left, right) = (one.creationTimestamp?.json.string ?? "", other.creationTimestamp?.json.string ?? "")
      return left == right ? one.name ?? "" > other.name ?? "" : left < right
    }?.name
  }

  /// A claim grows where its class says that its volumes do; that it is bound has been checked.
  func checkGrowth(of object: JSONObject, old: JSONObject, _ context: RequestContext) throws(APIStatus) {
    func size(_ claim: JSONObject) -> Quantity? {
      JSONValue.object(claim).at(["spec", "resources", "requests", "storage"])?.string.flatMap { Quantity($0) }
    }
    guard let wanted = size(object), let had = size(old), wanted.value > had.value else { return }
    let name = old[object: "spec"].text("storageClassName")
    guard !name.isEmpty, let stored = store.get("/storageclasses.storage.k8s.io/\(name)"),
      Self.decoded(stored, as: StorageClass.self)?.allowVolumeExpansion == true
    else {
      throw .forbidden(
        context.resource.qualified, ObjectMetadata(object).name,
        "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support "
          + "resize")
    }
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
