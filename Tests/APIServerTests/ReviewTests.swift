import HTTPServer
import JSON
import Testing

@testable import APIServer

/// What `kubectl auth can-i` asks.
@Suite struct ReviewTests {
  private static let node = HTTPPeer.certificate(commonName: "system:node:n1", organizations: ["system:nodes"])
  private static let reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"

  private static let wishes: [(HTTPPeer, JSONValue, Bool)] = [
    (.process, ["verb": "delete", "resource": "nodes"], true),
    (node, ["verb": "list", "resource": "services"], true),
    (node, ["verb": "list", "resource": "pods"], false),
    (
      node,
      [
        "verb": "list", "resource": "pods",
        "fieldSelector": ["requirements": [["key": "spec.nodeName", "operator": "In", "values": ["n1"]]]],
      ], true
    ),
    (node, ["verb": "create", "group": "apps", "resource": "deployments", "namespace": "default"], false),
  ]

  @Test(arguments: wishes)
  func accessIsToldAsItIsGranted(_ peer: HTTPPeer, _ attributes: JSONValue, _ isAllowed: Bool) async throws {
    let world = try await TestServer()
    let answer = try await world.send(
      "POST", Self.reviews, ["spec": ["resourceAttributes": attributes]], peer: peer)
    #expect(answer.status == 201, "\(answer.text)")
    #expect(answer.json["kind"] == "SelfSubjectAccessReview")
    #expect(answer.json["spec"]?["resourceAttributes"]?["verb"] == attributes["verb"])
    #expect(answer.json["status"]?["allowed"] == .bool(isAllowed), "\(answer.text)")
    #expect((answer.json["status"]?["reason"] == nil) == isAllowed)
    try await world.stop()
  }

  @Test func pathsAreAskedForToo() async throws {
    let world = try await TestServer()
    for (path, isAllowed) in [("/version", true), ("/metrics", false)] {
      let answer = try await world.send(
        "POST", Self.reviews, ["spec": ["nonResourceAttributes": ["verb": "get", "path": .string(path)]]],
        peer: Self.node)
      #expect(answer.json["status"]?["allowed"] == .bool(isAllowed), "\(answer.text)")
    }
    let both = try await world.send("POST", Self.reviews, ["spec": [:]])
    #expect(both.status == 422)
    #expect(both.message.contains("exactly one of nonResourceAttributes or resourceAttributes must be specified"))
    #expect(try await world.send("GET", Self.reviews).status == 405)
    try await world.stop()
  }

  @Test func rulesAreListedForWhoHasThem() async throws {
    let world = try await TestServer()
    let path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    let all = try await world.send("POST", path, ["spec": ["namespace": "default"]])
    #expect(all.status == 201)
    #expect(all.json["status"]?["resourceRules"]?[0]?["resources"] == ["*"])
    #expect(all.json["status"]?["incomplete"] == false)
    let some = try await world.send("POST", path, ["spec": ["namespace": "default"]], peer: Self.node)
    #expect(some.json["status"]?["incomplete"] == true)
    let protobuf = try await world.send(
      "POST", path, ["spec": ["namespace": "default"]], accept: "application/vnd.kubernetes.protobuf")
    #expect(protobuf.headers["content-type"] == "application/vnd.kubernetes.protobuf")
    try await world.stop()
  }
}
