internal import KubeClient
internal import KubeModel

/// Keeps the pods of StatefulSets, each with its name and its claims.
final class StatefulSetController: Sendable {
  private let context: ControllerContext
  private let sets: PodOwners<StatefulSet>
  private let claims: Informer<PersistentVolumeClaim>
  private let revisions: RevisionKeeper
  private let recorder: EventRecorder
  private let control: PodControl

  init(_ context: ControllerContext) {
    self.context = context
    sets = PodOwners(context, "statefulsets") { $0.spec.selector }
    claims = context.informers.informer()
    revisions = RevisionKeeper(context)
    recorder = context.recorder("statefulset-controller")
    control = PodControl(context, recorder)
    Index.addNamespace(to: claims)
  }

  func run() async throws {
    try await context.run("statefulset", sets.queue, recorder) { [self] key in try await pass(key) }
  }

  private func pass(_ key: ObjectKey) async throws -> WorkOutcome {
    guard let set = sets.owners.get(key) else {
      control.forget(key)
      return .done
    }
    guard control.isCaughtUp(key, sets.pods) else { return .after(.seconds(1)) }
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
    let update = StatefulSetPlan.Revision(name: newest.metadata.name ?? "", template: set.spec.template)
    let plan = StatefulSetPlan(
      for: set, pods: pods, claims: claimsByName(key.namespace), current: current(set, history, update),
      update: update, now: context.now)
    var status: StatefulSetStatus?
    do throws(KubeError) {
      for action in plan.actions {
        if case .updateStatus(let wanted) = action { status = wanted }
        try await perform(action, for: set)
      }
    } catch {
      if error.isNamespaceTerminating { return .done }
      throw error
    }
    let live =
      pods.compactMap { $0.metadata.labels[RevisionPlan.hashLabel] }
      + [update.name, (status ?? set.status).currentRevision ?? ""]
    try await revisions.drop(
      RevisionPlan.expendable(
        history.history, live: Set(live), limit: Int(set.spec.revisionHistoryLimit ?? 10)))
    return plan.againAfterSeconds.map { .after(.seconds($0)) } ?? .done
  }

  private func claimsByName(_ namespace: String) -> [String: PersistentVolumeClaim] {
    var named: [String: PersistentVolumeClaim] = [:]
    for claim in claims.list(index: Index.namespace, namespace) { named[claim.metadata.name ?? ""] = claim }
    return named
  }

  private func current(
    _ set: StatefulSet, _ plan: RevisionPlan, _ update: StatefulSetPlan.Revision
  ) -> StatefulSetPlan.Revision {
    guard let name = set.status.currentRevision, name != update.name,
      let revision = plan.history.first(where: { $0.metadata.name == name }),
      let template = RevisionPlan.template(in: revision)
    else { return update }
    return StatefulSetPlan.Revision(name: name, template: template)
  }

  private func perform(_ action: StatefulSetAction, for set: StatefulSet) async throws(KubeError) {
    let key = set.metadata.key
    switch action {
    case .createClaim(let claim, let pod): try await create(claim, for: pod, of: set)
    case .setOwners(let claim, let owners): try await context.setOwners(claim, owners)
    case .createPod(let pod): try await create(pod, of: set)
    case .deletePod(let pod): try await delete(pod, of: set)
    case .updatePod(let pod):
      let written = try await context.client.update(pod)
      control.wrote(written.metadata.resourceVersion, for: key)
    case .updateStatus(let status):
      _ = try await context.client.updateStatus(retrying: set) { fresh in
        guard fresh.status != status else { return false }
        fresh.status = status
        return true
      }
    case .event(let isWarning, let reason, let message):
      recorder.record(set, isWarning ? .warning : .normal, reason: reason, message)
    }
  }

  private func create(_ claim: PersistentVolumeClaim, for pod: String, of set: StatefulSet) async throws(KubeError) {
    let (name, owner) = (claim.metadata.name ?? "", set.metadata.name ?? "")
    do throws(KubeError) {
      _ = try await context.client.create(claim)
      recorder.record(
        set, .normal, reason: "SuccessfulCreate", "create Claim \(name) Pod \(pod) in StatefulSet \(owner) success")
    } catch {
      // The cache was behind; or it was there before, which is what claims are for.
      if error.isAlreadyExists { return }
      if !error.isNamespaceTerminating, !error.isCancelled {
        recorder.record(
          set, .warning, reason: "FailedCreate",
          "create Claim \(name) for Pod \(pod) in StatefulSet \(owner) failed error: \(error.message)")
      }
      throw error
    }
  }

  private func create(_ pod: Pod, of set: StatefulSet) async throws(KubeError) {
    let (name, owner) = (pod.metadata.name ?? "", set.metadata.name ?? "")
    do throws(KubeError) {
      let made = try await context.client.create(pod)
      control.wrote(made.metadata.resourceVersion, for: set.metadata.key)
      recorder.record(
        set, .normal, reason: "SuccessfulCreate", "create Pod \(name) in StatefulSet \(owner) successful")
    } catch {
      if !error.isNamespaceTerminating, !error.isCancelled {
        recorder.record(
          set, .warning, reason: "FailedCreate",
          "create Pod \(name) in StatefulSet \(owner) failed error: \(error.message)")
      }
      throw error
    }
  }

  private func delete(_ pod: Pod, of set: StatefulSet) async throws(KubeError) {
    let (name, owner) = (pod.metadata.name ?? "", set.metadata.name ?? "")
    do throws(KubeError) {
      let revision = try await context.client.delete(
        Pod.self, name: name, namespace: pod.metadata.namespace, uid: pod.metadata.uid)
      control.wrote(revision, for: set.metadata.key)
      recorder.record(
        set, .normal, reason: "SuccessfulDelete", "delete Pod \(name) in StatefulSet \(owner) successful")
    } catch {
      guard error.isNotFound || error.isConflict else { throw error }
    }
  }
}
