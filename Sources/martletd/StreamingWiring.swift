internal import Kernel
internal import PodRuntime
internal import Streaming

extension StreamingHandlers {
  /// Exec and attach carried out by the runtime.
  init(_ runtime: Runtime) {
    self.init(
      exec: { request, command in try await Self.exec(runtime, request, command) },
      attach: { request in try await Self.attach(runtime, request) },
      dial: { sandboxID, port in try await Self.dial(runtime, sandboxID, port) })
  }

  /// A pod on the host's network has no namespace of its own: there it is ours.
  private static func dial(_ runtime: Runtime, _ sandboxID: String, _ port: UInt16) async throws -> OwnedFD {
    guard let sandbox = runtime.sandbox(sandboxID), sandbox.isReady else {
      throw PodRuntime.RuntimeError(
        .notFound, stage: "forward port \(port)", subject: sandboxID, reason: "no such sandbox is ready")
    }
    guard let namespace = sandbox.addresses.namespacePath else { return try LoopbackSocket.connect(port: port) }
    return try await LoopbackSocket.connect(port: port, in: try NetworkNamespace.open(namespace))
  }

  private static func exec(
    _ runtime: Runtime, _ request: StreamRequest, _ command: [String]
  ) async throws -> StreamedProcess {
    let exec = ExecRequest(command: command, terminal: request.terminal)
    if request.terminal {
      let process = try await runtime.exec(request.containerID, exec, ProcessDescriptors())
      guard let terminal = process.takeTerminal() else {
        throw PodRuntime.RuntimeError(.failed, stage: "exec", subject: request.containerID, reason: "no terminal came")
      }
      let input = request.input ? try terminal.duplicate() : nil
      return StreamedProcess(
        input: input, output: terminal, errors: nil,
        resize: { try? await process.resize(columns: $0.columns, rows: $0.rows) },
        abandon: { try? await process.signal(9) }, wait: { try await process.wait().status.code })
    }
    var pipes = try StreamPipes(request)
    let process = try await runtime.exec(request.containerID, exec, pipes.takeTheirs())
    return StreamedProcess(
      input: pipes.stdin.take(), output: pipes.stdout.take(), errors: pipes.stderr.take(),
      abandon: { try? await process.signal(9) }, wait: { try await process.wait().status.code })
  }

  private static func attach(_ runtime: Runtime, _ request: StreamRequest) async throws -> StreamedProcess {
    let id = request.containerID
    var pipes = try StreamPipes(request)
    try await runtime.attach(id, pipes.takeTheirs())
    return StreamedProcess(
      input: pipes.stdin.take(), output: pipes.stdout.take(), errors: pipes.stderr.take(),
      resize: { try? await runtime.resize(id, columns: $0.columns, rows: $0.rows) },
      wait: {
        _ = try await runtime.waitUntilEnded(id)
        return nil
      })
  }
}

/// A pipe for each stream that the client asked for: our ends, and the process's until they are taken.
private struct StreamPipes: ~Copyable {
  var stdin: OwnedFD?
  var stdout: OwnedFD?
  var stderr: OwnedFD?
  private var theirStdin: OwnedFD?
  private var theirStdout: OwnedFD?
  private var theirStderr: OwnedFD?

  init(_ request: StreamRequest) throws(SyscallError) {
    if request.input {
      var pipe = try Pipe()
      stdin = pipe.takeWriteEnd()
      theirStdin = pipe.takeReadEnd()
    }
    if request.output || request.terminal {
      var pipe = try Pipe()
      stdout = pipe.takeReadEnd()
      theirStdout = pipe.takeWriteEnd()
    }
    if request.errors && !request.terminal {
      var pipe = try Pipe()
      stderr = pipe.takeReadEnd()
      theirStderr = pipe.takeWriteEnd()
    }
  }

  mutating func takeTheirs() -> ProcessDescriptors {
    ProcessDescriptors(stdin: theirStdin.take(), stdout: theirStdout.take(), stderr: theirStderr.take())
  }
}
