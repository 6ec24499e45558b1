package import CRIModel
internal import GRPCCore
internal import SwiftProtobuf

/// RuntimeService of CRI v1. Each call throws `CRIError` and is bounded by the client's timeouts.
extension CRIClient {
  private typealias Method = CRIRuntimeService.Method

  package func version() async throws(CRIError) -> CRIVersionResponse {
    try await call(
      Method.Version.descriptor, CRIVersionRequest.with { $0.version = "v1" }, timeout: options.queryTimeout)
  }

  package func status(verbose: Bool = false) async throws(CRIError) -> CRIStatusResponse {
    try await call(
      Method.Status.descriptor, CRIStatusRequest.with { $0.verbose = verbose }, timeout: options.queryTimeout)
  }

  package func runtimeConfig() async throws(CRIError) -> CRIRuntimeConfigResponse {
    try await call(Method.RuntimeConfig.descriptor, CRIRuntimeConfigRequest(), timeout: options.queryTimeout)
  }

  package func updateRuntimeConfig(podCIDR: String) async throws(CRIError) {
    let _: CRIUpdateRuntimeConfigResponse = try await call(
      Method.UpdateRuntimeConfig.descriptor,
      CRIUpdateRuntimeConfigRequest.with { $0.runtimeConfig.networkConfig.podCidr = podCIDR },
      timeout: options.changeTimeout)
  }

  // MARK: Pod sandboxes

  /// - Returns: the id of the sandbox, which runs and has its network when this returns.
  package func runPodSandbox(
    _ config: CRIPodSandboxConfig, runtimeHandler: String = ""
  ) async throws(CRIError) -> String {
    let response: CRIRunPodSandboxResponse = try await call(
      Method.RunPodSandbox.descriptor,
      CRIRunPodSandboxRequest.with {
        $0.config = config
        $0.runtimeHandler = runtimeHandler
      }, timeout: options.changeTimeout)
    return response.podSandboxID
  }

  package func stopPodSandbox(_ id: String) async throws(CRIError) {
    let _: CRIStopPodSandboxResponse = try await call(
      Method.StopPodSandbox.descriptor, CRIStopPodSandboxRequest.with { $0.podSandboxID = id },
      timeout: options.changeTimeout)
  }

  package func removePodSandbox(_ id: String) async throws(CRIError) {
    let _: CRIRemovePodSandboxResponse = try await call(
      Method.RemovePodSandbox.descriptor, CRIRemovePodSandboxRequest.with { $0.podSandboxID = id },
      timeout: options.changeTimeout)
  }

  package func podSandboxStatus(
    _ id: String, verbose: Bool = false
  ) async throws(CRIError) -> CRIPodSandboxStatusResponse {
    try await call(
      Method.PodSandboxStatus.descriptor,
      CRIPodSandboxStatusRequest.with {
        $0.podSandboxID = id
        $0.verbose = verbose
      }, timeout: options.queryTimeout)
  }

  package func listPodSandboxes(
    _ filter: CRIPodSandboxFilter = CRIPodSandboxFilter()
  ) async throws(CRIError) -> [CRIPodSandbox] {
    let response: CRIListPodSandboxResponse = try await call(
      Method.ListPodSandbox.descriptor, CRIListPodSandboxRequest.with { $0.filter = filter },
      timeout: options.queryTimeout)
    return response.items
  }

  package func updatePodSandboxResources(_ request: CRIUpdatePodSandboxResourcesRequest) async throws(CRIError) {
    let _: CRIUpdatePodSandboxResourcesResponse = try await call(
      Method.UpdatePodSandboxResources.descriptor, request, timeout: options.changeTimeout)
  }

  // MARK: Containers

  /// - Returns: the id of the container, which is created and not yet started.
  package func createContainer(
    podSandboxID: String, config: CRIContainerConfig, sandboxConfig: CRIPodSandboxConfig
  ) async throws(CRIError) -> String {
    let response: CRICreateContainerResponse = try await call(
      Method.CreateContainer.descriptor,
      CRICreateContainerRequest.with {
        $0.podSandboxID = podSandboxID
        $0.config = config
        $0.sandboxConfig = sandboxConfig
      }, timeout: options.changeTimeout)
    return response.containerID
  }

  package func startContainer(_ id: String) async throws(CRIError) {
    let _: CRIStartContainerResponse = try await call(
      Method.StartContainer.descriptor, CRIStartContainerRequest.with { $0.containerID = id },
      timeout: options.changeTimeout)
  }

  /// - Parameter graceSeconds: between the stop signal and the kill; 0 kills at once.
  package func stopContainer(_ id: String, graceSeconds: Int64) async throws(CRIError) {
    let _: CRIStopContainerResponse = try await call(
      Method.StopContainer.descriptor,
      CRIStopContainerRequest.with {
        $0.containerID = id
        $0.timeout = graceSeconds
      }, timeout: options.changeTimeout + .seconds(max(0, graceSeconds)))
  }

  package func removeContainer(_ id: String) async throws(CRIError) {
    let _: CRIRemoveContainerResponse = try await call(
      Method.RemoveContainer.descriptor, CRIRemoveContainerRequest.with { $0.containerID = id },
      timeout: options.changeTimeout)
  }

  package func listContainers(
    _ filter: CRIContainerFilter = CRIContainerFilter()
  ) async throws(CRIError) -> [CRIContainer] {
    let response: CRIListContainersResponse = try await call(
      Method.ListContainers.descriptor, CRIListContainersRequest.with { $0.filter = filter },
      timeout: options.queryTimeout)
    return response.containers
  }

  package func containerStatus(
    _ id: String, verbose: Bool = false
  ) async throws(CRIError) -> CRIContainerStatusResponse {
    try await call(
      Method.ContainerStatus.descriptor,
      CRIContainerStatusRequest.with {
        $0.containerID = id
        $0.verbose = verbose
      }, timeout: options.queryTimeout)
  }

  package func updateContainerResources(_ request: CRIUpdateContainerResourcesRequest) async throws(CRIError) {
    let _: CRIUpdateContainerResourcesResponse = try await call(
      Method.UpdateContainerResources.descriptor, request, timeout: options.changeTimeout)
  }

  package func reopenContainerLog(_ id: String) async throws(CRIError) {
    let _: CRIReopenContainerLogResponse = try await call(
      Method.ReopenContainerLog.descriptor, CRIReopenContainerLogRequest.with { $0.containerID = id },
      timeout: options.changeTimeout)
  }

  // MARK: Streams into containers

  /// Runs a command and waits for it.
  ///
  /// - Parameter timeoutSeconds: after which the server kills it; 0 is no limit but the client's own.
  package func execSync(
    _ id: String, command: [String], timeoutSeconds: Int64 = 0
  ) async throws(CRIError) -> CRIExecSyncResponse {
    try await call(
      Method.ExecSync.descriptor,
      CRIExecSyncRequest.with {
        $0.containerID = id
        $0.cmd = command
        $0.timeout = timeoutSeconds
      }, timeout: options.changeTimeout + .seconds(max(0, timeoutSeconds)))
  }

  /// - Returns: a URL that is good once, soon, for `StreamingSession.connect`.
  package func exec(_ request: CRIExecRequest) async throws(CRIError) -> String {
    let response: CRIExecResponse = try await call(
      Method.Exec.descriptor, request, timeout: options.queryTimeout)
    return response.url
  }

  /// - Returns: a URL that is good once, soon, for `StreamingSession.connect`.
  package func attach(_ request: CRIAttachRequest) async throws(CRIError) -> String {
    let response: CRIAttachResponse = try await call(
      Method.Attach.descriptor, request, timeout: options.queryTimeout)
    return response.url
  }

  /// - Returns: a URL that is good once, soon, for a connection that speaks a port-forward protocol.
  package func portForward(_ request: CRIPortForwardRequest) async throws(CRIError) -> String {
    let response: CRIPortForwardResponse = try await call(
      Method.PortForward.descriptor, request, timeout: options.queryTimeout)
    return response.url
  }

  // MARK: Figures and events

  package func containerStats(_ id: String) async throws(CRIError) -> CRIContainerStats {
    let response: CRIContainerStatsResponse = try await call(
      Method.ContainerStats.descriptor, CRIContainerStatsRequest.with { $0.containerID = id },
      timeout: options.queryTimeout)
    return response.stats
  }

  package func listContainerStats(
    _ filter: CRIContainerStatsFilter = CRIContainerStatsFilter()
  ) async throws(CRIError) -> [CRIContainerStats] {
    let response: CRIListContainerStatsResponse = try await call(
      Method.ListContainerStats.descriptor, CRIListContainerStatsRequest.with { $0.filter = filter },
      timeout: options.queryTimeout)
    return response.stats
  }

  package func podSandboxStats(_ id: String) async throws(CRIError) -> CRIPodSandboxStats {
    let response: CRIPodSandboxStatsResponse = try await call(
      Method.PodSandboxStats.descriptor, CRIPodSandboxStatsRequest.with { $0.podSandboxID = id },
      timeout: options.queryTimeout)
    return response.stats
  }

  package func listPodSandboxStats(
    _ filter: CRIPodSandboxStatsFilter = CRIPodSandboxStatsFilter()
  ) async throws(CRIError) -> [CRIPodSandboxStats] {
    let response: CRIListPodSandboxStatsResponse = try await call(
      Method.ListPodSandboxStats.descriptor, CRIListPodSandboxStatsRequest.with { $0.filter = filter },
      timeout: options.queryTimeout)
    return response.stats
  }

  /// Hands over each container event until the server ends the stream, `onEvent` throws, or the task is cancelled.
  package func containerEvents(
    _ onEvent: @Sendable @escaping (CRIContainerEventResponse) async throws -> Void
  ) async throws(CRIError) {
    try await stream(Method.GetContainerEvents.descriptor, CRIGetEventsRequest(), timeout: nil, onEvent)
  }
}
