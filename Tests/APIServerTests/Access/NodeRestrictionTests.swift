import HTTPServer
import JSON
import Testing

@testable import APIServer

@Suite struct NodeRestrictionTests {
  private static let node = HTTPPeer.certificate(commonName: "system:node:n1", organizations: ["system:nodes"])

  private static func mirror(_ spec: JSONObject = [:], owner: String? = "n1", isMirror: Bool = true) -> JSONValue {
    var metadata: JSONObject = ["name": "web-n1"]
    if isMirror { metadata["annotations"] = ["kubernetes.io/config.mirror": "uid"] }
    if let owner {
      metadata["ownerReferences"] = [
        ["apiVersion": "v1", "kind": "Node", "name": .string(owner), "uid": "u", "controller": true]
      ]
    }
    var all: JSONObject = ["nodeName": "n1", "containers": [["name": "c", "image": "web:1"]]]
    for (key, value) in spec.members { all[key] = value }
    return ["apiVersion": "v1", "kind": "Pod", "metadata": .object(metadata), "spec": .object(all)]
  }

  private static let secret: JSONValue = [["name": "v", "secret": ["secretName": "s"]]]
  private static let token: JSONValue = [
    ["name": "v", "projected": ["sources": [["serviceAccountToken": ["path": "t"]]]]]
  ]
  private static let claim: JSONValue = [["name": "v", "persistentVolumeClaim": ["claimName": "c"]]]
  private static let variable: JSONValue = [
    ["name": "c", "image": "web:1", "envFrom": [["configMapRef": ["name": "m"]]]]
  ]
  private static let refused: [(JSONValue, String)] = [
    (mirror(isMirror: false), "can only create mirror pods"),
    (mirror(["nodeName": "n2"]), "can only create pods with spec.nodeName set to itself"),
    (mirror(owner: "n2"), "can only create pods with an owner reference set to itself"),
    (mirror(["volumes": secret]), "can not create pods that reference secrets"),
    (mirror(["volumes": token]), "can not create pods that reference a service account"),
    (mirror(["volumes": claim]), "can not create pods that reference persistentvolumeclaims"),
    (mirror(["containers": variable]), "can not create pods that reference configmaps"),
  ]

  @Test(arguments: refused)
  func aNodeMakesNoPodButAMirrorOfItsOwnThatRefersToNothing(_ pod: JSONValue, _ words: String) async throws {
    let world = try await TestServer()
    let answer = try await world.send("POST", "/api/v1/namespaces/default/pods", pod, peer: Self.node)
    #expect(answer.status == 403 && answer.message.contains(words), "\(answer.text)")
    try await world.stop()
  }

  @Test func aNodeMakesAndRemovesMirrorsOfItsOwn() async throws {
    let world = try await TestServer()
    let made = try await world.send("POST", "/api/v1/namespaces/default/pods", Self.mirror(), peer: Self.node)
    #expect(made.status == 201, "\(made.text)")
    #expect(made.json["spec"]?["serviceAccountName"] == nil)
    let place = "/api/v1/namespaces/default/pods/web-n1"
    let stranger = HTTPPeer.certificate(commonName: "system:node:n2", organizations: ["system:nodes"])
    #expect(try await world.send("DELETE", "\(place)?gracePeriodSeconds=0", peer: stranger).status == 403)
    #expect(try await world.send("DELETE", "\(place)?gracePeriodSeconds=0", peer: Self.node).status == 200)
    try await world.stop()
  }

  @Test func aNodeRegistersNobodyButItself() async throws {
    let world = try await TestServer()
    func node(_ name: String) -> JSONValue {
      ["apiVersion": "v1", "kind": "Node", "metadata": ["name": .string(name)]]
    }
    let other = try await world.send("POST", "/api/v1/nodes", node("n2"), peer: Self.node)
    #expect(other.status == 403 && other.message.contains("is not allowed to modify node"), "\(other.text)")
    #expect(try await world.send("POST", "/api/v1/nodes", node("n1"), peer: Self.node).status == 201)
    try await world.stop()
  }
}
