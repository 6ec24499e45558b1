import JSON
import KubeModel
import ObjectStore

extension APIServer {
  /// What Kubernetes' admission plugins give a new Pod: service account, priority, tolerations, and its first status.
  func preparePod(_ object: inout JSONObject, _ context: RequestContext) throws(APIStatus) {
    try setServiceAccount(&object, context)
    setLimits(&object, context)
    var spec = object[object: "spec"]
    try setPriority(&spec, context, ObjectMetadata(object).name)
    Self.setTolerations(&spec)
    Self.setRequests(&spec)
    Self.setHostPorts(&spec)
    object["spec"] = .object(spec)
    object["status"] = ["phase": "Pending", "qosClass": .string(Self.qosClass(spec))]
  }

  /// Seconds that a pod stays on a node that is not ready or cannot be reached.
  private static let tolerationSeconds: Int64 = 300

  private static func setTolerations(_ spec: inout JSONObject) {
    var tolerations = spec["tolerations"]?.array ?? []
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
      let isTolerated = tolerations.contains { toleration in
        let effect = toleration.text("effect")
        let found = toleration.text("key")
        return (found == key || found.isEmpty && toleration.text("operator") == "Exists")
          && (effect == "NoExecute" || effect.isEmpty)
      }
      guard !isTolerated else { continue }
      tolerations.append([
        "key": .string(key), "operator": "Exists", "effect": "NoExecute",
        "tolerationSeconds": .integer(tolerationSeconds),
      ])
    }
    spec["tolerations"] = .array(tolerations)
  }

  /// A limit without a request asks for as much.
  private static func setRequests(_ spec: inout JSONObject) {
    for list in ["containers", "initContainers"] {
      guard let containers = spec[list]?.array else { continue }
      spec[list] = .array(
        containers.map { container in
          guard var object = container.object, let limits = container["resources"]?["limits"]?.object else {
            return container
          }
          var requests = container["resources"]?["requests"]?.object ?? [:]
          for key in limits.keys where requests[key] == nil { requests[key] = limits[key] }
          object[object: "resources"]["requests"] = .object(requests)
          return .object(object)
        })
    }
  }

  /// In the host's network, a port of the container is one of the host.
  private static func setHostPorts(_ spec: inout JSONObject) {
    guard spec["hostNetwork"]?.bool == true else { return }
    for list in ["containers", "initContainers"] {
      guard let containers = spec[list]?.array else { continue }
      spec[list] = .array(
        containers.map { container in
          guard var object = container.object, let ports = container["ports"]?.array else { return container }
          object["ports"] = .array(
            ports.map { port in
              guard var object = port.object, (object["hostPort"]?.integer ?? 0) == 0 else { return port }
              object["hostPort"] = object["containerPort"]
              return .object(object)
            })
          return .object(object)
        })
    }
  }

  /// https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/
  static func qosClass(_ spec: JSONObject) -> String {
    let containers = (spec["containers"]?.array ?? []) + (spec["initContainers"]?.array ?? [])
    var isGuaranteed = true
    var hasAny = false
    for container in containers {
      for resource in ["cpu", "memory"] {
        let limit = quantity(container["resources"]?["limits"]?[resource])
        let request = quantity(container["resources"]?["requests"]?[resource])
        if limit != nil || request != nil { hasAny = true }
        if limit == nil || request != limit { isGuaranteed = false }
      }
    }
    return !hasAny ? "BestEffort" : isGuaranteed ? "Guaranteed" : "Burstable"
  }

  /// Nil where it is absent or nothing.
  private static func quantity(_ value: JSONValue?) -> Quantity? {
    let text = value?.string ?? value?.integer.map(String.init)
    guard let text, let quantity = Quantity(text), quantity != Quantity("0") else { return nil }
    return quantity
  }
}
