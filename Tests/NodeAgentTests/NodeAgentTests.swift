import CRIModel
import JSON
import Kernel
import KubeModel
import Logging
import NodeAgent
import PodTranslation
import SwiftProtobuf
import Synchronization
import TestSupport
import Testing
import Volumes

/// A node of one test: a fake runtime, real files and volumes.
private final class TestNode: Sendable {
  let scratch: TestDirectory
  let runtime: FakeRuntime
  let served = Mutex<[[String]]>([])

  init(runtime: FakeRuntime = FakeRuntime()) throws {
    scratch = try TestDirectory()
    self.runtime = runtime
    try Files.makeDirectories("\(scratch.path)/manifests")
  }

  var statusFile: String { "\(scratch.path)/run/status.json" }

  func put(_ name: String, _ text: String) throws {
    try Files.writeAtomically("\(scratch.path)/manifests/\(name)", Array(text.utf8))
  }

  func remove(_ name: String) throws { try Files.remove("\(scratch.path)/manifests/\(name)") }

  /// Runs an agent for as long as `body` runs.
  func withAgent(hooks: PodHooks = PodHooks(), _ body: () async throws -> Void) async throws {
    var settings = NodeAgent.Settings(manifests: "\(scratch.path)/manifests", statusFile: statusFile)
    settings.relist = .milliseconds(20)
    settings.measure = .milliseconds(50)
    settings.statusPause = .milliseconds(2)
    settings.rotate = .milliseconds(20)
    settings.logRotation.bytesMax = 1000
    var facts = NodeFacts(nodeName: "test-node")
    facts.logRoot = "\(scratch.path)/logs"
    var logger = Logger(label: "test")
    logger.logLevel = .critical
    var tools = NodeTools(
      runtime: runtime, volumes: VolumeStore(root: "\(scratch.path)/volumes"), facts: facts, logger: logger)
    tools.backoff = BackoffRule(scaledBy: 0.001)
    tools.hooks = hooks
    let agent = NodeAgent(settings: settings, tools: tools) { services, backends in
      self.served.withLock { $0.append(backends.filter(\.isReady).map(\.name)) }
      return services.map {
        ServiceReport(namespace: $0.namespace, name: $0.name, clusterIPs: ["10.96.0.1"], ports: [])
      }
    }
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await agent.run() }
      try await body()
      group.cancelAll()
      try await group.waitForAll()
    }
  }

  var status: JSONValue { (try? JSONValue.parse(Files.read(statusFile))) ?? .null }

  func pod(_ name: String) -> JSONValue? { status["pods"]?.array?.first { $0["name"]?.string == name } }

  /// Waits until the status says so.
  func wait(_ what: String, seconds: Int64 = 10, _ isTrue: (TestNode) -> Bool) async throws {
    let deadline = ContinuousClock.now + .seconds(seconds)
    while !isTrue(self) {
      guard ContinuousClock.now < deadline else {
        Issue.record("\(what): \(status.encodedString(pretty: true))")
        throw CancellationError()
      }
      try await Task.sleep(for: .milliseconds(5))
    }
  }

  func finish() throws {
    try VolumeMount.detachAll(below: scratch.path)
    let left = try LeakCheck(token: scratch.token).remains()
    try scratch.remove()
    #expect(left == [])
  }
}

private func pod(_ name: String, _ fields: String = "", _ container: String = "") -> String {
  """
  apiVersion: v1
  kind: Pod
  metadata: {name: \(name), labels: {app: web}}
  spec: {terminationGracePeriodSeconds: 1, \(fields) containers: [{name: \(name), image: "web:1" \(container)}]}

  """
}

private func isReady(_ name: String) -> (TestNode) -> Bool { { $0.pod(name)?["ready"]?.bool == true } }

@Suite struct NodeAgentTests {
  @Test func aManifestBecomesAPodAndGoesWithIt() async throws {
    let node = try TestNode()
    try await node.withAgent {
      try node.put("app.yaml", pod("web"))
      try await node.wait("ready", isReady("web"))
      #expect(node.pod("web")?["status"]?["podIP"]?.string?.hasPrefix("10.0.0.") == true)
      #expect(node.runtime.config("web")?.labels[PodKey.podName] == "web")
      let uid = node.pod("web")?["uid"]?.string ?? ""
      #expect(Files.exists("\(node.scratch.path)/volumes/\(uid)"))
      try node.remove("app.yaml")
      try await node.wait("gone") { $0.status["pods"]?.array?.isEmpty == true }
      #expect(node.runtime.isEmpty)
      #expect(!Files.exists("\(node.scratch.path)/volumes/\(uid)"))
      #expect(try Directory(path: "\(node.scratch.path)/logs").list().isEmpty)
      let served = node.served.withLock { $0 }
      #expect(served.contains(["web"]))
      #expect(served.last == [])
    }
    try node.finish()
  }

  @Test func othersAreAskedBeforeTheFirstContainerAndBeforeAStop() async throws {
    let node = try TestNode()
    let seen = Mutex<[String]>([])
    let refusals = Mutex(1)
    let (sandboxes, starts, stops) = (
      { @Sendable in node.runtime.state.withLock { $0.sandboxes.count } },
      { @Sendable in node.runtime.state.withLock { $0.starts.count } },
      { @Sendable in node.runtime.state.withLock { $0.stops.count } }
    )
    var hooks = PodHooks()
    hooks.sandboxReady = { pod in
      seen.withLock { $0.append("ready \(pod.namespace)/\(pod.name) \(pod.labels) \(starts()) \(sandboxes())") }
      #expect(pod.addresses.first?.hasPrefix("10.0.0.") == true)
      // The first time the policy cannot be set: nothing may run, and another sandbox is tried.
      if refusals.withLock({
        $0 -= 1; return $0 == 0
      }) {
        throw CancellationError()
      }
    }
    hooks.beforeStop = { pod, container in
      seen.withLock { $0.append("stop \(pod.name)/\(container) \(stops())") }
    }
    hooks.sandboxesGone = { pod in seen.withLock { $0.append("gone \(pod.name) \(sandboxes())") } }
    try await node.withAgent(hooks: hooks) {
      try node.put("app.yaml", pod("web"))
      try await node.wait("ready", isReady("web"))
      try node.remove("app.yaml")
      try await node.wait("gone") { $0.status["pods"]?.array?.isEmpty == true }
    }
    let first = "ready default/web [\"app\": \"web\"] 0 1"
    #expect(seen.withLock { $0 } == [first, first, "stop web/web 0", "gone web 0"])
    try node.finish()
  }

  @Test func aLongLogIsBegunAnewAndOneThatCannotBeKeepsItsName() async throws {
    let node = try TestNode()
    try await node.withAgent {
      try node.put("app.yaml", pod("web"))
      try await node.wait("ready", isReady("web"))
      let uid = node.pod("web")?["uid"]?.string ?? ""
      let directory = "\(node.scratch.path)/logs/default_web_\(uid)/web"
      try Files.writeAtomically("\(directory)/0.log", Array(repeating: 0x61, count: 2000))
      try await node.wait("moved") { node in node.runtime.state.withLock { !$0.reopened.isEmpty } }
      let parts = try Directory(path: directory).list().map(\.name)
      #expect(parts.count == 1 && parts.allSatisfy { $0.hasPrefix("0.log.") }, "\(parts)")
      let before = node.runtime.state.withLock { state in
        state.reopenFails = true
        return state.reopened.count
      }
      try Files.writeAtomically("\(directory)/0.log", Array(repeating: 0x61, count: 2000))
      try await node.wait("tried") { node in node.runtime.state.withLock { $0.reopened.count > before } }
      try await node.wait("back") { _ in Files.exists("\(directory)/0.log") }
    }
    try node.finish()
  }

  @Test func aBadDocumentIsReportedAndTheRestRuns() async throws {
    let node = try TestNode()
    try await node.withAgent {
      try node.put("app.yaml", pod("good") + "---\n" + pod("bad", "imagee: x,"))
      try await node.wait("ready", isReady("good"))
      let error = node.status["errors"]?[0]
      #expect(error?["file"]?.string == "app.yaml")
      #expect(error?["document"]?.integer == 2)
      #expect(error?["field"]?.string == "spec.imagee")
      #expect(error?["problem"]?.string == "unknown field")
      #expect(node.pod("bad") == nil)
    }
    try node.finish()
  }

  @Test func aSlipOfThePenStopsNothing() async throws {
    let node = try TestNode()
    try await node.withAgent {
      try node.put("app.yaml", pod("web"))
      try await node.wait("ready", isReady("web"))
      try node.put("app.yaml", pod("web").replacing("kind", with: "kindd"))
      try await node.wait("error") { $0.status["errors"]?.array?.isEmpty == false }
      try await Task.sleep(for: .milliseconds(100))
      #expect(node.pod("web")?["terminating"]?.bool == false)
      try node.put("app.yaml", pod("web", "hostname: other,"))
      try await node.wait("replaced") { $0.runtime.starts.count == 2 && isReady("web")($0) }
    }
    try node.finish()
  }

  @Test func aChangedPodIsReplacedAfterTheOldOneIsGone() async throws {
    let node = try TestNode()
    try await node.withAgent {
      try node.put("app.yaml", pod("web"))
      try await node.wait("ready", isReady("web"))
      let first = node.pod("web")?["uid"]?.string
      try node.put("app.yaml", pod("web", "", ", env: [{name: A, value: b}]"))
      try await node.wait("new uid") { $0.pod("web")?["uid"]?.string != first && isReady("web")($0) }
      #expect(node.runtime.state.withLock { $0.sandboxes.count } == 1)
      #expect(node.runtime.config("web")?.envs.map(\.key) == ["A"])
    }
    try node.finish()
  }

  @Test func aRestartedAgentTakesOverAndStartsNothingTwice() async throws {
    let runtime = FakeRuntime()
    let node = try TestNode(runtime: runtime)
    try node.put("app.yaml", pod("web") + "---\n" + pod("gone"))
    try await node.withAgent {
      try await node.wait("ready") { isReady("web")($0) && isReady("gone")($0) }
    }
    #expect(runtime.state.withLock { $0.containers.count } == 2, "pods outlive their agent")
    try node.put("app.yaml", pod("web"))
    // A stranger's sandbox, and one that only looks like ours.
    runtime.state.withLock { state in
      state.sandboxes["theirs"] = FakeRuntime.Sandbox(config: .with { $0.metadata.name = "theirs" })
      state.sandboxes["other-node"] = FakeRuntime.Sandbox(
        config: .with { $0.labels = [PodKey.podUID: "x", PodKey.agent: "other"] })
    }
    try await node.withAgent {
      try await node.wait("taken over") { isReady("web")($0) && $0.pod("gone") == nil }
      try await Task.sleep(for: .milliseconds(100))
      #expect(runtime.starts.sorted() == ["gone.0", "web.0"])
      #expect(
        runtime.state.withLock { $0.sandboxes.keys.contains("theirs") && $0.sandboxes.keys.contains("other-node") })
      #expect(runtime.state.withLock { $0.sandboxes.count } == 3)
      #expect(runtime.state.withLock { $0.doubles } == 0)
    }
    try node.finish()
  }

  @Test func podsOfAManifestThatCannotBeReadAreLeftAlone() async throws {
    let node = try TestNode()
    try node.put("app.yaml", pod("web"))
    try await node.withAgent { try await node.wait("ready", isReady("web")) }
    try node.put("app.yaml", "{{{")
    try await node.withAgent {
      try await node.wait("kept") { $0.status["keptPods"]?.array?.count == 1 }
      try await Task.sleep(for: .milliseconds(100))
      #expect(node.runtime.state.withLock { $0.containers.values.filter { $0.state == .containerRunning }.count } == 1)
    }
    try node.finish()
  }

  @Test func aCrashedContainerIsRestartedAndCounted() async throws {
    let node = try TestNode()
    try await node.withAgent {
      try node.put("app.yaml", pod("web"))
      try await node.wait("ready", isReady("web"))
      node.runtime.end("web", code: 7)
      try await node.wait("restarted") { $0.runtime.starts == ["web.0", "web.1"] && isReady("web")($0) }
      let container = node.pod("web")?["status"]?["containerStatuses"]?[0]
      #expect(container?["restartCount"]?.integer == 1)
      #expect(container?["lastState"]?["terminated"]?["exitCode"]?.integer == 7)
    }
    try node.finish()
  }

  @Test func whatAPodWaitsForIsInTheStatus() async throws {
    let node = try TestNode()
    try await node.withAgent {
      try node.put("a.yaml", pod("web").replacing("web:1", with: "none:1"))
      let config = ", env: [{name: A, valueFrom: {configMapKeyRef: {name: settings, key: k}}}]"
      try node.put("b.yaml", pod("env", "", config))
      try node.put("c.yaml", pod("vol", "volumes: [{name: v, secret: {secretName: keys}}],"))
      func waits(_ name: String, _ words: String) -> (TestNode) -> Bool {
        { $0.pod(name)?["status"]?.encodedString().contains(words) == true }
      }
      try await node.wait("image", waits("web", "ImagePullBackOff"))
      try await node.wait("message", waits("web", "ErrImagePull: no such image none:1"))
      try await node.wait("config", waits("env", "CreateContainerConfigError"))
      try await node.wait("config map", waits("env", #"configmap \"settings\" not found"#))
      try await node.wait("secret", waits("vol", #"secret \"keys\" not found"#))
      // What was missing comes, and all of them start.
      try node.put("d.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {k: v}\n")
      try node.put("e.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: keys}\nstringData: {token: s3}\n")
      try await node.wait("both", { isReady("env")($0) && isReady("vol")($0) })
    }
    try node.finish()
  }

  @Test func aChangedSecretReachesThePodsFiles() async throws {
    let node = try TestNode()
    func secret(_ value: String) -> String {
      "apiVersion: v1\nkind: Secret\nmetadata: {name: keys}\nstringData: {token: \(value)}\n"
    }
    try node.put("keys.yaml", secret("one"))
    try await node.withAgent {
      try node.put(
        "app.yaml",
        pod("web", "volumes: [{name: v, secret: {secretName: keys}}],", ", volumeMounts: [{name: v, mountPath: /keys}]")
      )
      try await node.wait("ready", isReady("web"))
      let mount = try #require(node.runtime.config("web")?.mounts.first { $0.containerPath == "/keys" })
      #expect(mount.readonly)
      #expect(try Files.readText("\(mount.hostPath)/token") == "one")
      try node.put("keys.yaml", secret("two"))
      try await node.wait("new content") { _ in (try? Files.readText("\(mount.hostPath)/token")) == "two" }
      #expect(node.runtime.starts == ["web.0"])
      try node.remove("app.yaml")
      try await node.wait("gone") { $0.runtime.isEmpty && $0.pod("web") == nil }
      #expect(!Files.exists(mount.hostPath))
    }
    try node.finish()
  }

  @Test func aProbeByCommandDecidesReadiness() async throws {
    let node = try TestNode()
    node.runtime.state.withLock { $0.execAnswers["check"] = 1 }
    try await node.withAgent {
      try node.put(
        "app.yaml",
        pod("web", "", ", readinessProbe: {periodSeconds: 1, failureThreshold: 1, exec: {command: [check]}}"))
      try await node.wait("running") { $0.runtime.starts.count == 1 }
      try await Task.sleep(for: .milliseconds(100))
      #expect(node.pod("web")?["ready"]?.bool == false)
      node.runtime.state.withLock { $0.execAnswers["check"] = 0 }
      try await node.wait("ready", isReady("web"))
    }
    try node.finish()
  }

  @Test func anEmptyDirBeyondItsLimitEvictsThePod() async throws {
    let node = try TestNode()
    try await node.withAgent {
      try node.put(
        "app.yaml",
        pod("web", "volumes: [{name: v, emptyDir: {sizeLimit: 64Ki}}],", ", volumeMounts: [{name: v, mountPath: /v}]"))
      try await node.wait("ready", isReady("web"))
      let path = try #require(node.runtime.config("web")?.mounts.first { $0.containerPath == "/v" }?.hostPath)
      try Files.writeAtomically("\(path)/file", [UInt8](repeating: 1, count: 1 << 20))
      try await node.wait("evicted") { $0.pod("web")?["status"]?["reason"]?.string == "Evicted" }
      try node.remove("app.yaml")
      try await node.wait("gone") { $0.runtime.isEmpty }
    }
    try node.finish()
  }

  @Test func aRuntimeThatGoesAwayIsReportedAndWaitedFor() async throws {
    let node = try TestNode()
    try await node.withAgent {
      try node.put("app.yaml", pod("web"))
      try await node.wait("ready", isReady("web"))
      node.runtime.state.withLock { $0.isAway = true }
      try await node.wait("problem") { $0.status["runtimeProblem"]?.string?.contains("away") == true }
      try node.put("b.yaml", pod("late"))
      node.runtime.state.withLock { $0.isAway = false }
      try await node.wait("both") { isReady("web")($0) && isReady("late")($0) && $0.status["runtimeProblem"] == nil }
      #expect(node.runtime.starts == ["web.0", "late.0"])
    }
    try node.finish()
  }

  @Test func aHundredPodsComeAndGo() async throws {
    let node = try TestNode()
    try await node.withAgent {
      try node.put("app.yaml", (0..<100).map { pod("p\($0)") }.joined(separator: "---\n"))
      try await node.wait("ready", seconds: 60) { node in
        (node.status["pods"]?.array ?? []).count { $0["ready"]?.bool == true } == 100
      }
      try node.remove("app.yaml")
      try await node.wait("gone", seconds: 60) { $0.status["pods"]?.array?.isEmpty == true }
      #expect(node.runtime.isEmpty)
    }
    try node.finish()
  }
}
