internal import KubeClient
internal import KubeModel
internal import Synchronization

/// A kind that asks for a number of pods of one template, as a ReplicaSet does.
protocol ReplicaOwner: KubeResource {
  static var component: String { get }
  /// The same wish as a ReplicaSet; its metadata are the owner's.
  var asReplicaSet: ReplicaSet { get }
  mutating func take(_ status: ReplicaSetStatus)
}

extension ReplicaSet: ReplicaOwner {
  static var component: String { "replicaset-controller" }
  var asReplicaSet: ReplicaSet { self }
  mutating func take(_ status: ReplicaSetStatus) { self.status = status }
}

/// Keeps the number of pods that each ReplicaSet or ReplicationController asks for.
final class ReplicaSetController<Owner: ReplicaOwner>: Sendable {
  private let context: ControllerContext
  private let sets: Informer<Owner>
  private let pods: Informer<Pod>
  private let queue: WorkQueue<ObjectKey>
  private let recorder: EventRecorder
  private let expectations = Mutex(Expectations())

  init(_ context: ControllerContext) {
    self.context = context
    sets = context.informers.informer()
    pods = context.informers.informer()
    queue = context.queue(Owner.resource.plural)
    recorder = context.recorder(Owner.component)
    Index.addOwners(to: sets)
    Index.addNamespace(to: sets)
    Index.addOwners(to: pods)
    sets.onChange { [self] event in
      if case .deleted(let set) = event { expectations.withLock { $0.forget(set.metadata.key) } }
      queue.add(event.object.metadata.key)
    }
    pods.onChange { [self] event in noticed(event) }
  }

  func run() async throws {
    try await context.run(Owner.kind.lowercased(), queue, recorder) { [self] key in try await pass(key) }
  }

  // MARK: what concerns whom

  private func noticed(_ event: InformerEvent<Pod>) {
    switch event {
    case .added(let pod):
      if let key = owner(of: pod) {
        expectations.withLock { expectations in
          expectations.creationSettled(for: key)
          if pod.metadata.isDeleting { expectations.deletionSettled(pod.metadata.uid ?? "", for: key) }
        }
      }
      concerned(pod)
    case .updated(let old, let new):
      if new.metadata.isDeleting, !old.metadata.isDeleting { settleDeletion(of: new) }
      if let before = owner(of: old), before != owner(of: new) { queue.add(before) }
      concerned(new)
    case .deleted(let pod):
      settleDeletion(of: pod)
      if let key = owner(of: pod) { queue.add(key) }
    }
  }

  private func settleDeletion(of pod: Pod) {
    guard let key = owner(of: pod) else { return }
    expectations.withLock { $0.deletionSettled(pod.metadata.uid ?? "", for: key) }
  }

  private func owner(of pod: Pod) -> ObjectKey? {
    guard let reference = pod.metadata.controllerReference, reference.kind == Owner.kind else { return nil }
    return ObjectKey(namespace: pod.metadata.namespace ?? "", name: reference.name)
  }

  /// The owner, or all who may want to adopt.
  private func concerned(_ pod: Pod) {
    if pod.metadata.controllerReference != nil {
      if let key = owner(of: pod) { queue.add(key) }
      return
    }
    guard pod.isActive else { return }
    for owner in sets.list(index: Index.namespace, pod.metadata.namespace ?? "") {
      let selector = owner.asReplicaSet.spec.selector
      if !selector.isEmpty, selector.matches(pod.metadata.labels) { queue.add(owner.metadata.key) }
    }
  }

  // MARK: one set

  private func pass(_ key: ObjectKey) async throws -> WorkOutcome {
    guard let owner = sets.get(key) else {
      expectations.withLock { $0.forget(key) }
      return .done
    }
    let set = owner.asReplicaSet
    let now = context.now
    let isCaughtUp = expectations.withLock { $0.areMet(for: key, now: now) }
    let near =
      pods.list(index: Index.controller, set.metadata.uid ?? "") + pods.list(index: Index.orphan, key.namespace)
    let claims = Claims(of: set.metadata, selector: set.spec.selector, among: near.filter(\.isActive))
    let owned = try await context.settle(claims, for: owner)
    var failure: ReplicaSetPlan.Failure?
    if isCaughtUp {
      let plan = ReplicaSetPlan(for: set, pods: owned, related: related(to: set), now: now)
      if plan.creations > 0 { failure = await create(plan.creations, of: set, for: owner) }
      if !plan.deletions.isEmpty { failure = await delete(plan.deletions, of: owner) }
    }
    // What goes is not promised to anybody: a Deployment reckons with what the status says.
    let going = expectations.withLock { $0.openDeletions(for: key, now: now) }
    let staying = owned.filter { !going.contains($0.metadata.uid ?? "") }
    let status = ReplicaSetPlan.status(of: set, pods: staying, failure: failure, now: now)
    if status != set.status {
      _ = try await context.client.updateStatus(retrying: owner) { fresh in
        fresh.take(status)
        return true
      }
    }
    if failure != nil { return .retry }
    guard let next = ReplicaSetPlan.nextAvailability(of: set, pods: owned, now: now) else { return .done }
    return .after(.seconds(max(1, next.secondsSinceEpoch - now.secondsSinceEpoch)))
  }

  /// The pods of all sets with the same owner.
  private func related(to set: ReplicaSet) -> [Pod] {
    let siblings = set.metadata.controllerReference.map { sets.list(index: Index.controller, $0.uid).map(\.metadata) }
    return (siblings ?? [set.metadata]).flatMap { pods.list(index: Index.controller, $0.uid ?? "") }
  }

  private func create(_ count: Int, of plan: ReplicaSet, for set: Owner) async -> ReplicaSetPlan.Failure? {
    let key = set.metadata.key
    let now = context.now
    expectations.withLock { $0.expectCreations(count, for: key, now: now) }
    let pod = ReplicaSetPlan.pod(for: plan, owner: set.asController)
    let problem = Mutex<KubeError?>(nil)
    var left = count
    for size in ReplicaSetPlan.batches(of: count) {
      await context.forEach(Array(0..<size)) { [self] _ in
        do throws(KubeError) {
          let made = try await context.client.create(pod)
          recorder.record(set, .normal, reason: "SuccessfulCreate", "Created pod: \(made.metadata.name ?? "")")
        } catch {
          expectations.withLock { $0.creationSettled(for: key) }
          problem.withLock { $0 = error }
          guard !error.isNamespaceTerminating, !error.isCancelled else { return }
          recorder.record(set, .warning, reason: "FailedCreate", "Error creating: \(error.message)")
        }
      }
      left -= size
      if problem.withLock({ $0 != nil }) { break }
    }
    for _ in 0..<left { expectations.withLock { $0.creationSettled(for: key) } }
    return problem.withLock { problem in
      guard let problem, !problem.isNamespaceTerminating else { return nil }
      return .creating(problem.message)
    }
  }

  private func delete(_ pods: [Pod], of set: Owner) async -> ReplicaSetPlan.Failure? {
    let key = set.metadata.key
    let now = context.now
    expectations.withLock { $0.expectDeletions(pods.map { $0.metadata.uid ?? "" }, for: key, now: now) }
    let problem = Mutex<KubeError?>(nil)
    await context.forEach(pods) { [self] pod in
      let name = pod.metadata.name ?? ""
      do throws(KubeError) {
        try await context.client.delete(Pod.self, name: name, namespace: key.namespace, uid: pod.metadata.uid)
        recorder.record(set, .normal, reason: "SuccessfulDelete", "Deleted pod: \(name)")
      } catch {
        expectations.withLock { $0.deletionSettled(pod.metadata.uid ?? "", for: key) }
        // Gone already, or another pod by now: what was to go is gone.
        if error.isNotFound || error.isConflict { return }
        problem.withLock { $0 = error }
        if !error.isCancelled {
          recorder.record(set, .warning, reason: "FailedDelete", "Error deleting: \(error.message)")
        }
      }
    }
    return problem.withLock { $0.map { .deleting($0.message) } }
  }
}
