internal import Synchronization

/// A body between the event loop that receives it and the task that reads it.
///
/// Bounded: what is delivered and not yet read stays below `highWatermarkBytes` plus one read of the socket, because the
/// connection reads no further until the task has caught up.
final class HTTPIncomingBody: Sendable {
  static let highWatermarkBytes = 256 << 10

  private enum Ending { case open, finished, failed(HTTPBodyError) }

  private struct State {
    var chunks: [[UInt8]] = []
    var first = 0
    var bufferedBytes = 0
    var ending = Ending.open
    var waiter: CheckedContinuation<Void, Never>?
    var isPaused = false
    /// Nobody reads any more: bytes are dropped.
    var isAbandoned = false
    /// Called once, when the reader has to wait: the client may wait for a word itself.
    var onFirstWait: (@Sendable () -> Void)?

    mutating func takeNext() -> [UInt8]? {
      guard first < chunks.count else { return nil }
      let chunk = chunks[first]
      first += 1
      bufferedBytes -= chunk.count
      if first == chunks.count {
        chunks.removeAll(keepingCapacity: true)
        first = 0
      }
      return chunk
    }
  }

  private let state: Mutex<State>
  /// Asks the connection to go on reading. Callable from any thread.
  private let resume: @Sendable () -> Void

  init(resume: @escaping @Sendable () -> Void) {
    state = Mutex(State())
    self.resume = resume
  }

  init(whole: [UInt8]) {
    var initial = State()
    if !whole.isEmpty {
      initial.chunks = [whole]
      initial.bufferedBytes = whole.count
    }
    initial.ending = .finished
    state = Mutex(initial)
    resume = {}
  }

  // MARK: the connection's side

  func onFirstWait(_ body: @escaping @Sendable () -> Void) { state.withLock { $0.onFirstWait = body } }

  /// - Returns: whether the connection may go on reading.
  func deliver(_ chunk: [UInt8]) -> Bool {
    let (waiter, mayRead) = state.withLock { state -> (CheckedContinuation<Void, Never>?, Bool) in
      if state.isAbandoned { return (nil, true) }
      state.chunks.append(chunk)
      state.bufferedBytes += chunk.count
      state.isPaused = state.bufferedBytes >= Self.highWatermarkBytes
      return (state.waiter.take(), !state.isPaused)
    }
    waiter?.resume()
    return mayRead
  }

  func finish() { end(.finished) }
  func fail(_ error: HTTPBodyError) { end(.failed(error)) }

  private func end(_ ending: Ending) {
    let waiter = state.withLock { state -> CheckedContinuation<Void, Never>? in
      guard case .open = state.ending else { return nil }
      state.ending = ending
      return state.waiter.take()
    }
    waiter?.resume()
  }

  /// Drops what is there and what comes, and lets the connection read on.
  func abandon() {
    let wasPaused = state.withLock { state in
      state.isAbandoned = true
      state.chunks.removeAll()
      state.first = 0
      state.bufferedBytes = 0
      defer { state.isPaused = false }
      return state.isPaused
    }
    if wasPaused { resume() }
  }

  // MARK: the reader's side

  /// The next bytes; nil is the end.
  func next() async throws(HTTPBodyError) -> [UInt8]? {
    while true {
      let (chunk, ending, mustResume) = state.withLock { state -> ([UInt8]?, Ending, Bool) in
        let chunk = state.takeNext()
        let mustResume = state.isPaused && state.bufferedBytes < Self.highWatermarkBytes / 2
        if mustResume { state.isPaused = false }
        return (chunk, state.ending, mustResume)
      }
      if mustResume { resume() }
      if let chunk { return chunk }
      switch ending {
      case .finished: return nil
      case .failed(let error): throw error
      case .open: await wait()
      }
    }
  }

  /// Everything to the end.
  func collect(limit: Int) async throws(HTTPBodyError) -> [UInt8] {
    var all: [UInt8] = []
    while let chunk = try await next() {
      guard all.count + chunk.count <= limit else {
        abandon()
        throw .tooLarge(limitBytes: limit)
      }
      if all.isEmpty { all = chunk } else { all += chunk }
    }
    return all
  }

  /// Until bytes or the end are there; a cancelled task goes on to wait, since its connection tells it of the end.
  private func wait() async {
    state.withLock { $0.onFirstWait.take() }?()
    await withCheckedContinuation { continuation in
      let isReady = state.withLock { state -> Bool in
        precondition(state.waiter == nil, "a body has one reader")
        if state.first < state.chunks.count { return true }
        guard case .open = state.ending else { return true }
        state.waiter = continuation
        return false
      }
      if isReady { continuation.resume() }
    }
  }
}

/// An answer's body as its reader sees it, without a connection between: for callers in the same process, and for tests.
///
/// Letting go of it ends what produces the body.
package final class HTTPBodyReader: Sendable {
  private let incoming: HTTPIncomingBody
  private let pace: Pace
  private let task: Task<Void, Never>?

  /// Makes the producer wait while the reader is behind.
  private final class Pace: Sendable {
    private let state = Mutex<(isOpen: Bool, isOver: Bool, waiter: CheckedContinuation<Void, Never>?)>(
      (true, false, nil))
    var isOver: Bool { state.withLock { $0.isOver } }
    func shut() { state.withLock { $0.isOpen = $0.isOver } }
    func open(over: Bool = false) {
      let waiter = state.withLock { state in
        state.isOpen = true
        state.isOver = state.isOver || over
        return state.waiter.take()
      }
      waiter?.resume()
    }
    func wait() async {
      await withCheckedContinuation { continuation in
        let isOpen = state.withLock { state in
          if !state.isOpen { state.waiter = continuation }
          return state.isOpen
        }
        if isOpen { continuation.resume() }
      }
    }
  }

  init(_ body: HTTPResponse.Body) {
    let pace = Pace()
    self.pace = pace
    switch body {
    case .bytes(let bytes):
      incoming = HTTPIncomingBody(whole: bytes)
      task = nil
    case .chunks(let chunks):
      incoming = HTTPIncomingBody {}
      for chunk in chunks where !chunk.isEmpty { _ = incoming.deliver(chunk) }
      incoming.finish()
      task = nil
    case .tunnel:
      incoming = HTTPIncomingBody {}
      incoming.fail(.disconnected)
      task = nil
    case .stream(let produce):
      let incoming = HTTPIncomingBody { pace.open() }
      self.incoming = incoming
      task = Task {
        let writer = HTTPBodyWriter { parts throws(HTTPBodyError) in
          for part in parts where !part.isEmpty {
            if pace.isOver { throw .disconnected }
            pace.shut()
            if incoming.deliver(part) { pace.open() }
            await pace.wait()
          }
        }
        do {
          try await produce(writer)
          incoming.finish()
        } catch {
          incoming.fail(.disconnected)
        }
      }
    }
  }

  deinit { cancel() }

  /// The next bytes; nil is the end. Where the reader's task is cancelled the body ends: no connection tells it to.
  package func next() async throws(HTTPBodyError) -> [UInt8]? {
    try await ending { () throws(HTTPBodyError) in try await self.incoming.next() }
  }

  /// Everything to the end.
  package func collect(limit: Int = .max) async throws(HTTPBodyError) -> [UInt8] {
    try await ending { () throws(HTTPBodyError) in try await self.incoming.collect(limit: limit) }
  }

  private func ending<Value: Sendable>(
    _ read: () async throws(HTTPBodyError) -> Value
  ) async throws(HTTPBodyError) -> Value {
    let outcome = await withTaskCancellationHandler {
      do throws(HTTPBodyError) {
        return Result<Value, HTTPBodyError>.success(try await read())
      } catch {
        return .failure(error)
      }
    } onCancel: {
      cancel()
    }
    return try outcome.get()
  }

  /// Ends the producer, and the body for whoever reads it.
  package func cancel() {
    task?.cancel()
    incoming.fail(.disconnected)
    pace.open(over: true)
  }
}

extension HTTPResponse {
  /// Reads the body. To be called once.
  package func reader() -> HTTPBodyReader { HTTPBodyReader(body) }
}
