internal import JSON
internal import KubeClient
internal import KubeModel
internal import Synchronization

/// Rolls out what Deployments ask for.
final class DeploymentController: Sendable {
  private let context: ControllerContext
  private let deployments: Informer<Deployment>
  private let sets: Informer<ReplicaSet>
  private let pods: Informer<Pod>
  private let queue: WorkQueue<ObjectKey>
  private let recorder: EventRecorder
  private let tracker = Mutex(WriteTracker())

  init(_ context: ControllerContext) {
    self.context = context
    deployments = context.informers.informer()
    sets = context.informers.informer()
    pods = context.informers.informer()
    queue = context.queue("deployments")
    recorder = context.recorder("deployment-controller")
    Index.addNamespace(to: deployments)
    Index.addOwners(to: sets)
    Index.addOwners(to: pods)
    deployments.onChange { [queue] event in queue.add(event.object.metadata.key) }
    sets.onChange { [self] event in noticed(event) }
    pods.onChange { [self] event in noticed(event) }
  }

  func run() async throws {
    try await context.run("deployment", queue, recorder) { [self] key in try await pass(key) }
  }

  // MARK: what concerns whom

  private func owner(of set: ReplicaSet) -> ObjectKey? {
    guard let reference = set.metadata.controllerReference, reference.kind == Deployment.kind else { return nil }
    return ObjectKey(namespace: set.metadata.namespace ?? "", name: reference.name)
  }

  private func noticed(_ event: InformerEvent<ReplicaSet>) {
    if case .updated(let old, let new) = event, let before = owner(of: old), before != owner(of: new) {
      queue.add(before)
    }
    let set = event.object
    if set.metadata.controllerReference != nil {
      if let key = owner(of: set) { queue.add(key) }
      return
    }
    for deployment in deployments.list(index: Index.namespace, set.metadata.namespace ?? "")
    where !deployment.spec.selector.isEmpty && deployment.spec.selector.matches(set.metadata.labels) {
      queue.add(deployment.metadata.key)
    }
  }

  /// A Deployment that recreates waits for the last pod of the past to be gone.
  private func noticed(_ event: InformerEvent<Pod>) {
    let pod = event.object
    if case .deleted = event {} else if !pod.isFinished { return }
    guard let reference = pod.metadata.controllerReference, reference.kind == ReplicaSet.kind,
      let set = sets.get(name: reference.name, namespace: pod.metadata.namespace ?? ""), let key = owner(of: set),
      let deployment = deployments.get(key), !deployment.isRolling
    else { return }
    queue.add(key)
  }

  // MARK: one Deployment

  private func pass(_ key: ObjectKey) async throws -> WorkOutcome {
    guard let deployment = deployments.get(key) else {
      tracker.withLock { $0.forget(key) }
      return .done
    }
    let near =
      sets.list(index: Index.controller, deployment.metadata.uid ?? "")
      + sets.list(index: Index.orphan, key.namespace)
    let isCaughtUp = tracker.withLock { [now = context.now] in $0.isCaughtUp(key, near.map(\.metadata), now: now) }
    // The set's own event brings the key again.
    guard isCaughtUp else { return .after(.seconds(1)) }
    // A selector that selects everything adopts nothing; the plan tells of it.
    let claims = Claims(
      of: deployment.metadata, selector: deployment.spec.selector,
      among: deployment.spec.selector.isEmpty ? [] : near)
    let owned = try await context.settle(claims, for: deployment)
    let withPods = owned.compactMap(\.metadata.uid).filter { uid in
      pods.list(index: Index.controller, uid).contains { !$0.isFinished }
    }
    let plan = DeploymentPlan(for: deployment, sets: owned, setsWithPods: Set(withPods), now: context.now)
    var current = deployment
    for action in plan.actions {
      if let outcome = try await perform(action, &current) { return outcome }
    }
    return plan.againAfterSeconds.map { .after(.seconds($0)) } ?? .done
  }

  /// - Returns: how the pass ends, where it cannot go on.
  private func perform(_ action: DeploymentAction, _ current: inout Deployment) async throws -> WorkOutcome? {
    let client = context.client
    switch action {
    case .create(let set): return try await create(set, for: current)
    case .update(let set): note(try await client.update(set), for: current)
    case .delete(let set):
      try await client.delete(
        ReplicaSet.self, name: set.metadata.name ?? "", namespace: set.metadata.namespace, propagation: .background,
        uid: set.metadata.uid)
      tracker.withLock { [now = context.now] in $0.deleted(set.metadata, for: current.metadata.key, now: now) }
    case .setRevision(let revision): try await set(revision, on: &current)
    case .updateStatus(let status):
      current.status = status
      current = try await client.updateStatus(current)
    case .event(let isWarning, let reason, let message):
      recorder.record(current, isWarning ? .warning : .normal, reason: reason, message)
    }
    return nil
  }

  /// With the status, where the server takes annotations with it: so the Deployment's generation stays as it is.
  private func set(_ revision: String, on current: inout Deployment) async throws(KubeError) {
    let status = current.status
    current.metadata.annotations[DeploymentAnnotations.revision] = revision
    current = try await context.client.updateStatus(current)
    if current.metadata.annotations[DeploymentAnnotations.revision] != revision {
      let changed: Deployment = try await context.client.patch(
        name: current.metadata.name ?? "", namespace: current.metadata.namespace,
        .merge(["metadata": ["annotations": [DeploymentAnnotations.revision: .string(revision)]]]))
      current.metadata = changed.metadata
    }
    current.status = status
  }

  private func note(_ written: ReplicaSet, for deployment: Deployment) {
    tracker.withLock { [now = context.now] in $0.wrote(written.metadata, for: deployment.metadata.key, now: now) }
  }

  private func create(_ set: ReplicaSet, for deployment: Deployment) async throws -> WorkOutcome? {
    let name = set.metadata.name ?? ""
    do throws(KubeError) {
      note(try await context.client.create(set), for: deployment)
      return nil
    } catch {
      if error.isNamespaceTerminating { return .done }
      var current = deployment
      if error.isAlreadyExists {
        let existing: ReplicaSet = try await context.client.get(name: name, namespace: deployment.metadata.namespace)
        if case .chooseAnother(let status) = DeploymentPlan.afterNameWasTaken(deployment, by: existing) {
          current.status = status
          _ = try await context.client.updateStatus(current)
        }
        return .retry
      }
      guard !error.isCancelled else { throw error }
      let told = DeploymentPlan.afterCreationFailed(
        deployment, name: name, message: error.message, now: context.now)
      for action in told { _ = try await perform(action, &current) }
      throw error
    }
  }
}
