package import KubeClient
package import KubeModel
package import Logging

/// Follows the Services and EndpointSlices of an API server and hands each changed Service to the proxy.
package actor ServedServices {
  /// How often things are done without a change.
  package struct Settings: Sendable {
    /// The kernel's table is made anew so often, because another program may have changed it; 0 never.
    package var renewal: Duration = .seconds(60)
    /// A table with more services than this is not renewed without a cause.
    package var renewedMax = 2000
    /// Services of manifests wait so long for the API server, then the table is theirs alone.
    package var serverMax: Duration = .seconds(30)
    /// Before the kernel is asked again for what it refused.
    package var retry: Duration = .seconds(1)

    package init() {}
  }

  private let proxy: ServiceProxy
  private let services: Informer<Service>
  private let slices: Informer<EndpointSlice>
  private let nodeName: String
  private let clock: KubeClock
  private let logger: Logger
  private let settings: Settings
  private let queue: WorkQueue<ObjectKey>
  /// Pods of this node that stop, by uid, and the Services that led to them.
  private var withdrawn: Set<String> = []
  private var told: [ObjectKey: [String]] = [:]

  private static let byService = "service proxy: service"
  private static let byPod = "service proxy: pod"

  /// - Parameters:
  ///   - services, slices: of all namespaces; somebody else runs them.
  package init(
    proxy: ServiceProxy, services: Informer<Service>, slices: Informer<EndpointSlice>, nodeName: String,
    clock: KubeClock = .continuous, settings: Settings = Settings(), logger: Logger
  ) {
    (self.proxy, self.services, self.slices, self.nodeName) = (proxy, services, slices, nodeName)
    (self.clock, self.settings, self.logger) = (clock, settings, logger)
    let queue = WorkQueue<ObjectKey>(name: "services", clock: clock, logger: logger)
    self.queue = queue
    slices.addIndex(Self.byService) { slice in Self.service(slice).map { ["\($0)"] } ?? [] }
    slices.addIndex(Self.byPod) { slice in slice.endpoints.compactMap(\.targetRef?.uid) }
    services.onChange { queue.add(ObjectKey($0.object)) }
    slices.onChange { event in
      for slice in event.states {
        if let key = Self.service(slice) { queue.add(key) }
      }
    }
  }

  private static func service(_ slice: EndpointSlice) -> ObjectKey? {
    slice.serviceName.map { ObjectKey(namespace: slice.metadata.namespace ?? "", name: $0) }
  }

  /// Works until cancelled; the kernel keeps its table.
  package func run() async {
    await withDiscardingTaskGroup { group in
      group.addTask { await self.waitForLists() }
      group.addTask { await self.renewLoop() }
    }
  }

  private func waitForLists() async {
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
    // All at once: the kernel takes the whole table in one transaction.
    for service in services.list() { _ = await look(at: ObjectKey(service)) }
    await proxy.release()
    try? await queue.run { await self.look(at: $0) }
  }

  private func renewLoop() async {
    guard settings.renewal > .zero else { return }
    while !Task.isCancelled {
      try? await clock.sleep(for: settings.renewal)
      // Pods that no slice names any more cannot come back.
      withdrawn = withdrawn.filter { !slices.list(index: Self.byPod, $0).isEmpty }
      if await proxy.count <= settings.renewedMax { await proxy.renew() }
    }
  }

  private func look(at key: ObjectKey) async -> WorkOutcome {
    guard let service = services.get(key) else {
      told[key] = nil
      return await proxy.put("\(key)", nil) == nil ? .done : .after(settings.retry)
    }
    let served = ServedService(
      service, slices: slices.list(index: Self.byService, "\(key)"), nodeName: nodeName, withdrawn: withdrawn)
    if told[key] ?? [] != served.problems {
      told[key] = served.problems.isEmpty ? nil : served.problems
      for problem in served.problems { logger.warning("service \(key): \(problem)") }
    }
    guard await proxy.put("\(key)", served) != nil, await proxy.isReleased else { return .done }
    return .after(settings.retry)
  }

  /// Takes a pod of this node out of all Services, for good; returns when the kernel sends it no new connection.
  package func withdraw(pod uid: String) async {
    let naming = slices.list(index: Self.byPod, uid)
    withdrawn.insert(uid)
    for key in Set(naming.compactMap { Self.service($0) }).sorted() { _ = await look(at: key) }
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
