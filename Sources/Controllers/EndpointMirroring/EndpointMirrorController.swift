internal import KubeClient
internal import KubeModel

/// Keeps EndpointSlices as Endpoints say that are kept by hand: what balances load reads slices alone.
final class EndpointMirrorController: Sendable {
  private static let service = "mirrored service"

  private let context: ControllerContext
  private let services: Informer<Service>
  private let endpoints: Informer<Endpoints>
  private let slices: Informer<EndpointSlice>
  private let queue: WorkQueue<ObjectKey>
  private let recorder: EventRecorder

  init(_ context: ControllerContext) {
    self.context = context
    services = context.informers.informer()
    endpoints = context.informers.informer()
    slices = context.informers.informer()
    queue = context.queue("mirrored endpoints")
    recorder = context.recorder("endpoint-slice-mirroring-controller")
    slices.addIndex(Self.service) { slice in Self.service(of: slice).map { ["\($0)"] } ?? [] }
    services.onChange { [queue] event in
      if event.object.spec.selector.isEmpty { queue.add(event.object.metadata.key) }
      // One that has a selector from now on has its slices from another hand.
      if case .updated(let old, let new) = event, old.spec.selector.isEmpty != new.spec.selector.isEmpty {
        queue.add(new.metadata.key)
      }
    }
    endpoints.onChange { [queue] event in queue.add(event.object.metadata.key) }
    slices.onChange { [queue] event in
      if let key = Self.service(of: event.object) { queue.add(key) }
    }
  }

  func run() async throws {
    // One at a time: the next look at a Service must see what the last one wrote.
    try await context.run("endpointslicemirroring", queue, recorder, workers: 1) { [self] key in try await pass(key) }
  }

  private static func service(of slice: EndpointSlice) -> ObjectKey? {
    let labels = slice.metadata.labels
    guard labels[EndpointSlicePlan.managerLabel] == EndpointMirrorPlan.manager,
      let name = labels[EndpointSlicePlan.serviceLabel]
    else { return nil }
    return ObjectKey(namespace: slice.metadata.namespace ?? "", name: name)
  }

  private func pass(_ key: ObjectKey) async throws -> WorkOutcome {
    let (service, found) = (services.get(key), endpoints.get(key))
    let known = slices.list(index: Self.service, "\(key)")
    let first = EndpointMirrorPlan(for: found, service: service, slices: known)
    if first.creations.isEmpty && first.updates.isEmpty && first.deletions.isEmpty { return .done }
    // From the API: a slice made a moment ago may not show yet, and would be made once more.
    let selector =
      "\(EndpointSlicePlan.serviceLabel)=\(key.name),\(EndpointSlicePlan.managerLabel)=\(EndpointMirrorPlan.manager)"
    let fresh: KubeList<EndpointSlice> = try await context.client.listAll(
      namespace: key.namespace, ListOptions(labelSelector: selector))
    let plan = EndpointMirrorPlan(for: found, service: service, slices: fresh.items)
    do throws(KubeError) {
      for slice in plan.updates { _ = try await context.client.update(slice) }
      for slice in plan.creations { _ = try await context.client.create(slice) }
      for slice in plan.deletions {
        do throws(KubeError) {
          try await context.client.delete(
            EndpointSlice.self, name: slice.metadata.name ?? "", namespace: key.namespace, uid: slice.metadata.uid)
        } catch {
          guard error.isNotFound else { throw error }
        }
      }
    } catch {
      if error.isNamespaceTerminating || error.isCancelled { return .done }
      throw error
    }
    if plan.leftOut > 0, let found {
      recorder.record(
        found, .warning, reason: "InvalidOrTooManyAddresses",
        "\(plan.leftOut) addresses are not mirrored: those that are no addresses, and those beyond "
          + "\(EndpointMirrorPlan.addressesMax) of a subset")
    }
    return .done
  }
}
