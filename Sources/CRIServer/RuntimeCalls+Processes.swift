internal import CRIModel
internal import GRPCCore
internal import Kernel
internal import Logging
internal import PodRuntime
// The bytes fields of the generated messages are of its Data.
internal import FoundationEssentials

extension RuntimeCalls {
  func execSync(request: CRIExecSyncRequest, context: ServerContext) async throws -> CRIExecSyncResponse {
    try await calls.answer("ExecSync", request.containerID) {
      guard request.timeout >= 0 else { throw RequestRefusal.invalid("timeout", "\(request.timeout) is negative") }
      let timeout = request.timeout == 0 ? nil : Double(request.timeout)
      let output = try await runtime.execCapturing(
        request.containerID, ExecRequest(command: request.cmd, timeoutSeconds: timeout))
      if output.timedOut {
        throw PodRuntime.RuntimeError(
          .deadlineExceeded, stage: "ExecSync", subject: request.containerID,
          reason: "the command ran longer than \(request.timeout) s and was killed")
      }
      if output.wasTruncated {
        calls.log.warning(
          "output of a command was longer than is kept",
          metadata: ["container": "\(request.containerID)", "bytes": "\(RuntimeBounds.execOutputBytesMax)"])
      }
      var response = CRIExecSyncResponse()
      response.stdout = Data(output.output)
      response.stderr = Data(output.errorOutput)
      response.exitCode = output.exit.status.code
      return response
    }
  }

  func exec(request: CRIExecRequest, context: ServerContext) async throws -> CRIExecResponse {
    try await calls.answer("Exec", request.containerID) {
      guard !request.cmd.isEmpty else { throw RequestRefusal.invalid("cmd", "is empty") }
      let id = try streamable(
        request.containerID, terminal: request.tty, streams: [request.stdin, request.stdout, request.stderr])
      var response = CRIExecResponse()
      response.url = try await streaming.url(
        StreamingURLs.Target(
          containerID: id, command: request.cmd, terminal: request.tty, input: request.stdin, output: request.stdout,
          errors: request.stderr))
      return response
    }
  }

  func attach(request: CRIAttachRequest, context: ServerContext) async throws -> CRIAttachResponse {
    try await calls.answer("Attach", request.containerID) {
      let id = try streamable(
        request.containerID, terminal: request.tty, streams: [request.stdin, request.stdout, request.stderr])
      let config = try container(id).config
      guard !request.stdin || config.stdin else {
        throw RequestRefusal.invalid("stdin", "the container was created without standard input")
      }
      guard request.tty == config.terminal else {
        throw RequestRefusal.invalid(
          "tty", "the container was created \(config.terminal ? "with" : "without") a terminal")
      }
      var response = CRIAttachResponse()
      response.url = try await streaming.url(
        StreamingURLs.Target(
          containerID: id, command: nil, terminal: request.tty, input: request.stdin, output: request.stdout,
          errors: request.stderr))
      return response
    }
  }

  /// - Returns: the full id of a running container.
  private func streamable(_ id: String, terminal: Bool, streams: [Bool]) throws -> String {
    guard streams.contains(true) else { throw RequestRefusal.invalid("stdout", "no stream is asked for") }
    guard !(terminal && streams[2]) else {
      throw RequestRefusal.invalid("stderr", "a terminal has one output; ask for stdout")
    }
    let snapshot = try container(id)
    guard case .running = snapshot.phase else {
      throw PodRuntime.RuntimeError(
        .failedPrecondition, stage: "stream", subject: id, reason: "the container is not running")
    }
    return snapshot.id
  }

  func portForward(request: CRIPortForwardRequest, context: ServerContext) async throws -> CRIPortForwardResponse {
    try await calls.answer("PortForward", request.podSandboxID) {
      let snapshot = try sandbox(request.podSandboxID)
      guard snapshot.isReady else {
        throw PodRuntime.RuntimeError(
          .failedPrecondition, stage: "forward ports", subject: snapshot.id, reason: "the sandbox is not ready")
      }
      var response = CRIPortForwardResponse()
      response.url = try await streaming.portForward(snapshot.id)
      return response
    }
  }

  // MARK: Figures

  func containerStats(
    request: CRIContainerStatsRequest, context: ServerContext
  ) async throws -> CRIContainerStatsResponse {
    try await calls.answer("ContainerStats", request.containerID) {
      var response = CRIContainerStatsResponse()
      response.stats = await figures.container(try container(request.containerID))
      return response
    }
  }

  func listContainerStats(
    request: CRIListContainerStatsRequest, context: ServerContext
  ) async throws -> CRIListContainerStatsResponse {
    try await calls.answer("ListContainerStats") {
      var response = CRIListContainerStatsResponse()
      response.stats = await containerStats(request.filter)
      return response
    }
  }

  func podSandboxStats(
    request: CRIPodSandboxStatsRequest, context: ServerContext
  ) async throws -> CRIPodSandboxStatsResponse {
    try await calls.answer("PodSandboxStats", request.podSandboxID) {
      var response = CRIPodSandboxStatsResponse()
      response.stats = await figures.sandbox(try sandbox(request.podSandboxID))
      return response
    }
  }

  func listPodSandboxStats(
    request: CRIListPodSandboxStatsRequest, context: ServerContext
  ) async throws -> CRIListPodSandboxStatsResponse {
    try await calls.answer("ListPodSandboxStats") {
      var response = CRIListPodSandboxStatsResponse()
      response.stats = await sandboxStats(request.filter)
      return response
    }
  }

  // MARK: Not done

  func checkpointContainer(
    request: CRICheckpointContainerRequest, context: ServerContext
  ) async throws -> CRICheckpointContainerResponse {
    throw CallLog.unimplemented(
      "CheckpointContainer", "container \(request.containerID): checkpoints need CRIU, which Martlet does not use")
  }
}
