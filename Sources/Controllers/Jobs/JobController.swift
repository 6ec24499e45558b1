internal import KubeClient
internal import KubeModel

/// Runs Jobs to their end.
final class JobController: Sendable {
  private let context: ControllerContext
  private let jobs: PodOwners<Job>
  private let recorder: EventRecorder
  private let control: PodControl
  /// Pods that still carry the finalizer of a Job that is gone.
  private let orphans: WorkQueue<ObjectKey>

  init(_ context: ControllerContext) {
    self.context = context
    jobs = PodOwners(context, "jobs") { $0.effectiveSelector }
    recorder = context.recorder("job-controller")
    control = PodControl(context, recorder)
    orphans = context.queue("pods of past jobs")
    jobs.pods.onChange { [self] event in
      if case .deleted = event { return }
      let pod = event.object
      guard pod.metadata.finalizers.contains(Job.trackingFinalizer), owningJob(of: pod) == nil else { return }
      orphans.add(pod.metadata.key)
    }
    jobs.owners.onChange { [self] event in
      guard case .deleted(let job) = event else { return }
      for pod in jobs.pods.list(index: Index.controller, job.metadata.uid ?? "") { orphans.add(pod.metadata.key) }
    }
  }

  func run() async throws {
    try await withThrowingDiscardingTaskGroup { group in
      group.addTask { [self] in
        try await context.run("job-orphans", orphans, workers: 1) { [self] key in try await free(key) }
      }
      group.addTask { [self] in
        try await context.run("job", jobs.queue, recorder) { [self] key in try await pass(key) }
      }
    }
  }

  private func owningJob(of pod: Pod) -> Job? {
    guard let key = jobs.owner(of: pod), let job = jobs.owners.get(key),
      pod.metadata.isControlled(byUID: job.metadata.uid)
    else { return nil }
    return job
  }

  private func free(_ key: ObjectKey) async throws -> WorkOutcome {
    guard let pod = jobs.pods.get(key), owningJob(of: pod) == nil else { return .done }
    if let owner = jobs.owner(of: pod) {
      // From the API: the cache of Jobs may be behind that of pods.
      do throws(KubeError) {
        let job: Job = try await context.client.get(name: owner.name, namespace: owner.namespace)
        if pod.metadata.isControlled(byUID: job.metadata.uid) { return .done }
      } catch {
        guard error.isNotFound else { throw error }
      }
    }
    try await control.remove(finalizer: Job.trackingFinalizer, from: pod, for: nil)
    return .done
  }

  private func pass(_ key: ObjectKey) async throws -> WorkOutcome {
    guard let job = jobs.owners.get(key) else {
      control.forget(key)
      return .done
    }
    // Another program's.
    if let manager = job.spec.managedBy, manager != "kubernetes.io/job-controller" { return .done }
    guard control.isCaughtUp(key, jobs.pods) else { return .after(.seconds(1)) }
    let pods = try await context.settle(jobs.claims(of: job), for: job)
    let plan = JobPlan(for: job, pods: pods, now: context.now)
    if plan.isExpired {
      do throws(KubeError) {
        try await context.client.delete(
          Job.self, name: key.name, namespace: key.namespace, propagation: .foreground, uid: job.metadata.uid)
      } catch {
        guard error.isNotFound else { throw error }
      }
      return .done
    }
    for pod in plan.discards {
      try await control.remove(finalizer: Job.trackingFinalizer, from: pod, for: key)
    }
    let failed = await control.delete(plan.discards + plan.deletions, of: job)
    let refused = await control.create(plan.creations, for: job)
    if plan.status != job.status {
      // Only on the Job as it was planned for: what is noted must not be overwritten by what was noted before.
      var changed = job
      changed.status = plan.status
      _ = try await context.client.updateStatus(changed)
    }
    for event in plan.events {
      recorder.record(job, event.isWarning ? .warning : .normal, reason: event.reason, event.message)
    }
    for pod in plan.releases {
      try await control.remove(finalizer: Job.trackingFinalizer, from: pod, for: key)
    }
    if failed != nil || refused != nil { return .retry }
    return plan.againAfterSeconds.map { .after(.seconds($0)) } ?? .done
  }
}
