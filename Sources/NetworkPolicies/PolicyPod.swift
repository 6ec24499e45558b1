package import Kernel
package import KubeModel

/// A pod as policies see it.
package struct PolicyPod: Hashable, Sendable {
  package var namespace: String
  package var name: String
  package var uid: String
  package var labels: [String: String]
  package var addresses: [IPAddress]
  package var nodeName: String
  /// Numbers by `TCP/name`.
  package var namedPorts: [String: UInt16]

  /// - Parameter addresses: what the runtime gave it, where the API does not say yet.
  /// - Returns: nil for pods that policies do not speak of: those in the node's own network, and those that are over.
  package init?(_ pod: Pod, addresses given: [String] = []) {
    guard pod.spec.hostNetwork != true, pod.status.phase != "Succeeded", pod.status.phase != "Failed" else {
      return nil
    }
    namespace = pod.metadata.namespace ?? ""
    name = pod.metadata.name ?? ""
    uid = pod.metadata.uid ?? ""
    labels = pod.metadata.labels
    nodeName = pod.spec.nodeName ?? ""
    var texts = given.isEmpty ? pod.status.podIPs.map(\.ip) : given
    if texts.isEmpty, let first = pod.status.podIP { texts = [first] }
    addresses = Set(texts.compactMap { IPAddress($0) }).sorted()
    namedPorts = [:]
    let sidecars = pod.spec.initContainers.filter { $0.restartPolicy == "Always" }
    for port in (sidecars + pod.spec.containers).flatMap(\.ports) {
      guard let name = port.name, !name.isEmpty, let number = UInt16(exactly: port.containerPort), number > 0 else {
        continue
      }
      let key = "\(port.`protocol` ?? "TCP")/\(name)"
      if namedPorts[key] == nil { namedPorts[key] = number }
    }
  }
}
