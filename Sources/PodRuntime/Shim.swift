package import ContainerPlan
package import Kernel
internal import OCISpec

/// One pod's shim: the process that starts the pod's containers, holds their stdio and keeps their exit codes. It lives
/// on when this value, or the daemon, goes.
package final class Shim: Sendable {
  package let podID: String
  /// Of the shim process, in the daemon's PID namespace.
  package let processID: Int32
  /// Exits of containers and the end of the connection, in order. For one reader. Holds up to `eventsMax`; a container's
  /// exit is also in its exit file and in `state()`, so nothing is lost with an event.
  package var events: AsyncStream<ShimEvent> { connection.events }

  package static let eventsMax = 1024
  package static let attachStallSeconds = 10

  private let connection: ShimConnection
  private static let deviceFilters = DeviceFilters()

  private let features: ShimFeatures

  private init(podID: String, _ hello: ShimMessage, _ connection: ShimConnection) {
    self.podID = podID
    processID = hello.processID
    features = ShimFeatures(rawValue: hello.handle)
    self.connection = connection
  }

  /// Starts a pod's shim: one vfork-like clone and exec. Returns when its namespaces and its socket are there.
  /// - Requires: root. Fails with nothing left running.
  package static func launch(
    _ configuration: ShimConfiguration, program: ShimProgram
  ) async throws(ShimError) -> Shim {
    let (bytes, sysctlPaths): ([UInt8], [String])
    do throws(PlanError) { (bytes, sysctlPaths) = try configuration.encoded() } catch { throw .configuration(error) }
    let connection: ShimConnection
    do throws(SyscallError) {
      connection = try spawn(configuration, bytes, program: program)
    } catch {
      throw .call(error)
    }
    let hello = try await connection.hello()
    guard hello.errno == 0 else {
      throw .launch(stage: ShimConfiguration.stage(hello.index, sysctlPaths: sysctlPaths), errno: hello.errno)
    }
    return Shim(podID: configuration.podID, hello, connection)
  }

  private static func spawn(
    _ configuration: ShimConfiguration, _ bytes: [UInt8], program: ShimProgram
  ) throws(SyscallError) -> ShimConnection {
    let directory = try Directory(path: configuration.directory)
    var descriptors = [directory.fd.withRaw { $0 }, program.seed.withRaw { $0 }]
    let network = try configuration.networkNamespacePath.map { path throws(SyscallError) in
      SharedFD(try Files.open(path, flags: 0))
    }
    let cgroup = try configuration.cgroupDirectory.map { path throws(SyscallError) in
      SharedFD(try Files.open(path, flags: 0))
    }
    if let network { descriptors.append(network.withRaw { $0 }) }
    if let cgroup { descriptors.append(cgroup.withRaw { $0 }) }
    let users = try configuration.userNamespacePath.map { path throws(SyscallError) in
      SharedFD(try Files.open(path, flags: 0))
    }
    if let users { descriptors.append(users.withRaw { $0 }) }
    let pair = try ShimChannel.pair()
    let connection = try ShimConnection(pair.ours)
    // The process that is started goes on in a child of its own, born in the pod's cgroup, and ends.
    let first = try program.file.withRaw { raw throws(SyscallError) in
      try ChildProcess.start(
        "/proc/self/fd/\(raw)", arguments: ["martlet-shim"], extra: [pair.theirs.withRaw { $0 }], newSession: true)
    }
    try connection.configure(bytes, descriptors: descriptors)
    _ = try first.wait()
    withExtendedLifetime((network, cgroup, users)) {}
    return connection
  }

  /// Connects to a shim that an earlier daemon started.
  /// - Throws: `call` with ENOENT or ECONNREFUSED where none listens: it is dead.
  package static func connect(podID: String, directory: String) async throws(ShimError) -> Shim {
    let connection: ShimConnection
    do throws(SyscallError) {
      connection = try ShimConnection(try ShimChannel.connect(directory: directory))
    } catch {
      throw .call(error)
    }
    let hello = try await connection.hello()
    guard hello.flags == ShimMessage.protocolVersion else {
      throw .badReply("it speaks protocol \(hello.flags), not \(ShimMessage.protocolVersion)")
    }
    return Shim(podID: podID, hello, connection)
  }

  /// Starts a container; returns when its program runs (exec worked).
  /// - Returns: the process number, as the daemon counts.
  /// - Throws: `plan` where an operation failed; nothing of the container is left then.
  package func start(_ start: ContainerStart) async throws(ShimError) -> Int32 {
    try await startNoting(start).processID
  }

  /// The same, and whether the kernel refused the score: the process has the shim's then.
  /// - Parameter isPrepared: `prepare` was asked for it.
  func startNoting(
    _ start: ContainerStart, isPrepared: Bool = false
  ) async throws(ShimError) -> (processID: Int32, scoreWasRefused: Bool) {
    if isPrepared, let started = try await startPrepared(start) { return started }
    let packet = try packet(.start, start)
    let answer = try await connection.ask(
      packet.request, following: packet.plan, descriptors: packet.files.map { $0.withRaw { $0 } },
      secondsMax: ShimConnection.startSecondsMax)
    withExtendedLifetime(packet.files) {}
    try Self.check(answer.message, packet.operations)
    return (answer.message.processID, answer.message.scoreWasRefused)
  }

  /// Has the shim take a container's first steps, up to where it waits for its start. Nothing waits for that here, and
  /// where it fails, or the shim cannot do it, the start takes all steps, and tells of what fails.
  /// - Returns: whether it was asked for.
  package func prepare(_ start: ContainerStart) throws(ShimError) -> Bool {
    guard features.contains(.prepares) else { return false }
    let packet = try packet(.prepare, start)
    do throws(SyscallError) {
      try connection.tell(packet.request, following: packet.plan, descriptors: packet.files.map { $0.withRaw { $0 } })
    } catch {
      throw .call(error)
    }
    withExtendedLifetime(packet.files) {}
    return true
  }

  /// nil where what was prepared is gone.
  private func startPrepared(
    _ start: ContainerStart
  ) async throws(ShimError) -> (processID: Int32, scoreWasRefused: Bool)? {
    do throws(ShimError) {
      let answer = try await connection.ask(
        ShimRequest(kind: .start, flags: .prepared, id: start.containerID), secondsMax: ShimConnection.startSecondsMax)
      try Self.check(answer.message, start.plan.operations)
      return (answer.message.processID, answer.message.scoreWasRefused)
    } catch {
      if case .refused(_, _, Errno.noEntry) = error { return nil }
      throw error
    }
  }

  private struct StartPacket {
    var request: ShimRequest
    var plan: [UInt8] = []
    var files: [SharedFD] = []
    var operations: [PlanOperation]
  }

  private func packet(_ kind: ShimRequestKind, _ start: ContainerStart) throws(ShimError) -> StartPacket {
    let sent = features.contains(.prepares) ? start.plan : start.plan.withoutWait
    var request = ShimRequest(kind: kind, id: start.containerID)
    switch start.plan.processNamespace {
    case .container: request.arguments = [0]
    case .pod: request.arguments = [1]
    case .node: request.arguments = [2]
    case .target(let target):
      request.arguments = [3]
      request.target = target
    }
    if start.plan.hasTerminal { request.flags.insert(.terminal) }
    if start.hasStdin { request.flags.insert(.stdin) }
    if start.stdinOnce { request.flags.insert(.stdinOnce) }
    var files: [SharedFD] = []
    var plan: [UInt8] = []
    do throws(SyscallError) {
      let encoded = sent.encoded()
      if features.contains(.takesPlans), encoded.count <= ShimRequest.planBytesMax {
        request.flags.insert(.hasPlan)
        plan = encoded
      } else {
        files.append(SharedFD(try Sandbox.memoryFile("plan", encoded)))
      }
      if let cgroup = start.cgroupDirectory {
        let group = try Files.open(cgroup, flags: 0)
        if !start.plan.deviceRules.isEmpty {
          try Self.deviceFilters.attach(start.plan.deviceRules.map(\.filterRule), to: group)
        }
        files.append(SharedFD(group))
        request.flags.insert(.hasCgroup)
      }
      if let log = start.logPath {
        files.append(SharedFD(try Sandbox.openLog(log)))
        request.flags.insert(.hasLog)
      }
    } catch {
      throw .call(error)
    }
    return StartPacket(request: request, plan: plan, files: files, operations: sent.operations)
  }

  private static func check(_ message: ShimMessage, _ operations: [PlanOperation]) throws(ShimError) {
    guard message.errno != 0 else { return }
    guard Int(message.index) < operations.count else { throw .badReply("operation \(message.index) of a plan") }
    let operation = operations[Int(message.index)]
    throw .plan(
      PlanFailure(
        index: Int(message.index), operation: operation.subject, errno: message.errno,
        hint: operation.hint(errno: message.errno)))
  }

  /// Starts a process in a running container. The descriptors are the process's standard ones; a nil one is /dev/null.
  /// Where the plan has a terminal they are ignored, and `ExecProcess.takeTerminal` gives the terminal's other side.
  /// - Parameter timeoutSeconds: after which the shim kills it, also when the daemon is gone by then; nil is never.
  package func exec(
    _ containerID: String, plan: Plan, stdin: consuming OwnedFD? = nil, stdout: consuming OwnedFD? = nil,
    stderr: consuming OwnedFD? = nil, timeoutSeconds: Double? = nil
  ) async throws(ShimError) -> ExecProcess {
    var request = ShimRequest(kind: .exec, id: containerID)
    // At least a millisecond, because 0 is never.
    if let timeoutSeconds { request.arguments = [UInt64(min(max(timeoutSeconds * 1000, 1), Double(Int32.max)))] }
    var descriptors: [CInt] = []
    let standard: [(CInt?, ShimRequestFlags)] = [
      (released(stdin), .hasStdin), (released(stdout), .hasStdout), (released(stderr), .hasStderr),
    ]
    for (raw, flag) in standard {
      guard let raw else { continue }
      descriptors.append(raw)
      request.flags.insert(flag)
    }
    defer { closeDescriptors(descriptors) }
    let file: SharedFD
    do throws(SyscallError) {
      file = SharedFD(try Sandbox.memoryFile("plan", plan.encoded()))
    } catch {
      throw .call(error)
    }
    let answer = try await connection.ask(
      request, descriptors: [file.withRaw { $0 }] + descriptors, secondsMax: ShimConnection.startSecondsMax)
    withExtendedLifetime(file) {}
    try Self.check(answer.message, plan.operations)
    guard let exec = answer.exec else { throw .badReply("no process in the answer to exec") }
    return exec
  }

  /// Runs a process in a container to its end and keeps what it wrote, up to `maxBytes` of both streams together, of
  /// which each may have half and what the other leaves: what is beyond is read and dropped.
  package func execCapturing(
    _ containerID: String, plan: Plan, maxBytes: Int = 16 << 20, timeoutSeconds: Double? = nil
  ) async throws(ShimError) -> ExecOutput {
    let output = try openPipe()
    let errors = try openPipe()
    let process = try await exec(
      containerID, plan: plan, stdout: OwnedFD(adopting: output.writeEnd), stderr: OwnedFD(adopting: errors.writeEnd),
      timeoutSeconds: timeoutSeconds)
    let kept = KeptOutput(bytesMax: maxBytes)
    do {
      async let output: Void = onFreshThread { () throws(SyscallError) in
        try kept.drain(output.readEnd, stream: 0)
      }
      async let errors: Void = onFreshThread { () throws(SyscallError) in
        try kept.drain(errors.readEnd, stream: 1)
      }
      let message = try await process.message()
      _ = try await (output, errors)
      let (standard, other, isWhole) = kept.take()
      return ExecOutput(
        exit: message.exit, output: standard, errorOutput: other, wasTruncated: !isWhole, timedOut: message.timedOut)
    } catch let error as ShimError {
      throw error
    } catch let error as SyscallError {
      throw .call(error)
    } catch {
      throw .badReply("\(error)")
    }
  }

  /// Sends a signal to the container's first process. One that has ended is not an error.
  package func signal(_ containerID: String, _ signal: Int32) async throws(ShimError) {
    let number = UInt64(UInt32(bitPattern: signal))
    _ = try await connection.ask(ShimRequest(kind: .signal, id: containerID, arguments: [number]))
  }

  /// SIGKILL to every process of the container, through its cgroup where it has one.
  package func kill(_ containerID: String) async throws(ShimError) {
    _ = try await connection.ask(ShimRequest(kind: .kill, id: containerID))
  }

  package func resize(_ containerID: String, columns: UInt16, rows: UInt16) async throws(ShimError) {
    _ = try await connection.ask(
      ShimRequest(kind: .resize, id: containerID, arguments: [UInt64(columns), 0, UInt64(rows)]))
  }

  /// Opens the log's path again (the caller renamed the old file) and goes on there; no line is lost or split.
  package func reopenLog(_ containerID: String, path: String) async throws(ShimError) {
    let log: SharedFD
    do throws(SyscallError) { log = SharedFD(try Sandbox.openLog(path)) } catch { throw .call(error) }
    _ = try await connection.ask(
      ShimRequest(kind: .reopen, id: containerID), descriptors: [log.withRaw { $0 }])
    withExtendedLifetime(log) {}
  }

  /// Connects a client to a running container. What is read from `stdin` goes to the container; output goes to `stdout`
  /// and `stderr` from now on (a container with a terminal has only stdout). A client that takes nothing for
  /// `stallSeconds` is dropped. All of them are closed when the container's output ends.
  package func attach(
    _ containerID: String, stdin: consuming OwnedFD? = nil, stdout: consuming OwnedFD? = nil,
    stderr: consuming OwnedFD? = nil, stallSeconds: Double = Double(attachStallSeconds)
  ) async throws(ShimError) {
    var request = ShimRequest(kind: .attach, id: containerID, arguments: [UInt64(max(stallSeconds * 1000, 1))])
    var descriptors: [CInt] = []
    let standard: [(CInt?, ShimRequestFlags)] = [
      (released(stdin), .hasStdin), (released(stdout), .hasStdout), (released(stderr), .hasStderr),
    ]
    for (raw, flag) in standard {
      guard let raw else { continue }
      descriptors.append(raw)
      request.flags.insert(flag)
    }
    defer { closeDescriptors(descriptors) }
    _ = try await connection.ask(request, descriptors: descriptors)
  }

  /// Ends the container's standard input.
  package func closeStdin(_ containerID: String) async throws(ShimError) {
    _ = try await connection.ask(ShimRequest(kind: .closeStdin, id: containerID))
  }

  /// Drops what the shim knows of an exited container, so that its name is free again, and of one that was prepared,
  /// which ends with that. Returns when it has ended. Unknown is not an error.
  /// - Throws: `refused` with EBUSY while it runs.
  package func forget(_ containerID: String) async throws(ShimError) {
    _ = try await connection.ask(ShimRequest(kind: .forget, id: containerID))
  }

  /// Asks for the same; `finish` has to be called, and waits for it.
  func beginToForget(_ containerID: String) throws(ShimError) -> ShimConnection.Asked {
    try connection.begin(ShimRequest(kind: .forget, id: containerID))
  }

  func finish(_ asked: ShimConnection.Asked) async throws(ShimError) { _ = try await connection.finish(asked) }

  package func state() async throws(ShimError) -> [ShimContainer] {
    try await connection.ask(ShimRequest(kind: .state, flags: .prepared)).items.map { item in
      ShimContainer(
        containerID: item.id, processID: item.processID, startedAtNanoseconds: item.startedAtNanoseconds,
        exit: item.isRunning || item.isPrepared ? nil : item.exit, isPrepared: item.isPrepared)
    }
  }

  /// Kills every container of the pod and the reaper, waits for them, and ends the shim.
  package func shutdown() async throws(ShimError) {
    do throws(ShimError) {
      _ = try await connection.ask(ShimRequest(kind: .shutdown))
    } catch {
      // It is gone, which is what was wanted.
      if case .disconnected = error { return }
      throw error
    }
  }
}

/// A pipe whose write end is the caller's to hand on.
private func openPipe() throws(ShimError) -> (readEnd: SharedFD, writeEnd: CInt) {
  do throws(SyscallError) {
    var pipe = try Pipe()
    return (SharedFD(pipe.takeReadEnd()), pipe.takeWriteEnd().release())
  } catch {
    throw .call(error)
  }
}

extension RuntimeSpec.DeviceRule {
  fileprivate var filterRule: DeviceFilterRule {
    let kind: DeviceFilterRule.Kind =
      switch kind {
      case .all: .all
      case .block: .block
      case .character: .character
      }
    return DeviceFilterRule(
      allow: allow, kind: kind, major: major, minor: minor, makeNode: makeNode, read: read, write: write)
  }
}

private func released(_ descriptor: consuming OwnedFD?) -> CInt? {
  guard let descriptor else { return nil }
  return descriptor.release()
}
