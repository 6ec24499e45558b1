internal import Kernel
internal import KubeClient
internal import KubeModel
internal import Synchronization

/// Makes Jobs when their time has come.
final class CronJobController: Sendable {
  private let context: ControllerContext
  private let crons: Informer<CronJob>
  private let jobs: Informer<Job>
  private let queue: WorkQueue<ObjectKey>
  private let recorder: EventRecorder
  private let zones = Mutex<[String: ZoneRules]>([:])
  private let lag = Mutex(CacheLag())

  /// Where the system keeps the rules of time zones.
  private static let zoneDirectory = "/usr/share/zoneinfo"
  /// Zones kept in memory.
  private static let zonesMax = 64

  init(_ context: ControllerContext) {
    self.context = context
    crons = context.informers.informer()
    jobs = context.informers.informer()
    queue = context.queue("cronjobs")
    recorder = context.recorder("cronjob-controller")
    Index.addOwners(to: jobs)
    crons.onChange { [queue] event in queue.add(event.object.metadata.key) }
    jobs.onChange { [queue] event in
      guard let owner = event.object.metadata.controllerReference, owner.kind == CronJob.kind else { return }
      queue.add(ObjectKey(namespace: event.object.metadata.namespace ?? "", name: owner.name))
    }
  }

  func run() async throws {
    try await context.run("cronjob", queue, recorder) { [self] key in try await pass(key) }
  }

  /// Nil where the system has no zone of this name.
  private func zone(_ name: String?) -> ZoneRules? {
    guard let name, !name.isEmpty, name != "UTC", name != "Etc/UTC" else { return .utc }
    if let known = zones.withLock({ $0[name] }) { return known }
    let isPlain = name.utf8.allSatisfy { byte in
      (byte | 32 >= 97 && byte | 32 <= 122) || (byte >= 48 && byte <= 57) || "/_+-".utf8.contains(byte)
    }
    guard isPlain, !name.hasPrefix("/"), name != "Local",
      let bytes = try? Files.read("\(Self.zoneDirectory)/\(name)", maxBytes: ZoneRules.fileBytesMax),
      let rules = ZoneRules(file: bytes)
    else { return nil }
    zones.withLock { zones in
      if zones.count >= Self.zonesMax { zones = [:] }
      zones[name] = rules
    }
    return rules
  }

  private func pass(_ key: ObjectKey) async throws -> WorkOutcome {
    guard let cron = crons.get(key) else {
      lag.withLock { $0.forget(key) }
      return .done
    }
    let (revision, now) = (jobs.resourceVersion, context.now)
    guard lag.withLock({ $0.isCaughtUp(key, at: revision, now: now) }) else { return .after(.seconds(1)) }
    let owned = jobs.list(index: Index.controller, cron.metadata.uid ?? "")
    let plan = CronJobPlan(for: cron, jobs: owned, zone: zone(cron.spec.timeZone), now: now)
    for event in plan.events {
      recorder.record(cron, event.isWarning ? .warning : .normal, reason: event.reason, event.message)
    }
    for job in plan.deletions { try await delete(job, of: cron) }
    var status = plan.status
    if let wanted = plan.creation, let made = try await create(wanted, for: cron) {
      status = plan.status(afterMaking: made)
    }
    if status != cron.status {
      var changed = cron
      changed.status = status
      _ = try await context.client.updateStatus(changed)
    }
    return plan.againAfterSeconds.map { .after(.seconds($0)) } ?? .done
  }

  private func delete(_ job: Job, of cron: CronJob) async throws(KubeError) {
    do throws(KubeError) {
      let revision = try await context.client.delete(
        Job.self, name: job.metadata.name ?? "", namespace: job.metadata.namespace, propagation: .background,
        uid: job.metadata.uid)
      lag.withLock { [now = context.now] in $0.wrote(revision, for: cron.metadata.key, now: now) }
      recorder.record(cron, .normal, reason: "SuccessfulDelete", "Deleted job \(job.metadata.name ?? "")")
    } catch {
      guard error.isNotFound || error.isConflict else { throw error }
    }
  }

  /// - Returns: the Job; nil where its name belongs to another, or the namespace is going.
  private func create(_ job: Job, for cron: CronJob) async throws(KubeError) -> Job? {
    do throws(KubeError) {
      let made = try await context.client.create(job)
      lag.withLock { [now = context.now] in
        $0.wrote(made.metadata.resourceVersion, for: cron.metadata.key, now: now)
      }
      recorder.record(cron, .normal, reason: "SuccessfulCreate", "Created job \(made.metadata.name ?? "")")
      return made
    } catch {
      if error.isNamespaceTerminating { return nil }
      if error.isAlreadyExists {
        let existing: Job = try await context.client.get(
          name: job.metadata.name ?? "", namespace: job.metadata.namespace)
        return existing.metadata.isControlled(byUID: cron.metadata.uid) ? existing : nil
      }
      if !error.isCancelled {
        recorder.record(cron, .warning, reason: "FailedCreate", "Error creating job: \(error.message)")
      }
      throw error
    }
  }
}
