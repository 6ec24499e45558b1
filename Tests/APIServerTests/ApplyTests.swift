import HTTPServer
import JSON
import KubeSchema
import Testing

@testable import APIServer

@Suite struct ApplyTests {
  static let deployments = "/apis/apps/v1/namespaces/default/deployments"
  static let maps = "/api/v1/namespaces/default/configmaps"
  static let type = "application/apply-patch+yaml"

  static func deployment(replicas: Int64?, image: String? = "web:1") -> JSONValue {
    var spec: JSONObject = ["selector": ["matchLabels": ["app": "web"]]]
    if let replicas { spec["replicas"] = .integer(replicas) }
    var container: JSONObject = ["name": "c", "ports": [["containerPort": 80]]]
    if let image { container["image"] = .string(image) }
    spec["template"] = [
      "metadata": ["labels": ["app": "web"]], "spec": ["containers": .array([.object(container)])],
    ]
    return ["apiVersion": "apps/v1", "kind": "Deployment", "metadata": ["name": "x"], "spec": .object(spec)]
  }

  static func managers(_ answer: TestServer.Answer) -> [String] {
    (answer.json["metadata"]?["managedFields"]?.array ?? []).map {
      "\($0["manager"]?.string ?? "") \($0["operation"]?.string ?? "")"
    }
  }

  @Test func anApplyMakesAnObjectAndSaysWhoOwnsWhat() async throws {
    let world = try await TestServer()
    let made = try await world.send(
      "PATCH", "\(Self.deployments)/x?fieldManager=one", Self.deployment(replicas: 2), type: Self.type)
    try #require(made.status == 201, "\(made.text)")
    let entry = try #require(made.json["metadata"]?["managedFields"]?[0])
    #expect(entry["operation"] == "Apply")
    #expect(entry["apiVersion"] == "apps/v1")
    #expect(
      entry["fieldsV1"] == [
        "f:spec": [
          "f:replicas": [:], "f:selector": [:],
          "f:template": [
            "f:metadata": ["f:labels": ["f:app": [:]]],
            "f:spec": [
              "f:containers": [
                #"k:{"name":"c"}"#: [
                  ".": [:], "f:image": [:], "f:name": [:],
                  "f:ports": [#"k:{"containerPort":80,"protocol":"TCP"}"#: [".": [:], "f:containerPort": [:]]],
                ]
              ]
            ],
          ],
        ]
      ])
    let again = try await world.send(
      "PATCH", "\(Self.deployments)/x?fieldManager=one", Self.deployment(replicas: 2), type: Self.type)
    #expect(again.revision == made.revision, "an apply that changes nothing writes nothing")
    try await world.stop()
  }

  @Test func anotherManagersFieldConflictsUnlessItIsForced() async throws {
    let world = try await TestServer()
    try await world.send(
      "PATCH", "\(Self.deployments)/x?fieldManager=one", Self.deployment(replicas: 2), type: Self.type)
    try await world.send(
      "PATCH", "\(Self.deployments)/x?fieldManager=kubectl-edit", ["spec": ["replicas": 3]],
      type: "application/merge-patch+json")
    let path = "\(Self.deployments)/x?fieldManager=one"
    let conflict = try await world.send("PATCH", path, Self.deployment(replicas: 2), type: Self.type)
    #expect(conflict.status == 409)
    #expect(
      conflict.message
        == #"Apply failed with 1 conflict: conflict with "kubectl-edit" using apps/v1: .spec.replicas"#)
    #expect(
      conflict.json["details"]?["causes"] == [
        [
          "reason": "FieldManagerConflict", "message": #"conflict with "kubectl-edit" using apps/v1"#,
          "field": ".spec.replicas",
        ]
      ])
    let forced = try await world.send("PATCH", "\(path)&force=true", Self.deployment(replicas: 2), type: Self.type)
    #expect(forced.json["spec"]?["replicas"] == 2)
    #expect(Self.managers(forced) == ["one Apply"], "who lost all its fields is gone")
    let both = try await world.send(
      "PATCH", "\(Self.deployments)/x?fieldManager=two", Self.deployment(replicas: 5, image: "web:2"), type: Self.type)
    #expect(
      both.message
        == "Apply failed with 2 conflicts: conflicts with \"one\":\n- .spec.replicas\n"
        + #"- .spec.template.spec.containers[name="c"].image"#)
    try await world.stop()
  }

  @Test func whatIsNoLongerAppliedGoesUnlessAnotherOwnsIt() async throws {
    let world = try await TestServer()
    func map(_ data: JSONValue) -> JSONValue {
      ["apiVersion": "v1", "kind": "ConfigMap", "metadata": ["name": "m"], "data": data]
    }
    try await world.send(
      "PATCH", "\(Self.maps)/m?fieldManager=one", map(["a": "1", "b": "1", "c": "1"]), type: Self.type)
    try await world.send("PATCH", "\(Self.maps)/m?fieldManager=two", map(["b": "1", "d": "1"]), type: Self.type)
    let less = try await world.send("PATCH", "\(Self.maps)/m?fieldManager=one", map(["a": "1"]), type: Self.type)
    #expect(less.json["data"] == ["a": "1", "b": "1", "d": "1"])
    let none = try await world.send(
      "PATCH", "\(Self.maps)/m?fieldManager=two&dryRun=All",
      ["apiVersion": "v1", "kind": "ConfigMap", "metadata": ["name": "m"]], type: Self.type)
    #expect(none.json["data"] == ["a": "1"])
    #expect(try await world.send("GET", "\(Self.maps)/m").json["data"] == ["a": "1", "b": "1", "d": "1"])
    try await world.stop()
  }

  @Test func anApplyThatCannotBeReadIsRefusedInKubernetesWords() async throws {
    let world = try await TestServer()
    let path = "\(Self.maps)/m"
    let nobody = try await world.send("PATCH", path, text: "kind: ConfigMap", type: Self.type)
    #expect(nobody.status == 422)
    #expect(nobody.message.contains("fieldManager: Required value: is required for apply patch"))
    let unknown = try await world.send(
      "PATCH", "\(path)?fieldManager=one", text: "apiVersion: v1\nkind: ConfigMap\ndataa: {a: b}\n", type: Self.type)
    #expect(unknown.status == 400)
    #expect(
      unknown.message
        == "failed to create typed patch object (default/m; v1, Kind=ConfigMap): .dataa: field not declared in schema")
    let cbor = try await world.send("PATCH", path, text: "x", type: "application/apply-patch+cbor")
    #expect(cbor.status == 415)
    let force = try await world.send(
      "PATCH", "\(path)?force=true", [:], type: "application/merge-patch+json")
    #expect(force.message.contains("force: Forbidden: may not be specified for non-apply patch"))
    try await world.stop()
  }

  @Test func writesThatAreNoApplyAreTrackedBySubresource() async throws {
    let world = try await TestServer()
    try await world.send(
      "POST", "\(Self.deployments)?fieldManager=maker", Self.deployment(replicas: 1))
    try await world.send(
      "PATCH", "\(Self.deployments)/x/status", ["status": ["replicas": 1]], type: "application/merge-patch+json",
      headers: ["User-Agent": "controller/1.0 (x)"])
    let scaled = try await world.send(
      "PATCH", "\(Self.deployments)/x/scale?fieldManager=scaler", ["spec": ["replicas": 4]],
      type: "application/merge-patch+json")
    #expect(scaled.status == 200, "\(scaled.text)")
    let entries = try await world.send("GET", "\(Self.deployments)/x").json["metadata"]?["managedFields"]?.array ?? []
    func entry(_ name: String) -> JSONValue? { entries.first { $0["manager"]?.string == name } }
    #expect(entry("maker")?["fieldsV1"]?["f:spec"]?["f:replicas"] == nil)
    #expect(entry("maker")?["fieldsV1"]?["f:spec"]?["f:selector"] == [:])
    #expect(entry("controller")?["subresource"] == "status")
    #expect(entry("controller")?["fieldsV1"]?["f:status"]?["f:replicas"] == [:])
    #expect(entry("scaler")?["subresource"] == "scale")
    #expect(entry("scaler")?["fieldsV1"] == ["f:spec": ["f:replicas": [:]]])
    try await world.stop()
  }

  @Test func kubectlMayTakeOverWhatItAppliedOnTheClient() async throws {
    let world = try await TestServer()
    let text = #"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m"},"data":{"a":"1"}}"#
    try await world.send(
      "POST", "\(Self.maps)?fieldManager=kubectl-client-side-apply",
      [
        "metadata": ["name": "m", "annotations": ["kubectl.kubernetes.io/last-applied-configuration": .string(text)]],
        "data": ["a": "1"],
      ])
    let applied = try await world.send(
      "PATCH", "\(Self.maps)/m?fieldManager=kubectl",
      ["apiVersion": "v1", "kind": "ConfigMap", "metadata": ["name": "m"], "data": ["a": "2"]], type: Self.type)
    #expect(applied.status == 200, "\(applied.text)")
    #expect(applied.json["data"] == ["a": "2"])
    let reset = try await world.send(
      "PATCH", "\(Self.maps)/m", ["metadata": ["managedFields": [[:]]]], type: "application/merge-patch+json")
    #expect(reset.json["metadata"]?["managedFields"] == nil)
    try await world.stop()
  }
}
