package import KubeModel

/// What to do for a CronJob, given its Jobs.
package struct CronJobPlan: Sendable {
  package struct Told: Sendable, Hashable {
    package let isWarning: Bool
    package let reason: String
    package let message: String
  }

  package private(set) var creation: Job?
  /// When the Job to be made was due.
  package private(set) var scheduledAt: Time?
  /// Running ones that give way to the next, and finished ones beyond the limits.
  package private(set) var deletions: [Job] = []
  package private(set) var status: CronJobStatus
  package private(set) var events: [Told] = []
  package private(set) var againAfterSeconds: Int64?

  package static let scheduledAnnotation = "batch.kubernetes.io/cronjob-scheduled-timestamp"
  /// Beyond this many missed times something is wrong: a clock, or a deadline that is not given.
  package static let missedMax = 100

  private let cron: CronJob
  private let now: Time

  /// - Parameters:
  ///   - jobs: those that the CronJob owns.
  ///   - zone: its time zone; nil where there is none of that name.
  package init(for cron: CronJob, jobs: [Job], zone: ZoneRules?, now: Time) {
    self.cron = cron
    self.now = now
    status = cron.status
    observe(jobs)
    trim(jobs)
    guard !cron.metadata.isDeleting, cron.spec.suspend != true else { return }
    guard let zone else {
      let name = cron.spec.timeZone ?? ""
      tell(true, "UnknownTimeZone", "invalid timeZone: \"\(name)\": unknown time zone \(name)")
      return
    }
    do throws(CronSchedule.Problem) {
      schedule(try CronSchedule(cron.spec.schedule), zone, jobs)
    } catch {
      tell(true, "UnparseableSchedule", "unparseable schedule: \"\(cron.spec.schedule)\" : \(error)")
    }
  }

  private mutating func tell(_ isWarning: Bool, _ reason: String, _ message: String) {
    events.append(Told(isWarning: isWarning, reason: reason, message: message))
  }

  // MARK: what became of its Jobs

  private mutating func observe(_ jobs: [Job]) {
    let known = Dictionary(jobs.map { ($0.metadata.uid ?? "", $0) }) { first, _ in first }
    for reference in status.active {
      guard let job = known[reference.uid ?? ""] else {
        tell(true, "MissingJob", "Active job went missing: \(reference.name ?? "")")
        continue
      }
      guard let end = job.finishedCondition else { continue }
      tell(false, "SawCompletedJob", "Saw completed job: \(job.metadata.name ?? ""), condition: \(end.type)")
      if end.type == "Complete" {
        let finished = job.status.completionTime?.secondsSinceEpoch ?? now.secondsSinceEpoch
        if finished > status.lastSuccessfulTime?.secondsSinceEpoch ?? .min {
          status.lastSuccessfulTime = Time(secondsSinceEpoch: finished)
        }
      }
    }
    status.active.removeAll { reference in
      known[reference.uid ?? ""].map { $0.finishedCondition != nil } ?? true
    }
    let listed = Set(status.active.compactMap(\.uid))
    let unlisted = jobs.filter {
      $0.finishedCondition == nil && !$0.metadata.isDeleting && !listed.contains($0.metadata.uid ?? "")
    }
    for job in unlisted.sorted(by: {
      ($0.metadata.createdAt, $0.metadata.name ?? "") < ($1.metadata.createdAt, $1.metadata.name ?? "")
    }) {
      status.active.append(Self.reference(to: job))
    }
  }

  package static func reference(to job: Job) -> ObjectReference {
    var reference = ObjectReference()
    (reference.apiVersion, reference.kind) = (Job.apiVersion, Job.kind)
    (reference.namespace, reference.name) = (job.metadata.namespace, job.metadata.name)
    (reference.uid, reference.resourceVersion) = (job.metadata.uid, job.metadata.resourceVersion)
    return reference
  }

  private mutating func trim(_ jobs: [Job]) {
    func drop(_ type: String, _ limit: Int32?) {
      guard let limit else { return }
      let finished = jobs.filter { $0.finishedCondition?.type == type && !$0.metadata.isDeleting }
        .sorted {
          ($0.status.startTime?.secondsSinceEpoch ?? .max, $0.metadata.name ?? "")
            < ($1.status.startTime?.secondsSinceEpoch ?? .max, $1.metadata.name ?? "")
        }
      deletions += finished.prefix(max(0, finished.count - max(0, Int(limit))))
    }
    drop("Complete", cron.spec.successfulJobsHistoryLimit)
    drop("Failed", cron.spec.failedJobsHistoryLimit)
  }

  // MARK: the next Job

  private mutating func schedule(_ schedule: CronSchedule, _ zone: ZoneRules, _ jobs: [Job]) {
    var earliest = status.lastScheduleTime ?? cron.metadata.creationTimestamp ?? now
    if let deadline = cron.spec.startingDeadlineSeconds {
      earliest.secondsSinceEpoch = max(earliest.secondsSinceEpoch, now.secondsSinceEpoch - deadline)
    }
    if let next = schedule.next(after: now, in: zone) {
      againAfterSeconds = max(1, next.secondsSinceEpoch - now.secondsSinceEpoch)
    }
    guard let due = schedule.last(after: earliest, until: now, in: zone) else { return }
    noteMissed(schedule, zone, earliest, due)
    if let deadline = cron.spec.startingDeadlineSeconds, due.secondsSinceEpoch + deadline < now.secondsSinceEpoch {
      return tell(true, "MissSchedule", "Missed scheduled time to start a job: \(due)")
    }
    let name = "\(cron.metadata.name ?? "")-\(due.secondsSinceEpoch / 60)"
    let running = jobs.filter { $0.finishedCondition == nil && !$0.metadata.isDeleting }
    // Made already, and the note of it lost.
    if jobs.contains(where: { $0.metadata.name == name }) {
      status.lastScheduleTime = due
      return
    }
    switch cron.spec.concurrencyPolicy {
    case "Forbid" where !running.isEmpty:
      return tell(
        false, "JobAlreadyActive",
        "Not starting job because prior execution is running and concurrency policy is Forbid")
    case "Replace":
      deletions += running
      let going = Set(running.compactMap(\.metadata.uid))
      status.active.removeAll { going.contains($0.uid ?? "") }
    default: break
    }
    creation = job(named: name, due, zone)
    scheduledAt = due
  }

  private mutating func noteMissed(_ schedule: CronSchedule, _ zone: ZoneRules, _ earliest: Time, _ due: Time) {
    var (time, missed) = (earliest, 0)
    while missed <= Self.missedMax, let next = schedule.next(after: time, in: zone),
      next.secondsSinceEpoch <= due.secondsSinceEpoch
    {
      (time, missed) = (next, missed + 1)
    }
    guard missed > Self.missedMax else { return }
    tell(
      true, "TooManyMissedTimes",
      "too many missed start times: \(missed). Set or decrease .spec.startingDeadlineSeconds or check clock skew")
  }

  private func job(named name: String, _ due: Time, _ zone: ZoneRules) -> Job {
    var job = Job()
    job.metadata.name = name
    job.metadata.namespace = cron.metadata.namespace
    job.metadata.labels = cron.spec.jobTemplate.metadata.labels
    job.metadata.annotations = cron.spec.jobTemplate.metadata.annotations
    job.metadata.annotations[Self.scheduledAnnotation] = Self.text(due, zone)
    job.metadata.ownerReferences = [cron.asController]
    job.spec = cron.spec.jobTemplate.spec
    return job
  }

  /// In the CronJob's own zone.
  private static func text(_ time: Time, _ zone: ZoneRules) -> String {
    let offset = Int64(zone.offset(at: time.secondsSinceEpoch))
    guard offset != 0 else { return "\(time)" }
    func two(_ number: Int64) -> String { number < 10 ? "0\(number)" : "\(number)" }
    let local = "\(Time(secondsSinceEpoch: time.secondsSinceEpoch + offset))".dropLast()
    return "\(local)\(offset < 0 ? "-" : "+")\(two(abs(offset) / 3600)):\(two(abs(offset) / 60 % 60))"
  }

  /// The status once the planned Job was made.
  package func status(afterMaking job: Job) -> CronJobStatus {
    var status = status
    if !status.active.contains(where: { $0.uid == job.metadata.uid }) { status.active.append(Self.reference(to: job)) }
    status.lastScheduleTime = scheduledAt
    return status
  }
}
