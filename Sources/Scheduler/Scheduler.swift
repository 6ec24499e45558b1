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
    case claim(ObjectKey)
    case volume(String)
    case storageClass(String)
    case budget(ObjectKey)
    case bound(String)
    case bindFailed(String)
  }
  /// A pod and its node, from the decision to the binding.
  private struct Assignment: Sendable {
    var pod: PodFacts
    var node: String
    /// That are to be bound to volumes first.
    var claims: [ObjectKey]
    var since: Duration
    var areTold = false
  }
  private struct Rejection: Sendable {
    var pod: PodFacts
    var reason = "Unschedulable"
    var message: String
    /// Where room is being made, and which pods have to go for it.
    var node: String?
    var victims: [PodFacts] = []
  }
  /// The longest that a pod waits for its claims; then it is decided about anew.
  private static let claimsMax: Duration = .seconds(120)
  private static let gatedMessage = "Scheduling is blocked due to non-empty scheduling gates"

  private let client: KubeClient
  private let informers: Informers
  private let runsInformers: Bool
  private let pods: Informer<Pod>
  private let nodes: Informer<Node>
  private let namespaces: Informer<Namespace>
  private let claims: Informer<PersistentVolumeClaim>
  private let volumes: Informer<PersistentVolume>
  private let classes: Informer<StorageClass>
  private let budgets: Informer<PodDisruptionBudget>
  private let recorder: EventRecorder
  private let name: String
  private let logger: Logger
  private let seed: UInt64

  /// What changed since it was last looked at: each thing once, so that this is bounded by what there is.
  private let news = Mutex((order: [News](), known: Set<News>()))
  private let arrived = Signal()
  private let assignments = Mutex<[String: Assignment]>([:])
  private let binds: WorkQueue<String>
  private let rejections = Mutex<[String: Rejection]>([:])
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
    claims = shared.informer()
    volumes = shared.informer()
    classes = shared.informer()
    budgets = shared.informer()
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
    claims.onChange { event in
      self.tell(.claim(ObjectKey(event.object)))
      self.claimChanged(ObjectKey(event.object))
    }
    volumes.onChange { self.tell(.volume($0.object.metadata.name ?? "")) }
    classes.onChange { self.tell(.storageClass($0.object.metadata.name ?? "")) }
    budgets.onChange { self.tell(.budget(ObjectKey($0.object))) }
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
    while await !sync() {
      try Task.checkCancellation()
      logger.warning("pods, nodes and volumes could not yet be listed; nothing is scheduled before")
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

  private func sync() async -> Bool {
    let lists: [@Sendable () async -> Bool] = [
      { [pods] in await pods.waitForSync(timeout: Self.syncTimeout) },
      { [nodes] in await nodes.waitForSync(timeout: Self.syncTimeout) },
      { [namespaces] in await namespaces.waitForSync(timeout: Self.syncTimeout) },
      { [claims] in await claims.waitForSync(timeout: Self.syncTimeout) },
      { [volumes] in await volumes.waitForSync(timeout: Self.syncTimeout) },
      { [classes] in await classes.waitForSync(timeout: Self.syncTimeout) },
      { [budgets] in await budgets.waitForSync(timeout: Self.syncTimeout) },
    ]
    for list in lists {
      guard await list() else { return false }
    }
    return true
  }

  private func event(_ item: News) -> SchedulerCore.Event {
    switch item {
    case .claim(let key): claims.get(key).map { .claim($0) } ?? .claimGone(key)
    case .volume(let name): volumes.get(name: name).map { .volume($0) } ?? .volumeGone(name)
    case .storageClass(let name): classes.get(name: name).map { .storageClass($0) } ?? .storageClassGone(name)
    case .budget(let key): budgets.get(key).map { .budget($0) } ?? .budgetGone(key)
    case .pod(let key): podEvent(key)
    case .node(let name): nodes.get(name: name).map { .node($0) } ?? .nodeGone(name)
    case .namespace(let name): .namespace(name, labels: namespaces.get(name: name)?.metadata.labels)
    case .bound(let uid): .bound(uid: uid)
    case .bindFailed(let uid): .bindFailed(uid: uid)
    }
  }

  private func podEvent(_ key: ObjectKey) -> SchedulerCore.Event {
    guard let pod = pods.get(key) else { return .podGone(key) }
    if !pod.spec.schedulingGates.isEmpty, (pod.spec.schedulerName ?? name) == name {
      let facts = PodFacts(pod)
      reject(Rejection(pod: facts, reason: "SchedulingGated", message: Self.gatedMessage))
    }
    return .pod(pod)
  }

  private func reject(_ rejection: Rejection) {
    rejections.withLock { $0[rejection.pod.uid] = rejection }
    reports.add(rejection.pod.uid)
  }

  private func perform(_ action: SchedulerCore.Action) {
    switch action {
    case .bind(let pod, let node, let claims):
      let assignment = Assignment(pod: pod, node: node, claims: claims, since: client.clock.now())
      assignments.withLock { $0[pod.uid] = assignment }
      binds.add(pod.uid)
    case .reject(let pod, let message): reject(Rejection(pod: pod, message: message))
    case .preempt(let pod, let node, let victims, let message):
      reject(Rejection(pod: pod, message: message, node: node, victims: victims))
    }
  }

  // MARK: binding

  private func bind(uid: String) async -> WorkOutcome {
    guard let assignment = assignments.withLock({ $0[uid] }) else { return .done }
    let (pod, node) = (assignment.pod, assignment.node)
    do throws(KubeError) {
      if !assignment.claims.isEmpty, let wait = try await prepare(assignment) { return wait }
      try await client.bind(pod: pod.key.name, namespace: pod.key.namespace, uid: pod.uid, to: node)
      recorder.record(pod.reference, .normal, reason: "Scheduled", "Successfully assigned \(pod.key) to \(node)")
      assignments.withLock { $0[uid] = nil }
      tell(.bound(uid))
    } catch {
      if !error.isCancelled, !error.isNotFound {
        logger.warning("\(pod.key) could not be bound to \(node): \(error)")
        recorder.record(pod.reference, .warning, reason: "FailedScheduling", "binding rejected: \(error)")
      }
      assignments.withLock { $0[uid] = nil }
      tell(.bindFailed(uid))
    }
    return .done
  }

  /// Tells the claims of a pod which node it gets, and waits until they have volumes there.
  /// - Returns: how to go on; nil where all is ready.
  private func prepare(_ assignment: Assignment) async throws(KubeError) -> WorkOutcome? {
    let open = assignment.claims.filter { key in
      // The phase is written last, and nodes look at it.
      claims.get(key).map {
        $0.metadata.annotations["pv.kubernetes.io/bind-completed"] == nil || $0.status.phase != "Bound"
      } ?? true
    }
    guard !open.isEmpty else { return nil }
    if client.clock.now() - assignment.since > Self.claimsMax {
      for key in open { try await setNode(nil, of: key) }
      throw KubeError(
        .timeout,
        message: "the claims \(open.map(\.name).joined(separator: ", ")) have no volume on \(assignment.node) after"
          + " \(Self.claimsMax.components.seconds) s; see their events")
    }
    if !assignment.areTold {
      for key in open { try await setNode(assignment.node, of: key) }
      assignments.withLock { $0[assignment.pod.uid]?.areTold = true }
    }
    // A claim's own news brings the pod again sooner.
    return .after(.seconds(5))
  }

  private func setNode(_ node: String?, of key: ObjectKey) async throws(KubeError) {
    guard let claim = claims.get(key) else {
      throw KubeError(
        .status, code: 404, reason: "NotFound", message: "persistentvolumeclaim \"\(key.name)\" not found")
    }
    guard claim.metadata.annotations[VolumeFacts.selectedNode] != node else { return }
    let _: PersistentVolumeClaim = try await client.patch(
      name: key.name, namespace: key.namespace,
      .merge(["metadata": ["annotations": [VolumeFacts.selectedNode: node.map { .string($0) } ?? .null]]]))
  }

  private func claimChanged(_ key: ObjectKey) {
    let waiting = assignments.withLock { assignments in
      assignments.values.filter { $0.areTold && $0.claims.contains(key) }.map(\.pod.uid)
    }
    for uid in waiting { binds.add(uid) }
  }

  // MARK: refusing

  private func report(uid: String) async throws -> WorkOutcome {
    guard let rejection = rejections.withLock({ $0.removeValue(forKey: uid) }) else { return .done }
    let (pod, message) = (rejection.pod, rejection.message)
    if rejection.reason == "Unschedulable" {
      recorder.record(pod.reference, .warning, reason: "FailedScheduling", message)
    }
    for victim in rejection.victims { await evict(victim, for: rejection) }
    let isTold = pod.condition == ["False", rejection.reason, message]
    guard !isTold || pod.nominatedNode != rejection.node else { return .done }
    var condition: JSONObject = [
      "type": "PodScheduled", "status": "False", "reason": .string(rejection.reason), "message": .string(message),
    ]
    if pod.condition.first != "False" {
      condition["lastTransitionTime"] =
        Time(secondsSinceEpoch: client.clock.wallNanoseconds() / 1_000_000_000).json
    }
    var status: JSONObject = ["conditions": [.object(condition)]]
    if pod.nominatedNode != rejection.node {
      status["nominatedNodeName"] = rejection.node.map { .string($0) } ?? .null
    }
    let change: JSONValue = ["metadata": ["uid": .string(pod.uid)], "status": .object(status)]
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

  /// Lets a pod go for one that matters more.
  private func evict(_ victim: PodFacts, for rejection: Rejection) async {
    let now = Time(secondsSinceEpoch: client.clock.wallNanoseconds() / 1_000_000_000)
    let condition: JSONObject = [
      "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
      "message": .string("\(name): preempting to accommodate a higher priority pod"), "lastTransitionTime": now.json,
    ]
    do throws(KubeError) {
      let _: Pod = try await client.patch(
        name: victim.key.name, namespace: victim.key.namespace,
        .strategic(["metadata": ["uid": .string(victim.uid)], "status": ["conditions": [.object(condition)]]]),
        subresource: "status")
      try await client.delete(
        Pod.self, name: victim.key.name, namespace: victim.key.namespace, uid: victim.uid)
      recorder.record(
        victim.reference, .normal, reason: "Preempted",
        "Preempted by pod \(rejection.pod.uid) on node \(rejection.node ?? "")")
    } catch {
      if !error.isNotFound, !error.isConflict, !error.isCancelled {
        logger.warning("\(victim.key) could not be made to give way to \(rejection.pod.key): \(error)")
      }
    }
  }
}
