/// Lets one caller at a time through for each key, in the order they came. Belongs to an actor.
struct Gate {
  private var waiting: [String: [CheckedContinuation<Void, Never>]] = [:]

  mutating func tryEnter(_ key: String) -> Bool {
    if waiting[key] != nil { return false }
    waiting[key] = []
    return true
  }

  mutating func wait(_ key: String, _ continuation: CheckedContinuation<Void, Never>) {
    waiting[key, default: []].append(continuation)
  }

  mutating func leave(_ key: String) {
    guard var queue = waiting[key] else { return }
    if queue.isEmpty {
      waiting[key] = nil
      return
    }
    let next = queue.removeFirst()
    waiting[key] = queue
    next.resume()
  }
}

extension PodNetwork {
  /// Waits until no other call works on this pod. Each caller holds one request, so the queue is bounded by theirs.
  func enterGate(_ sandboxID: String) async {
    if gate.tryEnter(sandboxID) { return }
    await withCheckedContinuation { gate.wait(sandboxID, $0) }
  }
}
