import JSON
import KubeSchema
import Testing

private let schema = Schema.kubernetes

private func pod(_ value: String, _ patch: String) throws -> JSONValue {
  let type = try #require(schema.type(apiVersion: "v1", kind: "Pod"))
  return try schema.strategicMergePatch(JSONValue.parse(value), patch: JSONValue.parse(patch), as: type)
}

private func problem(_ value: String, _ patch: String) -> PatchError? {
  do {
    _ = try pod(value, patch)
    return nil
  } catch {
    return error as? PatchError
  }
}

@Suite struct StrategicMergePatchTests {
  @Test(arguments: [
    // Maps merge, null removes, other lists are replaced.
    (
      #"{"metadata":{"labels":{"a":"1","b":"2"}}}"#, #"{"metadata":{"labels":{"a":null,"c":"3","d":null}}}"#,
      #"{"metadata":{"labels":{"b":"2","c":"3"}}}"#
    ),
    (
      #"{"spec":{"nodeName":"a"}}"#, #"{"spec":{"nodeName":null,"dnsPolicy":"None"}}"#,
      #"{"spec":{"dnsPolicy":"None"}}"#
    ),
    // Items merge by their key, and stand in the order of the patch.
    (
      #"{"spec":{"containers":[{"name":"a","image":"x","command":["1","2"]},{"name":"b","image":"y"}]}}"#,
      #"{"spec":{"containers":[{"name":"c","image":"z"},{"name":"a","image":"x2","command":["3"]}]}}"#,
      #"{"spec":{"containers":[{"name":"c","image":"z"},{"name":"a","image":"x2","command":["3"]},{"name":"b","image":"y"}]}}"#
    ),
    // Within items, too.
    (
      #"{"spec":{"containers":[{"name":"a","env":[{"name":"X","value":"1"},{"name":"Y","value":"2"}]}]}}"#,
      #"{"spec":{"containers":[{"name":"a","env":[{"name":"X","value":"9"},{"name":"Y","$patch":"delete"}]}]}}"#,
      #"{"spec":{"containers":[{"name":"a","env":[{"name":"X","value":"9"}]}]}}"#
    ),
    // Directives for maps.
    (
      #"{"spec":{"nodeSelector":{"a":"1"},"securityContext":{"runAsUser":1,"fsGroup":2}}}"#,
      #"{"spec":{"nodeSelector":{"$patch":"delete"},"securityContext":{"$patch":"replace","fsGroup":3}}}"#,
      #"{"spec":{"nodeSelector":{},"securityContext":{"fsGroup":3}}}"#
    ),
    (#"{"spec":{}}"#, #"{"spec":{"nodeSelector":{"$patch":"delete","a":"b"}}}"#, #"{"spec":{}}"#),
    // A list to replace.
    (
      #"{"spec":{"containers":[{"name":"a"},{"name":"b"}]}}"#,
      #"{"spec":{"containers":[{"name":"c"},{"$patch":"replace"}]}}"#, #"{"spec":{"containers":[{"name":"c"}]}}"#
    ),
    // retainKeys: a volume has one source.
    (
      #"{"spec":{"volumes":[{"name":"v","emptyDir":{}}]}}"#,
      #"{"spec":{"volumes":[{"name":"v","$retainKeys":["name","hostPath"],"hostPath":{"path":"/x"}}]}}"#,
      #"{"spec":{"volumes":[{"name":"v","hostPath":{"path":"/x"}}]}}"#
    ),
    // Lists of scalars that are sets.
    (
      #"{"metadata":{"finalizers":["a","b","c"]}}"#,
      #"{"metadata":{"$deleteFromPrimitiveList/finalizers":["b"],"finalizers":["d","a"]}}"#,
      #"{"metadata":{"finalizers":["d","a","c"]}}"#
    ),
    (#"{"metadata":{}}"#, #"{"metadata":{"$deleteFromPrimitiveList/finalizers":["b"]}}"#, #"{"metadata":{}}"#),
    (
      #"{"metadata":{"finalizers":["a","b"]}}"#,
      #"{"metadata":{"$setElementOrder/finalizers":["c","b","a"],"finalizers":["c"]}}"#,
      #"{"metadata":{"finalizers":["c","b","a"]}}"#
    ),
    // The order that kubectl apply sends; what only the server has keeps its place before what came after it.
    (
      #"{"spec":{"containers":[{"name":"a"},{"name":"side"},{"name":"b","image":"1"}]}}"#,
      #"{"spec":{"$setElementOrder/containers":[{"name":"b"},{"name":"a"}],"containers":[{"name":"b","image":"2"}]}}"#,
      #"{"spec":{"containers":[{"name":"side"},{"name":"b","image":"2"},{"name":"a"}]}}"#
    ),
    (
      #"{"spec":{"containers":[{"name":"a"},{"name":"b"}]}}"#,
      #"{"spec":{"$setElementOrder/containers":[{"name":"b"},{"name":"a"}]}}"#,
      #"{"spec":{"containers":[{"name":"b"},{"name":"a"}]}}"#
    ),
    // An order for a list that is nowhere, and nulls for what is not there.
    (#"{"spec":{}}"#, #"{"spec":{"$setElementOrder/containers":[{"name":"b"}],"nodeName":null}}"#, #"{"spec":{}}"#),
    (#"{}"#, #"{"spec":{"nodeName":"n","hostname":null,"x":{"y":null}}}"#, #"{"spec":{"nodeName":"n","x":{}}}"#),
    (#"{"spec":{"nodeName":"n"}}"#, #"{}"#, #"{"spec":{"nodeName":"n"}}"#),
    (#"{"spec":{"nodeName":"n"}}"#, #"{"$patch":"replace","status":{}}"#, #"{"status":{}}"#),
    (#"{"spec":[1]}"#, #"{"spec":{"nodeName":"n"}}"#, #"{"spec":{"nodeName":"n"}}"#),
    // Ports merge by number.
    (
      #"{"spec":{"containers":[{"name":"a","ports":[{"containerPort":80}]}]}}"#,
      #"{"spec":{"containers":[{"name":"a","ports":[{"containerPort":80,"name":"http"},{"containerPort":443}]}]}}"#,
      #"{"spec":{"containers":[{"name":"a","ports":[{"containerPort":80,"name":"http"},{"containerPort":443}]}]}}"#
    ),
  ])
  func patches(_ value: String, _ patch: String, _ expected: String) throws {
    #expect(try pod(value, patch).encodedString() == JSONValue.parse(expected).encodedString())
  }

  @Test(arguments: [
    (
      #"{"spec":{"containers":[{"name":"a"}]}}"#, #"{"spec":{"containers":[{"image":"x"}]}}"#,
      "map: map[image:x] does not contain declared merge key: name"
    ),
    (#"{"spec":{}}"#, #"{"spec":{"$patch":"turn"}}"#, "unknown patch type: turn in map: map[$patch:turn]"),
    (
      #"{"spec":{"containers":[{"name":"a"}]}}"#, #"{"spec":{"containers":[{"$patch":"merge"}]}}"#,
      "merging lists cannot yet be specified in the patch"
    ),
    (
      #"{"spec":{"containers":[{"name":"a"}]}}"#, #"{"spec":{"containers":[{"$patch":7,"name":"a"}]}}"#,
      "unknown patch type: 7 in map: map[$patch:7 name:a]"
    ),
    (#"{"spec":{}}"#, #"{"spec":{"$retainKeys":"x"}}"#, "invalid patch format of retainKeys"),
    (#"{"spec":{}}"#, #"{"spec":{"$retainKeys":["a"],"b":1}}"#, "invalid patch format of retainKeys"),
    (
      #"{"metadata":{"finalizers":["a"]}}"#, #"{"metadata":{"$deleteFromPrimitiveList":["a"]}}"#,
      "invalid patch format of primitive list"
    ),
    (
      #"{"metadata":{"finalizers":["a"]}}"#, #"{"metadata":{"$setElementOrder/finalizers":7}}"#,
      "invalid patch format of setElementOrder list"
    ),
    (
      #"{"metadata":{"finalizers":["a"]}}"#, #"{"metadata":{"finalizers":[{"a":1}]}}"#,
      "list element types are not identical: [[a] [map[a:1]]]"
    ),
    (
      #"{"metadata":{"finalizers":[["a"]]}}"#, #"{"metadata":{"finalizers":["b"]}}"#, "lists of lists are not supported"
    ),
    (
      #"{"novel":{"a":1}}"#, #"{"novel":{"b":1}}"#,
      "unable to find api field in struct Pod for the json field \"novel\""
    ),
    (#"[]"#, #"{}"#, "invalid JSON document"), (#"{}"#, #"[]"#, "invalid JSON document"),
    (
      #"{"spec":{"containers":[{"name":"a"}]}}"#,
      #"{"spec":{"$setElementOrder/containers":[{"name":"b"}],"containers":[{"name":"a","image":"x"}]}}"#,
      """
      The order in patch list:
      [map[image:x name:a]]
       doesn't match $setElementOrder list:
      [map[name:b]]

      """
    ),
  ])
  func refuses(_ value: String, _ patch: String, _ message: String) {
    #expect(problem(value, patch)?.message == message)
  }

  @Test func theDifferenceOfTwoObjectsMakesOneTheOther() throws {
    for name in ["io.k8s.api.core.v1.Pod", "io.k8s.api.apps.v1.Deployment", "io.k8s.api.core.v1.Service"] {
      let type = try #require(schema.type(named: name))
      for seed in 0..<150 {
        var (one, other) = (ObjectMaker(seed: seed), ObjectMaker(seed: seed + 100_000))
        let (from, to) = (one.object(type), other.object(type))
        let patch = JSONValue.object(Difference.patch(from, to, type))
        let result = try schema.strategicMergePatch(.object(from), patch: patch, as: type)
        #expect(result == .object(to), "\(name) seed \(seed): \(patch.encodedString())")
      }
    }
  }

  @Test func aPatchAppliedTwiceIsAPatchAppliedOnce() throws {
    let type = try #require(schema.type(apiVersion: "v1", kind: "Pod"))
    for seed in 0..<150 {
      var (one, other) = (ObjectMaker(seed: seed), ObjectMaker(seed: seed + 50_000))
      let patch = JSONValue.object(other.object(type))
      let once = try schema.strategicMergePatch(.object(one.object(type)), patch: patch, as: type)
      #expect(try schema.strategicMergePatch(once, patch: patch, as: type) == once, "seed \(seed)")
    }
  }

  @Test func manyNullsRemoveInLinearTime() throws {
    let labels = (0..<30_000).map { "\"k\($0)\":\"v\"" }.joined(separator: ",")
    let value = "{\"metadata\":{\"labels\":{\(labels)}}}"
    let patch = value.replacing("\"v\"", with: "null")
    let expected: JSONValue = ["metadata": ["labels": [:]]]
    var results: [JSONValue] = []
    let time = try ContinuousClock().measure {
      results.append(try pod(value, patch))
      results.append(JSONMergePatch.apply(try JSONValue.parse(patch), to: try JSONValue.parse(value)))
    }
    #expect(results == [expected, expected])
    #expect(time < .seconds(20))
  }

  @Test func longListsMergeInLinearTime() throws {
    let names = (0..<20_000).map { "{\"name\":\"v\($0)\"}" }.joined(separator: ",")
    let list = "{\"spec\":{\"volumes\":[\(names)]}}"
    var result: JSONValue = .null
    let time = try ContinuousClock().measure { result = try pod(list, list) }
    #expect(try result == JSONValue.parse(list))
    #expect(time < .seconds(20))
  }
}

/// The patch that a client would send: the smallest one is no aim, all directives are.
private enum Difference {
  static func patch(_ from: JSONObject, _ to: JSONObject, _ type: SchemaType?) -> JSONObject {
    var patch = JSONObject()
    for (key, _) in from.members where to[key] == nil { patch[key] = .some(.null) }
    for (key, target) in to.members {
      guard let present = from[key] else {
        patch[key] = target
        continue
      }
      if present == target, present.array == nil { continue }
      let field = type?.fields[key]
      switch (present, target) {
      case (.object(let present), .object(let target)):
        let inner = Self.patch(present, target, field.flatMap { Schema.kubernetes.type(in: $0.valueType) })
        if !inner.isEmpty { patch[key] = .object(inner) }
      case (.array(let present), .array(let target)) where field?.patchStrategy.contains(.merge) == true:
        if present.elementsEqual(target) { continue }
        let itemType = field.flatMap { Schema.kubernetes.type(in: $0.valueType) }
        lists(key, present, target, field?.patchMergeKey, itemType, &patch)
      default: patch[key] = target
      }
    }
    return patch
  }

  private static func lists(
    _ key: String, _ present: [JSONValue], _ target: [JSONValue], _ mergeKey: String?, _ type: SchemaType?,
    _ patch: inout JSONObject
  ) {
    guard let mergeKey else {
      let gone = present.filter { !target.contains($0) }
      if !gone.isEmpty { patch["$deleteFromPrimitiveList/\(key)"] = .array(gone) }
      patch["$setElementOrder/\(key)"] = .array(target)
      patch[key] = .array(target)
      return
    }
    var items: [JSONValue] = []
    for item in target {
      let before = present.first { $0[mergeKey] == item[mergeKey] }
      guard let before = before?.object, let after = item.object else {
        items.append(item)
        continue
      }
      var inner = Self.patch(before, after, type)
      inner[mergeKey] = item[mergeKey]
      items.append(.object(inner))
    }
    for item in present where !target.contains(where: { $0[mergeKey] == item[mergeKey] }) {
      items.append(["$patch": "delete", mergeKey: item[mergeKey] ?? .null])
    }
    patch["$setElementOrder/\(key)"] = .array(target.map { [mergeKey: $0[mergeKey] ?? .null] })
    patch[key] = .array(items)
  }
}
