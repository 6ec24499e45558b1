package import KubeModel
package import Logging
internal import Synchronization

/// Keeps a copy of a collection up to date, and tells handlers what changes.
///
/// Lists, then watches from the list's revision; watches again when the connection ends, and lists again when the server
/// no longer keeps the revision. What is read here may be older than what the server has, never a mixture: it is what
/// some revision held, as far as events have come.
package final class Informer<T: KubeResource>: Sendable {
  /// Objects of one page.
  package static var pageLimit: Int { 500 }
  /// Seconds after which the server is asked to end a watch; drawn anew for each between this and its double.
  package static var watchSecondsMin: Int { 300 }

  private struct Listener {
    var handler: @Sendable (InformerEvent<T>) -> Void
    var pending: [InformerEvent<T>] = []
    var isDelivering = false
  }
  private struct State {
    var cache = InformerCache<T>()
    var listeners: [Int: Listener] = [:]
    var listenersMade = 0
    var hasSynced = false
    var waiters: [Int: CheckedContinuation<Bool, Never>] = [:]
    var waitersMade = 0
    var resourceVersion = ""
    var lists = 0
    var watches = 0
  }
  private let state: Mutex<State>
  private let client: KubeClient
  private let namespace: String?
  private let labelSelector: String?
  private let fieldSelector: String?
  private let logger: Logger
  private let random: @Sendable () -> Double

  /// - Parameters:
  ///   - namespace: nil for all.
  ///   - random: gives a number from 0 up to 1, for delays.
  package init(
    _ type: T.Type = T.self, client: KubeClient, namespace: String? = nil, labelSelector: String? = nil,
    fieldSelector: String? = nil, logger: Logger = Logger(label: "martlet.informer"),
    random: @escaping @Sendable () -> Double = { .random(in: 0..<1) }
  ) {
    self.client = client
    self.namespace = namespace
    self.labelSelector = labelSelector
    self.fieldSelector = fieldSelector
    var logger = logger
    logger[metadataKey: "resource"] = "\(T.resource.plural)"
    self.logger = logger
    self.random = random
    state = Mutex(State())
  }

  // MARK: Reading

  package var hasSynced: Bool { state.withLock { $0.hasSynced } }
  /// The revision up to which changes have been taken in; empty before the first list.
  package var resourceVersion: String { state.withLock { $0.resourceVersion } }
  package var count: Int { state.withLock { $0.cache.objects.count } }
  /// Lists and watches begun so far.
  package var rounds: (lists: Int, watches: Int) { state.withLock { ($0.lists, $0.watches) } }

  package func get(_ key: ObjectKey) -> T? { state.withLock { $0.cache.objects[key] } }
  package func get(name: String, namespace: String = "") -> T? { get(ObjectKey(namespace: namespace, name: name)) }

  /// All objects, in no order.
  package func list() -> [T] { state.withLock { Array($0.cache.objects.values) } }

  /// The objects for which the closure of index `name` gives `value`, by key. The index must have been added.
  package func list(index name: String, _ value: String) -> [T] {
    state.withLock { $0.cache.objects(name, value) }
  }

  /// Adds an index, or replaces the one of this name. `values` must depend on the object only and be quick.
  package func addIndex(_ name: String, _ values: @escaping @Sendable (T) -> [String]) {
    state.withLock { $0.cache.addIndex(name, values) }
  }

  /// Calls `handler` for every object that is there already, as added, and then for every change, in order and one
  /// after another. The cache may be ahead of what the handler is told. It must not block: put a key into a `WorkQueue`.
  package func onChange(_ handler: @escaping @Sendable (InformerEvent<T>) -> Void) {
    let id = state.withLock { state -> Int in
      state.listenersMade += 1
      let present = state.cache.objects.sorted { $0.key < $1.key }.map { InformerEvent.added($0.value) }
      state.listeners[state.listenersMade] = Listener(handler: handler, pending: present)
      return state.listenersMade
    }
    deliver(to: id)
  }

  /// Waits until the first list is in the cache and its handlers have been called; true at once where it is.
  /// - Returns: false where `timeout` passed or the task was cancelled before that.
  @discardableResult
  package func waitForSync(timeout: Duration = .seconds(60)) async -> Bool {
    let id = state.withLock { state -> Int in
      state.waitersMade += 1
      return state.waitersMade
    }
    let clock = client.clock
    return await withTaskGroup(of: Bool.self) { group in
      group.addTask { await self.synced(waiter: id) }
      group.addTask {
        try? await clock.sleep(for: timeout)
        return false
      }
      let first = await group.next() ?? false
      group.cancelAll()
      return first || hasSynced
    }
  }

  private func synced(waiter id: Int) async -> Bool {
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let answer = state.withLock { state -> Bool? in
          if state.hasSynced { return true }
          if Task.isCancelled { return false }
          state.waiters[id] = continuation
          return nil
        }
        if let answer { continuation.resume(returning: answer) }
      }
    } onCancel: {
      state.withLock { $0.waiters.removeValue(forKey: id) }?.resume(returning: false)
    }
  }

  // MARK: Changing

  /// Whoever comes first delivers, also what others add meanwhile: so order holds without a lock over the handler.
  private func deliver(to id: Int) {
    var isMine = false
    while true {
      let batch = state.withLock { state -> Listener? in
        guard let listener = state.listeners[id], isMine || !listener.isDelivering else { return nil }
        isMine = !listener.pending.isEmpty
        state.listeners[id]?.isDelivering = isMine
        state.listeners[id]?.pending = []
        return isMine ? listener : nil
      }
      guard let batch else { return }
      for event in batch.pending { batch.handler(event) }
    }
  }

  private func change(_ body: (inout InformerCache<T>) -> [InformerEvent<T>], resourceVersion: String) {
    let ids = state.withLock { state -> [Int] in
      let changes = body(&state.cache)
      state.resourceVersion = resourceVersion
      guard !changes.isEmpty else { return [] }
      let ids = state.listeners.keys.sorted()
      for id in ids { state.listeners[id]?.pending += changes }
      return ids
    }
    for id in ids { deliver(to: id) }
  }

  private func markSynced() {
    let waiters = state.withLock { state -> [CheckedContinuation<Bool, Never>] in
      state.hasSynced = true
      defer { state.waiters = [:] }
      return Array(state.waiters.values)
    }
    for waiter in waiters { waiter.resume(returning: true) }
  }

  // MARK: Running

  /// Delay before a list or watch that follows a failure.
  private static var backoff: (first: Duration, max: Duration) { (.milliseconds(200), .seconds(30)) }
  /// A watch that lasted this long was a good one: the next delay begins anew.
  private static var goodWatch: Duration { .seconds(5) }

  /// Lists and watches until cancelled; failures are logged and tried again, for ever.
  /// - Throws: `CancellationError`, only.
  package func run() async throws {
    var backoff = Backoff(first: Self.backoff.first, max: Self.backoff.max, random: random)
    var mustList = true
    while !Task.isCancelled {
      let began = client.clock.now()
      do throws(KubeError) {
        if mustList {
          try await listAll()
          markSynced()
          mustList = false
        }
        try await watchOnce()
      } catch {
        if error.isCancelled || Task.isCancelled { break }
        if error.isGone { mustList = true }
        logger.log(
          level: error.isGone ? .info : .warning, "\(mustList ? "list" : "watch") again: \(error)",
          metadata: ["tries": "\(backoff.tries)"])
      }
      if client.clock.now() - began >= Self.goodWatch { backoff.reset() }
      try await client.clock.sleep(for: backoff.next())
    }
    throw CancellationError()
  }

  private func listAll() async throws(KubeError) {
    state.withLock { $0.lists += 1 }
    var options = ListOptions(labelSelector: labelSelector, fieldSelector: fieldSelector, limit: Self.pageLimit)
    var items: [T] = []
    var resourceVersion = ""
    repeat {
      let page: KubeList<T> = try await client.page(namespace, options) { problem in
        logger.error("left out of the list: \(problem)")
      }
      items += page.items.map(Self.slimmed)
      (resourceVersion, options.continueToken) = (page.resourceVersion, page.continueToken)
    } while options.continueToken != nil
    change({ $0.replace(items) }, resourceVersion: resourceVersion)
  }

  /// Until the server ends it.
  private func watchOnce() async throws(KubeError) {
    state.withLock { $0.watches += 1 }
    let seconds = Self.watchSecondsMin + Int(Double(Self.watchSecondsMin) * random())
    let events: KubeWatch<T> = try await client.watch(
      namespace: namespace,
      WatchOptions(
        labelSelector: labelSelector, fieldSelector: fieldSelector, resourceVersion: resourceVersion,
        timeoutSeconds: seconds))
    for try await event in events {
      switch event {
      case .added(let object), .modified(let object):
        let slim = Self.slimmed(object)
        change({ $0.take(slim) }, resourceVersion: slim.metadata.resourceVersion ?? resourceVersion)
      case .deleted(let object):
        let key = ObjectKey(object)
        change(
          { cache in cache.put(key, nil).map { [$0] } ?? [] },
          resourceVersion: object.metadata.resourceVersion ?? resourceVersion)
      case .bookmark(let revision):
        if !revision.isEmpty { state.withLock { $0.resourceVersion = revision } }
      case .error(let problem):
        guard problem.failure == .answer else { throw problem }
        logger.error("an event is passed over: \(problem)")
      }
    }
  }

  /// Field managers are the larger half of many objects, and nobody here reads them. A server that is sent an object
  /// without them keeps its own.
  private static func slimmed(_ object: T) -> T {
    guard !object.metadata.managedFields.isEmpty else { return object }
    var slim = object
    slim.metadata.managedFields = []
    return slim
  }
}
