import CEL
import JSON
import KubeSchema
import Testing

private func json(_ text: String) throws -> JSONValue { try JSONValue.parse(Array(text.utf8)) }

@Suite struct StructuralExpressionTests {
  private static let schema = #"""
    {"type": "object",
     "x-kubernetes-validations": [{"rule": "self.metadata.name != 'forbidden'", "message": "may not be called so"}],
     "properties": {
      "spec": {"type": "object",
       "x-kubernetes-validations": [
        {"rule": "self.min <= self.max", "messageExpression": "'min ' + string(self.min) + ' is above max'", "fieldPath": ".min"},
        {"rule": "!has(self.until) || self.until > timestamp('2026-01-01T00:00:00Z')"}],
       "properties": {
        "min": {"type": "integer"}, "max": {"type": "integer"}, "until": {"type": "string", "format": "date-time"},
        "fixed": {"type": "string", "x-kubernetes-validations": [
          {"rule": "self == oldSelf", "message": "may not be changed", "reason": "FieldValueForbidden"}]},
        "grows": {"type": "integer", "x-kubernetes-validations": [
          {"rule": "!oldSelf.hasValue() || self >= oldSelf.value()", "optionalOldSelf": true}]},
        "port": {"x-kubernetes-int-or-string": true, "x-kubernetes-validations": [{"rule": "type(self) == int ? self > 0 : self != ''"}]},
        "ratio": {"type": "number", "x-kubernetes-validations": [{"rule": "self <= 1.0"}]},
        "x-y": {"type": "string"},
        "namespace": {"type": "string"},
        "labels": {"type": "object", "additionalProperties": {"type": "string", "x-kubernetes-validations": [{"rule": "self != ''"}]}},
        "parts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"],
         "items": {"type": "object", "properties": {
          "id": {"type": "string"}, "kind": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}}}}}}}}
    """#

  private func found(_ spec: String, old: String? = nil, name: String = "a") throws -> [String] {
    let schema = try StructuralSchema(try json(Self.schema))
    func object(_ spec: String) throws -> JSONValue {
      try json(#"{"apiVersion": "x/v1", "kind": "W", "metadata": {"name": "\#(name)"}, "spec": \#(spec)}"#)
    }
    return schema.expressionFindings(in: try object(spec), old: try old.map(object)).map {
      "\($0.path): \($0.value?.encodedString() ?? "-"): \($0.detail)"
    }
  }

  @Test(arguments: [
    (#"{"min": 1, "max": 2}"#, []), (#"{"min": 3, "max": 2}"#, [#"spec.min: "object": min 3 is above max"#]),
    (#"{"min": 1}"#, [#"spec: "object": no such key: max evaluating rule: self.min <= self.max"#]),
    (
      #"{"min": 1, "max": 2, "until": "2025-12-31T23:59:59Z"}"#,
      [#"spec: "object": failed rule: !has(self.until) || self.until > timestamp('2026-01-01T00:00:00Z')"#]
    ),
    (#"{"min": 1, "max": 2, "port": 0}"#, ["spec.port: 0: failed rule: type(self) == int ? self > 0 : self != ''"]),
    (#"{"min": 1, "max": 2, "port": "http"}"#, []), (#"{"min": 1, "max": 2, "ratio": 1}"#, []),
    (#"{"min": 1, "max": 2, "labels": {"a": ""}}"#, [#"spec.labels[a]: "": failed rule: self != ''"#]),
  ])
  func rulesHoldForWhatTheyStandAt(_ spec: String, _ wanted: [String]) throws {
    #expect(try found(spec) == wanted)
  }

  @Test func theNameOfAnObjectMayBeLookedAt() throws {
    #expect(try found(#"{"min": 1, "max": 2}"#, name: "forbidden") == [#"<nil>: "object": may not be called so"#])
  }

  @Test(arguments: [
    (#""fixed": "a""#, #""fixed": "b""#, [#"spec.fixed: "b": may not be changed"#]),
    (#""fixed": "a""#, #""fixed": "a""#, []),
    (#""ratio": 1"#, #""fixed": "b""#, []),
    (#""grows": 2"#, #""grows": 1"#, ["spec.grows: 1: failed rule: !oldSelf.hasValue() || self >= oldSelf.value()"]),
    (#""ratio": 1"#, #""grows": 1"#, []),
    (
      #""parts": [{"id": "a", "kind": "x"}, {"id": "b", "kind": "y"}]"#,
      #""parts": [{"id": "b", "kind": "z"}, {"id": "c", "kind": "q"}]"#,
      [#"spec.parts[0].kind: "z": failed rule: self == oldSelf"#]
    ),
  ])
  func rulesOfChangeCompareWithWhatWas(_ old: String, _ new: String, _ wanted: [String]) throws {
    #expect(try found(#"{"min": 1, "max": 2, \#(new)}"#, old: #"{"min": 1, "max": 2, \#(old)}"#) == wanted)
    #expect(try found(#"{"min": 1, "max": 2, \#(new)}"#) == [])
  }

  @Test func rulesThatTakeTooLongEndTheCheck() throws {
    let schema = try StructuralSchema(
      try json(
        #"""
        {"type": "object", "properties": {"l": {"type": "array", "items": {"type": "integer"},
          "x-kubernetes-validations": [{"rule": "self.all(a, self.all(b, self.all(c, a + b + c >= 0)))"}, {"rule": "false"}]}}}
        """#))
    let object: JSONValue = ["l": .array((0..<200).map { .integer($0) })]
    let found = schema.expressionFindings(in: object, old: nil)
    #expect(
      found.map(\.detail) == [
        "no further validation rules will be run due to call cost exceeds limit for rule: "
          + "self.all(a, self.all(b, self.all(c, a + b + c >= 0)))"
      ])
  }

  @Test(arguments: [
    (#"{"rule": ""}"#, "rule", "rule is not specified"),
    (#"{"rule": "self.a"}"#, "rule", "cel expression must evaluate to a bool"),
    (
      #"{"rule": "self.b == 1"}"#, "rule",
      "compilation failed: ERROR: <input>:1:5: undefined field 'b'\n | self.b == 1\n | ....^"
    ),
    (#"{"rule": "true", "message": " "}"#, "message", "message must be non-empty if specified"),
    (#"{"rule": "true", "message": "a\nb"}"#, "message", "message must not contain line breaks"),
    (#"{"rule": "true", "messageExpression": "1"}"#, "messageExpression", "must evaluate to a string"),
    (#"{"rule": "true", "fieldPath": "a"}"#, "fieldPath", "fieldPath must be a valid path"),
    (#"{"rule": "true", "optionalOldSelf": true}"#, "optionalOldSelf", "may not be set if oldSelf is not used in rule"),
    (#"{"rule": "true", "reason": "Because"}"#, "reason", ""),
  ])
  func aRuleWithAMistakeIsRefused(_ rule: String, _ field: String, _ detail: String) throws {
    let type = CELType.structural(try json(#"{"type": "object", "properties": {"a": {"type": "integer"}}}"#))
    let rule = try json(rule)
    let problem = #expect(throws: ExpressionRule.Problem.self) { try ExpressionRule(rule, type: type) }
    #expect(problem?.field == field)
    #expect(problem?.detail == detail)
  }

  @Test func namesThatNoExpressionCouldHoldAreEscaped() throws {
    let type = CELType.structural(try json(Self.schema), isRoot: true)
    for source in [
      "self.spec.x__dash__y == ''", "self.spec.__namespace__ == ''", "self.kind == ''",
      "self.metadata.generateName == ''",
    ] {
      _ = try CELProgram(source, variables: ["self": type])
    }
    #expect(throws: CELProblem.self) { try CELProgram("self.metadata.labels.size() == 0", variables: ["self": type]) }
  }
}
