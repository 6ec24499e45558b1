import NodeAgent
import Testing

private func rules(_ restart: RestartPolicy = .always, grace: Int64 = 30, probes: [ProbeKind: ProbeRule] = [:])
  -> PodRules
{
  var rules = PodRules()
  rules.graceSeconds = grace
  rules.containers = [ContainerRule(name: "a", role: .main, restart: restart, probes: probes)]
  return rules
}

/// A machine that is led to where its container runs.
private struct Led {
  var machine: PodMachine
  var now: Milliseconds = 0
  var attempt: UInt32 = 0

  init(_ rules: PodRules) { machine = PodMachine(rules) }

  mutating func tell(_ event: PodEvent, after: Milliseconds = 0) -> [PodAction] {
    now += after
    return machine.handle(event, now: now)
  }

  mutating func run() {
    #expect(tell(.tick) == [.makeVolumes])
    #expect(tell(.volumesMade) == [.makeSandbox(attempt: 0)])
    #expect(tell(.sandboxMade(id: "s", addresses: ["10.0.0.1"])) == [.pull(container: "a")])
    startOnce()
  }

  mutating func startOnce() {
    let actions = tell(.imageReady(container: "a"))
    #expect(actions.first == .start(container: "a", attempt: attempt))
    _ = tell(.started(container: "a", id: "c\(attempt)", attempt: attempt, at: 0))
  }

  mutating func end(_ code: Int32) -> [PodAction] {
    let exit = ContainerExit(id: "c\(attempt)", attempt: attempt, code: code)
    attempt += 1
    return tell(.exited(container: "a", exit))
  }
}

@Suite struct PodMachineTests {
  @Test func startsInOrderAndIsReady() {
    var led = Led(rules())
    led.run()
    #expect(led.machine.isReady)
    #expect(led.machine.phase == .running)
    #expect(led.machine.addresses == ["10.0.0.1"])
  }

  @Test(arguments: [(true, 42, true), (true, 1, false), (false, 42, false), (false, 1, true)] as [(Bool, Int32, Bool)])
  func codesOfTheirOwnStartAContainerAgainWhateverItsPolicy(_ isIn: Bool, _ code: Int32, _ restarts: Bool) {
    var own = rules(.never)
    own.containers[0].restartCodes = [RestartCodes(values: [42], isIn: isIn)]
    var led = Led(own)
    led.run()
    let actions = led.end(code)
    #expect((actions == [.pull(container: "a")]) == restarts, "\(actions)")
    #expect((led.machine.phase == .failed) != restarts)
  }

  @Test func anEvictedPodEndsInTheTimeItIsGivenAndLetsGoOfItsVolumes() {
    var led = Led(rules())
    led.run()
    #expect(led.tell(.failed(reason: "Evicted", message: "low", graceSeconds: 1)) == [.withdraw])
    #expect(led.machine.phase == .failed)
    #expect(led.tell(.withdrawn) == [.stop(container: "a", id: "c0", graceSeconds: 1)])
    #expect(led.end(143) == [.haltSandbox(id: "s")])
    #expect(led.tell(.sandboxHalted) == [.dropVolumes])
    #expect(led.tell(.volumesDropped).isEmpty)
    #expect(led.tell(.spaceNeeded) == [.forget(container: "a", id: "c0", attempt: 0)])
    #expect(led.tell(.spaceNeeded).isEmpty)
    #expect(led.tell(.deletionRequested(graceSeconds: 0)) == [.tearDown])
  }

  @Test func anOutdatedContainerRunsAnewWhateverItsPolicy() {
    var led = Led(rules(.never))
    led.run()
    #expect(led.tell(.outdated(container: "a")) == [.stop(container: "a", id: "c0", graceSeconds: 30)])
    #expect(led.end(143) == [.pull(container: "a")])
    led.startOnce()
    #expect(led.machine.isReady)
  }

  @Test func restartsAtOnceThenAfterPausesThatDoubleToTheirBound() {
    var led = Led(rules())
    led.run()
    var pauses: [Milliseconds] = []
    for _ in 0..<8 {
      let actions = led.end(1)
      if actions.isEmpty {
        #expect(led.machine.containers[0].waiting?.reason == "CrashLoopBackOff")
        pauses.append((led.machine.wakeAt ?? 0) - led.now)
        led.now = led.machine.wakeAt ?? 0
        #expect(led.tell(.tick) == [.pull(container: "a")])
      } else {
        #expect(actions == [.pull(container: "a")])
        pauses.append(0)
      }
      led.startOnce()
    }
    #expect(pauses == [0, 10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000])
    #expect(led.machine.containers[0].restartCount == 8)
  }

  @Test func aLongRunForgetsEarlierCrashes() {
    var led = Led(rules())
    led.run()
    _ = led.end(1)
    led.startOnce()
    led.now += 600_000
    #expect(led.end(1) == [.pull(container: "a")])
  }

  @Test(
    arguments: [
      (RestartPolicy.never, 1, PodMachine.Phase.failed), (.never, 0, .succeeded), (.onFailure, 0, .succeeded),
    ] as [(RestartPolicy, Int32, PodMachine.Phase)])
  func aPodThatIsDoneStopsItsSandboxAndStays(_ policy: RestartPolicy, _ code: Int32, _ phase: PodMachine.Phase) {
    var led = Led(rules(policy))
    led.run()
    #expect(led.end(code) == [.haltSandbox(id: "s")])
    #expect(led.tell(.sandboxHalted) == [])
    #expect(led.machine.phase == phase)
    #expect(!led.machine.isReady)
    #expect(led.tell(.deletionRequested(graceSeconds: nil)) == [.withdraw])
    #expect(led.tell(.withdrawn) == [.tearDown])
    _ = led.tell(.tornDown)
    #expect(led.machine.isGone)
  }

  @Test func deletionWithdrawsThenStopsThenTearsDown() {
    var led = Led(rules(grace: 7))
    led.run()
    #expect(led.tell(.deletionRequested(graceSeconds: nil)) == [.withdraw])
    #expect(!led.machine.isReady, "no Service leads to a pod that goes")
    #expect(led.tell(.withdrawn, after: 2000) == [.stop(container: "a", id: "c0", graceSeconds: 5)])
    #expect(led.tell(.deletionRequested(graceSeconds: nil)) == [], "asking again changes nothing")
    #expect(led.tell(.deletionRequested(graceSeconds: 0)) == [.stop(container: "a", id: "c0", graceSeconds: 0)])
    #expect(led.end(143) == [.tearDown])
    #expect(led.tell(.teardownFailed(message: "busy")) == [])
    #expect(led.machine.waiting?.message == "busy")
    #expect(led.tell(.tick, after: 1000) == [.tearDown])
    #expect(led.tell(.tornDown) == [])
    #expect(led.machine.isGone)
  }

  @Test func deletionMeetsALateSandbox() {
    var led = Led(rules())
    _ = led.tell(.tick)
    _ = led.tell(.volumesMade)
    #expect(led.tell(.deletionRequested(graceSeconds: nil)) == [.withdraw])
    #expect(led.tell(.withdrawn) == [], "the sandbox may still come")
    #expect(led.tell(.sandboxMade(id: "s", addresses: [])) == [.tearDown])
  }

  @Test func deletionMeetsALateContainer() {
    var led = Led(rules())
    _ = led.tell(.tick)
    _ = led.tell(.volumesMade)
    _ = led.tell(.sandboxMade(id: "s", addresses: []))
    _ = led.tell(.imageReady(container: "a"))
    _ = led.tell(.deletionRequested(graceSeconds: 3))
    #expect(led.tell(.withdrawn) == [])
    #expect(
      led.tell(.started(container: "a", id: "c0", attempt: 0, at: 0)) == [
        .stop(container: "a", id: "c0", graceSeconds: 3)
      ])
  }

  @Test func deletionCancelsAPull() {
    var led = Led(rules())
    _ = led.tell(.tick)
    _ = led.tell(.volumesMade)
    _ = led.tell(.sandboxMade(id: "s", addresses: []))
    #expect(led.tell(.deletionRequested(graceSeconds: nil)) == [.cancelPull(container: "a"), .withdraw])
    #expect(led.tell(.withdrawn) == [.tearDown])
  }

  @Test func livenessEndsTheContainerAfterItsThreshold() {
    var probe = ProbeRule()
    (probe.period, probe.failureThreshold, probe.graceSeconds, probe.initialDelay) = (1000, 2, 1, 500)
    var led = Led(rules(probes: [.liveness: probe]))
    led.run()
    #expect(led.machine.wakeAt == 500)
    #expect(led.tell(.tick, after: 500) == [.probe(container: "a", id: "c0", .liveness)])
    #expect(led.tell(.tick, after: 1000) == [], "one probe at a time")
    let failed = PodEvent.probed(container: "a", id: "c0", .liveness, success: false, message: "no")
    #expect(led.tell(failed) == [.probe(container: "a", id: "c0", .liveness)])
    #expect(led.tell(failed) == [.stop(container: "a", id: "c0", graceSeconds: 1)])
    #expect(led.end(143) == [.pull(container: "a")])
  }

  @Test func readinessComesAndGoes() {
    var probe = ProbeRule()
    (probe.period, probe.failureThreshold, probe.successThreshold) = (1000, 2, 2)
    var led = Led(rules(probes: [.readiness: probe]))
    led.run()
    #expect(!led.machine.isReady)
    for (success, ready) in [(true, false), (true, true), (false, true), (false, false), (true, false), (true, true)] {
      _ = led.tell(.tick, after: 1000)
      _ = led.tell(.probed(container: "a", id: "c0", .readiness, success: success, message: ""))
      #expect(led.machine.isReady == ready)
    }
  }

  @Test func otherProbesWaitForStartup() {
    var startup = ProbeRule()
    (startup.period, startup.failureThreshold) = (1000, 3)
    var led = Led(rules(probes: [.startup: startup, .liveness: ProbeRule(), .readiness: ProbeRule()]))
    led.run()
    led.now += 20_000
    _ = led.tell(.tick)
    let after = led.tell(.probed(container: "a", id: "c0", .startup, success: true, message: ""))
    #expect(after == [.probe(container: "a", id: "c0", .liveness), .probe(container: "a", id: "c0", .readiness)])
  }

  @Test func aProbeOfAnEarlierInstanceChangesNothing() {
    var led = Led(
      rules(probes: [
        .liveness: {
          var rule = ProbeRule(); rule.failureThreshold = 1; return rule
        }()
      ]))
    led.run()
    _ = led.end(1)
    led.startOnce()
    _ = led.tell(.probed(container: "a", id: "c0", .liveness, success: false, message: "late"))
    #expect(led.machine.containers[0].isRunning)
  }

  @Test func anImageThatCannotBePulledIsTriedAgainLater() {
    var led = Led(rules())
    _ = led.tell(.tick)
    _ = led.tell(.volumesMade)
    _ = led.tell(.sandboxMade(id: "s", addresses: []))
    #expect(led.tell(.imageFailed(container: "a", reason: "ErrImagePull", message: "no such image")) == [])
    #expect(
      led.machine.containers[0].waiting
        == Waiting("ImagePullBackOff", "Back-off pulling image \"\": ErrImagePull: no such image"))
    #expect(led.tell(.tick, after: 9_999) == [])
    #expect(led.tell(.tick, after: 1) == [.pull(container: "a")])
  }

  @Test func whatWaitedForAnObjectIsTriedAgainWhenObjectsChange() {
    var led = Led(rules())
    _ = led.tell(.tick)
    #expect(led.tell(.volumesFailed(reason: "ContainerCreating", message: "secret not found")) == [])
    #expect(led.tell(.contentChanged) == [.makeVolumes])
    _ = led.tell(.volumesMade)
    _ = led.tell(.sandboxMade(id: "s", addresses: []))
    _ = led.tell(.imageReady(container: "a"))
    let missing = PodEvent.startFailed(
      container: "a", attempt: 0, id: nil, reason: "CreateContainerConfigError", message: "configmap not found")
    #expect(led.tell(missing) == [])
    #expect(led.tell(.contentChanged) == [.pull(container: "a")])
  }

  @Test func whatWasNeverMadeIsNoRestart() {
    var led = Led(rules())
    _ = led.tell(.tick)
    _ = led.tell(.volumesMade)
    _ = led.tell(.sandboxMade(id: "s", addresses: []))
    for _ in 0..<3 {
      #expect(led.tell(.imageReady(container: "a")) == [.start(container: "a", attempt: 0)])
      let missing = PodEvent.startFailed(
        container: "a", attempt: 0, id: nil, reason: "CreateContainerConfigError", message: "configmap not found")
      _ = led.tell(missing)
      #expect(led.machine.containers[0].restartCount == 0)
      #expect(led.tell(.tick, after: 400_000) == [.pull(container: "a")])
    }
    _ = led.tell(.imageReady(container: "a"))
    // One that was made and did not start counts.
    let broken = PodEvent.startFailed(
      container: "a", attempt: 0, id: "c0", reason: "RunContainerError", message: "no such file")
    _ = led.tell(broken)
    _ = led.tell(.tick, after: 400_000)
    #expect(led.tell(.imageReady(container: "a")).contains(.start(container: "a", attempt: 1)))
    _ = led.tell(.started(container: "a", id: "c1", attempt: 1, at: 0))
    #expect(led.machine.containers[0].restartCount == 1)
  }

  @Test func initContainersRunOneAfterAnotherAndSidecarsStay() {
    var rules = PodRules()
    rules.containers = [
      ContainerRule(name: "i", role: .initial, restart: .onFailure),
      ContainerRule(name: "s", role: .sidecar, restart: .always),
      ContainerRule(name: "a", role: .main, restart: .always),
    ]
    var led = Led(rules)
    _ = led.tell(.tick)
    _ = led.tell(.volumesMade)
    #expect(led.tell(.sandboxMade(id: "x", addresses: [])) == [.pull(container: "i")])
    #expect(led.machine.containers[2].waiting?.reason == "PodInitializing")
    #expect(led.tell(.imageReady(container: "i")) == [.start(container: "i", attempt: 0)])
    #expect(led.tell(.started(container: "i", id: "i0", attempt: 0, at: 0)) == [])
    #expect(led.tell(.exited(container: "i", ContainerExit(id: "i0", attempt: 0, code: 0))) == [.pull(container: "s")])
    _ = led.tell(.imageReady(container: "s"))
    #expect(led.tell(.started(container: "s", id: "s0", attempt: 0, at: 0)) == [.pull(container: "a")])
    #expect(led.machine.phase == .pending)
    _ = led.tell(.imageReady(container: "a"))
    _ = led.tell(.started(container: "a", id: "a0", attempt: 0, at: 0))
    #expect(led.machine.isReady)
    // The end: the container first, the sidecar after it.
    _ = led.tell(.deletionRequested(graceSeconds: 9))
    #expect(led.tell(.withdrawn) == [.stop(container: "a", id: "a0", graceSeconds: 9)])
    let next = led.tell(.exited(container: "a", ContainerExit(id: "a0", attempt: 0, code: 0)), after: 4000)
    #expect(next == [.stop(container: "s", id: "s0", graceSeconds: 5)])
    #expect(led.tell(.exited(container: "s", ContainerExit(id: "s0", attempt: 0, code: 0))) == [.tearDown])
  }

  @Test func aFailedInitContainerOfAPodThatNeverRestartsFailsThePod() {
    var rules = PodRules()
    rules.containers = [
      ContainerRule(name: "i", role: .initial, restart: .never), ContainerRule(name: "a", role: .main, restart: .never),
    ]
    var led = Led(rules)
    _ = led.tell(.tick)
    _ = led.tell(.volumesMade)
    _ = led.tell(.sandboxMade(id: "s", addresses: []))
    _ = led.tell(.imageReady(container: "i"))
    _ = led.tell(.started(container: "i", id: "i0", attempt: 0, at: 0))
    #expect(led.tell(.exited(container: "i", ContainerExit(id: "i0", attempt: 0, code: 3))) == [.haltSandbox(id: "s")])
    #expect(led.machine.phase == .failed)
  }

  @Test func aDeadSandboxIsReplacedAndInitContainersRunAgain() {
    var led = Led(rules())
    led.run()
    #expect(led.tell(.sandboxDied(id: "s")) == [.stop(container: "a", id: "c0", graceSeconds: 0)])
    #expect(led.end(137) == [.clearSandbox(id: "s")])
    #expect(led.tell(.sandboxCleared) == [.makeSandbox(attempt: 1)])
    #expect(led.tell(.sandboxMade(id: "t", addresses: ["10.0.0.2"])) == [.pull(container: "a")])
    #expect(led.machine.addresses == ["10.0.0.2"])
  }

  @Test func aPodPastItsDeadlineFailsAndIsStopped() {
    var rules = rules(grace: 2)
    rules.activeDeadline = 5000
    var led = Led(rules)
    led.run()
    #expect(led.machine.wakeAt == 5000)
    #expect(led.tell(.tick, after: 5000) == [.withdraw])
    #expect(led.tell(.withdrawn) == [.stop(container: "a", id: "c0", graceSeconds: 2)])
    #expect(led.end(143) == [.haltSandbox(id: "s")])
    #expect(led.machine.failure?.reason == "DeadlineExceeded")
    #expect(led.machine.phase == .failed)
  }

  @Test func aRestartedAgentGoesOnWithWhatRuns() {
    let found = FoundPod(
      sandbox: .init(id: "s", attempt: 3, isReady: true, addresses: ["10.0.0.1"]),
      containers: [
        .init(name: "a", id: "c1", attempt: 1, state: .exited(ContainerExit(id: "c1", attempt: 1, code: 1))),
        .init(name: "a", id: "c2", attempt: 2, state: .running(startedAt: 5, wasReady: true)),
      ])
    var machine = PodMachine(rules(), adopting: found, now: 0)
    #expect(machine.isReady)
    #expect(machine.handle(.tick, now: 0) == [.makeVolumes])
    #expect(machine.handle(.volumesMade, now: 0) == [], "nothing is started twice")
    #expect(machine.containers[0].restartCount == 2)
    #expect(
      machine.handle(.exited(container: "a", ContainerExit(id: "c2", attempt: 2, code: 0)), now: 1) == [
        .pull(container: "a")
      ])
    #expect(
      machine.handle(.imageReady(container: "a"), now: 1)
        == [.start(container: "a", attempt: 3), .forget(container: "a", id: "c1", attempt: 1)])
  }
}
