import HTTPServer
import JSON
import Testing

@testable import APIServer

@Suite struct EvictionTests {
  static let pods = "/api/v1/namespaces/default/pods"
  static let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"

  static func eviction(_ name: String) -> JSONValue {
    ["apiVersion": "policy/v1", "kind": "Eviction", "metadata": ["name": .string(name), "namespace": "default"]]
  }

  private func pod(_ world: TestServer, _ name: String) async throws {
    let made = try await world.send(
      "POST", Self.pods,
      [
        "metadata": ["name": .string(name), "labels": ["app": "web"]],
        "spec": ["containers": [["name": "c", "image": "web:1"]]],
      ])
    try #require(made.status == 201, "\(made.text)")
    let running = try await world.send(
      "PATCH", "\(Self.pods)/\(name)/status",
      ["status": ["phase": "Running", "conditions": [["type": "Ready", "status": "True"]]]],
      type: "application/merge-patch+json")
    try #require(running.status == 200, "\(running.text)")
  }

  @Test func aBudgetLetsOnlySoManyPodsGo() async throws {
    let world = try await TestServer()
    try await pod(world, "a")
    try await pod(world, "b")
    let budget = try await world.send(
      "POST", Self.budgets,
      ["metadata": ["name": "p"], "spec": ["minAvailable": 1, "selector": ["matchLabels": ["app": "web"]]]])
    try #require(budget.status == 201, "\(budget.text)")
    let early = try await world.send("POST", "\(Self.pods)/a/eviction", Self.eviction("a"))
    #expect(early.status == 429, "nobody has counted yet")
    let counted = try await world.send(
      "PATCH", "\(Self.budgets)/p/status",
      [
        "status": [
          "observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2,
        ]
      ], type: "application/merge-patch+json")
    try #require(counted.status == 200, "\(counted.text)")
    let dry = try await world.send("POST", "\(Self.pods)/a/eviction?dryRun=All", Self.eviction("a"))
    #expect(dry.status == 201, "\(dry.text)")
    #expect(try await world.send("GET", "\(Self.pods)/a").status == 200)
    let first = try await world.send("POST", "\(Self.pods)/a/eviction", Self.eviction("a"))
    #expect(first.status == 201, "\(first.text)")
    #expect(try await world.send("GET", "\(Self.pods)/a").status == 404)
    let after = try await world.send("GET", "\(Self.budgets)/p")
    #expect(after.json["status"]?["disruptionsAllowed"] == 0)
    #expect(after.json["status"]?["disruptedPods"]?["a"] != nil)
    let second = try await world.send("POST", "\(Self.pods)/b/eviction", Self.eviction("b"))
    #expect(second.status == 429)
    // With a time to wait, client libraries would try again by themselves and tell nobody.
    #expect(second.headers["Retry-After"] == nil)
    #expect(second.message == "Cannot evict pod as it would violate the pod's disruption budget.")
    #expect(
      second.json["details"]?["causes"]?[0]?["message"]
        == "The disruption budget p needs 1 healthy pods and has 2 currently")
    #expect(try await world.send("POST", "\(Self.pods)/none/eviction", Self.eviction("none")).status == 404)
    try await world.stop()
  }

  @Test func aProxyDoesNotLeadToThisMachine() async throws {
    for host in ["127.0.0.1", "0.0.0.0", "169.254.169.254", "224.0.0.1", "::1", "::", "::ffff:127.0.0.1", "fe80::1"] {
      #expect(!APIServer.mayReach(.tcp(host: host, port: 80)), "\(host)")
    }
    for host in ["10.1.2.3", "fd00::5"] { #expect(APIServer.mayReach(.tcp(host: host, port: 80)), "\(host)") }
    let world = try await TestServer()
    try await pod(world, "a")
    let none = try await world.send("GET", "\(Self.pods)/a/proxy/")
    #expect(none.message == "address not allowed", "it has no address")
    #expect(try await world.send("GET", "\(Self.pods)/https:a:1/proxy/").status == 501)
    #expect(try await world.send("GET", "/api/v1/namespaces/default/services/none/proxy/x").status == 404)
    try await world.stop()
  }
}
