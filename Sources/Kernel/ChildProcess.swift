internal import CLinux
internal import Glibc

/// How a process ended.
package enum ExitStatus: Hashable, Sendable {
  case exited(Int32)
  case signalled(Int32)

  init(waitStatus: Int32) {
    let signal = waitStatus & 0x7f
    self = signal == 0 ? .exited((waitStatus >> 8) & 0xff) : .signalled(signal)
  }

  /// As a shell and the CRI count it: 128 and the signal's number for a process that a signal ended.
  package var code: Int32 {
    switch self {
    case .exited(let code): code
    case .signalled(let signal): 128 + signal
    }
  }
}

/// A program started by us. Dropped while it runs, it is killed and reaped, through its pidfd: a bare process number may
/// be somebody else's by then.
package struct ChildProcess: ~Copyable, Sendable {
  package let processID: Int32
  private let pidfd: CInt

  /// Starts a program without copying this process, with every descriptor closed but those named.
  /// - Parameters:
  ///   - path: absolute path of the executable.
  ///   - arguments: all of them, the program's own name first.
  ///   - environment: as NAME=VALUE.
  ///   - stdio: descriptors for 0, 1 and 2; nil is /dev/null.
  ///   - extra: descriptors that the program finds at 3, 4, …; at most 16.
  ///   - newSession: starts it in a session of its own.
  ///   - endsWithCaller: it gets SIGTERM when the thread that called this ends, so also when this process is killed.
  /// - Throws: `SyscallError` of clone or execve; nothing is left running. Blocks until exec, some ten microseconds.
  package static func start(
    _ path: String, arguments: [String], environment: [String] = [], stdio: [CInt?] = [nil, nil, nil],
    extra: [CInt] = [], newSession: Bool = false, endsWithCaller: Bool = false
  ) throws(SyscallError) -> ChildProcess {
    precondition(stdio.count == 3, "three standard descriptors")
    let descriptors = stdio.map { $0 ?? -1 }
    let result = unsafe withCStrings(arguments) { argv in
      unsafe withCStrings(environment) { envp in
        // Safe: every array lives until the call returns, and the child has left our memory by then.
        unsafe clinux_spawn(
          path, argv, envp, descriptors, extra, extra.count, newSession ? 1 : 0,
          endsWithCaller ? SIGTERM : 0)
      }
    }
    guard result.pid > 0 else { throw SyscallError(call: "spawn", subject: path, errno: result.err) }
    return ChildProcess(processID: result.pid, pidfd: result.pidfd)
  }

  private init(processID: Int32, pidfd: CInt) {
    self.processID = processID
    self.pidfd = pidfd
  }

  deinit {
    var status: CInt = 0
    _ = clinux_pidfd_send_signal(pidfd, SIGKILL)
    // ECHILD: it was waited for.
    _ = unsafe clinux_waitid_pidfd(pidfd, 0, &status)
    _ = Glibc.close(pidfd)
  }

  /// Lets it go on by itself: it is not killed when dropped, and whoever inherits it reaps it.
  package consuming func detach() -> Int32 {
    let (processID, pidfd) = (processID, pidfd)
    discard self
    _ = Glibc.close(pidfd)
    return processID
  }

  package borrowing func signal(_ signal: Int32) throws(SyscallError) {
    let subject = "process \(processID)"
    let fd = pidfd
    _ = try syscall("pidfd_send_signal", on: subject) { clinux_pidfd_send_signal(fd, signal) }
  }

  /// How it ended, or nil while it runs.
  package borrowing func poll() throws(SyscallError) -> ExitStatus? { try wait(nohang: true) }

  /// Blocks until it has ended.
  package borrowing func wait() throws(SyscallError) -> ExitStatus { try wait(nohang: false)! }

  /// A program may close its outputs and live on.
  fileprivate borrowing func wait(until deadline: Int64, subject: String) throws(SyscallError) -> ExitStatus {
    var ended = pollfd(fd: pidfd, events: Int16(POLLIN), revents: 0)
    let leftMilliseconds = CInt(clamping: max(0, (deadline - SystemClock.bootNanoseconds) / 1_000_000))
    // Safe: one entry.
    guard try syscall("poll", on: subject, { unsafe Glibc.poll(&ended, 1, leftMilliseconds) }) > 0 else {
      throw SyscallError(call: "run", subject: "\(subject) to its end", errno: ETIMEDOUT)
    }
    return try wait()
  }

  private borrowing func wait(nohang: Bool) throws(SyscallError) -> ExitStatus? {
    var status: CInt = 0
    let subject = "process \(processID)"
    let fd = pidfd
    let reaped = try syscall("waitid", on: subject) { unsafe clinux_waitid_pidfd(fd, nohang ? 1 : 0, &status) }
    return reaped == 1 ? ExitStatus(waitStatus: status) : nil
  }
}

extension ChildProcess {
  /// What a finished program left.
  package struct Outcome: Sendable {
    package let status: ExitStatus
    package let output: [UInt8]
    package let errorOutput: [UInt8]
  }

  /// Runs a program to its end on a thread of its own.
  /// - Parameters:
  ///   - input: what it reads from standard input.
  ///   - maxOutputBytes: of each output stream; a program that writes more is killed and EMSGSIZE thrown.
  ///   - timeoutSeconds: after which it is killed and ETIMEDOUT thrown.
  package static func run(
    _ path: String, arguments: [String], environment: [String] = [], input: [UInt8] = [],
    maxOutputBytes: Int = 16 << 20, timeoutSeconds: Double = 60
  ) async throws(SyscallError) -> Outcome {
    try await onFreshThread { () throws(SyscallError) -> Outcome in
      var inputPipe = try Pipe()
      var outputPipe = try Pipe()
      var errorPipe = try Pipe()
      let child = try startPiped(
        path, arguments, environment, input: inputPipe.takeReadEnd(), output: outputPipe.takeWriteEnd(),
        error: errorPipe.takeWriteEnd())
      let deadline = SystemClock.bootNanoseconds + Int64(timeoutSeconds * 1e9)
      var output: [UInt8] = []
      var errorOutput: [UInt8] = []
      try exchange(
        input: input, ourIn: inputPipe.takeWriteEnd().release(), ourOut: outputPipe.takeReadEnd().release(),
        ourError: errorPipe.takeReadEnd().release(),
        deadline: deadline, maxOutputBytes: maxOutputBytes, subject: path, output: &output,
        errorOutput: &errorOutput)
      return Outcome(
        status: try child.wait(until: deadline, subject: path), output: output, errorOutput: errorOutput)
    }
  }
}

/// Starts a program on our ends of three pipes, which are closed here.
private func startPiped(
  _ path: String, _ arguments: [String], _ environment: [String], input: consuming OwnedFD,
  output: consuming OwnedFD, error: consuming OwnedFD
) throws(SyscallError) -> ChildProcess {
  let descriptors = [input.withRaw { $0 }, output.withRaw { $0 }, error.withRaw { $0 }]
  let child = try ChildProcess.start(path, arguments: arguments, environment: environment, stdio: descriptors)
  try input.close()
  try output.close()
  try error.close()
  return child
}

/// Feeds a program's input and drains its outputs, whichever is ready, until both outputs end. Closes the descriptors.
private func exchange(
  input: [UInt8], ourIn: CInt, ourOut: CInt, ourError: CInt, deadline: Int64, maxOutputBytes: Int, subject: String,
  output: inout [UInt8], errorOutput: inout [UInt8]
) throws(SyscallError) {
  var waiting = [
    pollfd(fd: ourOut, events: Int16(POLLIN), revents: 0),
    pollfd(fd: ourError, events: Int16(POLLIN), revents: 0),
    pollfd(fd: ourIn, events: Int16(POLLOUT), revents: 0),
  ]
  defer { for entry in waiting where entry.fd >= 0 { _ = Glibc.close(entry.fd) } }
  _ = fcntl(ourIn, F_SETFL, O_NONBLOCK)
  var written = 0
  var chunk = [UInt8](repeating: 0, count: 1 << 16)
  while waiting[0].fd >= 0 || waiting[1].fd >= 0 {
    let leftMilliseconds = (deadline - SystemClock.bootNanoseconds) / 1_000_000
    if leftMilliseconds <= 0 { throw SyscallError(call: "run", subject: "\(subject) to its end", errno: ETIMEDOUT) }
    // Safe: three entries; the kernel writes their revents and skips those whose descriptor is negative.
    _ = try syscall("poll", on: subject) { unsafe poll(&waiting, 3, CInt(clamping: leftMilliseconds)) }
    for index in 0..<2 where waiting[index].revents != 0 {
      let fd = waiting[index].fd
      // Safe: at most the chunk's count is written.
      let count = try syscall("read", on: subject) { unsafe Glibc.read(fd, &chunk, chunk.count) }
      if count == 0 {
        _ = Glibc.close(fd)
        waiting[index].fd = -1
      } else if index == 0 {
        output += chunk[..<count]
      } else {
        errorOutput += chunk[..<count]
      }
    }
    if max(output.count, errorOutput.count) > maxOutputBytes {
      throw SyscallError(call: "read", subject: "more than \(maxOutputBytes) bytes from \(subject)", errno: EMSGSIZE)
    }
    if waiting[2].revents != 0 || (waiting[2].fd >= 0 && written == input.count) {
      let fd = waiting[2].fd
      // Safe: the range from `written` lies inside the array. The socket-free pipe may raise SIGPIPE, which we ignore.
      let count = unsafe input.withUnsafeBytes { bytes in
        written < input.count ? unsafe Glibc.write(fd, bytes.baseAddress! + written, input.count - written) : 0
      }
      if count > 0 { written += count }
      if written == input.count || (count < 0 && Glibc.errno != EAGAIN) {
        _ = Glibc.close(fd)
        waiting[2].fd = -1
      }
    }
  }
}

/// Lends arguments as the NULL-terminated array of C strings that execve takes.
private func withCStrings<R>(
  _ strings: [String], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> R
) -> R {
  var pointers: [UnsafeMutablePointer<CChar>?] = unsafe strings.map { unsafe strdup($0) }
  unsafe pointers.append(nil)
  defer { unsafe pointers.forEach { unsafe free($0) } }
  return unsafe pointers.withUnsafeBufferPointer { unsafe body($0.baseAddress!) }
}
