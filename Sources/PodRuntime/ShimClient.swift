package import ContainerPlan
package import Kernel

// What the runtime uses of the shim. `Shim` is one pod's process; its methods may be called from any task and several
// at a time. Nothing here blocks a thread of Swift's pool for longer than a small system call does.

/// How a pod's shim is set up.
package struct ShimConfiguration: Hashable, Sendable {
  /// 64 hexadecimal digits.
  package var podID: String
  /// <run>/pods/<sandboxID>: exists, mode 0700. Holds the socket and containers/<id>/exit.
  package var directory: String
  /// Set in the new UTS namespace; empty leaves the host's.
  package var hostname = ""
  package var domainName = ""
  /// A pinned network namespace; nil is the host's.
  package var networkNamespacePath: String?
  /// The pod's user namespace, which its IPC and UTS namespaces shall belong to; nil is the host's.
  package var userNamespacePath: String?
  package var hasOwnIPC = true
  package var hasOwnUTS = true
  /// Containers of the pod may share a PID namespace, whose PID 1 is a reaper of the shim's.
  package var sharesProcessNamespace = false
  /// Set after the namespaces are made; only namespaced ones, see `Sysctls.path`.
  package var sysctls: [String: String] = [:]
  /// Size of the pod's /dev/shm in bytes.
  package var sharedMemoryBytes: UInt64 = 64 << 20
  /// Directory of the cgroup in which the shim and the reaper live: a leaf that no container's cgroup.kill reaches, such
  /// as <pod's cgroup>/shim. nil leaves it in the daemon's (tests).
  package var cgroupDirectory: String?
  /// -1000…1000.
  package var oomScoreAdjust = -998

  package init(podID: String, directory: String) {
    self.podID = podID
    self.directory = directory
  }
}

/// A container to start.
package struct ContainerStart: Hashable, Sendable {
  /// 64 hexadecimal digits; unique in the pod until it is forgotten.
  package var containerID: String
  package var plan: Plan
  /// CRI log file, opened for appending and made with mode 0640; nil drops the output.
  package var logPath: String?
  /// Directory of the container's own cgroup; the process is born in it. nil is the shim's (tests).
  package var cgroupDirectory: String?
  /// Keeps standard input open for attach; otherwise it is /dev/null.
  package var hasStdin = false
  /// The first attached client's end of input ends the container's.
  package var stdinOnce = false

  package init(containerID: String, plan: Plan) {
    self.containerID = containerID
    self.plan = plan
  }
}

/// How a process of the shim's ended.
package struct ProcessExit: Hashable, Sendable {
  package var status: ExitStatus
  /// Wall clock, nanoseconds since 1970.
  package var finishedAtNanoseconds: Int64
  /// The kernel killed a process of the container for lack of memory, and a signal 9 ended this one.
  package var wasOutOfMemory: Bool

  package init(status: ExitStatus, finishedAtNanoseconds: Int64, wasOutOfMemory: Bool = false) {
    self.status = status
    self.finishedAtNanoseconds = finishedAtNanoseconds
    self.wasOutOfMemory = wasOutOfMemory
  }
}

/// A container as its shim knows it.
package struct ShimContainer: Hashable, Sendable {
  package var containerID: String
  /// As the shim's PID namespace counts.
  package var processID: Int32
  package var startedAtNanoseconds: Int64
  /// nil while it runs.
  package var exit: ProcessExit?
  /// Its process waits for the start.
  package var isPrepared = false
}

/// News from a shim.
package enum ShimEvent: Hashable, Sendable {
  case exited(containerID: String, ProcessExit)
  /// The last event: the shim closed the connection, by `shutdown` or because it died.
  case disconnected
}

/// A plan that stopped at an operation.
package struct PlanFailure: Error, Hashable, Sendable, CustomStringConvertible {
  /// From 0.
  package var index: Int
  /// The operation as text, as "mount tmpfs on /dev/shm".
  package var operation: String
  package var errno: Int32
  /// What to do about it, where that is known.
  package var hint: String

  package var description: String {
    "\(operation): \(SyscallError.name(of: errno)) (\(errno))" + (hint.isEmpty ? "" : ": " + hint)
  }
}

/// What can go wrong between daemon and shim.
package enum ShimError: Error, Hashable, Sendable, CustomStringConvertible {
  case call(SyscallError)
  /// Its configuration cannot be done: which field, and why.
  case configuration(PlanError)
  /// The shim did not come up: at what, and why.
  case launch(stage: String, errno: Int32)
  case plan(PlanFailure)
  /// The shim refused a request: as "no such container".
  case refused(request: String, subject: String, errno: Int32)
  /// The connection ended before the answer came.
  case disconnected(request: String)
  /// Not what the protocol allows: a shim of another version.
  case badReply(String)

  package var description: String {
    switch self {
    case .call(let error): error.description
    case .configuration(let error): error.description
    case .launch(let stage, let errno): "start of the shim: \(stage): \(SyscallError.name(of: errno)) (\(errno))"
    case .plan(let failure): failure.description
    case .refused(let request, let subject, let errno):
      "shim: \(request) \(subject): \(SyscallError.name(of: errno)) (\(errno))"
    case .disconnected(let request): "shim: \(request): the shim is gone"
    case .badReply(let problem): "shim: \(problem); was it started by another version of martletd?"
    }
  }
}
