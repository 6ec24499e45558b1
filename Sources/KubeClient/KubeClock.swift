internal import Kernel
internal import Synchronization

/// A clock that tests can replace: a reading that only grows, and sleep until a reading.
package struct KubeClock: Sendable {
  package var now: @Sendable () -> Duration
  /// Throws `CancellationError` as soon as its task is cancelled.
  package var sleep: @Sendable (_ until: Duration) async throws -> Void
  /// Seconds since 1970, for what is written into objects.
  package var wallNanoseconds: @Sendable () -> Int64

  package init(
    now: @escaping @Sendable () -> Duration, sleep: @escaping @Sendable (_ until: Duration) async throws -> Void,
    wallNanoseconds: @escaping @Sendable () -> Int64 = { SystemClock.wallNanoseconds }
  ) {
    self.now = now
    self.sleep = sleep
    self.wallNanoseconds = wallNanoseconds
  }

  package static let continuous: KubeClock = {
    let clock = ContinuousClock()
    let start = clock.now
    return KubeClock(
      now: { start.duration(to: clock.now) },
      sleep: { try await clock.sleep(until: start.advanced(by: $0), tolerance: nil) })
  }()

  package func sleep(for duration: Duration) async throws { try await sleep(now() + duration) }
}

/// A flag that one task waits for: many calls of `raise` before a `wait` count once.
package final class Signal: Sendable {
  private struct State {
    var isRaised = false
    var waiter: CheckedContinuation<Void, Never>?
  }
  private let state = Mutex(State())

  package init() {}

  package func raise() {
    let waiter = state.withLock { state -> CheckedContinuation<Void, Never>? in
      guard let waiter = state.waiter else {
        state.isRaised = true
        return nil
      }
      state.waiter = nil
      return waiter
    }
    waiter?.resume()
  }

  /// Returns when raised, and takes the flag down; returns early when the task is cancelled. For one task at a time.
  package func wait() async {
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let goesOn = state.withLock { state -> Bool in
          if state.isRaised || Task.isCancelled {
            state.isRaised = false
            return true
          }
          state.waiter = continuation
          return false
        }
        if goesOn { continuation.resume() }
      }
    } onCancel: {
      let waiter = state.withLock { state -> CheckedContinuation<Void, Never>? in
        let waiter = state.waiter
        state.waiter = nil
        return waiter
      }
      waiter?.resume()
    }
  }

  /// Returns when raised, when the clock reaches `deadline`, or when the task is cancelled.
  package func wait(until deadline: Duration?, _ clock: KubeClock) async {
    guard let deadline else { return await wait() }
    await withTaskGroup(of: Void.self) { group in
      group.addTask { await self.wait() }
      group.addTask { try? await clock.sleep(deadline) }
      await group.next()
      group.cancelAll()
    }
  }
}

/// Delays between tries: each twice the one before up to a limit, less a random part of up to a half.
package struct Backoff: Sendable {
  package let first: Duration
  package let max: Duration
  package private(set) var tries = 0
  private let random: @Sendable () -> Double

  package init(
    first: Duration, max: Duration, random: @escaping @Sendable () -> Double = { .random(in: 0..<1) }
  ) {
    self.first = first
    self.max = max
    self.random = random
  }

  package mutating func next() -> Duration {
    var whole = first
    for _ in 0..<Swift.min(tries, 40) where whole < max { whole = whole * 2 }
    tries += 1
    return Swift.min(whole, max) * (1 - random() / 2)
  }

  package mutating func reset() { tries = 0 }
}
