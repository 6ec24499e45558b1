import JSON
import KubeSchema
import Testing

private func patched(_ value: String, _ operations: String) throws -> String {
  try JSONPatch.apply(JSONValue.parse(operations), to: JSONValue.parse(value)).encodedString()
}

private func problem(_ value: String, _ operations: String) -> String {
  do {
    return "none: \(try patched(value, operations))"
  } catch {
    return (error as? PatchError)?.message ?? "\(error)"
  }
}

@Suite struct JSONPatchTests {
  @Test(arguments: [
    (#"{"a":1}"#, #"[{"op":"add","path":"/b","value":{"c":[]}}]"#, #"{"a":1,"b":{"c":[]}}"#),
    (
      #"{"a":[1,3]}"#, #"[{"op":"add","path":"/a/1","value":2},{"op":"add","path":"/a/-","value":4}]"#,
      #"{"a":[1,2,3,4]}"#
    ),
    (#"{"a":[1]}"#, #"[{"op":"add","path":"/a/1","value":2}]"#, #"{"a":[1,2]}"#),
    (#"{"a":1,"b":2}"#, #"[{"op":"remove","path":"/a"}]"#, #"{"b":2}"#),
    (#"{"a":[1,2,3]}"#, #"[{"op":"remove","path":"/a/1"}]"#, #"{"a":[1,3]}"#),
    (#"{"a":{"b":1}}"#, #"[{"op":"replace","path":"/a/b","value":null}]"#, #"{"a":{"b":null}}"#),
    (#"{"a":1}"#, #"[{"op":"replace","path":"","value":[1]}]"#, "[1]"),
    (#"{"a":{"x":1},"b":{}}"#, #"[{"op":"move","from":"/a/x","path":"/b/y"}]"#, #"{"a":{},"b":{"y":1}}"#),
    (#"{"a":[1,2,3]}"#, #"[{"op":"move","from":"/a/0","path":"/a/2"}]"#, #"{"a":[2,3,1]}"#),
    (#"{"a":{"x":1}}"#, #"[{"op":"copy","from":"/a","path":"/b"}]"#, #"{"a":{"x":1},"b":{"x":1}}"#),
    (
      #"{"a/b":1,"c~d":2,"":3}"#,
      #"[{"op":"remove","path":"/a~1b"},{"op":"remove","path":"/c~0d"},{"op":"remove","path":"/"}]"#, "{}"
    ),
    (#"{"~1":1}"#, #"[{"op":"test","path":"/~01","value":1}]"#, #"{"~1":1}"#),
    (
      #"{"a":{"b":[1,{"c":"d"}]}}"#, #"[{"op":"test","path":"/a/b/1","value":{"c":"d"}}]"#,
      #"{"a":{"b":[1,{"c":"d"}]}}"#
    ),
    (#"{"a":1}"#, #"[{"op":"test","path":"/b","value":null},{"op":"test","path":"/b"}]"#, #"{"a":1}"#),
    (#"{"a":1}"#, #"[{"op":"move","from":"/a","path":"/a"}]"#, #"{"a":1}"#),
    (#"{"a":1}"#, "[]", #"{"a":1}"#),
  ])
  func patches(_ value: String, _ operations: String, _ expected: String) throws {
    #expect(try patched(value, operations) == expected)
  }

  @Test(arguments: [
    (#"{"a":1}"#, #"[{"op":"test","path":"/a","value":2}]"#, "testing value /a failed: test failed"),
    (
      #"{"a":1}"#, #"[{"op":"remove","path":"/b"}]"#,
      "error in remove for path: '/b': Unable to remove nonexistent key: b: missing value"
    ),
    (
      #"{"a":1}"#, #"[{"op":"remove","path":"/b/c"}]"#,
      "remove operation does not apply: doc is missing path: \"/b/c\": missing value"
    ),
    (
      #"{"a":1}"#, #"[{"op":"add","path":"/b/c","value":1}]"#,
      "add operation does not apply: doc is missing path: \"/b/c\": missing value"
    ),
    (
      #"{"a":1}"#, #"[{"op":"replace","path":"/b","value":1}]"#,
      "replace operation does not apply: doc is missing key: /b: missing value"
    ),
    (
      #"{"a":1}"#, #"[{"op":"replace","path":"/b/c","value":1}]"#,
      "replace operation does not apply: doc is missing path: /b/c: missing value"
    ),
    (
      #"{"a":[1]}"#, #"[{"op":"add","path":"/a/5","value":1}]"#,
      "error in add for path: '/a/5': Unable to access invalid index: 5: invalid index referenced"
    ),
    (
      #"{"a":[1]}"#, #"[{"op":"remove","path":"/a/1"}]"#,
      "error in remove for path: '/a/1': Unable to access invalid index: 1: invalid index referenced"
    ),
    (
      #"{"a":[1,2]}"#, #"[{"op":"replace","path":"/a/01","value":1}]"#,
      "replace operation does not apply: doc is missing key: /a/01: missing value"
    ),
    (
      #"{"a":1}"#, #"[{"op":"move","from":"/x","path":"/b"}]"#,
      "move operation does not apply: doc is missing from path: /x: missing value"
    ),
    (
      #"{"a":{}}"#, #"[{"op":"move","from":"/a","path":"/a/b"}]"#,
      "move operation does not apply: /a is not movable into itself"
    ),
    (
      #"{"a":1}"#, #"[{"op":"copy","from":"/x","path":"/b"}]"#,
      "copy operation does not apply: doc is missing from path: /x: missing value"
    ),
    (#"{"a":1}"#, #"[{"op":"turn","path":"/a"}]"#, "Unexpected kind: turn"),
    (#"{"a":1}"#, #"[{"path":"/a"}]"#, "Unexpected kind: unknown"),
    (#"{"a":1}"#, #"[{"op":"add","value":1}]"#, "add operation does not apply: missing path field"),
    (#"{"a":1}"#, #"[{"op":"add","path":"/a"}]"#, "add operation does not apply: missing value field"),
    (#"{"a":1}"#, #"[{"op":"copy","path":"/a"}]"#, "copy operation does not apply: missing from field"),
    (#"{"a":1}"#, #"[{"op":"add","path":"a","value":1}]"#, "invalid JSON pointer \"a\": must be empty or begin with /"),
    (#"{"a":1}"#, #"{"op":"add"}"#, "json: cannot unmarshal object into Go value of type jsonpatch.Patch"),
    (#"{"a":1}"#, "[1]", "json: cannot unmarshal number into Go value of type jsonpatch.Operation"),
    (
      #"{"a":"text"}"#, #"[{"op":"add","path":"/a/b","value":1}]"#,
      "add operation does not apply: doc is missing path: \"/a/b\": missing value"
    ),
  ])
  func refuses(_ value: String, _ operations: String, _ message: String) {
    #expect(problem(value, operations) == message)
  }

  @Test func aPatchThatFailsChangesNothing() throws {
    let value = try JSONValue.parse(#"{"a":[1,2],"b":{"c":1}}"#)
    let operations = try JSONValue.parse(#"[{"op":"remove","path":"/a/0"},{"op":"test","path":"/b/c","value":2}]"#)
    #expect(throws: PatchError.self) { try JSONPatch.apply(operations, to: value) }
    #expect(value.encodedString() == #"{"a":[1,2],"b":{"c":1}}"#)
  }

  @Test func copiesOfCopiesAreBounded() {
    let copies = (0..<60).map { "{\"op\":\"copy\",\"from\":\"/a\",\"path\":\"/a/k\($0)\"}" }.joined(separator: ",")
    #expect(problem(#"{"a":{"text":"0123456789"}}"#, "[\(copies)]").contains("exceeding the limit"))
  }

  @Test func movesCannotNestWithoutEnd() {
    let members = (0..<5000).map { "\"m\($0)\":{}" }.joined(separator: ",")
    let moves = (0..<4999).map { "{\"op\":\"move\",\"from\":\"/m\($0)\",\"path\":\"/m\($0 + 1)/x\"}" }
    #expect(problem("{\(members)}", "[\(moves.joined(separator: ","))]") == "the patch nests deeper than 64 levels")
  }

  @Test func operationsAreBounded() {
    let operations = (0...JSONPatch.operationsMax).map { _ in "{\"op\":\"test\",\"path\":\"/a\",\"value\":1}" }
    #expect(
      problem(#"{"a":1}"#, "[\(operations.joined(separator: ","))]")
        == "The allowed maximum operations in a JSON patch is 10000, got 10001")
  }

  @Test func whatIsAddedCanBeRemovedAgain() throws {
    let type = try #require(Schema.kubernetes.type(apiVersion: "v1", kind: "Pod"))
    for seed in 0..<200 {
      var maker = ObjectMaker(seed: seed)
      let object = JSONValue.object(maker.object(type))
      var path = ""
      var place = object
      while true {
        if let inner = place.object, !inner.isEmpty, maker.random.chance(80) {
          let key = inner.keys[maker.random.below(inner.count)]
          path += "/\(key)"
          place = inner[key] ?? .null
        } else if let items = place.array, !items.isEmpty {
          let index = maker.random.below(items.count)
          path += "/\(index)"
          place = items[index]
        } else {
          break
        }
      }
      guard !path.isEmpty else { continue }
      let removal: JSONValue = [
        ["op": "test", "path": .string(path), "value": place], ["op": "remove", "path": .string(path)],
      ]
      let removed = try JSONPatch.apply(removal, to: object)
      let addition: JSONValue = [["op": "add", "path": .string(path), "value": place]]
      #expect(try JSONPatch.apply(addition, to: removed) == object, "seed \(seed): \(path)")
    }
  }
}

@Suite struct JSONMergePatchTests {
  /// The examples of RFC 7386, appendix A.
  @Test(arguments: [
    (#"{"a":"b"}"#, #"{"a":"c"}"#, #"{"a":"c"}"#), (#"{"a":"b"}"#, #"{"b":"c"}"#, #"{"a":"b","b":"c"}"#),
    (#"{"a":"b"}"#, #"{"a":null}"#, "{}"), (#"{"a":"b","b":"c"}"#, #"{"a":null}"#, #"{"b":"c"}"#),
    (#"{"a":["b"]}"#, #"{"a":"c"}"#, #"{"a":"c"}"#), (#"{"a":"c"}"#, #"{"a":["b"]}"#, #"{"a":["b"]}"#),
    (#"{"a":{"b":"c"}}"#, #"{"a":{"b":"d","c":null}}"#, #"{"a":{"b":"d"}}"#),
    (#"{"a":[{"b":"c"}]}"#, #"{"a":[1]}"#, #"{"a":[1]}"#), (#"["a","b"]"#, #"["c","d"]"#, #"["c","d"]"#),
    (#"{"a":"b"}"#, #"["c"]"#, #"["c"]"#), (#"{"a":"foo"}"#, "null", "null"), (#"{"a":"foo"}"#, #""bar""#, #""bar""#),
    (#"{"e":null}"#, #"{"a":1}"#, #"{"e":null,"a":1}"#), (#"[1,2]"#, #"{"a":"b","c":null}"#, #"{"a":"b"}"#),
    ("{}", #"{"a":{"bb":{"ccc":null}}}"#, #"{"a":{"bb":{}}}"#),
  ])
  func patches(_ value: String, _ patch: String, _ expected: String) throws {
    let result = JSONMergePatch.apply(try JSONValue.parse(patch), to: try JSONValue.parse(value))
    #expect(result.encodedString() == expected)
  }
}
