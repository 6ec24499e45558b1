internal import KubeClient

/// Pods that have no node yet. A pure value.
///
/// A pod is active (its turn comes), or backs off after a failure, or waits for a change of the cluster that may help it.
/// The more often it failed, the longer it backs off: 1 s, 2 s, 4 s, 8 s, 10 s.
package struct PodQueue: Sendable {
  package static let firstBackoff: Duration = .seconds(1)
  package static let backoffMax: Duration = .seconds(10)
  /// A pod that waits this long is tried again whatever happened: what nobody thought of may have helped.
  package static let waitMax: Duration = .seconds(300)

  private enum Place: Hashable, Sendable {
    case active
    case backingOff
    case waiting(Remedies)
  }
  private struct Entry: Sendable {
    var pod: PodFacts
    var failures = 0
    var failedAt: Duration = .zero
    var place: Place
    /// Tells the entry's present turn or timer from those that no longer count.
    var ticket = 0
  }
  /// The higher priority first, then who came first.
  private struct Turn: Comparable, Sendable {
    var priority: Int32
    var ticket: Int

    static func < (left: Turn, right: Turn) -> Bool {
      left.priority == right.priority ? left.ticket < right.ticket : left.priority > right.priority
    }
  }
  private var entries: [String: Entry] = [:]
  private var turns = KeyedHeap<Turn, String>()
  private var timers = KeyedHeap<Duration, (uid: String, ticket: Int)>()
  private var tickets = 0

  package init() {}

  package var count: Int { entries.count }
  package func contains(_ uid: String) -> Bool { entries[uid] != nil }

  /// Takes a pod in, or what changed of it. One that waits is tried again where its needs changed.
  package mutating func put(_ pod: PodFacts, at now: Duration) {
    guard var entry = entries[pod.uid] else { return activate(pod.uid, Entry(pod: pod, place: .active)) }
    let isChanged = entry.pod.needs != pod.needs
    entry.pod = pod
    entries[pod.uid] = entry
    guard isChanged else { return }
    switch entry.place {
    case .active: activate(pod.uid, entry)  // its priority may be another
    case .waiting: release(pod.uid, at: now)
    case .backingOff: break
    }
  }

  package mutating func remove(_ uid: String) { entries[uid] = nil }

  /// The pod whose turn it is; it leaves the queue, with its failures.
  package mutating func pop(at now: Duration) -> (pod: PodFacts, failures: Int)? {
    fire(at: now)
    while let turn = turns.pop() {
      guard let entry = entries[turn.value], entry.place == .active, entry.ticket == turn.key.ticket else { continue }
      entries[turn.value] = nil
      return (entry.pod, entry.failures)
    }
    return nil
  }

  /// Takes back a pod for which there was no node: it waits for one of the remedies.
  package mutating func putUnschedulable(_ pod: PodFacts, failures: Int, _ remedies: Remedies, at now: Duration) {
    tickets += 1
    entries[pod.uid] = Entry(
      pod: pod, failures: failures, failedAt: now, place: .waiting(remedies), ticket: tickets)
    timers.push(now + Self.waitMax, (pod.uid, tickets))
  }

  /// Takes back a pod that could not be bound: it backs off.
  package mutating func putFailed(_ pod: PodFacts, failures: Int, at now: Duration) {
    entries[pod.uid] = Entry(pod: pod, failures: failures, failedAt: now, place: .backingOff)
    release(pod.uid, at: now)
  }

  /// Something happened that may help those that wait for it.
  package mutating func cluster(changed remedies: Remedies, at now: Duration) {
    guard !remedies.isEmpty else { return }
    let helped = entries.filter { item in
      if case .waiting(let wanted) = item.value.place { !wanted.isDisjoint(with: remedies) } else { false }
    }
    // In the order in which they came to wait: dictionaries have none.
    for (uid, _) in helped.sorted(by: { $0.value.ticket < $1.value.ticket }) { release(uid, at: now) }
  }

  /// When `pop` may have something that it has not now.
  package var nextTimer: Duration? { timers.first?.key }

  package static func backoff(failures: Int) -> Duration {
    var delay = firstBackoff
    for _ in 1..<max(2, min(failures, 30)) where failures > 1 && delay < backoffMax { delay = delay * 2 }
    return min(delay, backoffMax)
  }

  /// To its turn, or to the rest of its backoff.
  private mutating func release(_ uid: String, at now: Duration) {
    guard var entry = entries[uid] else { return }
    let ready = entry.failedAt + Self.backoff(failures: entry.failures)
    if ready <= now { return activate(uid, entry) }
    tickets += 1
    (entry.place, entry.ticket) = (.backingOff, tickets)
    entries[uid] = entry
    timers.push(ready, (uid, tickets))
  }

  private mutating func activate(_ uid: String, _ entry: Entry) {
    tickets += 1
    var entry = entry
    (entry.place, entry.ticket) = (.active, tickets)
    entries[uid] = entry
    turns.push(Turn(priority: entry.pod.needs.priority, ticket: tickets), uid)
  }

  private mutating func fire(at now: Duration) {
    while let timer = timers.first {
      let isCurrent = entries[timer.value.uid]?.ticket == timer.value.ticket
      guard !isCurrent || timer.key <= now else { return }
      timers.pop()
      if isCurrent, let entry = entries[timer.value.uid] { activate(timer.value.uid, entry) }
    }
  }
}
