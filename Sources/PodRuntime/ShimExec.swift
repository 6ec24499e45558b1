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

/// What is kept of the two output streams of a command: of both together no more than a bound, of which each may have
/// half and what the other leaves; and of all commands at one time no more than `RuntimeBounds.execOutputBytesTotalMax`,
/// but a little of each. What is beyond is dropped, so that memory stays flat whatever containers write.
final class KeptOutput: Sendable {
  private struct State {
    var streams: [[UInt8]] = [[], []]
    var isWhole = true
    var reserved = 0
  }
  private static let inUse = Mutex(0)
  /// What a command may keep even where others have taken everything.
  private static let guaranteedBytes = 64 << 10
  private static let capacityStep = 64 << 10

  private let bytesMax: Int
  private let state = Mutex(State())

  init(bytesMax: Int) { self.bytesMax = bytesMax }

  deinit {
    let reserved = state.withLock { $0.reserved }
    Self.inUse.withLock { $0 -= reserved }
  }

  /// Reads one of the streams, 0 or 1, to its end.
  func drain(_ pipe: SharedFD, stream: Int) throws(SyscallError) {
    let pipe = try pipe.duplicate()
    while true {
      let chunk = try pipe.read(upTo: 1 << 16)
      if chunk.isEmpty { return }
      keep(chunk, stream)
    }
  }

  private func keep(_ chunk: [UInt8], _ stream: Int) {
    state.withLock { state in
      let other = state.streams[1 - stream].count
      let room = max(0, max(bytesMax / 2, bytesMax - other) - state.streams[stream].count)
      let wanted = min(chunk.count, room)
      let excess = max(0, state.streams[stream].count + wanted + other - bytesMax)
      // The other one has had more than its half, while this one left it.
      if excess > 0 { state.streams[1 - stream].removeLast(excess) }
      let taken = Self.reserve(wanted - excess, of: &state) + excess
      if taken < chunk.count || excess > 0 { state.isWhole = false }
      let count = state.streams[stream].count + taken
      if count > state.streams[stream].capacity {
        // In steps of a half: what doubles holds three times what it needs while it grows.
        state.streams[stream].reserveCapacity(min(bytesMax, max(count + Self.capacityStep, count + count / 2)))
      }
      state.streams[stream] += chunk.prefix(taken)
    }
  }

  private static func reserve(_ count: Int, of state: inout State) -> Int {
    let granted = inUse.withLock { inUse in
      let free = max(0, RuntimeBounds.execOutputBytesTotalMax - inUse)
      let granted = min(count, max(free, guaranteedBytes - state.reserved))
      inUse += max(0, granted)
      return max(0, granted)
    }
    state.reserved += granted
    return granted
  }

  /// Both streams, which are gone from here then, and whether nothing was dropped. What was reserved for them is so until
  /// this value ends.
  func take() -> (output: [UInt8], errors: [UInt8], isWhole: Bool) {
    state.withLock { state in
      defer { state.streams = [[], []] }
      return (state.streams[0], state.streams[1], state.isWhole)
    }
  }
}
