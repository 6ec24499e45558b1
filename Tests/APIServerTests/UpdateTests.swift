import JSON
import ObjectStore
import Testing

@testable import APIServer

@Suite struct UpdateTests {
  static let maps = "/api/v1/namespaces/default/configmaps"
  static let deployments = "/apis/apps/v1/namespaces/default/deployments"

  static func deployment(_ name: String, replicas: Int64 = 1, image: String = "web:1") -> JSONValue {
    [
      "apiVersion": "apps/v1", "kind": "Deployment", "metadata": ["name": .string(name)],
      "spec": [
        "replicas": .integer(replicas), "selector": ["matchLabels": ["app": "web"]],
        "template": [
          "metadata": ["labels": ["app": "web"]],
          "spec": ["containers": [["name": "c", "image": .string(image), "ports": [["containerPort": 80]]]]],
        ],
      ],
    ]
  }

  @Test func aStaleUpdateConflicts() async throws {
    let world = try await TestServer()
    let first = try await world.send("POST", Self.deployments, Self.deployment("x"))
    try #require(first.status == 201, "\(first.text)")
    var stale = try #require(first.json.object)
    stale[object: "spec"]["replicas"] = 2
    #expect(try await world.send("PUT", "\(Self.deployments)/x", .object(stale)).status == 200)
    let conflict = try await world.send("PUT", "\(Self.deployments)/x", .object(stale))
    #expect(conflict.status == 409)
    #expect(conflict.reason == "Conflict")
    #expect(
      conflict.message
        == #"Operation cannot be fulfilled on deployments.apps "x": the object has been modified; please apply your "#
        + "changes to the latest version and try again")
    #expect(conflict.json["details"] == ["name": "x", "group": "apps", "kind": "deployments"])
    // Without a revision, whatever is there is replaced.
    stale[object: "metadata"]["resourceVersion"] = nil
    stale[object: "spec"]["replicas"] = 5
    let forced = try await world.send("PUT", "\(Self.deployments)/x", .object(stale))
    #expect(forced.json["spec"]?["replicas"] == 5)
    stale[object: "metadata"]["uid"] = "other"
    let other = try await world.send("PUT", "\(Self.deployments)/x", .object(stale))
    #expect(other.status == 409)
    #expect(other.message.contains("Precondition failed: UID in precondition: other"))
    try await world.stop()
  }

  @Test func generationCountsChangesOfTheSpecOnly() async throws {
    let world = try await TestServer()
    let created = try await world.send("POST", Self.deployments, Self.deployment("x"))
    #expect(created.json["metadata"]?["generation"] == 1)
    let labelled = try await world.send(
      "PATCH", "\(Self.deployments)/x", ["metadata": ["labels": ["a": "b"]]], type: "application/merge-patch+json")
    #expect(labelled.json["metadata"]?["generation"] == 1)
    let scaled = try await world.send(
      "PATCH", "\(Self.deployments)/x", ["spec": ["replicas": 3]], type: "application/merge-patch+json")
    #expect(scaled.json["metadata"]?["generation"] == 2)
    let status = try await world.send(
      "PATCH", "\(Self.deployments)/x/status",
      ["status": ["replicas": 3, "observedGeneration": 2], "spec": ["replicas": 9]],
      type: "application/merge-patch+json")
    #expect(status.json["metadata"]?["generation"] == 2)
    #expect(status.json["spec"]?["replicas"] == 3)
    #expect(status.json["status"]?["replicas"] == 3)
    // The status cannot be changed by the object itself.
    let ignored = try await world.send(
      "PATCH", "\(Self.deployments)/x", ["status": ["replicas": 7]], type: "application/merge-patch+json")
    #expect(ignored.json["status"]?["replicas"] == 3)
    #expect(ignored.json["metadata"]?["resourceVersion"] == status.json["metadata"]?["resourceVersion"])
    try await world.stop()
  }

  @Test func anUpdateThatChangesNothingMakesNoRevision() async throws {
    let world = try await TestServer()
    let created = try await world.send("POST", Self.deployments, Self.deployment("x"))
    let again = try await world.send("PUT", "\(Self.deployments)/x", Self.deployment("x"))
    #expect(again.status == 200)
    #expect(again.json == created.json)
    try await world.stop()
  }

  @Test func patchesOfEveryKindAreApplied() async throws {
    let world = try await TestServer()
    try await world.send("POST", Self.deployments, Self.deployment("x"))
    let path = "\(Self.deployments)/x"
    let strategic = try await world.send(
      "PATCH", path,
      [
        "spec": [
          "template": ["spec": ["containers": [["name": "d", "image": "side:1"], ["name": "c", "image": "web:2"]]]]
        ]
      ],
      type: "application/strategic-merge-patch+json")
    let containers = strategic.json["spec"]?["template"]?["spec"]?["containers"]?.array ?? []
    #expect(Set(containers.compactMap { $0["image"]?.string }) == ["web:2", "side:1"])
    let json = try await world.send(
      "PATCH", path, [["op": "replace", "path": "/spec/replicas", "value": 4]], type: "application/json-patch+json")
    #expect(json.json["spec"]?["replicas"] == 4)
    let missing = try await world.send(
      "PATCH", path, [["op": "remove", "path": "/spec/nothing"]], type: "application/json-patch+json")
    #expect(missing.status == 422)
    #expect(missing.reason == "Invalid")
    let name = try await world.send(
      "PATCH", path, ["metadata": ["name": "y"]], type: "application/merge-patch+json")
    #expect(name.status == 400)
    let stale = try await world.send(
      "PATCH", path, ["metadata": ["resourceVersion": "1"]], type: "application/merge-patch+json")
    #expect(stale.status == 409)
    let unknown = try await world.send(
      "PATCH", "\(path)?fieldValidation=Strict", ["spec": ["replica": 1]], type: "application/merge-patch+json")
    #expect(unknown.status == 400)
    #expect(unknown.message.contains(#"strict decoding error: unknown field "spec.replica""#))
    let none = try await world.send(
      "PATCH", "\(Self.deployments)/none", ["spec": ["replicas": 1]], type: "application/merge-patch+json")
    #expect(none.status == 404)
    try await world.stop()
  }

  @Test func patchesAtTheSameTimeAllHold() async throws {
    let world = try await TestServer()
    try await world.send("POST", Self.maps, ["metadata": ["name": "a"]])
    try await withThrowingTaskGroup(of: Int.self) { group in
      for number in 0..<8 {
        group.addTask {
          try await world.send(
            "PATCH", "\(Self.maps)/a", ["data": .object(["k\(number)": "v"])], type: "application/merge-patch+json"
          ).status
        }
      }
      for try await status in group { #expect(status == 200) }
    }
    let result = try await world.send("GET", "\(Self.maps)/a")
    #expect(result.json["data"]?.object?.count == 8)
    try await world.stop()
  }

  @Test func dryRunsChangeNothing() async throws {
    let world = try await TestServer()
    let revision = world.store.revision
    let created = try await world.send("POST", "\(Self.maps)?dryRun=All", ["metadata": ["name": "a"]])
    #expect(created.status == 201)
    #expect(created.json["metadata"]?["uid"] != nil)
    #expect(created.json["metadata"]?["resourceVersion"] == nil)
    #expect(try await world.send("GET", "\(Self.maps)/a").status == 404)
    let deleted = try await world.send("DELETE", "\(Self.maps)/kube-root-ca.crt?dryRun=All")
    #expect(deleted.status == 200)
    #expect(world.store.revision == revision)
    try await world.stop()
  }

  @Test func whatIsInvalidIsNamedFieldByField() async throws {
    let world = try await TestServer()
    var bad = try #require(Self.deployment("x").object)
    bad[object: "spec"]["replicas"] = -1
    let answer = try await world.send("POST", Self.deployments, .object(bad))
    #expect(answer.status == 422)
    #expect(
      answer.message
        == #"Deployment.apps "x" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0"#)
    #expect(
      answer.json["details"]?["causes"]?[0] == [
        "reason": "FieldValueInvalid", "message": "Invalid value: -1: must be greater than or equal to 0",
        "field": "spec.replicas",
      ])
    try await world.send("POST", Self.deployments, Self.deployment("x"))
    let immutable = try await world.send(
      "PATCH", "\(Self.deployments)/x",
      ["spec": ["selector": ["matchLabels": ["app": "db"]], "template": ["metadata": ["labels": ["app": "db"]]]]],
      type: "application/merge-patch+json")
    #expect(immutable.status == 422)
    #expect(immutable.message.contains("field is immutable"))
    try await world.stop()
  }

  @Test func scaleIsAViewOfReplicas() async throws {
    let world = try await TestServer()
    let created = try await world.send("POST", Self.deployments, Self.deployment("x", replicas: 2))
    let scale = try await world.send("GET", "\(Self.deployments)/x/scale")
    #expect(scale.json["kind"] == "Scale")
    #expect(scale.json["apiVersion"] == "autoscaling/v1")
    #expect(scale.json["spec"]?["replicas"] == 2)
    #expect(scale.json["status"]?["selector"] == "app=web")
    #expect(scale.json["metadata"]?["uid"] == created.json["metadata"]?["uid"])
    let patched = try await world.send(
      "PATCH", "\(Self.deployments)/x/scale", ["spec": ["replicas": 4]], type: "application/merge-patch+json")
    #expect(patched.json["spec"]?["replicas"] == 4)
    var replacement = try #require(scale.json.object)
    replacement[object: "spec"]["replicas"] = 5
    #expect(try await world.send("PUT", "\(Self.deployments)/x/scale", .object(replacement)).status == 409)
    replacement[object: "metadata"]["resourceVersion"] = nil
    #expect(try await world.send("PUT", "\(Self.deployments)/x/scale", .object(replacement)).status == 200)
    let result = try await world.send("GET", "\(Self.deployments)/x")
    #expect(result.json["spec"]?["replicas"] == 5)
    #expect(result.json["metadata"]?["generation"] == 3)
    let negative = try await world.send(
      "PATCH", "\(Self.deployments)/x/scale", ["spec": ["replicas": -1]], type: "application/merge-patch+json")
    #expect(negative.status == 422)
    try await world.stop()
  }

  @Test func someKindsAreMadeByAnUpdate() async throws {
    let world = try await TestServer()
    let lease: JSONValue = ["metadata": ["name": "l"], "spec": ["holderIdentity": "me"]]
    let path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l"
    #expect(try await world.send("PUT", path, lease).status == 201)
    let unpinned = try await world.send("PUT", path, lease)
    #expect(unpinned.status == 422)
    #expect(
      unpinned.message
        == #"Lease.coordination.k8s.io "l" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified "#
        + "for an update")
    try await world.stop()
  }

  @Test func secretsWrittenAsTextAreKeptAsBytes() async throws {
    let world = try await TestServer()
    let path = "/api/v1/namespaces/default/secrets"
    let created = try await world.send(
      "POST", path, ["metadata": ["name": "s"], "data": ["a": "eA=="], "stringData": ["b": "hello?>"]])
    #expect(created.status == 201)
    #expect(created.json["data"] == ["a": "eA==", "b": "aGVsbG8/Pg=="])
    #expect(created.json["stringData"] == nil)
    #expect(created.json["type"] == "Opaque")
    let updated = try await world.send(
      "PATCH", "\(path)/s", ["stringData": ["b": "y"]], type: "application/strategic-merge-patch+json")
    #expect(updated.json["data"]?["b"] == "eQ==")
    try await world.stop()
  }
}
