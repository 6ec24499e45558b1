import CRIModel
import JSON
import Kernel
import KubeClient
import KubeModel
import Logging
import NodeAgent
import PodTranslation
import SwiftProtobuf
import Synchronization
import TestSupport
import Testing
import Volumes

/// A node of a cluster in memory: a fake runtime and API server, real files and volumes.
final class ServedNode: Sendable {
  let scratch: TestDirectory
  let runtime: FakeRuntime
  let api: FakeAPI
  let withdrawn = Mutex<[String]>([])
  /// What a test wants otherwise.
  let adjustFacts = Mutex<@Sendable (inout NodeFacts) -> Void>({ _ in })
  let adjust = Mutex<@Sendable (inout NodeAgent.Settings) -> Void>({ _ in })

  init(runtime: FakeRuntime = FakeRuntime(), api: FakeAPI = FakeAPI()) throws {
    scratch = try TestDirectory()
    (self.runtime, self.api) = (runtime, api)
    try Files.makeDirectories("\(scratch.path)/manifests")
  }

  static func logger() -> Logger {
    var logger = Logger(label: "test")
    logger.logLevel = .critical
    return logger
  }

  /// Runs an agent for as long as `body` runs.
  func withAgent(_ body: (NodeAgent, Cluster) async throws -> Void) async throws {
    let logger = Self.logger()
    var settings = NodeAgent.Settings(
      manifests: "\(scratch.path)/manifests", statusFile: "\(scratch.path)/run/status.json")
    settings.relist = .milliseconds(20)
    settings.statusPause = .milliseconds(2)
    // The machine of the tests may be short of anything.
    settings.readings = { _ in [:] }
    adjust.withLock { $0 }(&settings)
    var facts = NodeFacts(nodeName: "n1")
    facts.logRoot = "\(scratch.path)/logs"
    facts.hostIPs = ["192.0.2.1"]
    adjustFacts.withLock { $0 }(&facts)
    var tools = NodeTools(
      runtime: runtime, volumes: VolumeStore(root: "\(scratch.path)/volumes"), facts: facts, logger: logger)
    tools.backoff = BackoffRule(scaledBy: 0.001)
    let services = Informer(Service.self, client: api.client, logger: logger)
    let cluster = Cluster(
      client: api.client, nodeName: "n1", services: services, hostIPs: { ["192.0.2.1"] }, logger: logger,
      contentPause: .milliseconds(20)
    ) { uid in
      self.withdrawn.withLock { $0.append(uid) }
    }
    tools.serviceLinks = { cluster.links(in: $0) }
    tools.notes = { cluster.record($0, $1) }
    let agent = NodeAgent(settings: settings, tools: tools, cluster: cluster) { _, _ in [] }
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try? await services.run() }
      group.addTask { try await agent.run() }
      try await body(agent, cluster)
      group.cancelAll()
      try await group.waitForAll()
    }
  }

  static func path(_ name: String) -> String { "/api/v1/namespaces/default/pods/\(name)" }

  func put(_ name: String, _ fields: String = "", _ container: String = "", uid: String? = nil) throws {
    let uid = uid.map { #""uid":"\#($0)","# } ?? ""
    try api.put(
      Self.path(name),
      """
      {"apiVersion":"v1","kind":"Pod","metadata":{\(uid)"name":"\(name)","namespace":"default","generation":1},
       "spec":{"nodeName":"n1","terminationGracePeriodSeconds":1,\(fields)
               "containers":[{"name":"c","image":"web:1"\(container)}]}}
      """)
  }

  func status(_ name: String) -> JSONValue? { api.get(Self.path(name))?["status"] }
  func condition(_ name: String, _ type: String) -> JSONValue? {
    status(name)?["conditions"]?.array?.first { $0["type"]?.string == type }
  }
  func container(_ name: String) -> JSONValue? { status(name)?["containerStatuses"]?[0] }
  func isReady(_ name: String) -> Bool { condition(name, "Ready")?["status"]?.string == "True" }
  var events: [String] {
    api.list("events").map { "\($0["reason"]?.string ?? ""): \($0["message"]?.string ?? "")" }
  }

  func wait(_ what: String, seconds: Int64 = 10, _ isTrue: (ServedNode) -> Bool) async throws {
    let deadline = ContinuousClock.now + .seconds(seconds)
    while !isTrue(self) {
      guard ContinuousClock.now < deadline else {
        Issue.record("\(what): \(api.list("pods").map { $0.encodedString() }) \(events)")
        throw CancellationError()
      }
      try await Task.sleep(for: .milliseconds(5))
    }
  }

  func finish() throws {
    try VolumeMount.detachAll(below: scratch.path)
    try scratch.remove()
  }
}

@Suite struct ServedPodTests {
  @Test func aPodHasItsTokenAndAYoungerOneInTime() async throws {
    let node = try ServedNode()
    let files = #"{"serviceAccountToken":{"path":"token","expirationSeconds":600}}"#
    try node.put(
      "web", #""serviceAccountName":"robot","volumes":[{"name":"t","projected":{"sources":[\#(files)]}}],"#,
      #","volumeMounts":[{"name":"t","mountPath":"/t"}]"#)
    try await node.withAgent { _, _ in
      try await node.wait("ready") { $0.isReady("web") }
      let mount = try #require(node.runtime.config("c")?.mounts.first { $0.containerPath == "/t" })
      #expect(mount.readonly)
      func token() -> String { ((try? Files.readText("\(mount.hostPath)/token")) ?? nil) ?? "" }
      let first = token()
      #expect(first.hasPrefix("/api/v1/namespaces/default/serviceaccounts/robot/token for web "))
      try await node.wait("renewed") { _ in token() != first && !token().isEmpty }
    }
    try node.finish()
  }

  @Test func aClaimIsADirectoryOfTheNodeAndWaitsUntilItIsBound() async throws {
    let node = try ServedNode()
    let place = "\(node.scratch.path)/local/pv1_default_data"
    try node.api.put(
      "/api/v1/namespaces/default/persistentvolumeclaims/data",
      #"{"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{"name":"data","namespace":"default"}}"#)
    try node.put(
      "web", #""volumes":[{"name":"d","persistentVolumeClaim":{"claimName":"data"}}],"#,
      #","volumeMounts":[{"name":"d","mountPath":"/d","subPath":"in"}]"#)
    try await node.withAgent { _, _ in
      try await node.wait("told") { node in
        node.events.contains { $0.contains(#"claim "default/data" is not bound to a volume yet"#) }
      }
      try node.api.put(
        "/api/v1/persistentvolumes/pv1",
        """
        {"apiVersion":"v1","kind":"PersistentVolume","metadata":{"name":"pv1",
          "annotations":{"pv.kubernetes.io/provisioned-by":"martlet.dev/local-path"}},
         "spec":{"hostPath":{"path":"\(place)"},"claimRef":{"namespace":"default","name":"data"}}}
        """)
      try node.api.put(
        "/api/v1/namespaces/default/persistentvolumeclaims/data",
        """
        {"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{"name":"data","namespace":"default"},
         "spec":{"volumeName":"pv1"},"status":{"phase":"Bound"}}
        """)
      try await node.wait("ready") { $0.isReady("web") }
      #expect(try Files.status(place)?.mode ?? 0 & 0o777 == 0o777)
      #expect(Files.exists("\(place)/in"))
    }
    try node.finish()
  }

  @Test func somebodyLooksIntoAPodWithAContainerMore() async throws {
    let node = try ServedNode()
    try node.put("web")
    try await node.withAgent { _, _ in
      try await node.wait("ready") { $0.isReady("web") }
      try node.put(
        "web",
        #""ephemeralContainers":[{"name":"debugger","image":"web:1","targetContainerName":"c","stdin":true}],"#)
      try await node.wait("runs") {
        $0.status("web")?["ephemeralContainerStatuses"]?[0]?["state"]?["running"] != nil
      }
      #expect(node.isReady("web"))
      let config = try #require(node.runtime.config("debugger"))
      #expect(config.linux.securityContext.namespaceOptions.pid == .target)
      #expect(config.linux.securityContext.namespaceOptions.targetID.isEmpty == false)
    }
    try node.finish()
  }

  @Test func aPodOfTheServerRunsAndItsStatusComesBack() async throws {
    let node = try ServedNode()
    try node.put("web")
    try await node.withAgent { _, _ in
      try await node.wait("ready") { $0.isReady("web") }
      let status = try #require(node.status("web"))
      #expect(status["phase"]?.string == "Running")
      #expect(status["hostIP"]?.string == "192.0.2.1")
      #expect(status["podIP"]?.string?.hasPrefix("10.0.0.") == true)
      #expect(status["podIPs"]?[0]?["ip"] == status["podIP"])
      #expect(status["qosClass"]?.string == "BestEffort")
      #expect(status["startTime"]?.string != nil)
      #expect(status["observedGeneration"]?.integer == 1)
      #expect(node.container("web")?["imageID"]?.string == "web:1")
      #expect(node.container("web")?["state"]?["running"]?["startedAt"] != nil)
      #expect(node.container("web")?["containerID"]?.string?.hasPrefix("martlet://c") == true)
      for type in ["PodScheduled", "Initialized", "ContainersReady", "Ready", "PodReadyToStartContainers"] {
        #expect(node.condition("web", type)?["status"]?.string == "True", "\(type)")
        #expect(node.condition("web", type)?["lastTransitionTime"]?.string != nil, "\(type)")
      }
      try await node.wait("events") { $0.events.count >= 3 }
      #expect(
        Set(node.events) == [
          "Pulled: Container image \"web:1\" already present on machine and can be accessed by the pod",
          "Created: Container created", "Started: Container started",
        ])
      #expect(node.api.list("events").allSatisfy { $0["involvedObject"]?["fieldPath"]?.string == "spec.containers{c}" })
    }
    try node.finish()
  }

  @Test func aDeletedPodIsUnreadyAndOutOfServicesBeforeItStopsAndIsGoneAfterwards() async throws {
    let node = try ServedNode()
    try node.put("web", uid: "u1")
    try await node.withAgent { _, _ in
      try await node.wait("ready") { $0.isReady("web") }
      node.api.delete(pod: ServedNode.path("web"), graceSeconds: 1)
      try await node.wait("deleted") { $0.api.get(ServedNode.path("web")) == nil }
      #expect(node.withdrawn.withLock { $0 } == ["u1"])
      #expect(node.runtime.isEmpty)
      #expect(!Files.exists("\(node.scratch.path)/volumes/u1"))
      let writes = node.api.writes.filter { $0.contains("/pods/") }
      #expect(writes.last == "DELETE \(ServedNode.path("web"))")
      try await node.wait("told") { $0.events.contains("Killing: Stopping container c") }
    }
    try node.finish()
  }

  @Test func aPodTakenOutByForceStopsAndItsSuccessorOfTheNameStarts() async throws {
    let node = try ServedNode()
    try node.put("web", uid: "u1")
    try await node.withAgent { _, _ in
      try await node.wait("ready") { $0.isReady("web") }
      node.api.remove(ServedNode.path("web"))
      try node.put("web", uid: "u2")
      try await node.wait("the second") {
        $0.isReady("web") && $0.runtime.config("c")?.labels[PodKey.podUID] == "u2"
      }
      #expect(node.runtime.state.withLock { $0.sandboxes.count } == 1)
      #expect(node.api.get(ServedNode.path("web"))?["metadata"]?["uid"]?.string == "u2")
      node.api.remove(ServedNode.path("web"))
      try await node.wait("nothing") { $0.runtime.isEmpty }
      #expect(!node.api.writes.contains { $0.hasPrefix("DELETE") })
    }
    try node.finish()
  }

  @Test func aNewAgentTakesPodsOverAndFinishesWhatWasDeletedMeanwhile() async throws {
    let node = try ServedNode()
    for name in ["stays", "goes", "forced"] { try node.put(name) }
    try await node.withAgent { _, _ in
      try await node.wait("ready") { node in ["stays", "goes", "forced"].allSatisfy { node.isReady($0) } }
    }
    let starts = node.runtime.starts.count
    node.api.delete(pod: ServedNode.path("goes"), graceSeconds: 1)
    node.api.remove(ServedNode.path("forced"))
    try await node.withAgent { _, _ in
      try await node.wait("one") { $0.runtime.state.withLock { $0.sandboxes.count } == 1 }
      try await node.wait("deleted") { $0.api.get(ServedNode.path("goes")) == nil }
      #expect(node.isReady("stays"))
    }
    #expect(node.runtime.starts.count == starts, "nothing is started twice")
    #expect(node.container("stays")?["restartCount"]?.integer == 0)
    try node.finish()
  }

  @Test func withoutTheServerPodsGoOnAndTheirNewsIsToldWhenItIsBack() async throws {
    let node = try ServedNode()
    try node.put("web")
    try await node.withAgent { _, _ in
      try await node.wait("ready") { $0.isReady("web") }
      node.api.setAway(true)
      node.runtime.end("c", code: 3)
      try await node.wait("again") { $0.runtime.starts.count == 2 }
      #expect(node.container("web")?["restartCount"]?.integer == 0)
      node.api.setAway(false)
      try await node.wait("told") { $0.container("web")?["restartCount"]?.integer == 1 && $0.isReady("web") }
      #expect(node.container("web")?["lastState"]?["terminated"]?["exitCode"]?.integer == 3)
    }
    try node.finish()
  }

  @Test func whatAnotherWritesIntoTheStatusIsPutRight() async throws {
    let node = try ServedNode()
    try node.put("web")
    try await node.withAgent { _, _ in
      try await node.wait("ready") { $0.isReady("web") }
      let path = ServedNode.path("web")
      var text = try #require(node.api.get(path)).encodedString()
      text = text.replacing(#""phase":"Running""#, with: #""phase":"Pending""#)
      text = text.replacing(#""conditions":["#, with: #""conditions":[{"type":"Theirs","status":"True"},"#)
      try node.api.put(path, text)
      try await node.wait("right") { $0.status("web")?["phase"]?.string == "Running" }
      #expect(node.condition("web", "Theirs")?["status"]?.string == "True", "what is not ours stays")
    }
    try node.finish()
  }

  @Test func contentIsWaitedForUsedAndRenewed() async throws {
    let node = try ServedNode()
    let map = "/api/v1/namespaces/default/configmaps/settings"
    try node.put(
      "env", #""enableServiceLinks":false,"#,
      #","env":[{"name":"A","valueFrom":{"configMapKeyRef":{"name":"settings","key":"a"}}}]"#)
    try node.put(
      "vol", #""volumes":[{"name":"v","configMap":{"name":"settings"}}],"#,
      #","volumeMounts":[{"name":"v","mountPath":"/v"}]"#, uid: "uv")
    try node.put(
      "optional", "", #","envFrom":[{"secretRef":{"name":"none","optional":true}}]"#)
    try await node.withAgent { _, _ in
      try await node.wait("optional") { $0.isReady("optional") }
      try await node.wait("waits") {
        $0.container("env")?["state"]?["waiting"]?["reason"]?.string == "CreateContainerConfigError"
      }
      #expect(node.container("env")?["state"]?["waiting"]?["message"]?.string == "configmap \"settings\" not found")
      try await node.wait("mount") {
        $0.events.contains("FailedMount: MountVolume.SetUp failed for volume \"v\" : configmap \"settings\" not found")
      }
      #expect(node.container("vol")?["state"]?["waiting"]?["reason"]?.string == "ContainerCreating")
      try node.api.put(map, #"{"metadata":{"name":"settings","namespace":"default"},"data":{"a":"1"}}"#)
      try await node.wait("both") { $0.isReady("env") && $0.isReady("vol") }
      let file = "\(node.scratch.path)/volumes/uv/vol/v/a"
      #expect(try Files.readText(file) == "1")
      try node.api.put(map, #"{"metadata":{"name":"settings","namespace":"default"},"data":{"a":"2"}}"#)
      try await node.wait("renewed") { _ in (try? Files.readText(file)) == "2" }
      let variables = node.runtime.state.withLock { state in
        state.containers.values.flatMap(\.config.envs).map { "\($0.key)=\($0.value)" }
      }
      #expect(variables.contains("A=1"))
    }
    try node.finish()
  }

  @Test func onlyNamedContentIsAskedForAndRefusalsAreTriedAgain() async throws {
    let node = try ServedNode()
    let secret = "/api/v1/namespaces/default/secrets/key"
    node.api.refuse("GET \(secret)", 403)
    try node.api.put(secret, #"{"metadata":{"name":"key","namespace":"default"},"data":{"k":"djE="}}"#)
    try node.put("web", "", #","env":[{"name":"K","valueFrom":{"secretKeyRef":{"name":"key","key":"k"}}}]"#)
    try await node.withAgent { _, _ in
      try await Task.sleep(for: .milliseconds(100))
      #expect(node.runtime.starts == [], "it waits for the answer, whatever it is")
      node.api.refuse("GET \(secret)", nil)
      try await node.wait("ready") { $0.isReady("web") }
    }
    try node.finish()
  }

  @Test func whatTheNodeDoesNotDoIsRefusedByNameAndNothingRuns() async throws {
    let node = try ServedNode()
    try node.put("web", #""volumes":[{"name":"v","nfs":{"server":"x","path":"/"}}],"#)
    try await node.withAgent { _, _ in
      try await node.wait("refused") {
        $0.container("web")?["state"]?["waiting"]?["reason"]?.string == "CreateContainerConfigError"
      }
      #expect(
        node.container("web")?["state"]?["waiting"]?["message"]?.string == "spec.volumes[0].nfs: not supported")
      #expect(node.status("web")?["phase"]?.string == "Pending")
      #expect(node.runtime.isEmpty)
      node.api.delete(pod: ServedNode.path("web"), graceSeconds: 30)
      try await node.wait("deleted") { $0.api.get(ServedNode.path("web")) == nil }
    }
    try node.finish()
  }

  @Test func variablesShowTheServicesOfTheNamespaceAndTheAPI() async throws {
    let node = try ServedNode()
    for (namespace, name, address) in [
      ("default", "kubernetes", "10.96.0.1"), ("default", "db", "10.96.0.7"), ("other", "far", "10.96.0.8"),
      ("default", "headless", "None"),
    ] {
      try node.api.put(
        "/api/v1/namespaces/\(namespace)/services/\(name)",
        #"{"metadata":{"name":"\#(name)","namespace":"\#(namespace)"},"spec":{"clusterIP":"\#(address)","ports":[{"port":443,"name":"https"}]}}"#
      )
    }
    try node.put("links")
    try node.put("plain", #""enableServiceLinks":false,"#)
    try await node.withAgent { _, _ in
      try await node.wait("ready") { $0.isReady("links") && $0.isReady("plain") }
      let variables = node.runtime.state.withLock { state in
        Dictionary(
          state.containers.values.map { made in
            (made.config.labels[PodKey.podName] ?? "", Set(made.config.envs.map { "\($0.key)=\($0.value)" }))
          }
        ) { first, _ in first }
      }
      let links = variables["links"] ?? []
      #expect(links.isSuperset(of: ["KUBERNETES_SERVICE_HOST=10.96.0.1", "KUBERNETES_SERVICE_PORT=443"]))
      #expect(links.contains("DB_SERVICE_HOST=10.96.0.7"))
      #expect(!links.contains { $0.hasPrefix("FAR_") || $0.hasPrefix("HEADLESS_") })
      let plain = variables["plain"] ?? []
      #expect(plain.contains("KUBERNETES_SERVICE_HOST=10.96.0.1"))
      #expect(!plain.contains { $0.hasPrefix("DB_") })
    }
    try node.finish()
  }

  @Test func anotherImageReplacesTheContainerAndAnotherLabelDoesNot() async throws {
    let node = try ServedNode()
    node.runtime.state.withLock { _ = $0.images.insert("web:2") }
    try node.put("web", uid: "u1")
    try await node.withAgent { _, _ in
      try await node.wait("ready") { $0.isReady("web") }
      let path = ServedNode.path("web")
      let text = try #require(node.api.get(path)).encodedString()
      try node.api.put(path, text.replacing(#""name":"web","#, with: #""name":"web","labels":{"a":"b"},"#))
      try await Task.sleep(for: .milliseconds(50))
      #expect(node.runtime.starts.count == 1)
      let labelled = try #require(node.api.get(path)).encodedString()
      try node.api.put(path, labelled.replacing(#""image":"web:1""#, with: #""image":"web:2""#))
      try await node.wait("replaced") { $0.runtime.starts.count == 2 && $0.isReady("web") }
      try await node.wait("told") { $0.events.contains("Killing: Container c definition changed, will be restarted") }
      #expect(node.runtime.config("c")?.image.image != nil)
    }
    try node.finish()
  }

  @Test func finishedPodsAreNotStartedAgain() async throws {
    let node = try ServedNode()
    try node.put("job", #""restartPolicy":"Never","#)
    try await node.withAgent { _, _ in
      try await node.wait("ready") { $0.isReady("job") }
      node.runtime.end("c", code: 0)
      try await node.wait("done") { $0.status("job")?["phase"]?.string == "Succeeded" }
      #expect(node.condition("job", "Ready")?["reason"]?.string == "PodCompleted")
      #expect(node.status("job")?["podIP"]?.string != nil, "the address it had stays to be read")
    }
    // As after a reboot: the runtime has forgotten it.
    node.runtime.state.withLock { state in
      state.sandboxes = [:]
      state.containers = [:]
    }
    try await node.withAgent { _, _ in
      try await Task.sleep(for: .milliseconds(100))
      #expect(node.runtime.starts.count == 1)
      #expect(node.status("job")?["phase"]?.string == "Succeeded")
      node.api.delete(pod: ServedNode.path("job"), graceSeconds: 30)
      try await node.wait("deleted") { $0.api.get(ServedNode.path("job")) == nil }
    }
    try node.finish()
  }
}
