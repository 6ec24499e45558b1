internal import KubeClient
internal import KubeModel
internal import Synchronization

/// Gives Services of type LoadBalancer addresses from a pool, and takes them back.
final class LoadBalancerController: Sendable {
  private let context: ControllerContext
  private let services: Informer<Service>
  private let queue: WorkQueue<ObjectKey>
  private let recorder: EventRecorder
  private let pool: Mutex<LoadBalancerPool>

  /// - Throws: `LoadBalancerPool.Refusal` where a pool is no range.
  init(_ context: ControllerContext) throws {
    self.context = context
    pool = Mutex(try LoadBalancerPool(context.configuration.loadBalancerPools))
    services = context.informers.informer()
    queue = context.queue("loadbalancers")
    recorder = context.recorder("service-lb-controller")
    services.onChange { [queue] event in queue.add(event.object.metadata.key) }
  }

  func run() async throws {
    // What Services have they keep: known before anything is given out.
    let known = services.list().sorted { $0.metadata.key < $1.metadata.key }
    pool.withLock { pool in for service in known { pool.adopt(service) } }
    try await context.run("loadbalancer", queue, recorder, workers: 1) { [self] key in try await pass(key) }
  }

  private func pass(_ key: ObjectKey) async throws -> WorkOutcome {
    guard let service = services.get(key), LoadBalancerPool.serves(service) else {
      let had = pool.withLock { $0.release(key) }
      if had {
        // Those that waited for an address.
        for other in services.list() where Self.waits(other) { queue.add(other.metadata.key) }
      }
      if let service = services.get(key), service.spec.type != "LoadBalancer",
        !service.status.loadBalancer.ingress.isEmpty
      {
        try await write(service, [])
      }
      return .done
    }
    let addresses: [String]
    do throws(LoadBalancerPool.Refusal) {
      addresses = try pool.withLock { pool throws(LoadBalancerPool.Refusal) in try pool.assign(service) }
    } catch {
      recorder.record(service, .warning, reason: "AllocationFailed", "Failed to allocate an address: \(error)")
      return .done
    }
    let stated = service.status.loadBalancer.ingress.compactMap(\.ip)
    if stated == addresses { return .done }
    try await write(service, addresses)
    recorder.record(
      service, .normal, reason: "EnsuredLoadBalancer", "Assigned \(addresses.joined(separator: " and "))")
    return .done
  }

  private static func waits(_ service: Service) -> Bool {
    LoadBalancerPool.serves(service) && service.status.loadBalancer.ingress.isEmpty
  }

  private func write(_ service: Service, _ addresses: [String]) async throws(KubeError) {
    _ = try await context.client.updateStatus(retrying: service) { service in
      let wanted = addresses.map { address in
        var ingress = LoadBalancerIngress()
        (ingress.ip, ingress.ipMode) = (address, "VIP")
        return ingress
      }
      guard service.status.loadBalancer.ingress != wanted else { return false }
      service.status.loadBalancer.ingress = wanted
      return true
    }
  }
}
