internal import Glibc
internal import Synchronization

/// A bounded stream of bytes from a task to a thread: the task awaits room, the thread blocks for bytes.
///
/// One sender and one reader. Either side may end it at any time; the other then gets the reason.
package final class ByteChannel: Sendable {
  /// Bytes that may wait in the channel; a chunk is taken whole, so one chunk more can.
  package static let waitingBytesMax = 4 << 20

  private enum Ending { case finished, failed(any Error) }
  private struct State {
    var chunks: [[UInt8]] = []
    var first = 0
    var waitingBytes = 0
    var ending: Ending?
    /// The reader wants nothing more.
    var abandoned: (any Error)?
    var sender: CheckedContinuation<Void, any Error>?
    var readerSleeps = false
  }
  private let state = Mutex(State())
  /// Counts 1 when the sleeping reader has reason to look again.
  private let wake: Semaphore

  package init() { wake = Semaphore() }

  /// Hands over a chunk; suspends while the channel is full.
  /// - Throws: what the reader abandoned it with.
  package func send(_ chunk: [UInt8]) async throws {
    if chunk.isEmpty { return }
    try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
      var wakeReader = false
      let result: Result<Void, any Error>? = state.withLock { state in
        if let error = state.abandoned { return .failure(error) }
        state.chunks.append(chunk)
        state.waitingBytes += chunk.count
        wakeReader = state.readerSleeps
        state.readerSleeps = false
        if state.waitingBytes < Self.waitingBytesMax { return .success(()) }
        state.sender = continuation
        return nil
      }
      if wakeReader { wake.signal() }
      if let result { continuation.resume(with: result) }
    }
  }

  /// No more bytes come: because that was all, or because of `error`.
  package func finish(_ error: (any Error)? = nil) {
    let wakeReader = state.withLock { state in
      if state.ending == nil { state.ending = error.map { .failed($0) } ?? .finished }
      defer { state.readerSleeps = false }
      return state.readerSleeps
    }
    if wakeReader { wake.signal() }
  }

  /// The next bytes, or nil at the end. Blocks the thread.
  /// - Throws: what the sender finished with.
  package func receive() throws -> [UInt8]? {
    while true {
      var resumed: CheckedContinuation<Void, any Error>?
      let result: Result<[UInt8]?, any Error>? = state.withLock { state in
        if case .failed(let error) = state.ending { return .failure(error) }
        if state.first < state.chunks.count {
          let chunk = state.chunks[state.first]
          state.chunks[state.first] = []
          state.first += 1
          if state.first == state.chunks.count {
            state.chunks.removeAll(keepingCapacity: true)
            state.first = 0
          }
          state.waitingBytes -= chunk.count
          if state.waitingBytes < Self.waitingBytesMax / 2 {
            resumed = state.sender
            state.sender = nil
          }
          return .success(chunk)
        }
        if state.ending != nil { return .success(nil) }
        state.readerSleeps = true
        return nil
      }
      resumed?.resume()
      if let result { return try result.get() }
      wake.wait()
    }
  }

  /// The reader stops; the sender's next or waiting `send` throws `error`.
  package func abandon(_ error: any Error) {
    let sender = state.withLock { state in
      if state.abandoned == nil { state.abandoned = error }
      state.chunks = []
      state.first = 0
      state.waitingBytes = 0
      defer { state.sender = nil }
      return state.sender
    }
    sender?.resume(throwing: error)
  }
}

/// A counting semaphore between threads, for the reader of a `ByteChannel`.
@safe private final class Semaphore: @unchecked Sendable {
  // Unchecked: a sem_t is made to be used from several threads; its address is stable for the object's life.
  private let raw: UnsafeMutablePointer<sem_t>

  init() {
    unsafe raw = .allocate(capacity: 1)
    unsafe sem_init(raw, 0, 0)
  }

  deinit {
    unsafe sem_destroy(raw)
    unsafe raw.deallocate()
  }

  func signal() { unsafe sem_post(raw) }

  func wait() {
    // Only EINTR can fail it.
    while unsafe sem_wait(raw) != 0 {}
  }
}
