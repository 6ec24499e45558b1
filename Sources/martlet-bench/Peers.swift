import Kernel

/// A program that is started, waited for and timed on a thread of its own: what making the thread takes is not counted.
struct TimedProgram: Sendable {
  let path: String
  let arguments: [String]
  var environment = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"]

  /// - Parameter name: found in the usual directories; nil where it is not installed.
  init?(_ name: String, _ arguments: [String]) {
    let places = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
    guard let found = places.map({ "\($0)/\(name)" }).first(where: Files.exists) else { return nil }
    path = found
    self.arguments = [name] + arguments
  }

  /// Runs it once; milliseconds.
  func once() async throws -> Double {
    let (elapsed, status) = try await onFreshThread { () throws(SyscallError) -> (Int64, ExitStatus) in
      let begin = SystemClock.bootNanoseconds
      let child = try ChildProcess.start(path, arguments: arguments, environment: environment, stdio: [nil, nil, 2])
      let status = try child.wait()
      return (SystemClock.bootNanoseconds - begin, status)
    }
    guard status == .exited(0) else {
      throw BenchError("\(arguments.joined(separator: " ")): ended with \(status); its message is on standard error")
    }
    return Double(elapsed) / 1e6
  }

  /// The first line that `--version` prints.
  func version() async throws -> String {
    let outcome = try await ChildProcess.run(path, arguments: [path, "--version"], environment: environment)
    return String(String(decoding: outcome.output, as: UTF8.self).prefix { $0 != "\n" })
  }
}

/// The process that runs the kernel's floor, once a byte; see CShims/floor.
final class Floor: Sendable {
  private let requests: SharedFD
  private let answers: SharedFD
  // It ends when its standard input does, with this value.
  private let child: ChildProcess

  enum Kind: UInt8 {
    case bare = 1
    /// With the directories and the cgroup that one container alone has.
    case whole = 2
  }

  /// - Parameter cgroup: directory of a cgroup without processes.
  init(program: String, lower: String, work: String, cgroup: String) throws {
    try Files.makeDirectories(work, mode: 0o755)
    var input = try Pipe()
    var output = try Pipe()
    let childInput = input.takeReadEnd()
    let childOutput = output.takeWriteEnd()
    child = try ChildProcess.start(
      program, arguments: [program, lower, work, cgroup, "/bin/true"],
      stdio: [childInput.withRaw { $0 }, childOutput.withRaw { $0 }, 2])
    requests = SharedFD(input.takeWriteEnd())
    answers = SharedFD(output.takeReadEnd())
  }

  /// Milliseconds.
  func once(_ kind: Kind) async throws -> Double {
    let nanoseconds = try await onFreshThread { [self] () throws(SyscallError) -> Int64 in
      try requests.duplicate().writeAll([kind.rawValue])
      let bytes = try answers.duplicate().read(upTo: 8)
      guard bytes.count == 8 else { return -1 }
      return bytes.reversed().reduce(0) { $0 << 8 | Int64($1) }
    }
    guard nanoseconds >= 0 else { throw BenchError("martlet-floor ended; its message is on standard error") }
    return Double(nanoseconds) / 1e6
  }
}
