internal import KubeClient
internal import KubeModel

/// Keeps the status of PodDisruptionBudgets, by which evictions are granted.
final class DisruptionController: Sendable {
  private let context: ControllerContext
  private let budgets: Informer<PodDisruptionBudget>
  private let pods: Informer<Pod>
  private let deployments: Informer<Deployment>
  private let sets: Informer<ReplicaSet>
  private let controllers: Informer<ReplicationController>
  private let statefulSets: Informer<StatefulSet>
  private let queue: WorkQueue<ObjectKey>

  init(_ context: ControllerContext) {
    self.context = context
    budgets = context.informers.informer()
    pods = context.informers.informer()
    deployments = context.informers.informer()
    sets = context.informers.informer()
    controllers = context.informers.informer()
    statefulSets = context.informers.informer()
    queue = context.queue("disruption budgets")
    Index.addNamespace(to: budgets)
    Index.addNamespace(to: pods)
    budgets.onChange { [queue] event in queue.add(event.object.metadata.key) }
    pods.onChange { [self] event in
      var states = [event.object]
      if case .updated(let old, let new) = event {
        if old.isReady == new.isReady, old.isFinished == new.isFinished, old.metadata.labels == new.metadata.labels,
          old.metadata.isDeleting == new.metadata.isDeleting
        {
          return
        }
        states.append(old)
      }
      for budget in budgets.list(index: Index.namespace, event.object.metadata.namespace ?? "")
      where states.contains(where: { budget.selects($0) }) {
        queue.add(budget.metadata.key)
      }
    }
    deployments.onChange { [self] event in resized(event.object.metadata.namespace) }
    statefulSets.onChange { [self] event in resized(event.object.metadata.namespace) }
  }

  private func resized(_ namespace: String?) {
    for budget in budgets.list(index: Index.namespace, namespace ?? "") { queue.add(budget.metadata.key) }
  }

  func run() async throws {
    try await context.run("disruption", queue) { [self] key in try await pass(key) }
  }

  private func pass(_ key: ObjectKey) async throws -> WorkOutcome {
    guard let budget = budgets.get(key), !budget.metadata.isDeleting else { return .done }
    let covered = pods.list(index: Index.namespace, key.namespace).filter { budget.selects($0) }
    let plan = DisruptionPlan(for: budget, pods: covered, wanted: wanted(covered), now: context.now)
    if plan.status != budget.status {
      // Only on the status as it was read: an eviction granted meanwhile must not be forgotten.
      var changed = budget
      changed.status = plan.status
      _ = try await context.client.updateStatus(changed)
    }
    return plan.againAfterSeconds.map { .after(.seconds($0)) } ?? .done
  }

  /// How many pods the controllers of these ask for; nil where one has none that can be asked.
  private func wanted(_ pods: [Pod]) -> Int? {
    var sizes: [String: Int] = [:]
    for pod in pods where !pod.isFinished {
      guard let owner = pod.metadata.controllerReference else { return nil }
      if sizes[owner.uid] != nil { continue }
      let key = ObjectKey(namespace: pod.metadata.namespace ?? "", name: owner.name)
      switch owner.kind {
      case ReplicaSet.kind:
        guard let set = sets.get(key), set.metadata.uid == owner.uid else { return nil }
        if let above = set.metadata.controllerReference, above.kind == Deployment.kind,
          let deployment = deployments.get(name: above.name, namespace: key.namespace)
        {
          sizes[owner.uid] = 0
          sizes[above.uid] = deployment.desired
        } else {
          sizes[owner.uid] = set.size
        }
      case StatefulSet.kind:
        guard let set = statefulSets.get(key), set.metadata.uid == owner.uid else { return nil }
        sizes[owner.uid] = set.desired
      case ReplicationController.kind:
        guard let controller = controllers.get(key), controller.metadata.uid == owner.uid else { return nil }
        sizes[owner.uid] = Int(controller.spec.replicas ?? 1)
      default: return nil
      }
    }
    return sizes.values.reduce(0, +)
  }
}

extension PodDisruptionBudget {
  /// An empty selector means every pod of the namespace, none at all means none.
  func selects(_ pod: Pod) -> Bool { spec.selector?.matches(pod.metadata.labels) ?? false }
}
