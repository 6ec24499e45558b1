import JSON
import KubeModel
import NodeAgent
import Testing

private func status(_ text: String) throws -> PodStatus {
  try Pod(lenient: JSONValue.parse(#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"status":\#(text)}"#))
    .status
}
private func condition(_ type: String, _ status: String, _ at: Int64? = nil) -> String {
  let time = at.map { #","lastTransitionTime":"\#(Time(secondsSinceEpoch: $0))""# } ?? ""
  return #"{"type":"\#(type)","status":"\#(status)"\#(time)}"#
}
private let now = Time(secondsSinceEpoch: 1000)

private func next(_ new: String, after old: String, gates: [String] = [], isDeleting: Bool = false) throws -> PodStatus
{
  let gates = gates.map { name in
    var gate = PodReadinessGate()
    gate.conditionType = name
    return gate
  }
  return try status(new).continuing(try status(old), gates: gates, isDeleting: isDeleting, now: now)
}

@Suite struct PodStatusTests {
  @Test func aConditionKeepsItsTimeUntilItChanges() throws {
    let result = try next(
      #"{"conditions":[\#(condition("Ready", "True")),\#(condition("Initialized", "True"))]}"#,
      after: #"{"conditions":[\#(condition("Ready", "False", 5)),\#(condition("Initialized", "True", 5))]}"#)
    #expect(result.conditions.map(\.lastTransitionTime?.secondsSinceEpoch) == [1000, 5])
  }

  @Test func whatOthersWriteStaysAndWhatIsOursIsReplaced() throws {
    let result = try next(
      #"{"conditions":[\#(condition("Ready", "True"))]}"#,
      after:
        #"{"conditions":[\#(condition("Theirs", "True", 7)),\#(condition("Ready", "True", 5))],"startTime":"1970-01-01T00:00:09Z"}"#
    )
    #expect(result.conditions.map(\.type) == ["Ready", "Theirs"])
    #expect(result.startTime?.secondsSinceEpoch == 9)
  }

  @Test func aReadinessGateHoldsReadyBack() throws {
    let ready = #"{"conditions":[\#(condition("Ready", "True"))]}"#
    #expect(try next(ready, after: "{}", gates: ["g"]).conditions[0].status == "False")
    let open = #"{"conditions":[\#(condition("g", "True", 1))]}"#
    #expect(try next(ready, after: open, gates: ["g"]).conditions[0].status == "True")
  }

  @Test(arguments: [("Succeeded", "Running"), ("Failed", "Pending")])
  func anEndStaysTheEnd(_ old: String, _ new: String) throws {
    let result = try next(
      #"{"phase":"\#(new)"}"#,
      after: #"{"phase":"\#(old)","reason":"Evicted","podIP":"10.0.0.1","podIPs":[{"ip":"10.0.0.1"}]}"#)
    #expect(result.phase == old)
    #expect(result.reason == "Evicted")
    #expect(result.podIP == "10.0.0.1")
  }

  @Test func countsNeverGoBackAndWhatRanBeforeIsRemembered() throws {
    let result = try next(
      #"{"containerStatuses":[{"name":"c","restartCount":0,"image":"i","imageID":"","ready":false,"state":{"waiting":{"reason":"ContainerCreating"}}}]}"#,
      after:
        #"{"containerStatuses":[{"name":"c","restartCount":4,"image":"i","imageID":"x","ready":true,"state":{"terminated":{"exitCode":2,"containerID":"martlet://o"}}}]}"#
    )
    #expect(result.containerStatuses[0].restartCount == 4)
    #expect(result.containerStatuses[0].imageID == "x")
    #expect(result.containerStatuses[0].lastState.terminated?.exitCode == 2)
  }

  @Test func aPatchHoldsWhatChangedAndTakesAwayOnlyWhatIsOurs() throws {
    let old = try status(#"{"phase":"Running","podIP":"10.0.0.1","nominatedNodeName":"n"}"#)
    let new = try status(#"{"phase":"Running","reason":"Evicted"}"#)
    let patch = try #require(new.patch(from: old, uid: "u", revision: nil))
    #expect(patch == ["metadata": ["uid": "u"], "status": ["reason": "Evicted", "podIP": .null]])
    #expect(old.patch(from: old, uid: "u", revision: nil) == nil)
    #expect(new.patch(from: old, uid: "u", revision: "7")?["metadata"]?["resourceVersion"]?.string == "7")
  }
}

/// A machine, its events, and the notes of each step.
private struct Told {
  var machine: PodMachine
  var now: Milliseconds = 0

  init(_ probes: [ProbeKind: ProbeRule] = [:]) {
    var rules = PodRules()
    rules.title = "web_default(u)"
    rules.containers = [ContainerRule(name: "c", role: .main, restart: .always, probes: probes, image: "web:1")]
    machine = PodMachine(rules)
  }

  mutating func tell(_ event: PodEvent, after: Milliseconds = 0) -> [String] {
    now += after
    let before = machine.report
    let actions = machine.handle(event, now: now)
    return PodNotes.notes(
      of: event, before: before, after: machine.report, actions: actions, title: machine.rules.title
    ).map { "\($0.isWarning ? "Warning" : "Normal") \($0.reason) \($0.message)" }
  }

  mutating func run() {
    for event in [.tick, .volumesMade, .sandboxMade(id: "s", addresses: ["10.0.0.1"])] as [PodEvent] { _ = tell(event) }
    start("c0", 0)
  }

  mutating func start(_ id: String, _ attempt: UInt32) {
    _ = tell(.imageReady(container: "c", image: "x"))
    _ = tell(.started(container: "c", id: id, attempt: attempt, at: 0))
  }
}

@Suite struct PodNoteTests {
  @Test func aStartIsTold() {
    var told = Told()
    for event in [.tick, .volumesMade, .sandboxMade(id: "s", addresses: [])] as [PodEvent] {
      #expect(told.tell(event) == [])
    }
    #expect(told.tell(.imageReady(container: "c")) == [])
    #expect(
      told.tell(.started(container: "c", id: "c0", attempt: 0, at: 0)) == [
        "Normal Created Container created", "Normal Started Container started",
      ])
    #expect(told.tell(.started(container: "c", id: "c0", attempt: 0, at: 0)) == [], "not twice")
  }

  @Test func aCrashLoopIsToldWithItsPause() {
    var told = Told()
    told.run()
    #expect(told.tell(.exited(container: "c", ContainerExit(id: "c0", attempt: 0, code: 1))) == [])
    told.start("c1", 1)
    #expect(
      told.tell(.exited(container: "c", ContainerExit(id: "c1", attempt: 1, code: 1))) == [
        "Warning BackOff Back-off restarting failed container c in pod web_default(u)"
      ])
    #expect(
      told.machine.containers[0].waiting?.message == "back-off 10s restarting failed container=c pod=web_default(u)")
    #expect(told.tell(.tick, after: 1) == [], "once a pause")
  }

  @Test func aPullThatFailsIsTold() {
    var told = Told()
    for event in [.tick, .volumesMade, .sandboxMade(id: "s", addresses: [])] as [PodEvent] { _ = told.tell(event) }
    #expect(
      told.tell(.imageFailed(container: "c", reason: "ErrImagePull", message: "no such image")) == [
        "Warning Failed Failed to pull image \"web:1\": no such image", "Warning Failed Error: ErrImagePull",
        "Normal BackOff Back-off pulling image \"web:1\"", "Warning Failed Error: ImagePullBackOff",
      ])
    #expect(
      told.machine.containers[0].waiting
        == Waiting("ImagePullBackOff", "Back-off pulling image \"web:1\": ErrImagePull: no such image"))
  }

  @Test func aFailedProbeAndTheRestartItAsksForAreTold() {
    var rule = ProbeRule()
    rule.failureThreshold = 1
    var told = Told([.liveness: rule])
    told.run()
    #expect(
      told.tell(
        .probed(container: "c", id: "c0", .liveness, success: false, message: "HTTP probe failed with statuscode: 500"))
        == [
          "Warning Unhealthy Liveness probe failed: HTTP probe failed with statuscode: 500",
          "Normal Killing Container c failed liveness probe, will be restarted",
        ])
  }

  @Test func aStopIsToldOnceAndWhyItIsAnother() {
    var told = Told()
    told.run()
    #expect(
      told.tell(.imageChanged(container: "c", image: "web:2")) == [
        "Normal Killing Container c definition changed, will be restarted"
      ])
    _ = told.tell(.exited(container: "c", ContainerExit(id: "c0", attempt: 0, code: 0)))
    told.start("c1", 1)
    _ = told.tell(.deletionRequested(graceSeconds: 30))
    #expect(told.tell(.withdrawn) == ["Normal Killing Stopping container c"])
    #expect(told.tell(.deletionRequested(graceSeconds: 0)) == [], "hurrying is no news")
  }

  @Test(arguments: [
    (
      PodEvent.volumesFailed(reason: "ContainerCreating", message: "MountVolume.SetUp failed for volume \"v\" : x"),
      "Warning FailedMount MountVolume.SetUp failed for volume \"v\" : x"
    ),
    (.sandboxFailed(message: "no"), "Warning FailedCreatePodSandBox Failed to create pod sandbox: no"),
  ])
  func whatFailsBeforeAContainerIsTold(_ event: PodEvent, _ note: String) {
    var told = Told()
    _ = told.tell(.tick)
    if case .sandboxFailed = event { _ = told.tell(.volumesMade) }
    #expect(told.tell(event) == [note])
  }

  @Test func anEndedImageChangeStartsTheNewImageWhateverTheRestartPolicySays() {
    var rules = PodRules()
    rules.containers = [ContainerRule(name: "c", role: .main, restart: .never, image: "web:1")]
    var machine = PodMachine(rules)
    for event in [
      .tick, .volumesMade, .sandboxMade(id: "s", addresses: []), .imageReady(container: "c"),
      .started(container: "c", id: "c0", attempt: 0, at: 0),
    ] as [PodEvent] { _ = machine.handle(event, now: 0) }
    let stop = machine.handle(.imageChanged(container: "c", image: "web:2"), now: 1)
    #expect(stop == [.stop(container: "c", id: "c0", graceSeconds: 30)])
    let exit = ContainerExit(id: "c0", attempt: 0, code: 143)
    #expect(machine.handle(.exited(container: "c", exit), now: 2) == [.pull(container: "c")])
    #expect(machine.phase == .running)
  }
}
