import HTTPServer
import JSON
import Testing

@testable import APIServer

@Suite struct CustomResourceTests {
  static let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
  static let widgets = "/apis/x.example.com/v1/namespaces/default/widgets"

  static func definition() -> JSONValue {
    [
      "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
      "metadata": ["name": "widgets.x.example.com"],
      "spec": [
        "group": "x.example.com", "scope": "Namespaced",
        "names": ["plural": "widgets", "kind": "Widget", "shortNames": ["wd"]],
        "versions": [
          [
            "name": "v1", "served": true, "storage": true,
            "subresources": [
              "status": [:],
              "scale": ["specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"],
            ],
            "additionalPrinterColumns": [
              ["name": "Size", "type": "integer", "jsonPath": ".spec.size"],
              [
                "name": "Ready", "type": "string", "jsonPath": #".status.conditions[?(@.type=="Ready")].status"#,
              ],
            ],
            "schema": [
              "openAPIV3Schema": [
                "type": "object", "required": ["spec"],
                "properties": [
                  "spec": [
                    "type": "object",
                    "properties": [
                      "size": ["type": "integer", "minimum": 1, "default": 2],
                      "color": ["type": "string", "enum": ["red", "green"]],
                    ],
                  ],
                  "status": ["type": "object", "x-kubernetes-preserve-unknown-fields": true],
                ],
              ]
            ],
          ]
        ],
      ],
    ]
  }

  static func widget(_ name: String, _ spec: JSONValue) -> JSONValue {
    ["apiVersion": "x.example.com/v1", "kind": "Widget", "metadata": ["name": .string(name)], "spec": spec]
  }

  static func world() async throws -> TestServer {
    let world = try await TestServer()
    let made = try await world.send("POST", definitions, definition())
    try #require(made.status == 201, "\(made.text)")
    return world
  }

  @Test func aDefinitionIsServedAtOnceAndSaysSo() async throws {
    let world = try await Self.world()
    let definition = try await world.send("GET", "\(Self.definitions)/widgets.x.example.com")
    let conditions = definition.json["status"]?["conditions"]?.array ?? []
    #expect(conditions.map { "\($0.text("type"))=\($0.text("status"))" } == ["NamesAccepted=True", "Established=True"])
    #expect(definition.json["status"]?["acceptedNames"]?["listKind"] == "WidgetList")
    let discovery = try await world.send("GET", "/apis/x.example.com/v1")
    #expect(
      discovery.json["resources"]?.array?.map { $0.text("name") } == ["widgets", "widgets/status", "widgets/scale"])
    #expect(try await world.send("GET", "/openapi/v3/apis/x.example.com/v1").text.contains("com.example.x.v1.Widget"))
    let empty = try await world.send("GET", Self.widgets)
    #expect(empty.json["kind"] == "WidgetList")
    #expect(try await world.send("GET", "/apis/x.example.com/v2/widgets").status == 404)
    try await world.stop()
  }

  @Test func customObjectsAreDefaultedPrunedAndValidated() async throws {
    let world = try await Self.world()
    let made = try await world.send("POST", Self.widgets, Self.widget("w", ["color": "red", "other": 1]))
    try #require(made.status == 201, "\(made.text)")
    #expect(made.json["spec"] == ["color": "red", "size": 2])
    #expect(made.headers["Warning"]?.contains(#"unknown field \"spec.other\""#) == true)
    #expect(made.json["metadata"]?["generation"] == 1)
    let strict = try await world.send(
      "POST", "\(Self.widgets)?fieldValidation=Strict", Self.widget("v", ["other": 1]))
    #expect(strict.message.contains(#"strict decoding error: unknown field "spec.other""#))
    let wrong = try await world.send("POST", Self.widgets, Self.widget("v", ["color": "blue", "size": 0]))
    #expect(wrong.status == 422)
    #expect(wrong.message.contains(#"spec.color: Unsupported value: "blue": supported values: "red", "green""#))
    #expect(
      wrong.message.contains(
        "spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1"))
    let text = try await world.send("POST", Self.widgets, Self.widget("v", ["size": "two"]))
    #expect(
      text.message.contains(#"spec.size: Invalid value: "string": spec.size in body must be of type integer: "string""#)
    )
    let none = try await world.send(
      "POST", Self.widgets, ["apiVersion": "x.example.com/v1", "kind": "Widget", "metadata": ["name": "v"]])
    #expect(none.message.contains("spec: Required value"))
    try await world.stop()
  }

  @Test func customObjectsHaveStatusScaleTablesAndOwners() async throws {
    let world = try await Self.world()
    try await world.send("POST", Self.widgets, Self.widget("w", ["size": 3]))
    let status = try await world.send(
      "PATCH", "\(Self.widgets)/w/status",
      ["spec": ["size": 9], "status": ["size": 3, "conditions": [["type": "Ready", "status": "True"]]]],
      type: "application/merge-patch+json")
    #expect(status.json["spec"]?["size"] == 3)
    #expect(status.json["status"]?["size"] == 3)
    let scale = try await world.send("GET", "\(Self.widgets)/w/scale")
    #expect(scale.json["spec"]?["replicas"] == 3)
    #expect(scale.json["status"]?["replicas"] == 3)
    let scaled = try await world.send(
      "PATCH", "\(Self.widgets)/w/scale", ["spec": ["replicas": 5]], type: "application/merge-patch+json")
    #expect(scaled.status == 200, "\(scaled.text)")
    #expect(try await world.send("GET", "\(Self.widgets)/w").json["spec"]?["size"] == 5)
    let table = try await world.send(
      "GET", Self.widgets, accept: "application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
    #expect(table.json["rows"]?[0]?["cells"] == ["w", 5, "True"])
    let strategic = try await world.send(
      "PATCH", "\(Self.widgets)/w", ["spec": [:]], type: "application/strategic-merge-patch+json")
    #expect(strategic.status == 415)
    let applied = try await world.send(
      "PATCH", "\(Self.widgets)/w?fieldManager=one", Self.widget("w", ["size": 6]), type: "application/apply-patch+yaml"
    )
    #expect(applied.message.contains(".spec.size"))
    #expect(applied.status == 409)
    try await world.stop()
  }

  @Test func aDefinitionGoesWithItsObjects() async throws {
    let world = try await Self.world()
    try await world.send("POST", Self.widgets, Self.widget("w", ["size": 3]))
    var held = try #require(Self.widget("h", ["size": 3]).object)
    held[object: "metadata"]["finalizers"] = ["x.example.com/hold"]
    try await world.send("POST", Self.widgets, .object(held))
    let path = "\(Self.definitions)/widgets.x.example.com"
    let deleted = try await world.send("DELETE", path)
    #expect(deleted.json["metadata"]?["deletionTimestamp"] != nil)
    #expect(try await world.send("GET", "\(Self.widgets)/w").status == 404)
    #expect(try await world.send("POST", Self.widgets, Self.widget("n", ["size": 3])).status == 405)
    #expect(try await world.send("GET", path).status == 200, "an object still has a finalizer")
    try await world.send(
      "PATCH", "\(Self.widgets)/h", ["metadata": ["finalizers": .null]], type: "application/merge-patch+json")
    #expect(try await world.send("GET", path).status == 404)
    #expect(try await world.send("GET", Self.widgets).status == 404)
    try await world.stop()
  }

  @Test func aDefinitionThatCannotBeServedIsRefused() async throws {
    let world = try await TestServer()
    var wrong = try #require(Self.definition().object)
    wrong[object: "metadata"]["name"] = "gadgets.x.example.com"
    let answer = try await world.send("POST", Self.definitions, .object(wrong))
    #expect(answer.status == 422)
    #expect(answer.message.contains("must be spec.names.plural+\".\"+spec.group"))
    try await world.stop()
  }

  private func definition(pattern: String) throws -> JSONValue {
    var object = try #require(Self.definition().object)
    var version = try #require(object[object: "spec"]["versions"]?[0]?.object)
    version[object: "schema"][object: "openAPIV3Schema"][object: "properties"][object: "spec"][object: "properties"][
      "color"] = ["type": "string", "pattern": .string(pattern)]
    object[object: "spec"]["versions"] = [.object(version)]
    return .object(object)
  }

  @Test func aPatternThatCannotBeReadIsRefusedWithItsPlace() async throws {
    let world = try await TestServer()
    let answer = try await world.send("POST", Self.definitions, try definition(pattern: "(a"))
    #expect(answer.status == 422)
    #expect(
      answer.message.contains(
        "spec.versions[0].schema.openAPIV3Schema.properties[spec].properties[color].pattern: Invalid value: \"(a\": "
          + "must be a valid regular expression, but isn't: error parsing regexp: missing closing ): `(a`"))
    try await world.stop()
  }

  @Test func aHostilePatternDoesNotHoldTheServer() async throws {
    let world = try await TestServer()
    try await world.send("POST", Self.definitions, try definition(pattern: "^(a+)+$"))
    let text = String(repeating: "a", count: 20_000)
    #expect(try await world.send("POST", Self.widgets, Self.widget("good", ["color": .string(text)])).status == 201)
    let bad = try await world.send("POST", Self.widgets, Self.widget("bad", ["color": .string(text + "!")]))
    #expect(bad.message.contains("spec.color in body should match '^(a+)+$'"))
    try await world.stop()
  }

  @Test func theOlderSchemaDocumentShowsCustomKinds() async throws {
    let world = try await Self.world()
    let before = try await world.send("GET", "/openapi/v3").json["paths"]?["apis/apps/v1"]
    let kind = try await world.send("GET", "/openapi/v2").json["definitions"]?["com.example.x.v1.Widget"]
    #expect(kind?["properties"]?["spec"]?["properties"]?["size"]?["type"] == "integer")
    try await world.send("DELETE", "\(Self.definitions)/widgets.x.example.com")
    #expect(try await world.send("GET", "/openapi/v2").json["definitions"]?["com.example.x.v1.Widget"] == nil)
    #expect(try await world.send("GET", "/openapi/v3").json["paths"]?["apis/apps/v1"] == before)
    try await world.stop()
  }
}
