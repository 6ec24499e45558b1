import JSON
import KubeModel

/// What a node may make: itself, its lease, and pods that mirror those which it runs from files. What it may ask for at all
/// is for the authorizer; this looks at what the object says.
extension APIServer {
  private static let nodeMirrorAnnotation = "kubernetes.io/config.mirror"

  /// - Throws: 403 for what a node makes in another's name, or to read what it may not.
  func checkNodeCreation(_ object: JSONObject, _ context: RequestContext) throws(APIStatus) {
    guard let node = context.user.nodeName else { return }
    let name = ObjectMetadata(object).name
    let why: String? =
      switch (context.resource.type.group, context.resource.type.plural) {
      case ("", "pods"): Self.podHindrance(object, of: node)
      case ("", "nodes"):
        name == node ? nil : "node \"\(node)\" is not allowed to modify node \"\(name)\""
      case ("coordination.k8s.io", "leases"):
        name == node ? nil : "can only access node lease with the same name as the requesting node"
      default: nil
      }
    if let why { throw .forbidden(context.resource.qualified, name, why) }
  }

  /// Why this node may not make such a pod.
  private static func podHindrance(_ object: JSONObject, of node: String) -> String? {
    let metadata = object[object: "metadata"]
    guard metadata[object: "annotations"][nodeMirrorAnnotation] != nil else {
      return "pod does not have \"\(nodeMirrorAnnotation)\" annotation, node \"\(node)\" can only create mirror pods"
    }
    let spec = object[object: "spec"]
    guard spec.text("nodeName") == node else {
      return "node \"\(node)\" can only create pods with spec.nodeName set to itself"
    }
    let owners = metadata["ownerReferences"]?.array ?? []
    let isOwn = owners.allSatisfy {
      $0.text("apiVersion") == "v1" && $0.text("kind") == "Node" && $0.text("name") == node
    }
    guard owners.count <= 1, isOwn else {
      return "node \"\(node)\" can only create pods with an owner reference set to itself"
    }
    func refused(_ what: String) -> String { "node \"\(node)\" can not create pods that reference \(what)" }
    guard spec.text("serviceAccountName").isEmpty else { return refused("a service account") }
    let references = PodReferences(.object(object))
    guard references.secrets.isEmpty else { return refused("secrets") }
    guard references.configMaps.isEmpty else { return refused("configmaps") }
    for volume in spec["volumes"]?.array ?? [] {
      if volume["persistentVolumeClaim"] != nil || volume["ephemeral"] != nil {
        return refused("persistentvolumeclaims")
      }
      for source in volume.at("projected", "sources")?.array ?? [] where source["serviceAccountToken"] != nil {
        return refused("a service account")
      }
    }
    return nil
  }
}
