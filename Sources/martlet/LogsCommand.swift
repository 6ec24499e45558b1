import ArgumentParser
import CRIClient
import CRIModel
import Kernel
import NodeAgent

/// `martlet logs`: what a container wrote.
struct LogsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "logs",
    abstract: "Print a container's output.",
    discussion: """
      What the container wrote to standard error goes to standard error. Reads the log file that the daemon names, so
      it works on the node only.

      EXAMPLES
        martlet logs web                      the only container of pod web
        martlet logs web -c side --tail 20    the last 20 lines of one of several
        martlet logs -f --since 10m web/app   from ten minutes ago, and go on
        martlet logs -t 3f2a9c                with timestamps, by the beginning of an id
      """)

  @Flag(name: [.short, .long], help: "Go on until the container ends (Ctrl-C stops).")
  var follow = false

  @Option(help: "Only so many lines from the end.")
  var tail: Int?

  @Option(help: "Only lines since then: 90s, 10m, 2h30m, or a time like 2024-05-01T10:00:00Z.")
  var since: String?

  @Flag(name: [.short, .long], help: "Put the time before each line.")
  var timestamps = false

  @Option(name: [.short, .long], help: "The container, where the pod has several.")
  var container: String?

  @Argument(help: "A container or pod: name, pod/container, or the beginning of an id.")
  var target: String

  @OptionGroup var connection: ConnectionOptions

  /// Between two looks at a log that has not grown.
  private static let pollInterval: Duration = .milliseconds(100)
  /// Looks at the log between two questions whether the container still runs.
  private static let looksPerQuestion = 10

  func validate() throws {
    if let tail, tail < 0 { throw ValidationError("--tail takes a number of lines, 0 or more") }
    if since != nil, sinceNanoseconds == nil {
      throw ValidationError("--since takes a duration like 10m or a time like 2024-05-01T10:00:00Z")
    }
  }

  private var sinceNanoseconds: Int64? {
    guard let since else { return nil }
    if let ago = Units.duration(since) { return SystemClock.wallNanoseconds - ago }
    return Timestamp.nanoseconds(since)
  }

  func run() async throws {
    try await connection.withClient { client in
      let found = try await Inventory.load(client).container(target, in: container)
      let status = try await client.containerStatus(found.id).status
      guard !status.logPath.isEmpty else {
        throw Failure("container \(found.name) keeps no log", hint: "it was created without a log_path")
      }
      guard follow || Files.exists(status.logPath) else {
        throw Failure("the log of \(found.name) is not there: \(status.logPath)", code: Failure.notFoundCode)
      }
      try await copy(status.logPath, of: found.id, client)
    }
  }

  private func copy(_ path: String, of id: String, _ client: CRIClient) async throws {
    var follower = LogFollower(path: path)
    var printer = LogPrinter(timestamps: timestamps, since: sinceNanoseconds)
    if let tail {
      var last = LogTail(count: tail)
      while case let lines = try follower.next(), !lines.isEmpty {
        for line in lines { last.add(line) }
      }
      try await write(last.last(), &printer)
    }
    var looks = 0
    var ended = false
    while true {
      let lines = try follower.next()
      try await write(lines, &printer)
      guard lines.isEmpty else { continue }
      // What was written before the end is in the file once the daemon says that the container has ended.
      if !follow || ended { return }
      if looks % Self.looksPerQuestion == 0 { ended = try await hasEnded(id, client) }
      looks += 1
      if !ended { try await Task.sleep(for: Self.pollInterval) }
    }
  }

  private func hasEnded(_ id: String, _ client: CRIClient) async throws -> Bool {
    do {
      let state = try await client.containerStatus(id).status.state
      return state == .containerExited || state == .containerUnknown
    } catch {
      if error.code == .notFound { return true }
      throw error
    }
  }

  /// Writes runs of lines of one stream at once.
  private func write(_ lines: [LogLine], _ printer: inout LogPrinter) async throws {
    var bytes: [UInt8] = []
    var stream = LogLine.Stream.stdout
    func flush() async throws {
      if !bytes.isEmpty { try await StandardStream.stream(bytes, to: stream == .stdout ? .output : .errors) }
      bytes.removeAll(keepingCapacity: true)
    }
    for line in lines {
      if line.stream != stream {
        try await flush()
        stream = line.stream
      }
      bytes += printer.print(line)
    }
    try await flush()
  }
}
