import JSON
import Testing

@testable import APIServer

@Suite struct AliasTests {
  @Test func twoVersionsShowOneObject() async throws {
    let world = try await TestServer()
    let (first, second) = (
      "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers",
      "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers"
    )
    let made = try await world.send(
      "POST", first,
      [
        "metadata": ["name": "h"],
        "spec": [
          "minReplicas": 1, "maxReplicas": 4, "targetCPUUtilizationPercentage": 70,
          "scaleTargetRef": ["apiVersion": "apps/v1", "kind": "Deployment", "name": "web"],
        ],
      ])
    try #require(made.status == 201, "\(made.text)")
    #expect(made.json["apiVersion"] == "autoscaling/v1")
    let other = try await world.send("GET", "\(second)/h")
    #expect(other.json["apiVersion"] == "autoscaling/v2")
    #expect(other.json["spec"]?["metrics"]?[0]?["resource"]?["target"]?["averageUtilization"] == 70)
    let changed = try await world.send(
      "PATCH", "\(second)/h", ["spec": ["maxReplicas": 9]], type: "application/merge-patch+json")
    #expect(changed.status == 200, "\(changed.text)")
    let back = try await world.send("GET", first)
    #expect(back.json["items"]?[0]?["spec"]?["maxReplicas"] == 9)
    #expect(back.json["items"]?[0]?["spec"]?["targetCPUUtilizationPercentage"] == 70)
    #expect(back.json["kind"] == "HorizontalPodAutoscalerList")
    try await world.stop()
  }

  @Test func eventsOfBothGroupsAreOne() async throws {
    let world = try await TestServer()
    let made = try await world.send(
      "POST", "/apis/events.k8s.io/v1/namespaces/default/events",
      [
        "metadata": ["name": "e", "namespace": "default"], "eventTime": "2027-01-15T08:00:00.000000Z",
        "reportingController": "x.example.com/c", "reportingInstance": "i", "action": "Do", "reason": "Because",
        "type": "Normal", "note": "it did", "regarding": ["kind": "Pod", "name": "p", "namespace": "default"],
      ])
    try #require(made.status == 201, "\(made.text)")
    let core = try await world.send("GET", "/api/v1/namespaces/default/events/e")
    #expect(core.json["message"] == "it did")
    #expect(core.json["involvedObject"]?["name"] == "p")
    #expect(try await world.send("GET", "/apis/events.k8s.io/v1/namespaces/default/events/e").json["note"] == "it did")
    try await world.stop()
  }
}
