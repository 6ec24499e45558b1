internal import Synchronization

/// One change, as watches see it.
package final class StoreEvent: Sendable {
  package enum Kind: Hashable, Sendable {
    /// A new value. `created`: the key was not there before.
    case put(created: Bool)
    case delete
  }

  /// Forms that `derived` keeps.
  private static let formsMax = 8

  package let kind: Kind
  /// The object as it is now; of a delete the last value, at the revision of the delete.
  package let object: StoredObject
  /// The object as it was before; nil where it was not there.
  package let previous: StoredObject?
  private let forms = Mutex<[(name: String, value: any Sendable)]>([])

  init(_ change: Change) {
    object = change.object
    previous = change.previous
    kind = change.isDelete ? .delete : .put(created: change.previous == nil)
  }

  package var revision: Int64 { object.revision }

  /// What `make` makes of the event, made once for all watches that ask under the same name, such as its encoding.
  ///
  /// Gone with the last watch that has the event to read. `make` must not block: the other watches wait for it.
  package func derived<Value: Sendable>(_ name: String, _ make: (StoreEvent) throws -> Value) rethrows -> Value {
    try forms.withLock { forms in
      if let found = forms.first(where: { $0.name == name }), let value = found.value as? Value { return value }
      let value = try make(self)
      if forms.count < Self.formsMax { forms.append((name, value)) }
      return value
    }
  }
}

/// Events of one or several revisions, shared by all watches of a prefix; or, empty, news of progress.
package final class StoreBatch: Sendable {
  /// In their order; never two of one key at one revision.
  package let events: [StoreEvent]
  /// The watch has now seen every event of its prefix up to this revision.
  package let revision: Int64

  init(events: [StoreEvent], revision: Int64) {
    self.events = events
    self.revision = revision
  }

  package var isProgress: Bool { events.isEmpty }
}

/// What waits for the reader of one watch.
final class Watcher: Sendable {
  private struct State {
    /// Events from before the watch began; bounded by the ring they come from, not by `eventsMax`, since a reader that
    /// has not had a chance to read is not slow.
    var past: StoreBatch?
    var batches: [StoreBatch] = []
    var first = 0
    var waitingEvents = 0
    var reader: CheckedContinuation<Result<StoreBatch?, StoreError>, Never>?
    /// Told, once the reader has found nothing, that there is something.
    var bell: (@Sendable () -> Void)?
    var ending: Result<StoreBatch?, StoreError>?
    /// What the reader has been given.
    var taken: Int64
    /// What has been put in.
    var reached: Int64

    mutating func take() -> StoreBatch? {
      if let past = past.take() {
        taken = past.revision
        return past
      }
      guard first < batches.count else { return nil }
      let batch = batches[first]
      first += 1
      if first == batches.count {
        batches.removeAll(keepingCapacity: batches.count < 64)
        first = 0
      }
      waitingEvents -= batch.events.count
      taken = max(taken, batch.revision)
      return batch
    }

    mutating func drop() {
      past = nil
      batches = []
      first = 0
      waitingEvents = 0
    }
  }

  let prefix: String
  private let eventsMax: Int
  private let state: Mutex<State>

  init(prefix: String, after revision: Int64, reached: Int64, eventsMax: Int) {
    self.prefix = prefix
    self.eventsMax = eventsMax
    state = Mutex(State(taken: revision, reached: reached))
  }

  /// Puts the events of the past before all that came since the watch began.
  func begin(with past: StoreBatch) {
    state.withLock { if $0.ending == nil { $0.past = past } }
  }

  /// Hands a batch over; false where the watch has ended, now or before.
  func deliver(_ batch: StoreBatch) -> Bool {
    enum Outcome {
      case waits(bell: (@Sendable () -> Void)?)
      case taken(by: CheckedContinuation<Result<StoreBatch?, StoreError>, Never>)
      case over
    }
    let outcome = state.withLock { state -> Outcome in
      if state.ending != nil { return .over }
      state.reached = max(state.reached, batch.revision)
      if let reader = state.reader.take() {
        state.taken = batch.revision
        return .taken(by: reader)
      }
      if state.waitingEvents > 0, state.waitingEvents + batch.events.count > eventsMax {
        state.ending = .failure(.overflow(after: state.taken))
        state.drop()
        return .over
      }
      // News of progress replaces older news: only the newest counts.
      if batch.isProgress, state.first < state.batches.count, state.batches[state.batches.count - 1].isProgress {
        state.batches.removeLast()
      }
      // Whoever was told of what waits already comes for this as well.
      let bell = state.first == state.batches.count && state.past == nil ? state.bell : nil
      state.batches.append(batch)
      state.waitingEvents += batch.events.count
      return .waits(bell: bell)
    }
    switch outcome {
    case .waits(let bell): bell?()
    case .taken(let reader): reader.resume(returning: .success(batch))
    case .over: return false
    }
    return true
  }

  /// What there is, without waiting.
  func poll() -> StoreWatch.Poll {
    state.withLock { state in
      if case .failure(let error) = state.ending { return .failed(error) }
      if let batch = state.take() { return .batch(batch) }
      return state.ending == nil ? .nothing : .ended
    }
  }

  func setBell(_ bell: (@Sendable () -> Void)?) { state.withLock { $0.bell = bell } }

  /// Tells how far the watch is, where all that happened up to `revision` has been delivered to it.
  func deliverProgress(_ revision: Int64) {
    let reached = state.withLock { max($0.reached, revision) }
    _ = deliver(StoreBatch(events: [], revision: reached))
  }

  func end(_ result: Result<StoreBatch?, StoreError>) {
    let (reader, bell) = state.withLock { state in
      if state.ending == nil { state.ending = result }
      return (state.reader.take(), state.bell)
    }
    reader?.resume(returning: result)
    bell?()
  }

  func next() async throws(StoreError) -> StoreBatch? {
    let result: Result<StoreBatch?, StoreError> = await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let result: Result<StoreBatch?, StoreError>? = state.withLock { state in
          if case .failure = state.ending { return state.ending }
          if let batch = state.take() { return .success(batch) }
          if let ending = state.ending { return ending }
          precondition(state.reader == nil, "a watch has one reader")
          state.reader = continuation
          return nil
        }
        if let result { continuation.resume(returning: result) }
      }
    } onCancel: {
      end(.success(nil))
    }
    return try result.get()
  }
}

/// A watch of a prefix: its events in order, each once, in batches; for one reader. Ends when it is dropped, when the
/// reading task is cancelled (with nil), or with the error that `next` throws.
package final class StoreWatch: Sendable, AsyncSequence {
  package typealias Element = StoreBatch
  package typealias Failure = StoreError

  let watcher: Watcher
  private let memory: StoreMemory

  init(_ watcher: Watcher, in memory: StoreMemory) {
    self.watcher = watcher
    self.memory = memory
  }

  deinit { cancel() }

  /// The next events; nil when the watch was cancelled.
  /// - Throws: `.overflow` where the reader was too slow, `.closed` where the store was closed.
  package func next() async throws(StoreError) -> StoreBatch? { try await watcher.next() }

  /// What `poll` finds.
  package enum Poll: Sendable {
    case batch(StoreBatch)
    case nothing
    case ended
    case failed(StoreError)
  }

  /// The same as `next` without waiting, for a reader that is woken by a bell.
  package func poll() -> Poll { watcher.poll() }

  /// Sets who is told that there is something, after `poll` has found nothing; called on the writer's thread, and must be
  /// quick. What was there before the bell is not told of.
  package func onReady(_ bell: (@Sendable () -> Void)?) { watcher.setBell(bell) }

  /// Puts an empty batch behind the events that wait, with the revision that the watch has reached then.
  package func requestProgress() { watcher.deliverProgress(memory.deliveredRevision) }

  /// Ends the watch; what waits is dropped.
  package func cancel() {
    memory.remove(watcher)
    watcher.end(.success(nil))
  }

  package func makeAsyncIterator() -> Iterator { Iterator(watch: self) }

  package struct Iterator: AsyncIteratorProtocol {
    let watch: StoreWatch
    package func next() async throws(StoreError) -> StoreBatch? { try await watch.next() }
  }
}
