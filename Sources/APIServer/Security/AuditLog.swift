import JSON
package import Kernel
package import Logging
import Synchronization

/// Where the log of requests is, and its bounds.
package struct AuditLogConfiguration: Hashable, Sendable {
  package var file: String
  /// A file that would grow longer is put aside.
  package var fileBytesMax = 100 << 20
  /// Files put aside that are kept: `audit.log.1` is the newest.
  package var filesMax = 10
  /// What may wait for the disk; more is dropped, and counted.
  package var waitingBytesMax = 16 << 20

  package init(file: String) { self.file = file }
}

/// The log of who asked for what: JSON lines, written by a thread of its own, so that no request waits for the disk.
package final class AuditLog: Sendable {
  private struct State {
    var lines: [[UInt8]] = []
    var bytes = 0
    var dropped = 0
    var isClosing = false
    var hasEnded = false
    var closers: [CheckedContinuation<Void, Never>] = []
  }

  /// Between two looks at the queue while nothing wakes the thread.
  private static let waitNanoseconds: Int64 = 1_000_000_000

  let policy: AuditPolicy
  private let configuration: AuditLogConfiguration
  private let logger: Logger
  private let state = Mutex(State())
  private let wakeup = Wakeup()

  /// Opens the file. Blocks on the disk.
  package init(
    policy: AuditPolicy, configuration: AuditLogConfiguration, logger: Logger
  ) throws(SyscallError) {
    self.policy = policy
    self.configuration = configuration
    self.logger = logger
    try Files.makeDirectories(Files.parent(of: configuration.file), mode: 0o700)
    _ = try Self.open(configuration.file)
    try WorkerThread.start("audit") { [self] in run() }
  }

  private static func open(_ file: String) throws(SyscallError) -> OwnedFD {
    try Files.open(
      file, flags: OpenFlags.writeOnly | OpenFlags.create | OpenFlags.append | OpenFlags.noFollow, mode: 0o600)
  }

  /// Takes one event. Never waits: what does not fit is dropped.
  func write(_ event: JSONValue) {
    var line = event.encoded()
    line.append(0x0A)
    let isFirst = state.withLock { state -> Bool in
      guard !state.isClosing, state.bytes + line.count <= configuration.waitingBytesMax else {
        state.dropped += 1
        return false
      }
      state.bytes += line.count
      state.lines.append(line)
      return state.lines.count == 1
    }
    if isFirst { wakeup.signal() }
  }

  /// Writes what waits, and ends.
  package func close() async {
    await withCheckedContinuation { continuation in
      let hasEnded = state.withLock { state in
        state.isClosing = true
        if !state.hasEnded { state.closers.append(continuation) }
        return state.hasEnded
      }
      if hasEnded { continuation.resume() } else { wakeup.signal() }
    }
  }

  // MARK: the thread

  private func run() {
    var size = (try? Files.status(configuration.file)?.sizeBytes ?? 0) ?? 0
    while true {
      let (lines, dropped, isClosing) = state.withLock { state in
        defer {
          state.lines = []
          state.bytes = 0
          state.dropped = 0
        }
        return (state.lines, state.dropped, state.isClosing)
      }
      if dropped > 0 { logger.error("audit: \(dropped) events were dropped: the disk was too slow for them") }
      if !lines.isEmpty { append(lines, &size) }
      if isClosing, lines.isEmpty { break }
      if lines.isEmpty { _ = wakeup.wait(nanoseconds: Self.waitNanoseconds) }
    }
    let closers = state.withLock { state in
      state.hasEnded = true
      defer { state.closers = [] }
      return state.closers
    }
    for closer in closers { closer.resume() }
  }

  private func append(_ lines: [[UInt8]], _ size: inout Int64) {
    do throws(SyscallError) {
      var rest = lines[...]
      while !rest.isEmpty {
        if size > 0, size + Int64(rest.first?.count ?? 0) > Int64(configuration.fileBytesMax) {
          try putAside()
          size = 0
        }
        var chunk: [UInt8] = []
        while let line = rest.first,
          size + Int64(chunk.count + line.count) <= Int64(configuration.fileBytesMax)
            || chunk.isEmpty
        {
          chunk += line
          rest = rest.dropFirst()
        }
        let file = try Self.open(configuration.file)
        try file.writeAll(chunk)
        size += Int64(chunk.count)
      }
    } catch {
      logger.error("audit: \(error); \(lines.count) events may be lost")
    }
  }

  /// `audit.log` becomes `audit.log.1`, and so on; the oldest goes.
  private func putAside() throws(SyscallError) {
    let file = configuration.file
    for index in stride(from: configuration.filesMax, through: 1, by: -1) {
      let older = "\(file).\(index)"
      guard Files.exists(older) else { continue }
      if index == configuration.filesMax {
        try Files.remove(older)
      } else {
        try Files.rename(older, to: "\(file).\(index + 1)")
      }
    }
    if configuration.filesMax > 0 { try Files.rename(file, to: "\(file).1") } else { try Files.remove(file) }
  }
}
