import CRIClient
import CRIModel
import NodeAgent
import SwiftProtobuf
import Synchronization

/// A container runtime in memory that answers as CRI says, and counts what it was asked.
final class FakeRuntime: RuntimeClient {
  struct Sandbox {
    var config: CRIPodSandboxConfig
    var isReady = true
  }
  struct Made {
    var sandbox: String
    var config: CRIContainerConfig
    var state: CRIContainerState = .containerCreated
    var exitCode: Int32 = 0
  }
  struct State {
    var ids = 0
    var sandboxes: [String: Sandbox] = [:]
    var containers: [String: Made] = [:]
    var images: Set<String> = ["web:1", "job:1"]
    var starts: [String] = []
    var stops: [String] = []
    var execAnswers: [String: Int32] = [:]
    var isAway = false
    var reopened: [String] = []
    var reopenFails = false
    /// Calls that overlapped on one container name: must stay 0.
    var running: Set<String> = []
    /// Bytes of memory and of disk, by container.
    var used: [String: UInt64] = [:]
    var updates: [CRIUpdateContainerResourcesRequest] = []
    var podUpdates: [CRIUpdatePodSandboxResourcesRequest] = []
    var updateRefusal: String?
    var doubles = 0
  }
  let state = Mutex(State())

  private func use<Result>(_ call: String, _ body: (inout State) throws(CRIError) -> Result) throws(CRIError) -> Result
  {
    var result: Swift.Result<Result, CRIError>?
    state.withLock { state in
      if state.isAway {
        result = .failure(CRIError(code: .unavailable, message: "away", call: call))
        return
      }
      do throws(CRIError) {
        result = .success(try body(&state))
      } catch {
        result = .failure(error)
      }
    }
    guard let result else { throw CRIError(code: .internalError, message: "", call: call) }
    return try result.get()
  }

  private static func missing(_ id: String, _ call: String) -> CRIError {
    CRIError(code: .notFound, message: "no \(id)", call: call)
  }

  func runPodSandbox(_ config: CRIPodSandboxConfig, runtimeHandler: String) async throws(CRIError) -> String {
    try use("RunPodSandbox") { state throws(CRIError) in
      if let same = state.sandboxes.first(where: { $0.value.config.metadata == config.metadata && $0.value.isReady }) {
        return same.key
      }
      state.ids += 1
      state.sandboxes["s\(state.ids)"] = Sandbox(config: config)
      return "s\(state.ids)"
    }
  }

  func stopPodSandbox(_ id: String) async throws(CRIError) {
    try use("StopPodSandbox") { state throws(CRIError) in
      state.sandboxes[id]?.isReady = false
      for (key, made) in state.containers where made.sandbox == id && made.state == .containerRunning {
        state.containers[key]?.state = .containerExited
        state.running.remove(key)
      }
    }
  }

  func removePodSandbox(_ id: String) async throws(CRIError) {
    try use("RemovePodSandbox") { state throws(CRIError) in
      state.sandboxes[id] = nil
      state.containers = state.containers.filter { $0.value.sandbox != id }
    }
  }

  func reopenContainerLog(_ id: String) async throws(CRIError) {
    let fails = state.withLock { state in
      state.reopened.append(id)
      return state.reopenFails
    }
    if fails { throw CRIError(code: .unavailable, message: "no", call: "ReopenContainerLog") }
  }

  func listImages(_ filter: CRIImageFilter) async throws(CRIError) -> [CRIImage] {
    state.withLock { state in state.images.sorted().map { name in .with { $0.id = name } } }
  }

  func removeImage(_ reference: String) async throws(CRIError) {
    state.withLock { state in _ = state.images.remove(reference) }
  }

  func podSandboxStatus(_ id: String, verbose: Bool) async throws(CRIError) -> CRIPodSandboxStatusResponse {
    try use("PodSandboxStatus") { state throws(CRIError) in
      guard state.sandboxes[id] != nil else { throw Self.missing(id, "PodSandboxStatus") }
      return .with { $0.status.network.ip = "10.0.0.\(id.dropFirst())" }
    }
  }

  func listPodSandboxes(_ filter: CRIPodSandboxFilter) async throws(CRIError) -> [CRIPodSandbox] {
    try use("ListPodSandbox") { state throws(CRIError) in
      state.sandboxes.map { id, sandbox in
        .with {
          $0.id = id
          $0.metadata = sandbox.config.metadata
          $0.state = sandbox.isReady ? .sandboxReady : .sandboxNotready
          $0.labels = sandbox.config.labels
          $0.annotations = sandbox.config.annotations
        }
      }
    }
  }

  func createContainer(
    podSandboxID: String, config: CRIContainerConfig, sandboxConfig: CRIPodSandboxConfig
  ) async throws(CRIError) -> String {
    try use("CreateContainer") { state throws(CRIError) in
      guard state.sandboxes[podSandboxID]?.isReady == true else { throw Self.missing(podSandboxID, "CreateContainer") }
      state.ids += 1
      state.containers["c\(state.ids)"] = Made(sandbox: podSandboxID, config: config)
      return "c\(state.ids)"
    }
  }

  func startContainer(_ id: String) async throws(CRIError) {
    try use("StartContainer") { state throws(CRIError) in
      guard let made = state.containers[id] else { throw Self.missing(id, "StartContainer") }
      if state.containers.values.contains(where: {
        $0.sandbox == made.sandbox && $0.config.metadata.name == made.config.metadata.name
          && $0.state == .containerRunning
      }) {
        state.doubles += 1
      }
      state.containers[id]?.state = .containerRunning
      state.starts.append("\(made.config.metadata.name).\(made.config.metadata.attempt)")
    }
  }

  func stopContainer(_ id: String, graceSeconds: Int64) async throws(CRIError) {
    try use("StopContainer") { state throws(CRIError) in
      guard let made = state.containers[id] else { throw Self.missing(id, "StopContainer") }
      state.stops.append("\(made.config.metadata.name) \(graceSeconds)")
      if made.state == .containerRunning {
        state.containers[id]?.state = .containerExited
        state.containers[id]?.exitCode = 143
      }
    }
  }

  func removeContainer(_ id: String) async throws(CRIError) {
    try use("RemoveContainer") { state throws(CRIError) in state.containers[id] = nil }
  }

  func listContainers(_ filter: CRIContainerFilter) async throws(CRIError) -> [CRIContainer] {
    try use("ListContainers") { state throws(CRIError) in
      state.containers.map { id, made in
        .with {
          $0.id = id
          $0.podSandboxID = made.sandbox
          $0.metadata = made.config.metadata
          $0.state = made.state
          $0.labels = made.config.labels
        }
      }
    }
  }

  func containerStatus(_ id: String, verbose: Bool) async throws(CRIError) -> CRIContainerStatusResponse {
    try use("ContainerStatus") { state throws(CRIError) in
      guard let made = state.containers[id] else { throw Self.missing(id, "ContainerStatus") }
      return .with {
        $0.status.id = id
        $0.status.state = made.state
        $0.status.exitCode = made.exitCode
        $0.status.startedAt = 1
      }
    }
  }

  func execSync(
    _ id: String, command: [String], timeoutSeconds: Int64
  ) async throws(CRIError) -> CRIExecSyncResponse {
    try use("ExecSync") { state throws(CRIError) in
      .with { $0.exitCode = state.execAnswers[command.joined(separator: " ")] ?? 0 }
    }
  }

  func imageStatus(_ reference: String, verbose: Bool) async throws(CRIError) -> CRIImageStatusResponse {
    try use("ImageStatus") { state throws(CRIError) in
      .with { if state.images.contains(reference) { $0.image.id = reference } }
    }
  }

  func imageFilesystemInfo() async throws(CRIError) -> CRIImageFsInfoResponse { CRIImageFsInfoResponse() }

  func listPodSandboxStats(_ filter: CRIPodSandboxStatsFilter) async throws(CRIError) -> [CRIPodSandboxStats] {
    try use("ListPodSandboxStats") { state throws(CRIError) in
      state.sandboxes.map { id, sandbox in
        .with { out in
          out.attributes.id = id
          out.attributes.metadata = sandbox.config.metadata
          out.linux.containers = state.containers.values.filter { $0.sandbox == id }.map { made in
            .with {
              $0.attributes.metadata = made.config.metadata
              $0.memory.workingSetBytes.value = state.used[made.config.metadata.name] ?? 0
              $0.writableLayer.usedBytes.value = state.used[made.config.metadata.name] ?? 0
            }
          }
        }
      }
    }
  }

  func updateContainerResources(_ request: CRIUpdateContainerResourcesRequest) async throws(CRIError) {
    try use("UpdateContainerResources") { state throws(CRIError) in
      guard state.containers[request.containerID] != nil else {
        throw Self.missing(request.containerID, "UpdateContainerResources")
      }
      if let refusal = state.updateRefusal {
        throw CRIError(code: .internalError, message: refusal, call: "UpdateContainerResources")
      }
      state.containers[request.containerID]?.config.linux.resources = request.linux
      state.updates.append(request)
    }
  }

  func updatePodSandboxResources(_ request: CRIUpdatePodSandboxResourcesRequest) async throws(CRIError) {
    try use("UpdatePodSandboxResources") { state throws(CRIError) in state.podUpdates.append(request) }
  }

  func pullImage(
    _ reference: String, auth: CRIAuthConfig?, sandboxConfig: CRIPodSandboxConfig?
  ) async throws(CRIError) -> String {
    try use("PullImage") { state throws(CRIError) in
      guard state.images.contains(reference) else {
        throw CRIError(
          code: .notFound, message: "PullImage (\(reference)): no such image \(reference)", call: "PullImage")
      }
      return reference
    }
  }

  func containerEvents(
    _ onEvent: @Sendable @escaping (CRIContainerEventResponse) async throws -> Void
  ) async throws(CRIError) {
    throw CRIError(code: .unimplemented, message: "no events", call: "GetContainerEvents")
  }

  /// Ends the running container of this name.
  func end(_ name: String, code: Int32) {
    state.withLock { state in
      for (id, made) in state.containers where made.config.metadata.name == name && made.state == .containerRunning {
        state.containers[id]?.state = .containerExited
        state.containers[id]?.exitCode = code
      }
    }
  }

  func endContainer(ofPod uid: String, code: Int32) {
    state.withLock { state in
      for (id, made) in state.containers where state.sandboxes[made.sandbox]?.config.metadata.uid == uid {
        state.containers[id]?.state = .containerExited
        state.containers[id]?.exitCode = code
      }
    }
  }

  var isEmpty: Bool { state.withLock { $0.sandboxes.isEmpty && $0.containers.isEmpty } }
  var starts: [String] { state.withLock { $0.starts } }
  func config(_ name: String) -> CRIContainerConfig? {
    state.withLock { state in state.containers.values.first { $0.config.metadata.name == name }?.config }
  }
}
