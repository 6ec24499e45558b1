internal import CRIClient
internal import CRIModel
internal import KubeModel
internal import PodTranslation

/// A pod of ours that the runtime has, known by its labels alone.
struct Stranger {
  var uid: String
  var name: String
  var namespace: String
  var manifest: String
  /// It came from an API server.
  var isServed: Bool
  var graceSeconds: Int64
  var found: FoundPod
  /// Older sandboxes of the same pod go with the rest when it is torn down.
  var labels: [String: String]

  /// Enough of a pod to take it down.
  var pod: Pod {
    var pod = Pod()
    pod.metadata.name = name
    pod.metadata.namespace = namespace
    pod.metadata.uid = uid
    pod.metadata.labels = labels
    pod.spec.terminationGracePeriodSeconds = graceSeconds
    pod.spec.containers = Set(found.containers.map(\.name)).sorted().map { name in
      var container = Container()
      container.name = name
      return container
    }
    return pod
  }

  func rules(_ backoff: BackoffRule) -> PodRules {
    var rules = PodRules()
    rules.backoff = backoff
    rules.graceSeconds = graceSeconds
    rules.containers = Set(found.containers.map(\.name)).sorted().map {
      ContainerRule(name: $0, role: .main, restart: .never)
    }
    return rules
  }
}

/// All pods of this node's agent that the runtime has.
struct FoundNode {
  private(set) var pods: [String: Stranger] = [:]

  /// - Parameter readyBefore: ids of containers that the last agent knew as ready.
  static func look(_ tools: NodeTools, readyBefore: Set<String>) async throws(CRIError) -> FoundNode {
    var node = FoundNode()
    let all = try await tools.runtime.listPodSandboxes(CRIPodSandboxFilter())
    let ours = all.filter {
      $0.labels[PodKey.agent] == tools.facts.nodeName && Names.isUID($0.labels[PodKey.podUID] ?? "")
    }
    let containers = try await tools.runtime.listContainers(CRIContainerFilter())
    for sandbox in ours.sorted(by: { $0.metadata.attempt < $1.metadata.attempt }) {
      let uid = sandbox.labels[PodKey.podUID] ?? ""
      var found = FoundPod(sandbox: try await self.sandbox(sandbox, tools), containers: [])
      for container in containers where container.podSandboxID == sandbox.id {
        if let item = try await self.container(container, tools, readyBefore) { found.containers.append(item) }
      }
      node.pods[uid] = Stranger(
        uid: uid, name: sandbox.metadata.name, namespace: sandbox.metadata.namespace,
        manifest: sandbox.annotations[PodKey.manifest] ?? "",
        isServed: sandbox.annotations[PodKey.configSource] == "api",
        graceSeconds: Int64(sandbox.annotations[PodKey.graceSeconds] ?? "").map { min(max($0, 0), 86_400) } ?? 30,
        found: found, labels: sandbox.labels)
    }
    return node
  }

  private static func sandbox(
    _ listed: CRIPodSandbox, _ tools: NodeTools
  ) async throws(CRIError) -> FoundPod.Sandbox {
    let isReady = listed.state == .sandboxReady
    var addresses: [String] = []
    if isReady {
      let status = try await tools.runtime.podSandboxStatus(listed.id, verbose: false).status
      let onHost = status.linux.namespaces.options.network == .node
      addresses = onHost ? tools.facts.hostIPs : ([status.network.ip] + status.network.additionalIps.map(\.ip))
    }
    return FoundPod.Sandbox(
      id: listed.id, attempt: listed.metadata.attempt, isReady: isReady, addresses: addresses.filter { !$0.isEmpty })
  }

  private static func container(
    _ listed: CRIContainer, _ tools: NodeTools, _ readyBefore: Set<String>
  ) async throws(CRIError) -> FoundPod.Container? {
    let (name, attempt) = (listed.metadata.name, listed.metadata.attempt)
    switch listed.state {
    case .containerCreated:
      return FoundPod.Container(
        name: name, id: listed.id, attempt: attempt, state: .created, image: listed.imageRef)
    case .containerRunning, .containerExited, .containerUnknown, .UNRECOGNIZED:
      let status: CRIContainerStatus
      do throws(CRIError) {
        status = try await tools.runtime.containerStatus(listed.id, verbose: false).status
      } catch {
        // Gone between the list and the question.
        if error.code == .notFound { return nil }
        throw error
      }
      if status.state == .containerRunning {
        let ready = readyBefore.contains(listed.id)
        return FoundPod.Container(
          name: name, id: listed.id, attempt: attempt, state: .running(startedAt: status.startedAt, wasReady: ready),
          image: status.imageRef)
      }
      let exit = ContainerExit(
        id: listed.id, attempt: attempt, code: status.exitCode, reason: status.reason, message: status.message,
        startedAt: status.startedAt, finishedAt: status.finishedAt)
      return FoundPod.Container(
        name: name, id: listed.id, attempt: attempt, state: .exited(exit), image: status.imageRef)
    }
  }
}
