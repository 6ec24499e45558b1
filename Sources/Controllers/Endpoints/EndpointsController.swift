internal import KubeClient
internal import KubeModel

/// Keeps the Endpoints of Services for clients that do not know EndpointSlices.
final class EndpointsController: Sendable {
  private let context: ControllerContext
  private let services: Informer<Service>
  private let pods: Informer<Pod>
  private let endpoints: Informer<Endpoints>
  private let queue: WorkQueue<ObjectKey>
  private let recorder: EventRecorder

  init(_ context: ControllerContext) {
    self.context = context
    services = context.informers.informer()
    pods = context.informers.informer()
    endpoints = context.informers.informer()
    queue = context.queue("endpoints")
    recorder = context.recorder("endpoint-controller")
    Index.addNamespace(to: services)
    Index.addNamespace(to: pods)
    services.onChange { [queue] event in queue.add(event.object.metadata.key) }
    pods.onChange { [self] event in noticed(event) }
    endpoints.onChange { [queue] event in
      // Only what somebody else took away has to be made again.
      if case .deleted(let gone) = event { queue.add(gone.metadata.key) }
    }
  }

  func run() async throws {
    try await context.run("endpoints", queue, recorder) { [self] key in try await pass(key) }
  }

  private func noticed(_ event: InformerEvent<Pod>) {
    var labels = [event.object.metadata.labels]
    if case .updated(let old, let new) = event {
      if EndpointSliceController.offersTheSame(old, new) { return }
      if old.metadata.labels != new.metadata.labels { labels.append(old.metadata.labels) }
    }
    for service in services.list(index: Index.namespace, event.object.metadata.namespace ?? "")
    where EndpointSlicePlan.isManaged(service)
      && labels.contains(where: { LabelSelector.matches($0, equality: service.spec.selector) })
    {
      queue.add(service.metadata.key)
    }
  }

  private func pass(_ key: ObjectKey) async throws -> WorkOutcome {
    let existing = endpoints.get(key)
    guard let service = services.get(key) else {
      guard let existing, existing.metadata.labels[EndpointsPlan.managerLabel] != nil else { return .done }
      do throws(KubeError) {
        try await context.client.delete(
          Endpoints.self, name: key.name, namespace: key.namespace, uid: existing.metadata.uid)
      } catch {
        guard error.isNotFound || error.isConflict else { throw error }
      }
      return .done
    }
    guard EndpointSlicePlan.isManaged(service) else { return .done }
    let wanted = EndpointsPlan.endpoints(
      for: service, pods: pods.list(index: Index.namespace, key.namespace), existing: existing)
    if wanted == existing { return .done }
    do throws(KubeError) {
      if existing == nil {
        _ = try await context.client.create(wanted)
      } else {
        _ = try await context.client.update(wanted)
      }
    } catch {
      if error.isNamespaceTerminating || error.isCancelled { return .done }
      // The cache has not seen our own creation yet.
      if error.isAlreadyExists { return .retry }
      throw error
    }
    return .done
  }
}
