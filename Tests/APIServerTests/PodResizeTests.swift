import JSON
import Testing

@testable import APIServer

@Suite struct PodResizeTests {
  private static let pods = "/api/v1/namespaces/default/pods"

  private static func pod(_ resources: JSONValue) -> JSONValue {
    [
      "apiVersion": "v1", "kind": "Pod", "metadata": ["name": "web"],
      "spec": [
        "nodeName": "n1",
        "containers": [
          [
            "name": "c", "image": "web:1", "resources": resources,
            "resizePolicy": [["resourceName": "memory", "restartPolicy": "RestartContainer"]],
          ]
        ],
        "initContainers": [["name": "i", "image": "web:1", "resources": ["limits": ["cpu": "1", "memory": "64Mi"]]]],
      ],
    ]
  }

  private static let before: JSONValue = [
    "requests": ["cpu": "500m", "memory": "64Mi"], "limits": ["cpu": "1", "memory": "128Mi"],
  ]

  private static func patch(_ container: JSONObject, _ more: JSONObject = [:]) -> JSONValue {
    var fields = container
    fields["name"] = "c"
    var spec: JSONObject = ["containers": [.object(fields)]]
    for (key, value) in more.members { spec[key] = value }
    return ["spec": .object(spec)]
  }

  private func resize(
    _ patch: JSONValue, of pod: JSONValue = pod(before), type: String = "application/strategic-merge-patch+json",
    _ body: (TestServer, TestServer.Answer) async throws -> Void
  ) async throws {
    let world = try await TestServer()
    let made = try await world.send("POST", Self.pods, pod)
    #expect(made.status == 201, "\(made.text)")
    try await body(world, try await world.send("PATCH", "\(Self.pods)/web/resize", patch, type: type))
    try await world.stop()
  }

  @Test func aPatchChangesCPUAndMemoryAndNothingElse() async throws {
    let wish: JSONObject = ["resources": ["requests": ["cpu": "800m"], "limits": ["cpu": "2", "memory": "256Mi"]]]
    try await resize(Self.patch(wish, ["activeDeadlineSeconds": 5])) { world, answer in
      #expect(answer.status == 200, "\(answer.text)")
      let stored = try await world.send("GET", "\(Self.pods)/web").json
      let resources = stored["spec"]?["containers"]?[0]?["resources"]
      #expect(resources?["requests"] == ["cpu": "800m", "memory": "64Mi"])
      #expect(resources?["limits"] == ["cpu": "2", "memory": "256Mi"])
      #expect(stored["spec"]?["activeDeadlineSeconds"] == nil)
      #expect(stored["metadata"]?["generation"] == 2)
      #expect(stored["status"]?["qosClass"] == "Burstable")
      #expect(try await world.send("GET", "\(Self.pods)/web/resize").json["metadata"]?["name"] == "web")
      // The pod itself is not changed so.
      let direct = try await world.send(
        "PATCH", "\(Self.pods)/web", Self.patch(["resources": ["limits": ["cpu": "3"]]]),
        type: "application/strategic-merge-patch+json")
      #expect(direct.status == 422, "\(direct.text)")
    }
  }

  private static let refused: [(JSONValue, String)] = [
    (patch(["image": "web:2"]), "only cpu and memory resources are mutable"),
    (patch(["resources": ["limits": ["ephemeral-storage": "1Gi"]]]), "only cpu and memory resources are mutable"),
    (patch(["resizePolicy": [["resourceName": "cpu", "restartPolicy": "RestartContainer"]]]), "are mutable"),
    (patch(["resources": ["limits": ["cpu": .null]]]), "resource limits cannot be removed"),
    (
      patch(["resources": ["requests": ["cpu": "1", "memory": "128Mi"]]]),
      "Pod QOS Class may not change as a result of resizing"
    ),
    (patch(["resources": ["requests": ["cpu": "3"]]]), "must be less than or equal to cpu limit of 1"),
    (
      ["spec": ["initContainers": [["name": "i", "resources": ["limits": ["cpu": "2"]]]]]],
      "only cpu and memory resources for sidecar containers are mutable"
    ),
    (["spec": ["containers": [["name": "d", "image": "web:1"]]]], "may not be renamed or reordered"),
  ]

  @Test(arguments: refused)
  func whatIsNoResizeIsRefused(_ patch: JSONValue, _ words: String) async throws {
    try await resize(patch) { _, answer in
      #expect(answer.status == 422 && answer.message.contains(words), "\(answer.text)")
    }
  }
}
