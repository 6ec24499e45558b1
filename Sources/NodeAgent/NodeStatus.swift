package import JSON
internal import Kernel
internal import KubeModel
internal import PodTranslation

/// How a node stands: what the agent writes for others to read, replaced as a whole at every change.
package struct NodeStatus: Sendable {
  package var nodeName: String
  /// The manifests were read and what the runtime had was taken over.
  package var ready: Bool
  package var runtimeProblem: String?
  /// Fingerprints of the manifests that were read, by file.
  package var files: [String: String]
  package var pods: [PodReport]
  package var services: [ServiceReport]
  package var errors: [ManifestError]
  package var kept: [String]
  package var hostIPs: [String]

  package var json: JSONValue {
    var object: JSONObject = ["node": .string(nodeName), "ready": .bool(ready)]
    object["writtenAt"] = .string(RFC3339.text(seconds: SystemClock.wallNanoseconds / 1_000_000_000))
    if let runtimeProblem { object["runtimeProblem"] = .string(runtimeProblem) }
    object["manifests"] = JSONValue(files)
    object["errors"] = .array(
      errors.map { error in
        [
          "file": .string(error.place.file), "document": .integer(Int64(error.place.document)),
          "object": .string(error.object), "field": .string(error.field), "problem": .string(error.problem),
        ]
      })
    object["pods"] = .array(pods.map { Self.pod($0, hostIPs: hostIPs) })
    object["services"] = .array(services.map(Self.service))
    object["keptPods"] = JSONValue(kept)
    return .object(object)
  }

  private static func service(_ service: ServiceReport) -> JSONValue {
    var object: JSONObject = [
      "namespace": .string(service.namespace), "name": .string(service.name),
      "clusterIPs": JSONValue(service.clusterIPs),
      "ports": .array(
        service.ports.map { port in
          [
            "name": .string(port.name), "protocol": .string(port.transport), "port": .integer(Int64(port.port)),
            "endpoints": JSONValue(port.endpoints),
          ]
        }),
    ]
    if !service.problem.isEmpty { object["problem"] = .string(service.problem) }
    return .object(object)
  }

  private static func pod(_ report: PodReport, hostIPs: [String]) -> JSONValue {
    var object: JSONObject = [
      "namespace": .string(report.pod.metadata.namespace ?? ""), "name": .string(report.pod.metadata.name ?? ""),
      "uid": .string(report.pod.metadata.uid ?? ""),
    ]
    if let place = report.place {
      object["manifest"] = ["file": .string(place.file), "document": .integer(Int64(place.document))]
    }
    object["ready"] = .bool(report.machine.isReady)
    object["terminating"] = .bool(report.machine.isDeleting)
    if let id = report.machine.sandboxID { object["sandboxID"] = .string(id) }
    // Of what a server knows anyway, only what the next agent needs.
    let status = report.status(hostIPs: hostIPs)
    object["status"] = report.isServed ? brief(status) : status.json
    return .object(object)
  }

  private static func brief(_ status: PodStatus) -> JSONValue {
    func containers(_ list: [KubeModel.ContainerStatus]) -> JSONValue {
      .array(
        list.map { container in
          var entry: JSONObject = ["name": .string(container.name), "ready": .bool(container.ready)]
          if let id = container.containerID { entry["containerID"] = .string(id) }
          return .object(entry)
        })
    }
    return [
      "phase": .string(status.phase ?? ""), "initContainerStatuses": containers(status.initContainerStatuses),
      "containerStatuses": containers(status.containerStatuses),
    ]
  }

  /// Ids of the containers that an earlier status of this machine's present boot calls ready.
  static func readyContainers(in path: String) -> Set<String> {
    guard let bytes = try? Files.read(path, maxBytes: 64 << 20), let value = try? JSONValue.parse(bytes) else {
      return []
    }
    var ids: Set<String> = []
    for pod in value["pods"]?.array ?? [] {
      let status = pod["status"]
      for list in ["containerStatuses", "initContainerStatuses"] {
        for container in status?[list]?.array ?? [] where container["ready"]?.bool == true {
          if let id = container["containerID"]?.string { ids.insert(id.replacing("martlet://", with: "")) }
        }
      }
    }
    return ids
  }
}
