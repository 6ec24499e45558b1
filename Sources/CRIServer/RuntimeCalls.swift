internal import CRIModel
internal import GRPCCore
internal import JSON
internal import Kernel
internal import Logging
internal import PodRuntime
internal import SwiftProtobuf

/// Makes the one-time URLs of Exec, Attach and PortForward.
package struct StreamingURLs: Sendable {
  /// A process to stream: an exec where it has a command, otherwise an attach.
  package struct Target: Sendable, Hashable {
    package var containerID: String
    package var command: [String]?
    package var terminal: Bool
    package var input: Bool
    package var output: Bool
    package var errors: Bool

    package init(containerID: String, command: [String]?, terminal: Bool, input: Bool, output: Bool, errors: Bool) {
      self.containerID = containerID
      self.command = command
      self.terminal = terminal
      self.input = input
      self.output = output
      self.errors = errors
    }
  }

  package var url: @Sendable (Target) async throws -> String
  /// Of connections to ports of a sandbox.
  package var portForward: @Sendable (_ sandboxID: String) async throws -> String

  package init(
    url: @escaping @Sendable (Target) async throws -> String,
    portForward: @escaping @Sendable (_ sandboxID: String) async throws -> String
  ) {
    self.url = url
    self.portForward = portForward
  }
}

/// runtime.v1.RuntimeService over the runtime: reads requests, writes answers, decides nothing.
struct RuntimeCalls: CRIRuntimeService.SimpleServiceProtocol {
  let runtime: Runtime
  let gatherer: ContainerGatherer
  let figures: ResourceFigures
  let metrics: PodMetrics
  let events: EventBook
  let loopback: LoopbackPorts
  let streaming: StreamingURLs
  let calls: CallLog
  let facts: ServerFacts
  let networkProblem: @Sendable () async -> NetworkProblem?

  // MARK: The runtime itself

  func version(request: CRIVersionRequest, context: ServerContext) async throws -> CRIVersionResponse {
    var response = CRIVersionResponse()
    response.version = "0.1.0"
    response.runtimeName = "martlet"
    response.runtimeVersion = facts.version
    response.runtimeApiVersion = "v1"
    return response
  }

  func status(request: CRIStatusRequest, context: ServerContext) async throws -> CRIStatusResponse {
    var response = CRIStatusResponse()
    let problem = await networkProblem()
    for type in ["RuntimeReady", "NetworkReady"] {
      var condition = CRIRuntimeCondition()
      condition.type = type
      condition.status = true
      if type == "NetworkReady", let problem {
        condition.status = false
        condition.reason = problem.reason
        condition.message = problem.message
      }
      response.status.conditions.append(condition)
    }
    var handler = CRIRuntimeHandler()
    handler.features.recursiveReadOnlyMounts = true
    handler.features.userNamespaces = UserNamespace.isUsableForContainers
    response.runtimeHandlers = [handler]
    response.features.supplementalGroupsPolicy = true
    if request.verbose {
      let info: JSONValue = [
        "root": .string(runtime.configuration.rootDirectory), "run": .string(runtime.configuration.runDirectory),
        // Under the name that tools which know other runtimes look for.
        "stateDir": .string(runtime.configuration.runDirectory), "version": .string(facts.version),
        "podBlocks": JSONValue(facts.podBlocks),
        "cgroupParent": .string(runtime.configuration.cgroupParent),
        "cgroupControllers": JSONValue(runtime.controllers),
        "toleratesMissingControllers": .bool(runtime.configuration.toleratesMissingControllers),
        "pods": .integer(Int64(runtime.sandboxes.count)), "containers": .integer(Int64(runtime.containers.count)),
      ]
      response.info = ["config": info.encodedString()]
    }
    return response
  }

  func runtimeConfig(request: CRIRuntimeConfigRequest, context: ServerContext) async throws -> CRIRuntimeConfigResponse
  {
    var response = CRIRuntimeConfigResponse()
    response.linux.cgroupDriver = facts.usesSystemdGroups ? .systemd : .cgroupfs
    return response
  }

  /// The pod network's blocks are the daemon's own configuration; a caller that says the same is answered.
  func updateRuntimeConfig(
    request: CRIUpdateRuntimeConfigRequest, context: ServerContext
  ) async throws -> CRIUpdateRuntimeConfigResponse {
    let asked = request.runtimeConfig.networkConfig.podCidr
    return try await calls.answer("UpdateRuntimeConfig", asked) {
      let blocks = asked.split(separator: ",").map(String.init)
      guard blocks.allSatisfy({ facts.podBlocks.contains($0) }) else {
        calls.log.warning(
          "the pod blocks of the configuration stay", metadata: ["asked": "\(asked)", "have": "\(facts.podBlocks)"])
        return CRIUpdateRuntimeConfigResponse()
      }
      return CRIUpdateRuntimeConfigResponse()
    }
  }

  // MARK: Sandboxes

  func runPodSandbox(
    request: CRIRunPodSandboxRequest, context: ServerContext
  ) async throws -> CRIRunPodSandboxResponse {
    let name = "\(request.config.metadata.namespace)/\(request.config.metadata.name)"
    return try await calls.answer("RunPodSandbox", name) {
      try RequestBounds.check(request.config)
      let config = try SandboxRequestReader.config(
        request.config, runtimeHandler: request.runtimeHandler, hasSELinux: SecurityModules.hasSELinux,
        usesSystemdGroups: facts.usesSystemdGroups)
      var response = CRIRunPodSandboxResponse()
      response.podSandboxID = try await runtime.runSandbox(config)
      if let sandbox = runtime.sandbox(response.podSandboxID) { await loopback.open(sandbox) }
      return response
    }
  }

  func stopPodSandbox(
    request: CRIStopPodSandboxRequest, context: ServerContext
  ) async throws -> CRIStopPodSandboxResponse {
    try await calls.answer("StopPodSandbox", request.podSandboxID) {
      try await runtime.stopSandbox(request.podSandboxID)
      return CRIStopPodSandboxResponse()
    }
  }

  func removePodSandbox(
    request: CRIRemovePodSandboxRequest, context: ServerContext
  ) async throws -> CRIRemovePodSandboxResponse {
    try await calls.answer("RemovePodSandbox", request.podSandboxID) {
      try await runtime.removeSandbox(request.podSandboxID)
      return CRIRemovePodSandboxResponse()
    }
  }

  func podSandboxStatus(
    request: CRIPodSandboxStatusRequest, context: ServerContext
  ) async throws -> CRIPodSandboxStatusResponse {
    try await calls.answer("PodSandboxStatus", request.podSandboxID) {
      let snapshot = try sandbox(request.podSandboxID)
      var response = CRIPodSandboxStatusResponse()
      response.status = StatusMessages.sandboxStatus(snapshot)
      response.timestamp = SystemClock.wallNanoseconds
      response.containersStatuses = statuses(of: snapshot.id)
      if request.verbose { response.info = StatusMessages.sandboxInfo(snapshot) }
      return response
    }
  }

  func sandbox(_ id: String) throws -> SandboxSnapshot {
    guard let snapshot = runtime.sandbox(id) else {
      throw PodRuntime.RuntimeError(
        .notFound, stage: "find sandbox", subject: id, reason: "there is no such pod sandbox")
    }
    return snapshot
  }

  func container(_ id: String) throws -> ContainerSnapshot {
    guard let snapshot = runtime.container(id) else {
      throw PodRuntime.RuntimeError(
        .notFound, stage: "find container", subject: id, reason: "there is no such container")
    }
    return snapshot
  }

  func statuses(of sandboxID: String) -> [CRIContainerStatus] {
    runtime.containers.filter { $0.sandboxID == sandboxID }
      .sorted { $0.record.createdAt < $1.record.createdAt }.map(StatusMessages.containerStatus)
  }

  func listPodSandbox(
    request: CRIListPodSandboxRequest, context: ServerContext
  ) async throws -> CRIListPodSandboxResponse {
    var response = CRIListPodSandboxResponse()
    response.items = sandboxes(request.filter)
    return response
  }

  func updatePodSandboxResources(
    request: CRIUpdatePodSandboxResourcesRequest, context: ServerContext
  ) async throws -> CRIUpdatePodSandboxResourcesResponse {
    try await calls.answer("UpdatePodSandboxResources", request.podSandboxID) {
      try RequestBounds.resources(request.resources, "resources")
      try RequestBounds.resources(request.overhead, "overhead")
      let resources = try ResourceReader.resources(request.resources, "resources")
      try await runtime.updateSandboxResources(request.podSandboxID, resources)
      return CRIUpdatePodSandboxResourcesResponse()
    }
  }

  // MARK: Containers

  func createContainer(
    request: CRICreateContainerRequest, context: ServerContext
  ) async throws -> CRICreateContainerResponse {
    let metadata = request.config.metadata
    return try await calls.answer("CreateContainer", "\(request.podSandboxID.prefix(12))/\(metadata.name)") {
      let config = request.config
      try RequestBounds.check(config)
      let bytes = try ContainerGatherer.encode(config)
      guard bytes.count <= RequestBounds.requestBytesMax else {
        throw RequestRefusal.invalid("config", "takes \(bytes.count) bytes, at most \(RequestBounds.requestBytesMax)")
      }
      var response = CRICreateContainerResponse()
      response.containerID = try await runtime.createContainer(
        in: request.podSandboxID, name: metadata.name, attempt: metadata.attempt, request: bytes
      ) { places, sandbox in
        try await gatherer.compile(config, places, sandbox)
      }
      return response
    }
  }

  func startContainer(
    request: CRIStartContainerRequest, context: ServerContext
  ) async throws -> CRIStartContainerResponse {
    try await calls.answer("StartContainer", request.containerID) {
      try await runtime.startContainer(request.containerID)
      return CRIStartContainerResponse()
    }
  }

  func stopContainer(request: CRIStopContainerRequest, context: ServerContext) async throws -> CRIStopContainerResponse
  {
    try await calls.answer("StopContainer", request.containerID) {
      let seconds = max(0, request.timeout)
      let (milliseconds, overflow) = seconds.multipliedReportingOverflow(by: 1000)
      try await runtime.stopContainer(request.containerID, graceMilliseconds: overflow ? .max : milliseconds)
      return CRIStopContainerResponse()
    }
  }

  func removeContainer(
    request: CRIRemoveContainerRequest, context: ServerContext
  ) async throws -> CRIRemoveContainerResponse {
    try await calls.answer("RemoveContainer", request.containerID) {
      try await runtime.removeContainer(request.containerID)
      return CRIRemoveContainerResponse()
    }
  }

  func listContainers(
    request: CRIListContainersRequest, context: ServerContext
  ) async throws -> CRIListContainersResponse {
    var response = CRIListContainersResponse()
    response.containers = containers(request.filter)
    return response
  }

  func containerStatus(
    request: CRIContainerStatusRequest, context: ServerContext
  ) async throws -> CRIContainerStatusResponse {
    try await calls.answer("ContainerStatus", request.containerID) {
      let snapshot = try container(request.containerID)
      var response = CRIContainerStatusResponse()
      response.status = StatusMessages.containerStatus(snapshot)
      if request.verbose {
        response.info = StatusMessages.containerInfo(
          snapshot, runtime.sandbox(snapshot.sandboxID), writableLayer: runtime.writableLayer(of: snapshot))
      }
      return response
    }
  }

  func updateContainerResources(
    request: CRIUpdateContainerResourcesRequest, context: ServerContext
  ) async throws -> CRIUpdateContainerResourcesResponse {
    try await calls.answer("UpdateContainerResources", request.containerID) {
      if request.hasWindows { throw RequestRefusal.invalid("windows", "this is a Linux node") }
      try RequestBounds.resources(request.linux, "linux")
      let resources = try ResourceReader.resources(request.linux, "linux")
      try await runtime.updateContainerResources(request.containerID, resources)
      return CRIUpdateContainerResourcesResponse()
    }
  }

  func reopenContainerLog(
    request: CRIReopenContainerLogRequest, context: ServerContext
  ) async throws -> CRIReopenContainerLogResponse {
    try await calls.answer("ReopenContainerLog", request.containerID) {
      try await runtime.reopenLog(request.containerID)
      return CRIReopenContainerLogResponse()
    }
  }
}
