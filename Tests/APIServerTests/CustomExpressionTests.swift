import HTTPServer
import JSON
import Testing

@testable import APIServer

/// Rules in CEL of custom resources.
@Suite struct CustomExpressionTests {
  private static func definition(_ spec: JSONValue) throws -> JSONValue {
    var object = try #require(CustomResourceTests.definition().object)
    var version = try #require(object[object: "spec"]["versions"]?[0]?.object)
    version[object: "schema"]["openAPIV3Schema"] = [
      "type": "object",
      "properties": [
        "spec": spec, "status": ["type": "object", "x-kubernetes-preserve-unknown-fields": true],
      ],
    ]
    object[object: "spec"]["versions"] = [.object(version)]
    return .object(object)
  }

  private static let spec: JSONValue = [
    "type": "object",
    "x-kubernetes-validations": [
      ["rule": "self.minimum <= self.size", "message": "size is below its minimum"],
      ["rule": "!has(oldSelf.class) || has(self.class)", "message": "class may not go"],
    ],
    "properties": [
      "minimum": ["type": "integer", "default": 1], "size": ["type": "integer"],
      "class": [
        "type": "string", "x-kubernetes-validations": [["rule": "self == oldSelf", "message": "class is immutable"]],
      ],
    ],
  ]

  @Test func objectsAreHeldToTheRulesOfTheirDefinition() async throws {
    let world = try await TestServer()
    let made = try await world.send("POST", CustomResourceTests.definitions, try Self.definition(Self.spec))
    try #require(made.status == 201, "\(made.text)")
    #expect(made.headers["Warning"] == nil)
    let widgets = CustomResourceTests.widgets
    let low = try await world.send("POST", widgets, CustomResourceTests.widget("w", ["size": 0]))
    #expect(low.status == 422)
    #expect(
      low.message == #"Widget.x.example.com "w" is invalid: spec: Invalid value: "object": size is below its minimum"#)
    let good = try await world.send("POST", widgets, CustomResourceTests.widget("w", ["size": 2, "class": "a"]))
    #expect(good.status == 201, "\(good.text)")
    let changed = try await world.send(
      "PATCH", "\(widgets)/w", ["spec": ["class": "b"]], type: "application/merge-patch+json")
    #expect(
      changed.message == #"Widget.x.example.com "w" is invalid: spec.class: Invalid value: "b": class is immutable"#)
    let gone = try await world.send(
      "PATCH", "\(widgets)/w", ["spec": ["class": .null]], type: "application/merge-patch+json")
    #expect(gone.message.contains("class may not go"))
    let missing = try await world.send("POST", widgets, CustomResourceTests.widget("v", [:]))
    #expect(missing.message.contains("no such key: size evaluating rule: size is below its minimum"))
    let wrong = try await world.send("POST", widgets, CustomResourceTests.widget("v", ["size": "a"]))
    #expect(wrong.message.contains("some validation rules were not checked because the object was invalid"))
    let status = try await world.send(
      "PATCH", "\(widgets)/w/status", ["status": ["a": 1]], type: "application/merge-patch+json")
    #expect(status.status == 200, "\(status.text)")
    try await world.stop()
  }

  @Test func aRuleWithAMistakeIsRefusedWithItsPlace() async throws {
    let world = try await TestServer()
    let answer = try await world.send(
      "POST", CustomResourceTests.definitions,
      try Self.definition(["type": "object", "x-kubernetes-validations": [["rule": "self.sise > 1"]]]))
    #expect(answer.status == 422)
    #expect(
      answer.message.contains(
        "spec.versions[0].schema.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule: Invalid value: "
          + "\"self.sise > 1\": compilation failed: ERROR: <input>:1:5: undefined field 'sise'"))
    try await world.stop()
  }
}
