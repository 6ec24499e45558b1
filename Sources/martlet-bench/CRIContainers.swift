import CRIClient
import CRIModel

/// `martletd` over its socket: one pod, and a container of it at a time.
final class CRIContainers: Sendable {
  private let client: CRIClient
  private let pod: CRIPodSandboxConfig
  private let sandboxID: String
  private let serial = Serial()

  init(client: CRIClient, images: String, logs: String) async throws {
    self.client = client
    try await Requests.importImage(client, from: images)
    pod = Requests.pod(0, logs: logs)
    sandboxID = try await client.runPodSandbox(pod)
  }

  /// CreateContainer, StartContainer, ContainerStatus until it has exited, RemoveContainer; milliseconds.
  func once() async throws -> Double {
    let config = Requests.container("c\(serial.next())", waits: false)
    return try await milliseconds {
      let id = try await client.createContainer(podSandboxID: sandboxID, config: config, sandboxConfig: pod)
      try await client.startContainer(id)
      while true {
        let status = try await client.containerStatus(id).status
        if status.state == .containerExited {
          guard status.exitCode == 0 else { throw BenchError("the container ended with \(status.exitCode)") }
          break
        }
      }
      try await client.removeContainer(id)
    }
  }

  func close() async throws {
    try await client.stopPodSandbox(sandboxID)
    try await client.removePodSandbox(sandboxID)
  }
}
