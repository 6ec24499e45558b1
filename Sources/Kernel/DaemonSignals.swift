internal import Glibc

/// Signals that a daemon obeys itself.
package enum DaemonSignal: Sendable, CaseIterable {
  case interrupt, terminate, hangup

  private var number: CInt {
    switch self {
    case .interrupt: SIGINT
    case .terminate: SIGTERM
    case .hangup: SIGHUP
    }
  }

  /// Sends the signal to a process that is known to live, for instance because it holds a lock.
  package func send(to processID: Int32) throws(SyscallError) {
    let number = self.number
    _ = try syscall("kill", on: "process \(processID)") { kill(processID, number) }
  }

  /// Runs `body` on Swift's pool and waits for signals on this thread, which must be the main one, before any other
  /// thread exists: threads keep the mask that they are born with.
  ///
  /// An asynchronous main function would not do: it leaves the main thread to the dispatch library, which unblocks every
  /// signal on it, so that the first SIGTERM ends the process. Writing to a closed pipe becomes an error.
  package static func run(
    _ body: @escaping @Sendable () async -> Int32, onSignal: @escaping @Sendable (DaemonSignal) -> Void
  ) -> Never {
    _ = signal(SIGPIPE, SIG_IGN)
    var set = sigset_t()
    _ = unsafe sigemptyset(&set)
    for signal in allCases { _ = unsafe sigaddset(&set, signal.number) }
    _ = unsafe pthread_sigmask(SIG_BLOCK, &set, nil)
    // Its end is the process's.
    Task.detached { CurrentProcess.exitNow(await body()) }
    while true {
      var number: CInt = 0
      guard unsafe sigwait(&set, &number) == 0 else { continue }
      if let signal = allCases.first(where: { $0.number == number }) { onSignal(signal) }
    }
  }
}
