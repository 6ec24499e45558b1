internal import Kernel
internal import Logging
internal import PodRuntime
internal import Synchronization

/// A piece of news, as the runtime or recovery tells it.
struct BookedEvent: Sendable, Hashable {
  var kind: RuntimeEvent.Kind
  /// A container's or a sandbox's own id.
  var containerID: String
  var sandboxID: String
  /// Nanoseconds since 1970.
  var at: Int64
}

/// Who follows the runtime's events, and what nobody has heard yet.
///
/// News that comes while nobody follows is kept for the next follower, and so is what ended while the daemon was away: a
/// client that subscribes again after a restart hears of it as if it had never left. Told at least once, never less: a
/// stop that the earlier daemon had told may be told again, with the same time.
final class EventBook: Sendable {
  /// What a follower reads until it leaves, falls behind or the daemon ends.
  struct Subscription: Sendable {
    let events: AsyncStream<BookedEvent>
    let number: UInt64
  }

  private struct State {
    /// With the time since boot when each came, nanoseconds.
    var untold: [(event: BookedEvent, at: Int64)] = []
    var followers: [UInt64: AsyncStream<BookedEvent>.Continuation] = [:]
    var behind: Set<UInt64> = []
    var next: UInt64 = 0
    var isClosed = false
  }

  /// Events that are kept while nobody follows, and that a slow follower may be behind.
  static let eventsMax = RuntimeBounds.eventsMax
  /// How long an event is kept while nobody follows, nanoseconds: clients that were cut come back within seconds, and
  /// who comes later lists first.
  static let untoldAgeMax: Int64 = 600_000_000_000

  private let state: Mutex<State>
  private let log: Logger

  /// - Parameter found: what recovery found, told to the first follower.
  init(found: [BookedEvent] = [], log: Logger) {
    let now = SystemClock.bootNanoseconds
    state = Mutex(State(untold: found.suffix(Self.eventsMax).map { ($0, now) }))
    self.log = log
  }

  /// What ended before this daemon served: containers that have exited and sandboxes that are not ready, oldest first.
  static func ended(sandboxes: [SandboxSnapshot], containers: [ContainerSnapshot], now: Int64) -> [BookedEvent] {
    let stoppedContainers = containers.compactMap { snapshot in
      snapshot.exit.map {
        BookedEvent(
          kind: .stopped, containerID: snapshot.id, sandboxID: snapshot.sandboxID, at: $0.finishedAt)
      }
    }
    let stoppedSandboxes = sandboxes.filter { !$0.isReady && !$0.isHidden }.map {
      BookedEvent(kind: .stopped, containerID: $0.id, sandboxID: $0.id, at: now)
    }
    return stoppedContainers.sorted { ($0.at, $0.containerID) < ($1.at, $1.containerID) } + stoppedSandboxes
  }

  /// Hands the runtime's news on until cancelled.
  func run(_ news: AsyncStream<RuntimeEvent>, _ also: (RuntimeEvent) async -> Void = { _ in }) async {
    for await event in news {
      tell(
        BookedEvent(
          kind: event.kind, containerID: event.containerID, sandboxID: event.sandboxID, at: event.at))
      await also(event)
    }
  }

  func tell(_ event: BookedEvent, now: Int64 = SystemClock.bootNanoseconds) {
    let lost = state.withLock { state -> Bool in
      guard !state.followers.isEmpty else {
        state.untold.append((event, now))
        guard state.untold.count > Self.eventsMax else { return false }
        state.untold.removeFirst()
        return true
      }
      for (number, follower) in state.followers {
        guard case .dropped = follower.yield(event) else { continue }
        // It must not go on as if it had seen everything.
        state.behind.insert(number)
        state.followers[number] = nil
        follower.finish()
      }
      return false
    }
    if lost { log.debug("an event that nobody follows is dropped: list to see how things are") }
  }

  func follow(now: Int64 = SystemClock.bootNanoseconds) -> Subscription {
    let (stream, continuation) = AsyncStream.makeStream(
      of: BookedEvent.self, bufferingPolicy: .bufferingOldest(2 * Self.eventsMax))
    let number = state.withLock { state in
      state.next += 1
      for kept in state.untold where now - kept.at <= Self.untoldAgeMax { continuation.yield(kept.event) }
      state.untold = []
      if state.isClosed { continuation.finish() } else { state.followers[state.next] = continuation }
      return state.next
    }
    return Subscription(events: stream, number: number)
  }

  /// - Returns: whether it left because it had fallen behind.
  func leave(_ subscription: Subscription) -> Bool {
    state.withLock { state in
      state.followers.removeValue(forKey: subscription.number)?.finish()
      return state.behind.remove(subscription.number) != nil
    }
  }

  /// Ends every stream, now and later: the daemon goes.
  func close() {
    let followers = state.withLock { state in
      state.isClosed = true
      defer { state.followers = [:] }
      return state.followers
    }
    for follower in followers.values { follower.finish() }
  }

  var isClosed: Bool { state.withLock { $0.isClosed } }
}
