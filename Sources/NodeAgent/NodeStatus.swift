package import JSON
internal import Kernel
package import KubeModel
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
    object["status"] = report.status(hostIPs: hostIPs).json
    return .object(object)
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

extension PodReport {
  /// The status as Kubernetes has it.
  package func status(hostIPs: [String]) -> PodStatus {
    var status = PodStatus()
    status.phase = machine.phase.rawValue
    status.reason = machine.failure?.reason
    status.message = machine.failure?.message ?? machine.waiting.flatMap { $0.message.isEmpty ? nil : $0.message }
    status.qosClass = QOSClass(pod.spec).rawValue
    status.hostIP = hostIPs.first
    status.podIP = machine.addresses.first
    status.podIPs = machine.addresses.map { address in
      var item = PodIP()
      item.ip = address
      return item
    }
    for container in machine.containers {
      let entry = self.status(of: container)
      if container.rule.role == .main {
        status.containerStatuses.append(entry)
      } else {
        status.initContainerStatuses.append(entry)
      }
    }
    status.conditions = conditions
    return status
  }

  private var conditions: [PodCondition] {
    func condition(_ type: String, _ isTrue: Bool, _ reason: String?, _ message: String?) -> PodCondition {
      var condition = PodCondition()
      condition.type = type
      condition.status = isTrue ? "True" : "False"
      if !isTrue { (condition.reason, condition.message) = (reason, message) }
      return condition
    }
    let unready = machine.containers.filter { $0.rule.role != .initial && !$0.ready }.map(\.rule.name)
    let waiting = unready.isEmpty ? nil : "containers with unready status: [\(unready.joined(separator: " "))]"
    let done = machine.phase == .succeeded || machine.phase == .failed
    let reason = done ? "PodCompleted" : "ContainersNotReady"
    return [
      condition("PodReadyToStartContainers", machine.sandboxID != nil, nil, nil),
      condition("Initialized", machine.initialized, "ContainersNotInitialized", nil),
      condition("Ready", machine.isReady, reason, waiting),
      condition("ContainersReady", machine.containersReady, reason, waiting),
      condition("PodScheduled", true, nil, nil),
    ]
  }

  private func status(of state: ContainerState) -> ContainerStatus {
    var out = ContainerStatus()
    out.name = state.rule.name
    let container = (pod.spec.containers + pod.spec.initContainers).first { $0.name == state.rule.name }
    out.image = container?.image ?? ""
    out.imageID = ""
    out.ready = state.rule.role == .initial ? state.isDoneInitializing : state.isRunning && state.ready
    out.started = state.isRunning && state.started
    out.restartCount = Int32(clamping: state.restartCount)
    var now = KubeModel.ContainerState()
    if let current = state.current {
      out.containerID = "martlet://\(current.id)"
      var running = ContainerStateRunning()
      running.startedAt = Time(secondsSinceEpoch: state.startedAt / 1_000_000_000)
      now.running = running
    } else if let exit = state.lastExit, state.waiting == nil || state.isFinished {
      out.containerID = "martlet://\(exit.id)"
      now.terminated = Self.terminated(exit)
    } else {
      var waiting = ContainerStateWaiting()
      waiting.reason = state.waiting?.reason ?? machine.waiting?.reason ?? "ContainerCreating"
      waiting.message = (state.waiting?.message ?? machine.waiting?.message).flatMap { $0.isEmpty ? nil : $0 }
      now.waiting = waiting
    }
    out.state = now
    if let exit = state.lastExit, now.terminated == nil {
      var last = KubeModel.ContainerState()
      last.terminated = Self.terminated(exit)
      out.lastState = last
    }
    return out
  }

  private static func terminated(_ exit: ContainerExit) -> ContainerStateTerminated {
    var out = ContainerStateTerminated()
    out.containerID = "martlet://\(exit.id)"
    out.exitCode = exit.code
    out.reason = exit.reason
    out.message = exit.message.isEmpty ? nil : exit.message
    out.startedAt = exit.startedAt > 0 ? Time(secondsSinceEpoch: exit.startedAt / 1_000_000_000) : nil
    out.finishedAt = exit.finishedAt > 0 ? Time(secondsSinceEpoch: exit.finishedAt / 1_000_000_000) : nil
    return out
  }
}
