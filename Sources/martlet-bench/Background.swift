import Kernel

/// A program beside this one that runs until it is asked to end. What it says on standard error goes to a file.
final class Background: Sendable {
  let log: String
  private let name: String
  private let child: ChildProcess
  private let output: SharedFD

  var processID: Int32 { child.processID }

  /// How long it may take to end when asked, before it is killed.
  static let endTimeout: Duration = .seconds(60)
  /// Of its log, for messages.
  private static let logBytesShown = 2000

  /// - Parameters:
  ///   - program: beside this program.
  ///   - name: for messages, and of the log in `work`.
  init(program: String, _ arguments: [String], name: String, work: String) throws {
    self.name = name
    log = "\(work)/\(name).log"
    let path = "\(try programDirectory())/\(program)"
    let errors = try Files.open(
      log, flags: OpenFlags.writeOnly | OpenFlags.create | OpenFlags.append, mode: 0o600)
    var pipe = try Pipe()
    let writeEnd = pipe.takeWriteEnd()
    child = try ChildProcess.start(
      path, arguments: [path] + arguments, environment: ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
      stdio: [nil, writeEnd.withRaw { $0 }, errors.withRaw { $0 }])
    output = SharedFD(pipe.takeReadEnd())
  }

  /// Waits until it has written `text` to standard output. One that takes longer is killed.
  func wait(for text: String, timeout: Duration) async throws {
    let said = try await withDeadline(timeout, "\(name) says \"\(text)\"", onTimeout: { try? self.child.signal(9) }) {
      try await onFreshThread { [self] () throws(SyscallError) -> String in
        let input = try output.duplicate()
        var said = ""
        while !said.contains(text) {
          let bytes = try input.read(upTo: 4096)
          if bytes.isEmpty { break }
          said += String(decoding: bytes, as: UTF8.self)
        }
        return said
      }
    }
    guard said.contains(text) else { throw BenchError("\(name) ended early; the end of its log:\n\(logEnd())") }
  }

  /// Asks it to end and waits; one that does not is killed, and that is an error.
  func stop() async throws {
    try child.signal(15)
    let status = try await withDeadline(
      Self.endTimeout, "\(name) ends when asked", onTimeout: { try? self.child.signal(9) }
    ) {
      try await onFreshThread { [self] () throws(SyscallError) -> ExitStatus in try child.wait() }
    }
    guard status == .exited(0) else { throw BenchError("\(name) ended with \(status):\n\(logEnd())") }
  }

  func logEnd() -> String {
    let bytes = (try? Files.read(log)) ?? []
    return String(decoding: bytes.suffix(Self.logBytesShown), as: UTF8.self)
  }
}

/// Runs `body`, which must be done in time: otherwise `onTimeout` is called, which makes `body` end, and the error names
/// what took so long.
func withDeadline<Result: Sendable>(
  _ timeout: Duration, _ what: String, onTimeout: @escaping @Sendable () -> Void = {},
  _ body: @escaping @Sendable () async throws -> Result
) async throws -> Result {
  try await withThrowingTaskGroup(of: Result?.self) { group in
    group.addTask { try await body() }
    group.addTask {
      try await Task.sleep(for: timeout)
      onTimeout()
      return nil
    }
    defer { group.cancelAll() }
    guard let first = try await group.next(), let result = first else {
      throw BenchError("took longer than \(timeout): \(what)")
    }
    return result
  }
}
