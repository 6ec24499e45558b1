internal import Synchronization

/// Lets so many callers through at one time, in the order they came. Callers are calls of this room, so as many wait as
/// pods come or go at once.
final class CNISlots: Sendable {
  private struct State {
    var free: Int
    var waiting: [CheckedContinuation<Void, Never>] = []
  }
  private let state: Mutex<State>

  init(_ count: Int) { state = Mutex(State(free: count)) }

  func withSlot<R>(_ body: () async throws(CNIError) -> R) async throws(CNIError) -> R {
    await withCheckedContinuation { caller in
      let goes = state.withLock { state in
        if state.free == 0 {
          state.waiting.append(caller)
          return false
        }
        state.free -= 1
        return true
      }
      if goes { caller.resume() }
    }
    defer { leave() }
    return try await body()
  }

  private func leave() {
    let next: CheckedContinuation<Void, Never>? = state.withLock { state in
      if !state.waiting.isEmpty { return state.waiting.removeFirst() }
      state.free += 1
      return nil
    }
    next?.resume()
  }
}

/// One caller at a time for each key, in the order they came. Belongs to an actor.
struct CNIGate {
  private var waiting: [String: [CheckedContinuation<Void, Never>]] = [:]

  mutating func tryEnter(_ key: String) -> Bool {
    if waiting[key] != nil { return false }
    waiting[key] = []
    return true
  }

  mutating func wait(_ key: String, _ caller: CheckedContinuation<Void, Never>) {
    waiting[key, default: []].append(caller)
  }

  mutating func leave(_ key: String) {
    guard var queue = waiting[key] else { return }
    let next = queue.isEmpty ? nil : queue.removeFirst()
    waiting[key] = next == nil ? nil : queue
    next?.resume()
  }
}
