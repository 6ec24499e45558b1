package import Kernel
internal import Synchronization

/// A process that `exec` started in a container.
package final class ExecProcess: Sendable {
  private struct State {
    var result: Result<ShimMessage, ShimError>?
    var waiters: [CheckedContinuation<Result<ShimMessage, ShimError>, Never>] = []
    var terminal: CInt?
  }

  /// As the daemon counts.
  package let processID: Int32
  private let handle: UInt64
  private let connection: ShimConnection
  private let state: Mutex<State>

  init(processID: Int32, handle: UInt64, terminal: CInt?, connection: ShimConnection) {
    self.processID = processID
    self.handle = handle
    self.connection = connection
    state = Mutex(State(terminal: terminal))
  }

  deinit { if let terminal = state.withLock({ $0.terminal }) { closeDescriptors([terminal]) } }

  func ended(_ result: Result<ShimMessage, ShimError>) {
    let waiters = state.withLock { state in
      defer { state.waiters = [] }
      state.result = result
      return state.waiters
    }
    for waiter in waiters { waiter.resume(returning: result) }
  }

  func message() async throws(ShimError) -> ShimMessage {
    let result: Result<ShimMessage, ShimError> = await withCheckedContinuation { continuation in
      let known = state.withLock { state in
        if state.result == nil { state.waiters.append(continuation) }
        return state.result
      }
      if let known { continuation.resume(returning: known) }
    }
    return try result.get()
  }

  /// How it ended.
  package func wait() async throws(ShimError) -> ProcessExit { try await message().exit }

  /// One that has ended is not an error.
  package func signal(_ signal: Int32) async throws(ShimError) {
    _ = try await connection.ask(ShimRequest(kind: .signal, arguments: [UInt64(UInt32(bitPattern: signal)), handle]))
  }

  package func resize(columns: UInt16, rows: UInt16) async throws(ShimError) {
    _ = try await connection.ask(ShimRequest(kind: .resize, arguments: [UInt64(columns), handle, UInt64(rows)]))
  }

  /// The other side of its terminal, once; nil where it has none.
  package func takeTerminal() -> OwnedFD? {
    guard let raw = state.withLock({ $0.terminal.take() }) else { return nil }
    return OwnedFD(adopting: raw)
  }
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

/// Reads a pipe to its end and keeps its begin, so that what writes to it never waits and memory stays flat.
func drainKeeping(_ pipe: SharedFD, maxBytes: Int) throws(SyscallError) -> (kept: [UInt8], isWhole: Bool) {
  let pipe = try pipe.duplicate()
  var kept: [UInt8] = []
  var isWhole = true
  while true {
    let chunk = try pipe.read(upTo: 1 << 16)
    if chunk.isEmpty { return (kept, isWhole) }
    let room = maxBytes - kept.count
    kept += chunk.prefix(room)
    if chunk.count > room { isWhole = false }
  }
}
