package import CRIModel
package import CRIClient

/// The calls of the Container Runtime Interface that the agent needs, so that tests can stand in for a runtime.
package protocol RuntimeClient: Sendable {
  func runPodSandbox(_ config: CRIPodSandboxConfig, runtimeHandler: String) async throws(CRIError) -> String
  func stopPodSandbox(_ id: String) async throws(CRIError)
  func removePodSandbox(_ id: String) async throws(CRIError)
  func podSandboxStatus(_ id: String, verbose: Bool) async throws(CRIError) -> CRIPodSandboxStatusResponse
  func listPodSandboxes(_ filter: CRIPodSandboxFilter) async throws(CRIError) -> [CRIPodSandbox]
  func createContainer(
    podSandboxID: String, config: CRIContainerConfig, sandboxConfig: CRIPodSandboxConfig
  ) async throws(CRIError) -> String
  func startContainer(_ id: String) async throws(CRIError)
  func stopContainer(_ id: String, graceSeconds: Int64) async throws(CRIError)
  func removeContainer(_ id: String) async throws(CRIError)
  func listContainers(_ filter: CRIContainerFilter) async throws(CRIError) -> [CRIContainer]
  func containerStatus(_ id: String, verbose: Bool) async throws(CRIError) -> CRIContainerStatusResponse
  func execSync(
    _ id: String, command: [String], timeoutSeconds: Int64
  ) async throws(CRIError) -> CRIExecSyncResponse
  func reopenContainerLog(_ id: String) async throws(CRIError)
  func listImages(_ filter: CRIImageFilter) async throws(CRIError) -> [CRIImage]
  func removeImage(_ reference: String) async throws(CRIError)
  func imageStatus(_ reference: String, verbose: Bool) async throws(CRIError) -> CRIImageStatusResponse
  func imageFilesystemInfo() async throws(CRIError) -> CRIImageFsInfoResponse
  func listPodSandboxStats(_ filter: CRIPodSandboxStatsFilter) async throws(CRIError) -> [CRIPodSandboxStats]
  func updateContainerResources(_ request: CRIUpdateContainerResourcesRequest) async throws(CRIError)
  func updatePodSandboxResources(_ request: CRIUpdatePodSandboxResourcesRequest) async throws(CRIError)
  func pullImage(
    _ reference: String, auth: CRIAuthConfig?, sandboxConfig: CRIPodSandboxConfig?
  ) async throws(CRIError) -> String
  func containerEvents(
    _ onEvent: @Sendable @escaping (CRIContainerEventResponse) async throws -> Void
  ) async throws(CRIError)
}

extension CRIClient: RuntimeClient {}
