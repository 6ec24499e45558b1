internal import JSON
package import KubeClient
internal import KubeModel
package import Logging
internal import Synchronization

/// Gives pods their nodes.
///
/// Watches pods and nodes, decides one pod after another, and binds several at a time. Why a pod has no node stands in its
/// PodScheduled condition and in an event.
package final class Scheduler: Sendable {
  /// Bindings on their way at a time, and reports.
  private static let bindsMax = 32
  private static let reportsMax = 8
  /// Decisions before news is taken in.
  private static let decisionsInARow = 16
  private static let syncTimeout: Duration = .seconds(60)

  private enum News: Hashable {
    case pod(ObjectKey)
    case node(String)
    case namespace(String)
    case bound(String)
    case bindFailed(String)
  }
  private let client: KubeClient
  private let informers: Informers
  private let runsInformers: Bool
  private let pods: Informer<Pod>
  private let nodes: Informer<Node>
  private let namespaces: Informer<Namespace>
  private let recorder: EventRecorder
  private let name: String
  private let logger: Logger
  private let seed: UInt64

  /// What changed since it was last looked at: each thing once, so that this is bounded by what there is.
  private let news = Mutex((order: [News](), known: Set<News>()))
  private let arrived = Signal()
  private let assignments = Mutex<[String: (pod: PodFacts, node: String)]>([:])
  private let binds: WorkQueue<String>
  private let rejections = Mutex<[String: (pod: PodFacts, message: String)]>([:])
  private let reports: WorkQueue<String>

  /// - Parameters:
  ///   - informers: shared with others, who run them; nil for its own.
  ///   - name: what pods call this scheduler.
  ///   - seed: of the draws between nodes that are equally good.
  package init(
    client: KubeClient, informers: Informers? = nil, name: String = "default-scheduler",
    seed: UInt64 = .random(in: 0...UInt64.max), logger: Logger = Logger(label: "martlet.scheduler")
  ) {
    self.client = client
    self.name = name
    self.logger = logger
    self.seed = seed
    runsInformers = informers == nil
    let shared = informers ?? Informers(client: client, logger: logger)
    self.informers = shared
    pods = shared.informer()
    nodes = shared.informer()
    namespaces = shared.informer()
    recorder = EventRecorder(client: client, component: name, logger: logger)
    binds = WorkQueue(name: "bindings", clock: client.clock, logger: logger)
    reports = WorkQueue(name: "unschedulable pods", clock: client.clock, logger: logger)
  }

  /// Schedules until cancelled.
  /// - Throws: `CancellationError`, only.
  package func run() async throws {
    pods.onChange { self.tell(.pod(ObjectKey($0.object))) }
    nodes.onChange { self.tell(.node($0.object.metadata.name ?? "")) }
    namespaces.onChange { self.tell(.namespace($0.object.metadata.name ?? "")) }
    try await withThrowingDiscardingTaskGroup { group in
      if runsInformers { group.addTask { try await self.informers.run() } }
      group.addTask { try await self.recorder.run() }
      group.addTask { try await self.binds.run(workers: Self.bindsMax) { await self.bind(uid: $0) } }
      group.addTask { try await self.reports.run(workers: Self.reportsMax) { try await self.report(uid: $0) } }
      group.addTask { try await self.decide() }
    }
    throw CancellationError()
  }

  private func tell(_ item: News) {
    news.withLock { news in
      if news.known.insert(item).inserted { news.order.append(item) }
    }
    arrived.raise()
  }

  private func decide() async throws {
    // Without all nodes and pods, room would be given away that is taken.
    while true {
      let havePods = await pods.waitForSync(timeout: Self.syncTimeout)
      let haveNodes = await nodes.waitForSync(timeout: Self.syncTimeout)
      let haveNamespaces = await namespaces.waitForSync(timeout: Self.syncTimeout)
      try Task.checkCancellation()
      if havePods, haveNodes, haveNamespaces { break }
      logger.warning("pods, nodes and namespaces could not yet be listed; nothing is scheduled before")
    }
    var core = SchedulerCore(name: name, random: SeededRandom(seed: seed))
    let clock = client.clock
    while true {
      try Task.checkCancellation()
      let items = news.withLock { news in
        defer { news = ([], []) }
        return news.order
      }
      for item in items { core.handle(event(item), at: clock.now()) }
      var decided = 0
      while decided < Self.decisionsInARow, let action = core.next(at: clock.now()) {
        perform(action)
        decided += 1
      }
      if decided < Self.decisionsInARow { await arrived.wait(until: core.nextTimer, clock) } else { await Task.yield() }
    }
  }

  private func event(_ item: News) -> SchedulerCore.Event {
    switch item {
    case .pod(let key): pods.get(key).map { .pod($0) } ?? .podGone(key)
    case .node(let name): nodes.get(name: name).map { .node($0) } ?? .nodeGone(name)
    case .namespace(let name): .namespace(name, labels: namespaces.get(name: name)?.metadata.labels)
    case .bound(let uid): .bound(uid: uid)
    case .bindFailed(let uid): .bindFailed(uid: uid)
    }
  }

  private func perform(_ action: SchedulerCore.Action) {
    switch action {
    case .bind(let pod, let node):
      assignments.withLock { $0[pod.uid] = (pod, node) }
      binds.add(pod.uid)
    case .reject(let pod, let message):
      rejections.withLock { $0[pod.uid] = (pod, message) }
      reports.add(pod.uid)
    }
  }

  private func bind(uid: String) async -> WorkOutcome {
    guard let (pod, node) = assignments.withLock({ $0.removeValue(forKey: uid) }) else { return .done }
    do throws(KubeError) {
      try await client.bind(pod: pod.key.name, namespace: pod.key.namespace, uid: pod.uid, to: node)
      recorder.record(pod.reference, .normal, reason: "Scheduled", "Successfully assigned \(pod.key) to \(node)")
      tell(.bound(uid))
    } catch {
      if !error.isCancelled, !error.isNotFound {
        logger.warning("\(pod.key) could not be bound to \(node): \(error)")
        recorder.record(pod.reference, .warning, reason: "FailedScheduling", "binding rejected: \(error)")
      }
      tell(.bindFailed(uid))
    }
    return .done
  }

  private func report(uid: String) async throws -> WorkOutcome {
    guard let (pod, message) = rejections.withLock({ $0.removeValue(forKey: uid) }) else { return .done }
    recorder.record(pod.reference, .warning, reason: "FailedScheduling", message)
    guard pod.condition != ["False", "Unschedulable", message] else { return .done }
    var condition: JSONObject = [
      "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": .string(message),
    ]
    if pod.condition.first != "False" {
      condition["lastTransitionTime"] =
        Time(secondsSinceEpoch: client.clock.wallNanoseconds() / 1_000_000_000).json
    }
    let change: JSONValue = [
      "metadata": ["uid": .string(pod.uid)], "status": ["conditions": [.object(condition)]],
    ]
    do throws(KubeError) {
      let _: Pod = try await client.patch(
        name: pod.key.name, namespace: pod.key.namespace, .strategic(change), subresource: "status")
    } catch {
      // Gone, or another pod of the name: nobody waits for this one's condition.
      if !error.isNotFound, !error.isConflict, !error.isCancelled {
        logger.warning("the condition of \(pod.key) could not be written: \(error)")
      }
    }
    return .done
  }
}
