import HTTPServer
import JSON
import Testing

@testable import APIServer

/// Requests made at random, from seeds: the server answers every one, and goes on.
@Suite struct HostileRequestTests {
  struct Generator: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return (state ^ state >> 29) &* 0xBF58_476D_1CE4_E5B9
    }
  }

  static let methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]
  static let paths = [
    "/api/v1/namespaces/default/pods", "/api/v1/namespaces/default/pods/a", "/api/v1/namespaces/default/pods/a/status",
    "/api/v1/namespaces/default/pods/a/binding", "/api/v1/namespaces/default/services/s",
    "/api/v1/namespaces/default/services", "/api/v1/nodes/n", "/api/v1/nodes", "/api/v1/namespaces/x/finalize",
    "/apis/apps/v1/namespaces/default/deployments/d", "/apis/apps/v1/namespaces/default/deployments/d/scale",
    "/apis/apps/v1/namespaces/default/deployments", "/apis/coordination.k8s.io/v1/namespaces/default/leases/l",
    "/api/v1/namespaces/default/events", "/api/v1/namespaces/default/secrets", "/api", "/openapi/v3/x/y/z", "/readyz",
  ]
  static let queries = [
    "", "?limit=9223372036854775807", "?limit=-1", "?resourceVersion=9223372036854775807", "?continue=e30",
    "?labelSelector=a%20in%20(", "?fieldSelector=spec.nodeName%3D", "?dryRun=All", "?fieldValidation=Strict",
    "?gracePeriodSeconds=-9223372036854775808", "?propagationPolicy=Foreground", "?timeoutSeconds=1&watch=1",
    "?includeObject=Object", "?resourceVersionMatch=Exact&resourceVersion=1", "?hash=",
  ]
  static let types = [
    "application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "application/merge-patch+json",
    "application/json-patch+json", "application/strategic-merge-patch+json", "",
  ]
  static let accepts = [
    "", "application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "*/*;q=0.1",
    "application/json;as=Table;v=v1;g=meta.k8s.io", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
  ]
  static let seeds: [JSONValue] = [
    DeleteTests.pod("a", node: "n", grace: 1), UpdateTests.deployment("d"),
    AdmissionTests.service("s", ["type": "NodePort"]), ["metadata": ["name": "n"], "spec": ["taints": [[:]]]],
    [["op": "add", "path": "/metadata/labels/a", "value": 1], ["op": "move", "from": "/spec", "path": "/spec/x"]],
    ["spec": ["template": ["spec": ["containers": [["name": "c", "$patch": "delete"]]]]]],
    ["metadata": ["finalizers": ["a/b", .null], "deletionGracePeriodSeconds": 9_223_372_036_854_775_807]],
    ["kind": "DeleteOptions", "gracePeriodSeconds": 9_223_372_036_854_775_807, "preconditions": ["uid": 5]],
  ]

  /// A document with one of its values replaced.
  static func damaged(_ value: JSONValue, _ random: inout Generator) -> JSONValue {
    let strange: [JSONValue] = [
      .null, true, -1, 9_223_372_036_854_775_807, .number("1e999"), "", "\u{0}\u{FFFF}", [], [:], [[]],
      .string(String(repeating: "x", count: 5000)),
    ]
    switch value {
    case .object(let object) where !object.isEmpty && Bool.random(using: &random):
      var object = object
      let key = object.keys.randomElement(using: &random) ?? ""
      object[key] = damaged(object[key] ?? .null, &random)
      return .object(object)
    case .array(var items) where !items.isEmpty && Bool.random(using: &random):
      let index = items.indices.randomElement(using: &random) ?? 0
      items[index] = damaged(items[index], &random)
      return .array(items)
    default:
      return Int.random(in: 0..<4, using: &random) == 0 ? value : strange.randomElement(using: &random) ?? .null
    }
  }

  @Test(arguments: 0..<8) func everyRequestIsAnswered(_ seed: UInt64) async throws {
    var random = Generator(state: seed &* 7919 &+ 1)
    let world = try await TestServer()
    for _ in 0..<250 {
      let method = Self.methods.randomElement(using: &random) ?? ""
      let path = Self.paths.randomElement(using: &random) ?? ""
      let query = Self.queries.randomElement(using: &random) ?? ""
      var body = Self.damaged(Self.seeds.randomElement(using: &random) ?? .null, &random).encoded()
      if Int.random(in: 0..<5, using: &random) == 0, !body.isEmpty {
        body[Int.random(in: 0..<body.count, using: &random)] = UInt8.random(in: .min ... .max, using: &random)
      }
      let response = try await world.respond(
        method, path + query, bytes: body, type: Self.types.randomElement(using: &random),
        accept: Self.accepts.randomElement(using: &random))
      #expect(
        (200..<300).contains(response.status) || (400..<500).contains(response.status) || response.status == 504,
        "\(method) \(path)\(query) \(String(decoding: body, as: UTF8.self)): \(response.status)")
    }
    #expect(try await world.send("GET", "/readyz").text == "ok")
    try await world.stop()
  }
}
