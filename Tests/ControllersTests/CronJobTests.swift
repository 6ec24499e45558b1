import Kernel
import KubeModel
import Testing

@testable import Controllers

@Suite struct CronJobTests {
  private func at(_ text: String) -> Time { Time(text) ?? Time() }

  private static func zone(_ name: String) throws -> ZoneRules {
    try #require(ZoneRules(file: try Files.read("/usr/share/zoneinfo/\(name)")))
  }

  @Test(arguments: [
    ("*/15 * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:15:00Z"),
    ("0 3 * * *", "2026-01-01T03:00:00Z", "2026-01-02T03:00:00Z"),
    ("30 4 1,15 * 5", "2026-01-02T05:00:00Z", "2026-01-09T04:30:00Z"),
    ("0 0 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
    ("5-10/2 0 * * *", "2026-01-01T00:05:00Z", "2026-01-01T00:07:00Z"),
    ("10/20 * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:10:00Z"),
    ("0 9 * * mon-FRI", "2026-01-02T10:00:00Z", "2026-01-05T09:00:00Z"),
    ("0 0 1 jan *", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
    ("@hourly", "2026-01-01T00:59:59Z", "2026-01-01T01:00:00Z"),
    ("@weekly", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"),
    ("@every 1h30m", "2026-01-01T00:00:00Z", "2026-01-01T01:30:00Z"),
  ])
  func aScheduleHasANextTime(_ text: String, _ after: String, _ next: String) throws {
    #expect(try CronSchedule(text).next(after: at(after), in: .utc) == at(next), "\(text)")
  }

  @Test(arguments: [
    ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
    ("60 * * * *", "end of range (60) above maximum (59): 60"),
    ("@never", "unrecognized descriptor: @never"), ("*/0 * * * *", "step of range should be a positive number: */0"),
    ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"), ("x * * * *", "failed to parse int from x"),
    ("* * 0 * *", "beginning of range (0) below minimum (1): 0"), ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
  ])
  func aScheduleThatIsNoneSaysWhy(_ text: String, _ problem: String) {
    #expect(throws: CronSchedule.Problem(description: problem)) { try CronSchedule(text) }
  }

  @Test func aScheduleThatNeverMatchesHasNoNextTime() throws {
    #expect(try CronSchedule("0 0 30 2 *").next(after: at("2026-01-01T00:00:00Z"), in: .utc) == nil)
  }

  /// The hour that spring leaves out does not come; the one that autumn has twice comes twice.
  @Test(arguments: [
    ("30 2 * * *", "2026-03-28T12:00:00Z", "2026-03-30T00:30:00Z"),
    ("0 9 * * *", "2026-03-29T06:00:00Z", "2026-03-29T07:00:00Z"),
    ("30 2 * * *", "2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z"),
    ("30 2 * * *", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"),
    ("0 12 1 7 *", "2050-01-01T00:00:00Z", "2050-07-01T10:00:00Z"),
  ])
  func aScheduleKeepsToItsZonesClocks(_ text: String, _ after: String, _ next: String) throws {
    #expect(try CronSchedule(text).next(after: at(after), in: try Self.zone("Europe/Berlin")) == at(next), "\(text)")
  }

  @Test(arguments: [
    ("Asia/Kolkata", "2026-01-01T00:00:00Z", 19_800), ("America/New_York", "2026-07-01T00:00:00Z", -14_400),
    ("America/New_York", "2026-12-01T00:00:00Z", -18_000), ("Australia/Lord_Howe", "2060-01-01T00:00:00Z", 39_600),
    ("Europe/Berlin", "1900-01-01T00:00:00Z", 3600), ("America/New_York", "2060-07-01T00:00:00Z", -14_400),
  ])
  func aZoneKnowsItsOffset(_ name: String, _ when: String, _ offset: Int32) throws {
    #expect(try Self.zone(name).offset(at: at(when).secondsSinceEpoch) == offset)
  }

  @Test func bytesThatAreNoZoneAreRefused() throws {
    let good = try Files.read("/usr/share/zoneinfo/Europe/Berlin")
    #expect(ZoneRules(file: []) == nil)
    for length in stride(from: 0, to: good.count - 40, by: 7) {
      #expect(ZoneRules(file: Array(good.prefix(length))) == nil)
    }
  }

  // MARK: plans

  private func cron(_ change: (inout CronJob) -> Void = { _ in }) -> CronJob {
    var cron = CronJob()
    (cron.metadata.name, cron.metadata.namespace, cron.metadata.uid) = ("tick", "default", "c-1")
    cron.metadata.creationTimestamp = at("2026-01-01T00:00:30Z")
    cron.spec.schedule = "* * * * *"
    (cron.spec.successfulJobsHistoryLimit, cron.spec.failedJobsHistoryLimit) = (3, 1)
    change(&cron)
    return cron
  }

  private func job(_ name: String, finished: String? = nil, started: Int64 = 0) -> Job {
    var job = Job()
    (job.metadata.name, job.metadata.namespace, job.metadata.uid) = (name, "default", "uid-\(name)")
    job.status.startTime = time(started)
    if let finished {
      var condition = JobCondition()
      (condition.type, condition.status) = (finished, "True")
      job.status.conditions = [condition]
    }
    return job
  }

  private func plan(_ cron: CronJob, _ now: String, _ jobs: [Job] = []) -> CronJobPlan {
    CronJobPlan(for: cron, jobs: jobs, zone: .utc, now: at(now))
  }

  @Test func aJobIsMadeWhenItsTimeHasComeAndOnlyOnce() throws {
    let early = plan(cron(), "2026-01-01T00:00:40Z")
    #expect(early.creation == nil)
    #expect(early.againAfterSeconds == 20)
    let due = plan(cron(), "2026-01-01T00:01:02Z")
    let made = try #require(due.creation)
    #expect(made.metadata.name == "tick-\(at("2026-01-01T00:01:00Z").secondsSinceEpoch / 60)")
    #expect(made.metadata.annotations[CronJobPlan.scheduledAnnotation] == "2026-01-01T00:01:00Z")
    let noted = due.status(afterMaking: job(made.metadata.name ?? ""))
    #expect(noted.lastScheduleTime == at("2026-01-01T00:01:00Z"))
    #expect(plan(cron { $0.status = noted }, "2026-01-01T00:01:30Z", [job(made.metadata.name ?? "")]).creation == nil)
    // Made, and the note of it lost.
    let again = plan(cron(), "2026-01-01T00:01:30Z", [job(made.metadata.name ?? "")])
    #expect(again.creation == nil)
    #expect(again.status.lastScheduleTime == at("2026-01-01T00:01:00Z"))
  }

  @Test func whatStillRunsIsAllowedForbiddenOrReplaced() {
    let running = [job("old")]
    let now = "2026-01-01T00:02:01Z"
    #expect(plan(cron { $0.spec.concurrencyPolicy = "Allow" }, now, running).creation != nil)
    let forbidden = plan(cron { $0.spec.concurrencyPolicy = "Forbid" }, now, running)
    #expect(forbidden.creation == nil)
    #expect(forbidden.events.map(\.reason) == ["JobAlreadyActive"])
    let replaced = plan(cron { $0.spec.concurrencyPolicy = "Replace" }, now, running)
    #expect(replaced.creation != nil)
    #expect(replaced.deletions.map(\.metadata.name) == ["old"])
    #expect(replaced.status.active.isEmpty)
  }

  @Test func historyIsKeptUpToItsLimits() {
    let jobs =
      (0..<5).map { job("done-\($0)", finished: "Complete", started: Int64($0)) }
      + (0..<3).map { job("bad-\($0)", finished: "Failed", started: Int64($0)) }
    let gone = plan(cron { $0.spec.suspend = true }, "2026-01-01T00:09:00Z", jobs).deletions
    #expect(gone.compactMap(\.metadata.name) == ["done-0", "done-1", "bad-0", "bad-1"])
  }

  @Test func missedTimesAreTakenUpOrLetGoByTheDeadline() {
    let now = "2026-01-01T01:00:30Z"
    #expect(plan(cron(), now).scheduledAt == at("2026-01-01T01:00:00Z"))
    #expect(plan(cron { $0.spec.startingDeadlineSeconds = 10 }, now).creation == nil)
    let long = plan(cron(), "2026-01-03T00:00:10Z")
    #expect(long.events.map(\.reason) == ["TooManyMissedTimes"])
    #expect(long.scheduledAt == at("2026-01-03T00:00:00Z"))
  }

  @Test func whatCannotBeUnderstoodIsTold() {
    #expect(
      plan(cron { $0.spec.schedule = "nonsense" }, "2026-01-01T01:00:00Z").events.map(\.reason) == [
        "UnparseableSchedule"
      ])
    let nowhere = CronJobPlan(
      for: cron { $0.spec.timeZone = "No/Where" }, jobs: [], zone: nil, now: at("2026-01-01T01:00:00Z"))
    #expect(nowhere.events.map(\.reason) == ["UnknownTimeZone"])
  }
}
