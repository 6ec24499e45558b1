import JSON
import KubeClient
import KubeModel
import Logging
import NodeAgent
import Synchronization
import Testing

private let path = "/api/v1/nodes/n1"
private let leasePath = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1"

/// A registrar whose rounds the test makes.
private struct Registered {
  let api = FakeAPI()
  let registrar: NodeRegistrar
  let health: SharedHealth

  init(runtimeGrace: Duration = .seconds(30)) {
    var profile = NodeProfile(name: "n1")
    profile.architecture = "amd64"
    profile.cpuMilli = 1500
    profile.memoryBytes = 2 << 30
    profile.storageBytes = 10 << 30
    profile.addresses = ["192.0.2.1", "192.0.2.2", "2001:db8::1"]
    profile.podCIDRs = ["10.87.0.0/16"]
    profile.serverPort = 10_250
    profile.runtimeVersion = "martlet://0.1.0"
    let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    let cluster = Cluster(
      client: api.client, nodeName: "n1", services: Informer(Service.self, client: api.client), hostIPs: { [] },
      logger: logger, withdraw: { _ in })
    let health = SharedHealth()
    self.health = health
    var settings = NodeRegistrar.Settings()
    settings.runtimeGrace = runtimeGrace
    registrar = NodeRegistrar(cluster: cluster, settings: settings, logger: logger) { [profile] in
      (profile, health.now)
    }
  }

  var node: JSONValue? { api.get(path) }
  func condition(_ type: String) -> JSONValue? {
    node?["status"]?["conditions"]?.array?.first { $0["type"]?.string == type }
  }
}

private final class SharedHealth: Sendable {
  private let health = Mutex(NodeHealth())
  var now: NodeHealth { health.withLock { $0 } }
  func set(_ problem: String?) { health.withLock { $0.runtimeProblem = problem } }
}

@Suite struct NodeRegistrarTests {
  @Test func aNodeIsRegisteredWithWhatItHas() async throws {
    let test = Registered()
    try await test.registrar.round()
    let node = try #require(test.node)
    #expect(node["metadata"]?["labels"]?["kubernetes.io/hostname"]?.string == "n1")
    #expect(node["metadata"]?["labels"]?["kubernetes.io/arch"]?.string == "amd64")
    #expect(node["status"]?["capacity"]?["cpu"]?.string == "1500m")
    #expect(node["status"]?["allocatable"]?["memory"]?.string == "2097152Ki")
    #expect(node["status"]?["capacity"]?["pods"]?.string == "110")
    #expect(node["status"]?["nodeInfo"]?["kubeletVersion"]?.string == "v1.36.0+martlet")
    #expect(node["status"]?["daemonEndpoints"]?["kubeletEndpoint"]?["Port"]?.integer == 10_250)
    #expect(node["spec"]?["podCIDR"]?.string == "10.87.0.0/16")
    let addresses = node["status"]?["addresses"]?.array?.map {
      "\($0["type"]?.string ?? "") \($0["address"]?.string ?? "")"
    }
    #expect(addresses == ["InternalIP 192.0.2.1", "InternalIP 2001:db8::1", "Hostname n1"])
    #expect(test.condition("Ready")?["status"]?.string == "True")
    #expect(test.condition("DiskPressure")?["status"]?.string == "False")
    let lease = try #require(test.api.get(leasePath))
    #expect(lease["spec"]?["holderIdentity"]?.string == "n1")
    #expect(lease["spec"]?["leaseDurationSeconds"]?.integer == 40)
    #expect(lease["metadata"]?["ownerReferences"]?[0]?["uid"] == node["metadata"]?["uid"])
  }

  @Test func aRoundWithoutNewsRenewsTheLeaseAlone() async throws {
    let test = Registered()
    try await test.registrar.round()
    let before = test.api.writes.count
    let renewed = test.api.get(leasePath)?["spec"]?["renewTime"]
    try await test.registrar.round()
    #expect(Array(test.api.writes.dropFirst(before)) == ["PUT \(leasePath)"])
    #expect(test.api.get(leasePath)?["spec"]?["renewTime"] != renewed)
  }

  @Test func aRuntimeThatIsStartedAnewTakesNoPodOutOfService() async throws {
    let test = Registered()
    try await test.registrar.round()
    test.health.set("connection refused")
    #expect(try await test.registrar.round() == false)
    #expect(test.condition("Ready")?["status"]?.string == "True")
    #expect(test.node?["status"]?["nodeInfo"]?["containerRuntimeVersion"]?.string == "martlet://0.1.0")
    test.health.set(nil)
    #expect(try await test.registrar.round())
    #expect(test.condition("Ready")?["status"]?.string == "True")
  }

  @Test func aRuntimeThatWasNeverThereIsNoGraceGiven() async throws {
    let test = Registered()
    test.health.set("connection refused")
    try await test.registrar.round()
    #expect(test.condition("Ready")?["status"]?.string == "False")
  }

  @Test func aDeadRuntimeIsSaidAfterItsTime() async throws {
    let test = Registered(runtimeGrace: .zero)
    try await test.registrar.round()
    test.health.set("connection refused")
    try await test.registrar.round()
    #expect(test.condition("Ready")?["status"]?.string == "False")
    #expect(test.condition("Ready")?["reason"]?.string == "KubeletNotReady")
    #expect(test.condition("Ready")?["message"]?.string == "container runtime is down: connection refused")
  }

  @Test func aNodeThatIsThereIsAdoptedWithWhatOthersWroteIntoIt() async throws {
    let test = Registered()
    try test.api.put(
      path,
      """
      {"metadata":{"name":"n1","labels":{"disk":"ssd"}},"spec":{"taints":[{"key":"a","effect":"NoSchedule"}],
       "unschedulable":true},"status":{"conditions":[{"type":"Theirs","status":"True"}]}}
      """)
    try await test.registrar.round()
    #expect(test.node?["metadata"]?["labels"]?["disk"]?.string == "ssd")
    #expect(test.node?["metadata"]?["labels"]?["kubernetes.io/os"]?.string == "linux")
    #expect(test.node?["spec"]?["unschedulable"]?.bool == true)
    #expect(test.node?["spec"]?["taints"]?[0]?["key"]?.string == "a")
    #expect(test.condition("Theirs")?["status"]?.string == "True")
    #expect(test.condition("Ready")?["status"]?.string == "True")
  }

  @Test func aDeletedNodeIsRegisteredAgainAndSoIsItsLease() async throws {
    let test = Registered()
    try await test.registrar.round()
    let uid = test.node?["metadata"]?["uid"]
    test.api.remove(path)
    test.api.remove(leasePath)
    try await test.registrar.round()
    #expect(test.node?["metadata"]?["uid"] != uid)
    #expect(test.condition("Ready")?["status"]?.string == "True")
    #expect(test.api.get(leasePath)?["metadata"]?["ownerReferences"]?[0]?["uid"] == test.node?["metadata"]?["uid"])
  }

  @Test func aLeaseThatAnotherChangedIsTakenBack() async throws {
    let test = Registered()
    try await test.registrar.round()
    try test.api.put(
      leasePath, #"{"metadata":{"name":"n1","namespace":"kube-node-lease"},"spec":{"holderIdentity":"x"}}"#)
    try await test.registrar.round()
    #expect(test.api.get(leasePath)?["spec"]?["holderIdentity"]?.string == "n1")
  }
}
