internal import KubeClient
internal import KubeModel

/// Says in the status of each ResourceQuota what is used of it.
final class QuotaController: Sendable {
  /// Names of quotas for plain counts, and the kinds that they count, as `apiVersion/kind`.
  private static let counted = [
    "configmaps": "v1/ConfigMap", "secrets": "v1/Secret", "replicationcontrollers": "v1/ReplicationController",
    "resourcequotas": "v1/ResourceQuota",
  ]

  private let context: ControllerContext
  private let handles: ResourceHandles
  private let quotas: Informer<ResourceQuota>
  private let pods: Informer<Pod>
  private let claims: Informer<PersistentVolumeClaim>
  private let services: Informer<Service>
  private let queue: WorkQueue<ObjectKey>

  init(_ context: ControllerContext, _ handles: ResourceHandles) {
    self.context = context
    self.handles = handles
    quotas = context.informers.informer()
    pods = context.informers.informer()
    claims = context.informers.informer()
    services = context.informers.informer()
    queue = context.queue("quotas")
    Index.addNamespace(to: quotas)
    Index.addNamespace(to: pods)
    Index.addNamespace(to: claims)
    Index.addNamespace(to: services)
    quotas.onChange { [queue] event in queue.add(event.object.metadata.key) }
    pods.onChange { [self] event in
      if case .updated(let old, let new) = event, old.isFinished == new.isFinished, old.spec == new.spec { return }
      changed(event.object.metadata.namespace)
    }
    for handle in handles.namespaced where handle.resource.kind != Event.kind && handle.resource.kind != Pod.kind {
      handle.onChange(context.informers) { [self] metadata, _ in changed(metadata.namespace) }
    }
  }

  private func changed(_ namespace: String?) {
    for quota in quotas.list(index: Index.namespace, namespace ?? "") { queue.add(quota.metadata.key) }
  }

  func run() async throws {
    try await context.run("resourcequota", queue) { [self] key in try await pass(key) }
  }

  private func pass(_ key: ObjectKey) async throws -> WorkOutcome {
    guard let quota = quotas.get(key), !quota.metadata.isDeleting else { return .done }
    var sum: QuotaUsage.Amounts = [:]
    func add(_ amounts: QuotaUsage.Amounts) {
      sum.merge(amounts) { $0.addingClamped($1) }
    }
    for pod in pods.list(index: Index.namespace, key.namespace) where QuotaUsage.covers(quota, pod) {
      add(QuotaUsage.of(pod))
    }
    // Scopes are about pods alone.
    if quota.spec.scopes.isEmpty, quota.spec.scopeSelector == nil {
      for claim in claims.list(index: Index.namespace, key.namespace) { add(QuotaUsage.of(claim)) }
      for service in services.list(index: Index.namespace, key.namespace) { add(QuotaUsage.of(service)) }
      for name in quota.spec.hard.keys where sum[name] == nil {
        if let count = try await count(name, key.namespace) { sum[name] = Int64(count) * 1000 }
      }
    }
    var used: [String: Quantity] = [:]
    for (name, hard) in quota.spec.hard { used[name] = QuotaUsage.quantity(milli: sum[name] ?? 0, like: hard) }
    guard quota.status.hard != quota.spec.hard || quota.status.used != used else { return .done }
    // On the status as it was read: what admission has reserved meanwhile must not be lost.
    var written = quota
    (written.status.hard, written.status.used) = (quota.spec.hard, used)
    _ = try await context.client.updateStatus(written)
    return .done
  }

  /// Objects of `secrets` or `count/deployments.apps`; nil for what is not counted so.
  private func count(_ name: String, _ namespace: String) async throws(KubeError) -> Int? {
    var handle: (any ResourceHandle)? = Self.counted[name].flatMap { handles.byKind[$0] }
    if name.hasPrefix("count/") {
      handle = handles.namespaced.first { candidate in
        let group = candidate.resource.group
        return name == "count/\(candidate.resource.plural)\(group.isEmpty ? "" : ".\(group)")"
      }
    }
    guard let handle else { return nil }
    return try await handle.list(namespace: namespace).count
  }
}
