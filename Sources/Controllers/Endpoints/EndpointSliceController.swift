internal import KubeClient
internal import KubeModel
internal import Synchronization

/// Says in EndpointSlices where the pods of each Service are.
final class EndpointSliceController: Sendable {
  private static let service = "service"
  private static let zoneLabel = "topology.kubernetes.io/zone"

  private let context: ControllerContext
  private let services: Informer<Service>
  private let pods: Informer<Pod>
  private let slices: Informer<EndpointSlice>
  private let nodes: Informer<Node>
  private let queue: WorkQueue<ObjectKey>
  private let recorder: EventRecorder
  private let tracker = Mutex(WriteTracker())

  init(_ context: ControllerContext) {
    self.context = context
    services = context.informers.informer()
    pods = context.informers.informer()
    slices = context.informers.informer()
    nodes = context.informers.informer()
    queue = context.queue("endpointslices")
    recorder = context.recorder("endpoint-slice-controller")
    Index.addNamespace(to: services)
    Index.addNamespace(to: pods)
    slices.addIndex(Self.service) { slice in Self.service(of: slice).map { ["\($0)"] } ?? [] }
    services.onChange { [queue] event in queue.add(event.object.metadata.key) }
    pods.onChange { [self] event in noticed(event) }
    // A node that gets another zone: its endpoints say so, and hint at it.
    nodes.onChange { [queue, services] event in
      guard case .updated(let old, let new) = event,
        old.metadata.labels[Self.zoneLabel] != new.metadata.labels[Self.zoneLabel]
      else { return }
      for service in services.list() where EndpointSlicePlan.isManaged(service) { queue.add(service.metadata.key) }
    }
    slices.onChange { [queue] event in
      if let key = Self.service(of: event.object) { queue.add(key) }
    }
  }

  func run() async throws {
    try await context.run("endpointslice", queue, recorder) { [self] key in try await pass(key) }
  }

  /// The Service whose slice this is, where it is one of ours.
  private static func service(of slice: EndpointSlice) -> ObjectKey? {
    let labels = slice.metadata.labels
    guard labels[EndpointSlicePlan.managerLabel] == EndpointSlicePlan.manager,
      let name = labels[EndpointSlicePlan.serviceLabel]
    else { return nil }
    return ObjectKey(namespace: slice.metadata.namespace ?? "", name: name)
  }

  private func noticed(_ event: InformerEvent<Pod>) {
    var labels = [event.object.metadata.labels]
    if case .updated(let old, let new) = event {
      if Self.offersTheSame(old, new) { return }
      if old.metadata.labels != new.metadata.labels { labels.append(old.metadata.labels) }
    }
    for service in services.list(index: Index.namespace, event.object.metadata.namespace ?? "")
    where EndpointSlicePlan.isManaged(service)
      && labels.contains(where: { LabelSelector.matches($0, equality: service.spec.selector) })
    {
      queue.add(service.metadata.key)
    }
  }

  /// Most changes of a pod do not concern its services.
  static func offersTheSame(_ old: Pod, _ new: Pod) -> Bool {
    old.metadata.labels == new.metadata.labels && old.isReady == new.isReady && old.isFinished == new.isFinished
      && old.metadata.isDeleting == new.metadata.isDeleting && old.status.podIP == new.status.podIP
      && old.status.podIPs == new.status.podIPs && old.spec.nodeName == new.spec.nodeName
      && old.spec.hostname == new.spec.hostname && old.spec.subdomain == new.spec.subdomain
  }

  // MARK: one Service

  private func pass(_ key: ObjectKey) async throws -> WorkOutcome {
    guard let service = services.get(key) else {
      // Its slices go with their owner.
      tracker.withLock { $0.forget(key) }
      return .done
    }
    guard EndpointSlicePlan.isManaged(service) else { return .done }
    let now = context.now
    let existing = slices.list(index: Self.service, "\(key)")
    let isCaughtUp = tracker.withLock { $0.isCaughtUp(key, existing.map(\.metadata), now: now) }
    // The slice's own event brings the key again.
    guard isCaughtUp else { return .after(.seconds(1)) }
    var zones: [String: String] = [:]
    for node in nodes.list() { zones[node.metadata.name ?? ""] = node.metadata.labels[Self.zoneLabel] }
    let plan = EndpointSlicePlan(
      for: service, pods: pods.list(index: Index.namespace, key.namespace), slices: existing, zones: zones)
    do throws(KubeError) {
      try await perform(plan, key)
    } catch {
      if error.isNamespaceTerminating || error.isCancelled { return .done }
      if !error.isConflict, !error.isNotFound {
        recorder.record(
          service, .warning, reason: "FailedToUpdateEndpointSlices",
          "Error updating Endpoint Slices for Service \(key): \(error.message)")
      }
      throw error
    }
    return .done
  }

  private func perform(_ plan: EndpointSlicePlan, _ key: ObjectKey) async throws(KubeError) {
    let client = context.client
    // First what exists: that takes pods that are going out of service.
    for slice in plan.updates {
      let written = try await client.update(slice)
      tracker.withLock { [now = context.now] in $0.wrote(written.metadata, for: key, now: now) }
    }
    for slice in plan.creations {
      let written = try await client.create(slice)
      tracker.withLock { [now = context.now] in $0.wrote(written.metadata, for: key, now: now) }
    }
    for slice in plan.deletions {
      do throws(KubeError) {
        try await client.delete(
          EndpointSlice.self, name: slice.metadata.name ?? "", namespace: key.namespace, uid: slice.metadata.uid)
      } catch {
        guard error.isNotFound else { throw error }
      }
      tracker.withLock { [now = context.now] in $0.deleted(slice.metadata, for: key, now: now) }
    }
  }
}
