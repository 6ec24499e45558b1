internal import KubeClient
internal import KubeModel

/// Keeps one pod of each DaemonSet on every node that it is meant for.
final class DaemonSetController: Sendable {
  private let context: ControllerContext
  private let sets: PodOwners<DaemonSet>
  private let nodes: Informer<Node>
  private let revisions: RevisionKeeper
  private let recorder: EventRecorder
  private let control: PodControl

  init(_ context: ControllerContext) {
    self.context = context
    sets = PodOwners(context, "daemonsets") { $0.spec.selector }
    nodes = context.informers.informer()
    revisions = RevisionKeeper(context)
    recorder = context.recorder("daemonset-controller")
    control = PodControl(context, recorder)
    nodes.onChange { [self] event in noticed(event) }
  }

  func run() async throws {
    try await context.run("daemonset", sets.queue, recorder) { [self] key in try await pass(key) }
  }

  /// Heartbeats change a node all the time; what counts is whether a set wants it.
  private func noticed(_ event: InformerEvent<Node>) {
    if case .updated(let old, let new) = event, old.metadata.labels == new.metadata.labels,
      old.spec.taints == new.spec.taints
    {
      return
    }
    for set in sets.owners.list() {
      if case .updated(let old, let new) = event, set.wants(old) == set.wants(new) { continue }
      sets.queue.add(set.metadata.key)
    }
  }

  private func pass(_ key: ObjectKey) async throws -> WorkOutcome {
    guard let set = sets.owners.get(key) else {
      control.forget(key)
      return .done
    }
    guard control.isCaughtUp(key, sets.pods) else { return .after(.seconds(1)) }
    if set.spec.selector.isEmpty {
      recorder.record(
        set, .warning, reason: "SelectingAll",
        "This daemon set is selecting all pods. A non-empty selector is required.")
      return .done
    }
    let pods = try await context.settle(sets.claims(of: set), for: set)
    let kept = try await revisions.keep(
      set.spec.template, of: set, selector: set.spec.selector, collisionCount: set.status.collisionCount)
    guard case .plan(let history, let newest) = kept else {
      _ = try await context.client.updateStatus(retrying: set) { fresh in
        fresh.status.collisionCount = (fresh.status.collisionCount ?? 0) &+ 1
        return true
      }
      return .retry
    }
    let plan = DaemonSetPlan(
      for: set, nodes: nodes.list(), pods: pods, hash: RevisionPlan.hash(of: newest), now: context.now)
    for pod in plan.failed {
      recorder.record(
        set, .warning, reason: "FailedDaemonPod",
        "Found failed daemon pod \(pod.metadata.key) on node \(DaemonSet.node(of: pod) ?? ""), will try to kill it")
    }
    let failed = await control.delete(plan.deletions, of: set)
    let refused = await control.create(plan.creations, for: set)
    if plan.status != set.status {
      _ = try await context.client.updateStatus(retrying: set) { fresh in
        guard fresh.status != plan.status else { return false }
        fresh.status = plan.status
        return true
      }
    }
    try await dropRevisions(history, newest, pods, of: set)
    if failed != nil || refused != nil { return .retry }
    return plan.againAfterSeconds.map { .after(.seconds($0)) } ?? .done
  }

  private func dropRevisions(
    _ plan: RevisionPlan, _ newest: ControllerRevision, _ pods: [Pod], of set: DaemonSet
  ) async throws(KubeError) {
    let hashes = Set(pods.compactMap { $0.metadata.labels[RevisionPlan.hashLabel] })
    let live = plan.history.filter { hashes.contains(RevisionPlan.hash(of: $0)) } + [newest]
    try await revisions.drop(
      RevisionPlan.expendable(
        plan.history, live: Set(live.compactMap(\.metadata.name)), limit: Int(set.spec.revisionHistoryLimit ?? 10)))
  }
}
