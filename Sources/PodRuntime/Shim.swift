package import ContainerPlan
package import Kernel

/// One pod's shim: the process that starts the pod's containers, holds their stdio and keeps their exit codes. It lives
/// on when this value, or the daemon, goes.
package final class Shim: Sendable {
  package let podID: String
  /// Of the shim process, in the daemon's PID namespace.
  package let processID: Int32
  /// Exits of containers and the end of the connection, in order. For one reader. Holds up to `eventsMax`; a container's
  /// exit is also in its exit file and in `state()`, so nothing is lost with an event.
  package let events: AsyncStream<ShimEvent>

  package static let eventsMax = 1024

  init(podID: String, processID: Int32, events: AsyncStream<ShimEvent>) {
    self.podID = podID
    self.processID = processID
    self.events = events
  }

  /// Starts a pod's shim: one vfork-like clone and exec. Returns when its namespaces and its socket are there.
  /// - Requires: root. Fails with nothing left running.
  package static func launch(
    _ configuration: ShimConfiguration, program: ShimProgram
  ) async throws(ShimError) -> Shim { fatalError("unfinished") }

  /// Connects to a shim that an earlier daemon started.
  /// - Throws: `call` with ENOENT or ECONNREFUSED where none listens: it is dead.
  package static func connect(podID: String, directory: String) async throws(ShimError) -> Shim {
    fatalError("unfinished")
  }

  /// Starts a container; returns when its program runs (exec worked).
  /// - Returns: the process number, as the daemon counts.
  /// - Throws: `plan` where an operation failed; nothing of the container is left then.
  package func start(_ request: ContainerStart) async throws(ShimError) -> Int32 { fatalError("unfinished") }

  /// Starts a process in a running container. The descriptors are the process's standard ones; a nil one is /dev/null.
  /// Where the plan has a terminal they are ignored, and `ExecProcess.takeTerminal` gives the terminal's other side.
  /// - Parameter timeoutSeconds: after which the shim kills it, also when the daemon is gone by then; nil is never.
  package func exec(
    _ containerID: String, plan: Plan, stdin: consuming OwnedFD? = nil, stdout: consuming OwnedFD? = nil,
    stderr: consuming OwnedFD? = nil, timeoutSeconds: Double? = nil
  ) async throws(ShimError) -> ExecProcess { fatalError("unfinished") }

  /// Runs a process in a container to its end and keeps what it wrote, up to `maxBytes` of each stream: what is beyond
  /// is read and dropped.
  package func execCapturing(
    _ containerID: String, plan: Plan, maxBytes: Int = 16 << 20, timeoutSeconds: Double? = nil
  ) async throws(ShimError) -> ExecOutput { fatalError("unfinished") }

  /// Sends a signal to the container's first process. One that has ended is not an error.
  package func signal(_ containerID: String, _ signal: Int32) async throws(ShimError) { fatalError("unfinished") }

  /// SIGKILL to every process of the container, through its cgroup where it has one.
  package func kill(_ containerID: String) async throws(ShimError) { fatalError("unfinished") }

  package func resize(_ containerID: String, columns: UInt16, rows: UInt16) async throws(ShimError) {
    fatalError("unfinished")
  }

  /// Opens the log's path again (the caller renamed the old file) and goes on there; no line is lost or split.
  package func reopenLog(_ containerID: String, path: String) async throws(ShimError) { fatalError("unfinished") }

  /// Connects a client to a running container. What is read from `stdin` goes to the container; output goes to `stdout`
  /// and `stderr` from now on (a container with a terminal has only stdout). A client that takes nothing for
  /// `attachStallSeconds` is dropped. All of them are closed when the container's output ends.
  package func attach(
    _ containerID: String, stdin: consuming OwnedFD? = nil, stdout: consuming OwnedFD? = nil,
    stderr: consuming OwnedFD? = nil
  ) async throws(ShimError) { fatalError("unfinished") }

  package static let attachStallSeconds = 10

  /// Ends the container's standard input.
  package func closeStdin(_ containerID: String) async throws(ShimError) { fatalError("unfinished") }

  /// Drops what the shim knows of an exited container, so that its name is free again. Unknown is not an error.
  /// - Throws: `refused` with EBUSY while it runs.
  package func forget(_ containerID: String) async throws(ShimError) { fatalError("unfinished") }

  package func state() async throws(ShimError) -> [ShimContainer] { fatalError("unfinished") }

  /// Kills every container of the pod and the reaper, waits for them, and ends the shim.
  package func shutdown() async throws(ShimError) { fatalError("unfinished") }
}

/// A process that `exec` started in a container.
package final class ExecProcess: Sendable {
  /// As the daemon counts.
  package let processID: Int32

  init(processID: Int32) { self.processID = processID }

  /// How it ended.
  package func wait() async throws(ShimError) -> ProcessExit { fatalError("unfinished") }

  /// One that has ended is not an error.
  package func signal(_ signal: Int32) async throws(ShimError) { fatalError("unfinished") }

  package func resize(columns: UInt16, rows: UInt16) async throws(ShimError) { fatalError("unfinished") }

  /// The other side of its terminal, once; nil where it has none.
  package func takeTerminal() -> OwnedFD? { fatalError("unfinished") }
}

/// What `execCapturing` gives.
package struct ExecOutput: Hashable, Sendable {
  package var exit: ProcessExit
  package var output: [UInt8]
  package var errorOutput: [UInt8]
  /// More was written than is kept.
  package var wasTruncated: Bool
  /// It was killed because its time was over.
  package var timedOut: Bool
}

/// What every shim starts from, made once a daemon: the program in sealed memory, which nothing can write to
/// (CVE-2019-5736), and an empty mount namespace that containers start with instead of a copy of the host's.
package final class ShimProgram: Sendable {
  /// - Parameter path: of martlet-shim; nil is the directory of this program.
  /// - Requires: root. Blocks some milliseconds.
  package init(path: String? = nil) async throws(ShimError) { fatalError("unfinished") }
}
