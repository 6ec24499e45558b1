package import KubeModel

/// What to do for a Job, given its pods.
///
/// A finished pod is counted in two steps, so that none is counted twice or lost whatever stops this process: its uid is
/// noted in the status, then its finalizer is taken away, and only what is noted and has no finalizer any more moves to
/// the counters.
package struct JobPlan: Sendable {
  /// Pods made or deleted in one pass.
  package static let burstMax = 500
  /// Uids noted in the status at a time.
  package static let uncountedMax = 500
  /// Seconds before a pod replaces one that failed: this, and its double with each failure in a row, up to the limit.
  package static let firstBackoffSeconds: Int64 = 10
  package static let backoffSecondsMax: Int64 = 600

  package struct Told: Sendable, Hashable {
    package let isWarning: Bool
    package let reason: String
    package let message: String
  }

  package internal(set) var creations: [Pod] = []
  /// Active pods that go and count as failed: those of a Job that has come to its end.
  package internal(set) var deletions: [Pod] = []
  /// Active pods that go and do not count.
  package internal(set) var discards: [Pod] = []
  /// Pods whose finalizer is to be taken once the status is written.
  package internal(set) var releases: [Pod] = []
  package internal(set) var status: JobStatus
  package internal(set) var events: [Told] = []
  package internal(set) var againAfterSeconds: Int64?
  /// The Job's time after its end is over.
  package internal(set) var isExpired = false

  let job: Job
  let pods: [Pod]
  let now: Time
  let active: [Pod]
  let terminating: [Pod]
  var completed: JobIndexes
  var failedIndexes: JobIndexes
  private var uncounted: UncountedTerminatedPods
  private var policyFailure: String?

  /// - Parameter pods: those that the Job owns, finished and going ones included.
  package init(for job: Job, pods: [Pod], now: Time) {
    self.job = job
    self.pods = pods
    self.now = now
    status = job.status
    active = pods.filter(\.isActive)
    terminating = pods.filter { $0.metadata.isDeleting && !$0.isFinished }
    let completions = Int(job.spec.completions ?? 0)
    completed = JobIndexes(job.status.completedIndexes ?? "", below: completions)
    failedIndexes = JobIndexes(job.status.failedIndexes ?? "", below: completions)
    uncounted = job.status.uncountedTerminatedPods ?? UncountedTerminatedPods()
    if job.metadata.isDeleting || job.finishedCondition != nil {
      releases = pods.filter { Self.isTracked($0) && ($0.isFinished || $0.metadata.isDeleting) }
      deletions = job.metadata.isDeleting ? [] : active
      expire()
    } else {
      make()
    }
  }

  private static func isTracked(_ pod: Pod) -> Bool { pod.metadata.finalizers.contains(Job.trackingFinalizer) }

  private mutating func expire() {
    guard !job.metadata.isDeleting, let seconds = job.spec.ttlSecondsAfterFinished, let end = job.finishedCondition
    else { return }
    let left = (end.lastTransitionTime?.secondsSinceEpoch ?? 0) + Int64(seconds) - now.secondsSinceEpoch
    if left <= 0 { isExpired = true } else { again(after: left) }
  }

  mutating func again(after seconds: Int64) {
    againAfterSeconds = min(againAfterSeconds ?? seconds, max(1, seconds))
  }

  // MARK: counting

  var succeeded: Int {
    job.isIndexed ? completed.count : Int(status.succeeded ?? 0) + uncounted.succeeded.count
  }
  var failed: Int { Int(status.failed ?? 0) + uncounted.failed.count }

  private mutating func count() {
    let tracked = Set(pods.filter(Self.isTracked).compactMap(\.metadata.uid))
    let settled = (
      uncounted.succeeded.filter { !tracked.contains($0) }, uncounted.failed.filter { !tracked.contains($0) }
    )
    if !job.isIndexed { status.succeeded = (status.succeeded ?? 0) + Int32(settled.0.count) }
    status.failed = (status.failed ?? 0) + Int32(settled.1.count)
    uncounted.succeeded.removeAll { !tracked.contains($0) }
    uncounted.failed.removeAll { !tracked.contains($0) }
    let noted = Set(uncounted.succeeded + uncounted.failed)
    for pod in pods where Self.isTracked(pod) && isOver(pod) {
      let uid = pod.metadata.uid ?? ""
      if noted.contains(uid) {
        releases.append(pod)
        continue
      }
      guard uncounted.succeeded.count + uncounted.failed.count < Self.uncountedMax else { return again(after: 1) }
      note(pod, uid)
      releases.append(pod)
    }
  }

  /// Whether a pod has done what it ever will.
  private func isOver(_ pod: Pod) -> Bool {
    if pod.isFinished { return true }
    // One that never came to a node ends with its deletion.
    return pod.metadata.isDeleting && (!job.waitsForTermination || (pod.spec.nodeName ?? "").isEmpty)
  }

  private mutating func note(_ pod: Pod, _ uid: String) {
    if pod.status.phase == "Succeeded" {
      guard job.isIndexed else { return uncounted.succeeded.append(uid) }
      if let index = job.index(of: pod) { completed.insert(index) }
      return
    }
    switch pod.isFinished ? job.verdict(on: pod) : .count {
    case .ignore: return
    case .failJob(let message): policyFailure = policyFailure ?? message
    case .failIndex: if let index = job.index(of: pod) { failedIndexes.insert(index) }
    case .count:
      if let limit = job.spec.backoffLimitPerIndex, let index = job.index(of: pod),
        Int(pod.metadata.annotations[Job.indexFailuresKey] ?? "0") ?? 0 >= Int(limit)
      {
        failedIndexes.insert(index)
      }
    }
    uncounted.failed.append(uid)
  }

  // MARK: the whole

  private mutating func make() {
    count()
    let isSettled = uncounted.succeeded.isEmpty && uncounted.failed.isEmpty && releases.isEmpty
    if let end = ending() {
      finish(end, isSettled: isSettled)
    } else if job.isSuspended {
      suspend()
    } else {
      start()
      manage()
      awaitDeadline()
    }
    writeCounters()
  }

  private mutating func writeCounters() {
    func nonZero(_ count: Int) -> Int32? { count == 0 ? nil : Int32(clamping: count) }
    let ends = finished
    status.active = ends ? nil : nonZero(active.count)
    status.ready = ends ? 0 : Int32(active.count(where: \.isReady))
    status.terminating = ends ? 0 : Int32(terminating.count)
    status.succeeded = nonZero(job.isIndexed ? completed.count : Int(status.succeeded ?? 0))
    status.failed = nonZero(Int(status.failed ?? 0))
    if job.isIndexed {
      status.completedIndexes = completed.count == 0 ? nil : completed.description
      if job.spec.backoffLimitPerIndex != nil { status.failedIndexes = failedIndexes.description }
    }
    let isEmpty = uncounted.succeeded.isEmpty && uncounted.failed.isEmpty
    status.uncountedTerminatedPods = isEmpty && ends ? nil : uncounted
  }

  private var finished: Bool {
    status.conditions.contains { ($0.type == "Complete" || $0.type == "Failed") && $0.status == "True" }
  }

  mutating func set(_ type: String, _ value: String, _ reason: String, _ message: String) {
    if let index = status.conditions.firstIndex(where: { $0.type == type }) {
      guard status.conditions[index].status != value else { return }
      status.conditions.remove(at: index)
    }
    var condition = JobCondition()
    (condition.type, condition.status, condition.reason, condition.message) = (type, value, reason, message)
    (condition.lastProbeTime, condition.lastTransitionTime) = (now, now)
    status.conditions.append(condition)
  }

  // MARK: the end

  private enum Ending {
    case success(reason: String, message: String)
    case failure(reason: String, message: String)
  }

  private func ending() -> Ending? {
    for condition in status.conditions where condition.status == "True" {
      let (reason, message) = (condition.reason ?? "", condition.message ?? "")
      if condition.type == "FailureTarget" { return .failure(reason: reason, message: message) }
      if condition.type == "SuccessCriteriaMet" { return .success(reason: reason, message: message) }
    }
    if let policyFailure { return .failure(reason: "PodFailurePolicy", message: policyFailure) }
    if failed > Int(job.spec.backoffLimit ?? (job.spec.backoffLimitPerIndex == nil ? 6 : .max)) || restartsExceedLimit {
      return .failure(reason: "BackoffLimitExceeded", message: "Job has reached the specified backoff limit")
    }
    if let left = secondsToDeadline, left <= 0 {
      return .failure(reason: "DeadlineExceeded", message: "Job was active longer than specified deadline")
    }
    return indexEnding() ?? completion()
  }

  private func indexEnding() -> Ending? {
    guard job.isIndexed else { return nil }
    for (number, rule) in (job.spec.successPolicy?.rules ?? []).enumerated() {
      let wanted = rule.succeededIndexes.map { JobIndexes($0, below: Int(job.spec.completions ?? 0)).numbers }
      let count = completed.numbers.count { wanted?.contains($0) ?? true }
      if count >= Int(rule.succeededCount ?? Int32(clamping: wanted?.count ?? .max)) {
        return .success(reason: "SuccessPolicy", message: "Matched rules at index \(number)")
      }
    }
    guard failedIndexes.count > 0 else { return nil }
    if let limit = job.spec.maxFailedIndexes, failedIndexes.count > Int(limit) {
      return .failure(
        reason: "MaxFailedIndexesExceeded",
        message: "Job has exceeded the specified maximal number of failed indexes")
    }
    guard completed.numbers.union(failedIndexes.numbers).count >= Int(job.spec.completions ?? 0) else { return nil }
    return .failure(reason: "FailedIndexes", message: "Job has failed indexes")
  }

  private func completion() -> Ending? {
    let isComplete: Bool
    if let completions = job.spec.completions {
      isComplete = succeeded >= Int(completions)
    } else {
      isComplete = succeeded > 0 && active.isEmpty
    }
    guard isComplete else { return nil }
    return .success(reason: "CompletionsReached", message: "Reached expected number of succeeded pods")
  }

  /// Containers that are started again in their pod count, too.
  private var restartsExceedLimit: Bool {
    guard job.spec.template.spec.restartPolicy == "OnFailure" else { return false }
    let restarts = active.reduce(0) { sum, pod in
      sum + (pod.status.containerStatuses + pod.status.initContainerStatuses).reduce(0) { $0 + Int($1.restartCount) }
    }
    let limit = Int(job.spec.backoffLimit ?? 6)
    return limit == 0 ? restarts > 0 : restarts >= limit
  }

  private var secondsToDeadline: Int64? {
    guard !job.isSuspended, let seconds = job.spec.activeDeadlineSeconds, let start = status.startTime else {
      return nil
    }
    return start.secondsSinceEpoch + seconds - now.secondsSinceEpoch
  }

  private mutating func awaitDeadline() { if let left = secondsToDeadline { again(after: left) } }

  private mutating func finish(_ end: Ending, isSettled: Bool) {
    deletions = active
    let isOver = isSettled && active.isEmpty && terminating.isEmpty
    switch end {
    case .success(let reason, let message):
      set("SuccessCriteriaMet", "True", reason, message)
      guard isOver else { return }
      set("Complete", "True", reason, message)
      status.completionTime = now
      events.append(Told(isWarning: false, reason: "Completed", message: "Job completed"))
    case .failure(let reason, let message):
      set("FailureTarget", "True", reason, message)
      guard isOver else { return }
      set("Failed", "True", reason, message)
      events.append(Told(isWarning: true, reason: reason, message: message))
    }
  }

  // MARK: the beginning

  private mutating func suspend() {
    discards = active
    status.startTime = nil
    if !status.conditions.contains(where: { $0.type == "Suspended" && $0.status == "True" }) {
      events.append(Told(isWarning: false, reason: "Suspended", message: "Job suspended"))
    }
    set("Suspended", "True", "JobSuspended", "Job suspended")
  }

  private mutating func start() {
    if status.conditions.contains(where: { $0.type == "Suspended" && $0.status == "True" }) {
      set("Suspended", "False", "JobResumed", "Job resumed")
      events.append(Told(isWarning: false, reason: "Resumed", message: "Job resumed"))
    }
    if status.startTime == nil { status.startTime = now }
  }
}
