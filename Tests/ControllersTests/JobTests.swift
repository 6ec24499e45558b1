import KubeModel
import Testing

@testable import Controllers

@Suite struct JobTests {
  static func job(
    completions: Int32? = 3, parallelism: Int32 = 2, indexed: Bool = false, change: (inout Job) -> Void = { _ in }
  ) -> Job {
    var job = Job()
    (job.metadata.name, job.metadata.namespace, job.metadata.uid) = ("work", "default", "j-1")
    job.spec.completions = completions
    job.spec.parallelism = parallelism
    job.spec.backoffLimit = 6
    job.spec.completionMode = indexed ? "Indexed" : "NonIndexed"
    job.spec.template = Make.template(image: "v1")
    job.spec.template.spec.restartPolicy = "Never"
    change(&job)
    return job
  }

  private func pod(
    _ name: String, of job: Job, phase: String = "Running", index: Int? = nil, code: Int32 = 1, at second: Int64 = 0,
    tracked: Bool = true
  ) -> Pod {
    var pod = job.pod(index: index)
    (pod.metadata.name, pod.metadata.uid) = (name, name)
    if !tracked { pod.metadata.finalizers = [] }
    pod.spec.nodeName = "n1"
    pod.status.phase = phase
    if phase == "Running" { pod.status.conditions = [Make.condition("True", since: 0)] }
    if phase == "Failed" || phase == "Succeeded" {
      var status = ContainerStatus()
      status.name = "c"
      var end = ContainerStateTerminated()
      (end.exitCode, end.finishedAt) = (phase == "Failed" ? code : 0, time(second))
      status.state.terminated = end
      pod.status.containerStatuses = [status]
    }
    return pod
  }

  private func plan(_ job: Job, _ pods: [Pod], now: Int64 = 1000) -> JobPlan {
    JobPlan(for: job, pods: pods, now: time(now))
  }

  @Test(arguments: [
    ("", [Int]()), ("0", [0]), ("0,1", [0, 1]), ("0-2", [0, 1, 2]), ("1,3-5,7", [1, 3, 4, 5, 7]), ("2,4,5", [2, 4, 5]),
  ])
  func indexesAreWrittenAsKubernetesWritesThem(text: String, numbers: [Int]) {
    #expect(JobIndexes(numbers).description == text)
    #expect(JobIndexes(text, below: 10).numbers == Set(numbers))
  }

  @Test func noMorePodsAreMadeThanAreNeeded() {
    #expect(plan(Self.job(), []).creations.count == 2)
    #expect(plan(Self.job(completions: 1), []).creations.count == 1)
    #expect(plan(Self.job(completions: nil, parallelism: 4), []).creations.count == 4)
    let job = Self.job { $0.status.succeeded = 2 }
    #expect(plan(job, []).creations.count == 1)
    let shrunk = Self.job(parallelism: 1)
    #expect(plan(shrunk, [pod("a", of: shrunk), pod("b", of: shrunk)]).discards.count == 1)
  }

  @Test func aFinishedPodIsNotedThenFreedThenCounted() {
    var job = Self.job()
    let done = pod("a", of: job, phase: "Succeeded")
    let first = plan(job, [done])
    #expect(first.status.uncountedTerminatedPods?.succeeded == ["a"])
    #expect(first.status.succeeded == nil)
    #expect(first.releases.map(\.metadata.uid) == ["a"])
    job.status = first.status
    let still = plan(job, [done])
    #expect(still.status.uncountedTerminatedPods?.succeeded == ["a"])
    let second = plan(job, [pod("a", of: job, phase: "Succeeded", tracked: false)])
    #expect(second.status.succeeded == 1)
    #expect(second.status.uncountedTerminatedPods?.succeeded == [])
    // A pod that is gone altogether counts as well.
    #expect(plan(job, []).status.succeeded == 1)
  }

  @Test func indexedPodsHaveTheirNumbersAndNoneTwice() throws {
    let job = Self.job(completions: 4, parallelism: 3, indexed: true) { $0.status.completedIndexes = "0" }
    let made = plan(job, [pod("b", of: job, index: 2)])
    #expect(made.creations.compactMap { job.index(of: $0) } == [1, 3])
    let one = try #require(made.creations.first)
    #expect(one.metadata.generateName == "work-1-")
    #expect(one.spec.hostname == "work-1")
    #expect(one.spec.containers[0].env.first?.name == "JOB_COMPLETION_INDEX")
    let double = plan(job, [pod("b", of: job, index: 2), pod("c", of: job, index: 2)])
    #expect(double.discards.map(\.metadata.name) == ["c"])
  }

  @Test func tooManyFailuresEndTheJobAndItsOtherPods() {
    let job = Self.job { job in
      job.spec.backoffLimit = 1
      job.status.failed = 1
    }
    let running = pod("b", of: job)
    let first = plan(job, [pod("a", of: job, phase: "Failed"), running])
    #expect(first.status.conditions.map(\.type) == ["FailureTarget"])
    #expect(first.deletions.map(\.metadata.name) == ["b"])
    #expect(first.creations.isEmpty)
    var next = job
    next.status = first.status
    let last = plan(next, [pod("a", of: job, phase: "Failed", tracked: false)])
    #expect(last.status.conditions.map(\.type) == ["FailureTarget", "Failed"])
    #expect(last.status.conditions.last?.reason == "BackoffLimitExceeded")
    #expect(last.status.failed == 2)
    #expect(last.events.map(\.reason) == ["BackoffLimitExceeded"])
  }

  @Test func afterFailuresTheNextPodWaitsLongerEachTime() {
    let job = Self.job(completions: 1)
    func failed(_ count: Int) -> [Pod] {
      (0..<count).map { pod("p\($0)", of: job, phase: "Failed", at: 990, tracked: false) }
    }
    #expect(plan(job, failed(1), now: 995).creations.isEmpty)
    #expect(plan(job, failed(1), now: 995).againAfterSeconds == 5)
    #expect(plan(job, failed(1), now: 1000).creations.count == 1)
    #expect(plan(job, failed(3), now: 1000).againAfterSeconds == 30)
  }

  @Test func aDeadlineEndsAJob() {
    let job = Self.job { job in
      job.spec.activeDeadlineSeconds = 60
      job.status.startTime = time(900)
    }
    #expect(plan(job, [pod("a", of: job)], now: 950).againAfterSeconds == 10)
    let late = plan(job, [pod("a", of: job)], now: 960)
    #expect(late.status.conditions.first?.reason == "DeadlineExceeded")
    #expect(late.deletions.count == 1)
  }

  @Test func aSuspendedJobHasNoPodsAndGoesOnWithFreshTime() {
    var job = Self.job { job in
      job.spec.suspend = true
      job.status.startTime = time(5)
    }
    let asleep = plan(job, [pod("a", of: job)])
    #expect(asleep.discards.count == 1)
    #expect(asleep.status.startTime == nil)
    #expect(asleep.status.conditions.first?.reason == "JobSuspended")
    job.status = asleep.status
    job.spec.suspend = false
    let awake = plan(job, [])
    #expect(awake.creations.count == 2)
    #expect(awake.status.startTime == time(1000))
    #expect(awake.status.conditions.first?.status == "False")
  }

  @Test func aPolicyDecidesWhatAFailureMeans() {
    func policy(_ action: String, _ codes: [Int32]) -> PodFailurePolicy {
      var rule = PodFailurePolicyRule()
      rule.action = action
      var exit = PodFailurePolicyOnExitCodesRequirement()
      (exit.operator, exit.values) = ("In", codes)
      rule.onExitCodes = exit
      var policy = PodFailurePolicy()
      policy.rules = [rule]
      return policy
    }
    let fatal = Self.job { $0.spec.podFailurePolicy = policy("FailJob", [42]) }
    let ended = plan(fatal, [pod("a", of: fatal, phase: "Failed", code: 42)])
    #expect(ended.status.conditions.first?.reason == "PodFailurePolicy")
    #expect(
      ended.status.conditions.first?.message
        == "Container c for pod default/a failed with exit code 42 matching FailJob rule at index 0")
    #expect(plan(fatal, [pod("a", of: fatal, phase: "Failed", code: 1)]).status.conditions.isEmpty)
    let mild = Self.job { $0.spec.podFailurePolicy = policy("Ignore", [42]) }
    let ignored = plan(mild, [pod("a", of: mild, phase: "Failed", code: 42)])
    #expect(ignored.status.uncountedTerminatedPods?.failed == [])
    #expect(ignored.releases.count == 1)
  }

  @Test func anIndexMayFailByItself() {
    let job = Self.job(completions: 2, parallelism: 2, indexed: true) { job in
      job.spec.backoffLimit = nil
      job.spec.backoffLimitPerIndex = 0
    }
    let first = plan(job, [pod("a", of: job, phase: "Failed", index: 0), pod("b", of: job, index: 1)])
    #expect(first.status.failedIndexes == "0")
    #expect(first.creations.isEmpty)
    #expect(first.status.conditions.isEmpty)
    var next = job
    next.status = first.status
    let last = plan(
      next,
      [pod("a", of: job, phase: "Failed", index: 0, tracked: false), pod("b", of: job, phase: "Succeeded", index: 1)])
    #expect(last.status.conditions.first?.reason == "FailedIndexes")
  }

  @Test func aFinishedJobGoesWhenItsTimeIsOver() {
    let job = Self.job { job in
      job.spec.ttlSecondsAfterFinished = 10
      var done = JobCondition()
      (done.type, done.status, done.lastTransitionTime) = ("Complete", "True", time(995))
      job.status.conditions = [done]
    }
    #expect(plan(job, [], now: 1000).againAfterSeconds == 5)
    #expect(!plan(job, [], now: 1000).isExpired)
    #expect(plan(job, [], now: 1005).isExpired)
  }

  @Test(arguments: UInt64(0)..<60)
  func everyJobEndsAndCountsEachPodOnce(seed: UInt64) {
    var world = PodWorld(seed: seed)
    (world.ends, world.isTroubled) = (true, false)
    let indexed = seed % 2 == 0
    var job = Self.job(completions: 6, parallelism: 3, indexed: indexed) {
      $0.spec.backoffLimit = seed % 5 == 0 ? 1 : 100
    }
    var most = 0
    for step in 0..<4000 where job.finishedCondition == nil {
      if step % 40 == 20, seed % 7 == 0 { job.spec.suspend = !job.isSuspended }
      if step > 400 { job.spec.suspend = false }
      if world.dice.oneIn(2) {
        world.step()
        continue
      }
      let plan = JobPlan(for: job, pods: world.all, now: world.time)
      for pod in plan.discards {
        world.release(pod)
        world.delete(pod)
      }
      for pod in plan.deletions { world.delete(pod) }
      for pod in plan.creations { world.create(pod) }
      most = max(most, world.all.count(where: \.isActive))
      // Stopped here, nothing may be lost or counted twice.
      if world.dice.oneIn(6) { continue }
      job.status = plan.status
      for pod in plan.releases where world.dice.oneIn(6) == false { world.release(pod) }
    }
    #expect(world.problems == [])
    #expect(most <= 3)
    guard let end = job.finishedCondition else {
      Issue.record("the Job has not ended: \(job.status)")
      return
    }
    let finished = world.all
    if end.type == "Complete" { #expect(job.status.succeeded == 6) }
    if end.type == "Complete", indexed { #expect(job.status.completedIndexes == "0-5") }
    #expect(Int(job.status.failed ?? 0) <= world.made)
    #expect(job.status.uncountedTerminatedPods == nil)
    #expect(finished.allSatisfy { !$0.isActive })
    let rest = JobPlan(for: job, pods: world.all, now: world.time)
    #expect(rest.creations.isEmpty && rest.status == job.status)
  }
}
