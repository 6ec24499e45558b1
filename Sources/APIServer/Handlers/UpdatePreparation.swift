import JSON
import KubeModel
import KubeSchema

extension APIServer {
  /// The new version with what the client may not change taken from the stored one.
  func prepareForUpdate(
    _ wanted: JSONObject, old: JSONObject, _ scope: UpdateScope, _ context: RequestContext
  ) -> JSONObject {
    let resource = context.resource
    var object: JSONObject
    switch scope {
    case .everything: return wanted
    case .object:
      object = defaulted(wanted, resource)
      if resource.hasStatus { object["status"] = old["status"] }
      if resource.type.plural == "namespaces" {
        object[object: "spec"]["finalizers"] = old[object: "spec"]["finalizers"]
      }
      object["metadata"] = .object(Self.metadata(wanted[object: "metadata"], old: old[object: "metadata"]))
    case .status:
      object = old
      let defaulted = defaulted(wanted, resource)
      object["status"] = defaulted["status"] ?? [:]
      var metadata = old[object: "metadata"]
      // A node and its pods report labels and annotations with their status, and a Deployment its revision.
      for key in ["annotations", "labels"]
      where ["pods", "nodes", "namespaces", "deployments"].contains(resource.type.plural) {
        metadata[key] = wanted[object: "metadata"][key]
      }
      if wanted[object: "metadata"]["finalizers"] != nil, resource.type.plural == "pods" {
        metadata["finalizers"] = wanted[object: "metadata"]["finalizers"]
      }
      object["metadata"] = .object(metadata)
      return object
    case .ephemeralContainers:
      object = old
      let defaulted = defaulted(wanted, resource)
      object[object: "spec"]["ephemeralContainers"] = defaulted[object: "spec"]["ephemeralContainers"]
    case .resize: object = Self.resized(defaulted(wanted, resource), old: old)
    case .finalize:
      object = old
      object[object: "spec"]["finalizers"] = wanted[object: "spec"]["finalizers"]
      object["status"] = wanted["status"] ?? old["status"]
      return object
    }
    if resource.strategy.countsGenerations, Self.spec(object, resource) != Self.spec(old, resource) {
      object[object: "metadata"]["generation"] = .integer(ObjectMetadata(old).generation + 1)
    }
    return object
  }

  /// What counts as a change of an object's spec.
  private static func spec(_ object: JSONObject, _ resource: ServedResource) -> JSONValue {
    if resource.strategy.isWholeSpec { return .object(object.without("metadata", "kind", "apiVersion")) }
    var spec: JSONObject = ["spec": object["spec"] ?? [:]]
    if resource.type.plural == "deployments" {
      spec["annotations"] = object[object: "metadata"]["annotations"] ?? [:]
    }
    return .object(spec)
  }

  /// Metadata of an update: what only the server sets stays, and what the client left out of it comes back.
  private static func metadata(_ wanted: JSONObject, old: JSONObject) -> JSONObject {
    var metadata = wanted.without("managedFields", "selfLink")
    metadata["generation"] = old["generation"]
    for key in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp"] {
      if let value = old[key] { metadata.setDefault(key, value) }
    }
    for key in ["deletionGracePeriodSeconds", "generateName"] where metadata[key] == nil {
      metadata[key] = old[key]
    }
    if old["deletionTimestamp"] == nil {
      metadata["deletionTimestamp"] = nil
      metadata["deletionGracePeriodSeconds"] = nil
    }
    for key in ["labels", "annotations", "finalizers", "ownerReferences"] {
      switch metadata[key] {
      case .null, .object([:]), .array([]): metadata[key] = nil
      default: continue
      }
    }
    return metadata
  }
}
