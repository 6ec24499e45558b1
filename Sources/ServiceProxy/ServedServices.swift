internal import Dataplane
package import KubeClient
package import KubeModel
package import Logging

/// Follows the Services and EndpointSlices of an API server and hands each changed Service to the proxy.
package actor ServedServices {
  package struct Settings: Sendable {
    /// Services of manifests wait so long for the API server, then the table is theirs alone.
    package var serverMax: Duration = .seconds(30)
    /// Before the kernel is asked again for what it refused.
    package var retry: Duration = .seconds(1)
    /// A pod one of whose containers stops is out until its slices say so, and so long at most.
    package var suspensionMax: Duration = .seconds(10)
    /// How long the first table waits for this node's zone.
    package var nodeMax: Duration = .seconds(5)
    /// Between two looks for pods that are gone for good.
    package var forgetting: Duration = .seconds(60)
    package var rules = ServedService.Rules()

    package init() {}
  }

  private let desk: ServiceDesk
  private let proxy: ServiceProxy
  private let services: Informer<Service>
  private let slices: Informer<EndpointSlice>
  private let nodes: Informer<Node>?
  private let nodeName: String
  private let clock: KubeClock
  private let logger: Logger
  private let settings: Settings
  private let queue: WorkQueue<ObjectKey>
  private let nodeChanged = Signal()
  private let beforeRelease: @Sendable () async -> Void
  /// Pods of this node that stop, by uid.
  private var withdrawn: Set<String> = []
  /// Pods of which a container stops, and until when their slices are not believed.
  private var suspended: [String: Duration] = [:]
  private var zone: String?
  /// Up to which change of a slice its effect was told, in nanoseconds since 1970; before the first lists nothing is.
  private var triggers: [ObjectKey: Int64] = [:]
  private var isWarm = false

  private static let byService = "service proxy: service"
  private static let byPod = "service proxy: pod"
  /// When the change happened that a slice tells of.
  static let triggerAnnotation = "endpoints.kubernetes.io/last-change-trigger-time"

  /// - Parameters:
  ///   - services, slices: of all namespaces; somebody else runs them.
  ///   - nodes: this node at least, whose zone counts; nil: it has none.
  ///   - beforeRelease: what is awaited before the kernel's table is replaced for the first time.
  package init(
    desk: ServiceDesk, proxy: ServiceProxy, services: Informer<Service>, slices: Informer<EndpointSlice>,
    nodes: Informer<Node>? = nil, nodeName: String, clock: KubeClock = .continuous, settings: Settings = Settings(),
    logger: Logger, beforeRelease: @escaping @Sendable () async -> Void = {}
  ) {
    self.beforeRelease = beforeRelease
    (self.desk, self.proxy, self.services, self.slices) = (desk, proxy, services, slices)
    (self.nodes, self.nodeName) = (nodes, nodeName)
    (self.clock, self.settings, self.logger) = (clock, settings, logger)
    let queue = WorkQueue<ObjectKey>(name: "services", clock: clock, logger: logger)
    self.queue = queue
    let metrics = proxy.metrics
    slices.addIndex(Self.byService) { slice in Self.service(slice).map { ["\($0)"] } ?? [] }
    slices.addIndex(Self.byPod) { slice in slice.endpoints.compactMap(\.targetRef?.uid) }
    services.onChange { event in
      metrics.changed(services: 1)
      metrics.queued(at: Double(clock.wallNanoseconds()) / 1e9)
      queue.add(ObjectKey(event.object))
    }
    slices.onChange { event in
      metrics.changed(endpoints: 1)
      metrics.queued(at: Double(clock.wallNanoseconds()) / 1e9)
      for slice in event.states {
        if let key = Self.service(slice) { queue.add(key) }
      }
    }
    let changed = nodeChanged
    nodes?.onChange { event in
      if event.object.metadata.name == nodeName { changed.raise() }
    }
  }

  private static func service(_ slice: EndpointSlice) -> ObjectKey? {
    slice.serviceName.map { ObjectKey(namespace: slice.metadata.namespace ?? "", name: $0) }
  }

  /// Keys that wait to be looked at.
  package nonisolated var pending: Int { queue.counts.ready + queue.counts.delayed }

  /// Works until cancelled; the kernel keeps its table.
  package func run() async {
    await withDiscardingTaskGroup { group in
      group.addTask { await self.desk.run() }
      group.addTask { await self.proxy.watch() }
      group.addTask { await self.followLists() }
      group.addTask { await self.followNode() }
      group.addTask { await self.forgetPods() }
    }
  }

  private func followLists() async {
    let deadline = clock.now() + settings.serverMax
    var isKnown = false
    while !isKnown, !Task.isCancelled {
      let left = max(.milliseconds(100), deadline - clock.now())
      isKnown = await services.waitForSync(timeout: left)
      if isKnown { isKnown = await slices.waitForSync(timeout: left) }
      if !isKnown, clock.now() >= deadline, await proxy.count > 0, await !proxy.isReleased {
        logger.warning("the API server has not told of its Services for \(settings.serverMax): manifests go first")
        await proxy.release()
      }
    }
    guard !Task.isCancelled else { return }
    // A proxy that may not see nodes serves all the same; the zone comes later where it comes.
    await nodes?.waitForSync(timeout: settings.nodeMax)
    zone = nodes?.get(name: nodeName)?.metadata.labels[ProxyNode.zoneLabel]
    // All at once: the kernel takes the whole table in one transaction. Of two that want one address the older has it,
    // on every node and after every restart.
    let all = services.list().sorted { left, right in
      let times = [left, right].map { $0.metadata.creationTimestamp?.secondsSinceEpoch ?? 0 }
      return times[0] == times[1] ? ObjectKey(left) < ObjectKey(right) : times[0] < times[1]
    }
    for slice in slices.list() { triggers[ObjectKey(slice)] = Self.trigger(slice) }
    for service in all { _ = await look(at: ObjectKey(service)) }
    await beforeRelease()
    await proxy.release()
    isWarm = true
    try? await queue.run { await self.look(at: $0) }
  }

  private func followNode() async {
    while !Task.isCancelled {
      await nodeChanged.wait()
      let now = nodes?.get(name: nodeName)?.metadata.labels[ProxyNode.zoneLabel]
      guard now != zone else { continue }
      logger.info("this node is in zone \(now ?? "none") now")
      zone = now
      for service in services.list() { queue.add(ObjectKey(service)) }
    }
  }

  private func forgetPods() async {
    while !Task.isCancelled {
      try? await clock.sleep(for: settings.forgetting)
      // Pods that no slice names any more cannot come back.
      withdrawn = withdrawn.filter { !slices.list(index: Self.byPod, $0).isEmpty }
      triggers = triggers.filter { slices.get($0.key) != nil }
    }
  }

  private func look(at key: ObjectKey) async -> WorkOutcome {
    let turn = await desk.nextTurn()
    guard let service = services.get(key) else {
      let (isDone, again) = await desk.settle(key, nil, of: nil, turn: turn)
      requeue(again)
      return isDone ? .done : .after(settings.retry)
    }
    let own = slices.list(index: Self.byService, "\(key)")
    let served = ServedService(
      service, slices: own, node: ProxyNode(name: nodeName, zone: zone), withdrawn: withdrawn.union(stopping(own)),
      rules: settings.rules)
    let (isDone, again) = await desk.settle(key, served, of: service, turn: turn)
    requeue(again)
    noteLocal(key, served)
    if isDone { noteLatency(own) }
    return isDone ? .done : .after(settings.retry)
  }

  private func requeue(_ names: Set<String>) {
    for name in names {
      let parts = name.split(separator: "/", maxSplits: 1).map(String.init)
      if parts.count == 2 { queue.add(ObjectKey(namespace: parts[0], name: parts[1])) }
    }
  }

  private func noteLocal(_ key: ObjectKey, _ served: ServedService) {
    let isAlone = served.entries.contains { $0.kind == .cluster && $0.endpoints.isEmpty && $0.whenEmpty == .drop }
    proxy.metrics.withoutLocal("internal", "\(key)", isAlone)
    let isOutside = served.entries.contains { $0.outside?.isEmpty == true && $0.outsideWhenEmpty == .drop }
    proxy.metrics.withoutLocal("external", "\(key)", isOutside)
  }

  /// How long it took from a pod's change to its effect here.
  private func noteLatency(_ slices: [EndpointSlice]) {
    for slice in slices {
      guard let trigger = Self.trigger(slice), trigger > triggers[ObjectKey(slice)] ?? 0 else { continue }
      triggers[ObjectKey(slice)] = trigger
      guard isWarm else { continue }
      proxy.metrics.programmed(seconds: max(0, Double(clock.wallNanoseconds() - trigger) / 1e9))
    }
  }

  private static func trigger(_ slice: EndpointSlice) -> Int64? {
    guard let text = slice.metadata.annotations[triggerAnnotation], let (seconds, nanoseconds) = RFC3339.parse(text)
    else { return nil }
    return seconds * 1_000_000_000 + nanoseconds
  }

  // MARK: pods that stop

  /// Takes a pod of this node out of all Services, for good; returns when the kernel sends it no new connection.
  package func withdraw(pod uid: String) async {
    withdrawn.insert(uid)
    await lookAtServices(of: uid)
  }

  /// Takes a pod of this node out of all Services until its slices tell that it was not ready; returns when the kernel
  /// sends it no new connection.
  package func suspend(pod uid: String) async {
    guard !withdrawn.contains(uid) else { return }
    suspended[uid] = clock.now() + settings.suspensionMax
    await lookAtServices(of: uid)
    for slice in slices.list(index: Self.byPod, uid) {
      if let key = Self.service(slice) { queue.add(key, after: settings.suspensionMax + .milliseconds(10)) }
    }
  }

  private func lookAtServices(of uid: String) async {
    let naming = slices.list(index: Self.byPod, uid)
    for key in Set(naming.compactMap { Self.service($0) }).sorted() { _ = await look(at: key) }
  }

  /// The suspended pods that slices still call ready; the others are believed again.
  private func stopping(_ slices: [EndpointSlice]) -> Set<String> {
    guard !suspended.isEmpty else { return [] }
    let now = clock.now()
    suspended = suspended.filter { $0.value > now }
    for endpoint in slices.flatMap(\.endpoints) where endpoint.conditions.ready == false {
      if let uid = endpoint.targetRef?.uid { suspended[uid] = nil }
    }
    return Set(suspended.keys)
  }
}

extension InformerEvent {
  /// Both states of an update.
  fileprivate var states: [T] {
    switch self {
    case .added(let object), .deleted(let object): [object]
    case .updated(let old, let new): [old, new]
    }
  }
}
