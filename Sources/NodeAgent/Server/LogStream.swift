internal import HTTPServer
internal import Kernel
internal import KubeModel
internal import Synchronization

/// What of a log is wanted.
struct LogRequest: Hashable, Sendable {
  var follow = false
  var previous = false
  var timestamps = false
  var tailLines: Int?
  /// Nanoseconds since 1970.
  var since: Int64?
  var limitBytes: Int?
  /// Nil: both.
  var stream: LogLine.Stream?

  init() {}

  /// - Parameter now: nanoseconds since 1970.
  init(_ query: HTTPQuery, now: Int64) throws(NodeRefusal) {
    func flag(_ name: String) -> Bool { ["1", "true"].contains(query[name]?.lowercased() ?? "") }
    func count(_ name: String, atLeast least: Int) throws(NodeRefusal) -> Int? {
      guard let text = query[name], !text.isEmpty else { return nil }
      guard let number = Int(text), number >= least else {
        throw NodeRefusal(status: 400, message: "\(name): \"\(text)\" is not a number of at least \(least)")
      }
      return number
    }
    (follow, previous, timestamps) = (flag("follow"), flag("previous"), flag("timestamps"))
    tailLines = try count("tailLines", atLeast: 0)
    limitBytes = try count("limitBytes", atLeast: 1)
    if let seconds = try count("sinceSeconds", atLeast: 1) { since = now - Int64(clamping: seconds) * 1_000_000_000 }
    if let text = query["sinceTime"], !text.isEmpty {
      guard let time = RFC3339.parse(text) else {
        throw NodeRefusal(status: 400, message: "sinceTime: \"\(text)\" is not a time such as 2026-01-31T12:00:00Z")
      }
      since = time.seconds * 1_000_000_000 + time.nanoseconds
    }
    switch query["stream"] {
    case nil, "", "All": stream = nil
    case "Stdout": stream = .stdout
    case "Stderr": stream = .stderr
    case let other?: throw NodeRefusal(status: 400, message: "stream: \"\(other)\" is not All, Stdout or Stderr")
    }
  }
}

/// Hands out a container's log, also while it grows and is rotated.
final class LogStream: Sendable {
  /// Between two looks at a log that has not grown.
  private static let lookPause = Duration.milliseconds(100)

  private let follower: Mutex<LogFollower>
  private let wish: LogRequest

  init(path: String, wish: LogRequest) {
    follower = Mutex(LogFollower(path: path))
    self.wish = wish
  }

  /// Reads on a thread of its own: a disk may be slow.
  private func next() async throws -> [LogLine] {
    try await onFreshThread { () throws(SyscallError) in
      try self.follower.withLock { follower throws(SyscallError) in try follower.next() }
    }
  }

  /// - Parameter hasEnded: whether nothing more will be written.
  func run(
    hasEnded: @Sendable () async -> Bool, write: @Sendable ([UInt8]) async throws -> Void
  ) async throws {
    var printer = LogPrinter(timestamps: wish.timestamps, since: wish.since)
    var left = wish.limitBytes ?? .max
    func put(_ lines: [LogLine]) async throws {
      var bytes: [UInt8] = []
      for line in lines where wish.stream == nil || line.stream == wish.stream { bytes += printer.print(line) }
      if bytes.count > left { bytes.removeLast(bytes.count - left) }
      left -= bytes.count
      if !bytes.isEmpty { try await write(bytes) }
    }
    if let count = wish.tailLines {
      var tail = LogTail(count: count)
      while case let lines = try await next(), !lines.isEmpty {
        for line in lines where wish.stream == nil || line.stream == wish.stream { tail.add(line) }
      }
      try await put(tail.last())
    }
    var ended = false
    while left > 0 {
      let lines = try await next()
      try await put(lines)
      guard lines.isEmpty else { continue }
      // What was written before the end is in the file once the end is known: one more look.
      if !wish.follow || ended { return }
      ended = await hasEnded()
      if !ended { try await Task.sleep(for: Self.lookPause) }
    }
  }
}
