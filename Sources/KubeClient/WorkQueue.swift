package import Logging
internal import Synchronization

/// What became of the work on a key.
package enum WorkOutcome: Hashable, Sendable {
  case done
  /// Not yet: look again after this long. Not a failure.
  case after(Duration)
  /// A failure that was told already: look again after the key's backoff.
  case retry
}

/// Keys whose objects want looking at.
///
/// A key is held once however often it is added; one that is added while it is worked on comes again afterwards, never to
/// two workers at a time. Failed keys come again after a delay that doubles.
package final class WorkQueue<Key: Hashable & Sendable>: Sendable {
  package struct Limits: Sendable {
    /// Keys held, those that wait for their time included. One more is refused and logged.
    package var keysMax = 1 << 20
    package var firstRetry: Duration = .milliseconds(5)
    package var retryMax: Duration = .seconds(1000)

    package init() {}
  }

  private struct State {
    /// Those to be handed out, oldest first, from `head` on.
    var ready: [Key] = []
    var head = 0
    /// In `ready`, or to come there once their work is done.
    var queued: Set<Key> = []
    var processing: Set<Key> = []
    var due: [Key: Duration] = [:]
    var timers = KeyedHeap<Duration, Key>()
    var failures: [Key: Int] = [:]
    var waiters: [Int: CheckedContinuation<Key?, Never>] = [:]
    var waitersMade = 0
    var waitersOrder: [Int] = []
    var refused = 0
  }
  private let state = Mutex(State())
  private let timersChanged = Signal()
  private let name: String
  private let limits: Limits
  private let clock: KubeClock
  private let logger: Logger

  package init(
    name: String, limits: Limits = Limits(), clock: KubeClock = .continuous,
    logger: Logger = Logger(label: "martlet.queue")
  ) {
    self.name = name
    self.limits = limits
    self.clock = clock
    self.logger = logger
  }

  /// Keys to be handed out, and keys that wait for their time.
  package var counts: (ready: Int, delayed: Int, processing: Int) {
    state.withLock { ($0.ready.count - $0.head, $0.due.count, $0.processing.count) }
  }

  // MARK: Adding

  package func add(_ key: Key) {
    let handed = state.withLock { state -> (CheckedContinuation<Key?, Never>, Key)? in
      guard hasRoom(&state, key) else { return nil }
      return enqueue(&state, key)
    }
    handed?.0.resume(returning: handed?.1)
  }

  /// Adds the key when the time has passed; an earlier time that was set before stays.
  package func add(_ key: Key, after delay: Duration) {
    guard delay > .zero else { return add(key) }
    let deadline = clock.now() + delay
    state.withLock { state in
      guard state.due[key].map({ deadline < $0 }) ?? true, hasRoom(&state, key) else { return }
      state.due[key] = deadline
      state.timers.push(deadline, key)
    }
    timersChanged.raise()
  }

  /// Adds the key after the delay that its failures so far ask for, and counts one more.
  package func addRateLimited(_ key: Key) {
    let failures = state.withLock { state -> Int in
      let count = state.failures[key] ?? 0
      state.failures[key] = count + 1
      return count
    }
    var delay = limits.firstRetry
    for _ in 0..<min(failures, 40) where delay < limits.retryMax { delay = delay * 2 }
    add(key, after: min(delay, limits.retryMax))
  }

  /// Forgets the failures of a key.
  package func forget(_ key: Key) { state.withLock { _ = $0.failures.removeValue(forKey: key) } }

  package func failures(of key: Key) -> Int { state.withLock { $0.failures[key] ?? 0 } }

  private func hasRoom(_ state: inout State, _ key: Key) -> Bool {
    let isHeld = state.queued.contains(key) || state.due[key] != nil
    if isHeld || state.queued.count + state.due.count < limits.keysMax { return true }
    state.refused += 1
    if state.refused.nonzeroBitCount == 1 {  // 1, 2, 4, 8, …: not a line for each
      logger.error("queue \(name) holds \(limits.keysMax) keys; \(state.refused) refused so far")
    }
    return false
  }

  /// - Returns: a worker that waits, and the key for it.
  private func enqueue(_ state: inout State, _ key: Key) -> (CheckedContinuation<Key?, Never>, Key)? {
    guard state.queued.insert(key).inserted, !state.processing.contains(key) else { return nil }
    while !state.waitersOrder.isEmpty {
      guard let waiter = state.waiters.removeValue(forKey: state.waitersOrder.removeFirst()) else { continue }
      state.queued.remove(key)
      state.processing.insert(key)
      return (waiter, key)
    }
    state.ready.append(key)
    return nil
  }

  // MARK: Working

  /// The oldest key, once there is one; nil when the task is cancelled. `done` must follow.
  package func next() async -> Key? {
    let id = state.withLock { state -> Int in
      state.waitersMade += 1
      return state.waitersMade
    }
    return await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let answer = state.withLock { state -> Key?? in
          if Task.isCancelled { return .some(nil) }
          guard state.head < state.ready.count else {
            state.waiters[id] = continuation
            state.waitersOrder.append(id)
            return nil
          }
          let key = state.ready[state.head]
          state.head += 1
          if state.head == state.ready.count || state.head > 1024 && state.head * 2 > state.ready.count {
            state.ready.removeFirst(state.head)
            state.head = 0
          }
          state.queued.remove(key)
          state.processing.insert(key)
          return key
        }
        if let answer { continuation.resume(returning: answer) }
      }
    } onCancel: {
      state.withLock { $0.waiters.removeValue(forKey: id) }?.resume(returning: nil)
    }
  }

  /// Ends the work on a key; it comes again where it was added meanwhile.
  package func done(_ key: Key) {
    let handed = state.withLock { state -> (CheckedContinuation<Key?, Never>, Key)? in
      guard state.processing.remove(key) != nil, state.queued.remove(key) != nil else { return nil }
      return enqueue(&state, key)
    }
    handed?.0.resume(returning: handed?.1)
  }

  /// Moves what is due; gives the time of what comes next.
  private func fire() -> Duration? {
    let now = clock.now()
    let (handed, next) = state.withLock { state -> ([(CheckedContinuation<Key?, Never>, Key)], Duration?) in
      var handed: [(CheckedContinuation<Key?, Never>, Key)] = []
      while let first = state.timers.first {
        // A timer that an earlier one has replaced, or that has fired.
        guard state.due[first.value] == first.key else {
          state.timers.pop()
          continue
        }
        guard first.key <= now else { return (handed, first.key) }
        state.timers.pop()
        state.due[first.value] = nil
        if let worker = enqueue(&state, first.value) { handed.append(worker) }
      }
      return (handed, nil)
    }
    for (waiter, key) in handed { waiter.resume(returning: key) }
    return next
  }

  /// Works on keys until cancelled; what is being worked on then is cancelled, too.
  ///
  /// - Parameters:
  ///   - workers: keys worked on at a time.
  ///   - work: an error that it throws is logged, and the key comes again after its backoff.
  /// - Throws: `CancellationError`, only.
  package func run(workers: Int = 1, _ work: @escaping @Sendable (Key) async throws -> WorkOutcome) async throws {
    await withDiscardingTaskGroup { group in
      group.addTask {
        while !Task.isCancelled {
          await self.timersChanged.wait(until: self.fire(), self.clock)
        }
      }
      for _ in 0..<max(workers, 1) {
        group.addTask {
          while let key = await self.next() { await self.work(on: key, work) }
        }
      }
    }
    throw CancellationError()
  }

  private func work(on key: Key, _ work: @Sendable (Key) async throws -> WorkOutcome) async {
    do {
      switch try await work(key) {
      case .done: forget(key)
      case .after(let delay):
        forget(key)
        add(key, after: delay)
      case .retry: addRateLimited(key)
      }
    } catch {
      if !Task.isCancelled {
        logger.warning("\(name): \(key): \(error)", metadata: ["failures": "\(failures(of: key))"])
        addRateLimited(key)
      }
    }
    done(key)
  }
}
