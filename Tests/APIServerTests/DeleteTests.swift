import JSON
import Testing

@testable import APIServer

@Suite struct DeleteTests {
  static let maps = "/api/v1/namespaces/default/configmaps"
  static let pods = "/api/v1/namespaces/default/pods"

  static func pod(_ name: String, node: String? = nil, grace: Int64? = nil) -> JSONValue {
    var spec: JSONObject = ["containers": [["name": "c", "image": "web:1"]]]
    if let node { spec["nodeName"] = .string(node) }
    if let grace { spec["terminationGracePeriodSeconds"] = .integer(grace) }
    return ["apiVersion": "v1", "kind": "Pod", "metadata": ["name": .string(name)], "spec": .object(spec)]
  }

  @Test func aDeletionIsAnsweredByWhatIsGone() async throws {
    let world = try await TestServer()
    let created = try await world.send("POST", Self.maps, ["metadata": ["name": "a"]])
    let uid = try #require(created.json["metadata"]?["uid"]?.string)
    let answer = try await world.send("DELETE", "\(Self.maps)/a", ["propagationPolicy": "Background"])
    #expect(answer.status == 200)
    #expect(
      answer.text
        == #"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success","details":{"name":"a","#
        + #""kind":"configmaps","uid":"\#(uid)"}}"#)
    #expect(try await world.send("DELETE", "\(Self.maps)/a").status == 404)
    try await world.stop()
  }

  @Test func preconditionsMustHold() async throws {
    let world = try await TestServer()
    let created = try await world.send("POST", Self.maps, ["metadata": ["name": "a"]])
    let wrong = try await world.send("DELETE", "\(Self.maps)/a", ["preconditions": ["uid": "x"]])
    #expect(wrong.status == 409)
    #expect(wrong.message.contains("Precondition failed: UID in precondition: x, UID in object meta: "))
    let stale = try await world.send("DELETE", "\(Self.maps)/a", ["preconditions": ["resourceVersion": "1"]])
    #expect(stale.status == 409)
    let right = try await world.send(
      "DELETE", "\(Self.maps)/a",
      [
        "preconditions": [
          "uid": created.json["metadata"]?["uid"] ?? .null, "resourceVersion": .string(created.revision),
        ]
      ])
    #expect(right.status == 200)
    try await world.stop()
  }

  @Test func finalizersHoldAnObjectUntilTheyAreGone() async throws {
    let world = try await TestServer()
    try await world.send("POST", Self.maps, ["metadata": ["name": "a", "finalizers": ["example.com/hold"]]])
    let marked = try await world.send("DELETE", "\(Self.maps)/a")
    #expect(marked.status == 200)
    #expect(marked.json["kind"] == "ConfigMap")
    #expect(marked.json["metadata"]?["deletionTimestamp"]?.string == "2027-01-15T08:00:00Z")
    #expect(marked.json["metadata"]?["deletionGracePeriodSeconds"] == 0)
    #expect(try await world.send("DELETE", "\(Self.maps)/a").status == 200)
    let more = try await world.send(
      "PATCH", "\(Self.maps)/a", ["metadata": ["finalizers": ["example.com/hold", "example.com/more"]]],
      type: "application/merge-patch+json")
    #expect(more.status == 422)
    #expect(more.message.contains("no new finalizers can be added if the object is being deleted"))
    let last = try await world.send(
      "PATCH", "\(Self.maps)/a", ["metadata": ["finalizers": .null]], type: "application/merge-patch+json")
    #expect(last.status == 200)
    #expect(try await world.send("GET", "\(Self.maps)/a").status == 404)
    try await world.stop()
  }

  @Test(arguments: [("Foreground", "foregroundDeletion"), ("Orphan", "orphan")])
  func propagationLeavesAFinalizerForTheCollector(_ policy: String, _ finalizer: String) async throws {
    let world = try await TestServer()
    let path = UpdateTests.deployments
    try await world.send("POST", path, UpdateTests.deployment("x"))
    let marked = try await world.send("DELETE", "\(path)/x?propagationPolicy=\(policy)")
    #expect(marked.json["metadata"]?["finalizers"] == [.string(finalizer)])
    #expect(marked.json["metadata"]?["deletionTimestamp"] != nil)
    #expect(marked.json["metadata"]?["generation"] == 2)
    #expect(try await world.send("GET", "\(path)/x").status == 200)
    try await world.stop()
  }

  @Test func aPodOnANodeIsGivenItsTime() async throws {
    let world = try await TestServer()
    try await world.send("POST", Self.pods, Self.pod("a", node: "n", grace: 20))
    let marked = try await world.send("DELETE", "\(Self.pods)/a")
    #expect(marked.status == 200)
    #expect(marked.json["metadata"]?["deletionGracePeriodSeconds"] == 20)
    #expect(marked.json["metadata"]?["deletionTimestamp"]?.string == "2027-01-15T08:00:20Z")
    // Only sooner, never later.
    let longer = try await world.send("DELETE", "\(Self.pods)/a?gracePeriodSeconds=100")
    #expect(longer.json["metadata"]?["deletionGracePeriodSeconds"] == 20)
    world.advance(seconds: 3)
    let sooner = try await world.send("DELETE", "\(Self.pods)/a", ["gracePeriodSeconds": 5])
    #expect(sooner.json["metadata"]?["deletionGracePeriodSeconds"] == 5)
    #expect(sooner.json["metadata"]?["deletionTimestamp"]?.string == "2027-01-15T08:00:05Z")
    // The node says that it has ended.
    let gone = try await world.send("DELETE", "\(Self.pods)/a", ["gracePeriodSeconds": 0])
    #expect(gone.status == 200)
    #expect(gone.json["kind"] == "Pod")
    #expect(try await world.send("GET", "\(Self.pods)/a").status == 404)
    try await world.stop()
  }

  @Test(arguments: [Int64.max, Int64.min, -1]) func aGraceBeyondAllTimeStopsNothing(_ seconds: Int64) async throws {
    let world = try await TestServer()
    try await world.send("POST", Self.pods, Self.pod("a", node: "n"))
    let marked = try await world.send("DELETE", "\(Self.pods)/a", ["gracePeriodSeconds": .integer(seconds)])
    #expect(marked.status == 200)
    #expect(try await world.send("DELETE", "\(Self.pods)/a?gracePeriodSeconds=\(Int64.max)").status == 200)
    #expect(try await world.send("DELETE", "\(Self.pods)/a?gracePeriodSeconds=0").status == 200)
    #expect(try await world.send("GET", "\(Self.pods)/a").status == 404)
    try await world.stop()
  }

  @Test func aPodWithoutANodeGoesAtOnce() async throws {
    let world = try await TestServer()
    try await world.send("POST", Self.pods, Self.pod("a"))
    #expect(try await world.send("DELETE", "\(Self.pods)/a").status == 200)
    #expect(try await world.send("GET", "\(Self.pods)/a").status == 404)
    try await world.stop()
  }

  @Test func aCollectionIsDeletedAsItsSelectorSays() async throws {
    let world = try await TestServer { $0.collectionPage = 2 }
    for number in 0..<7 {
      try await world.send(
        "POST", Self.maps,
        ["metadata": ["name": .string("m\(number)"), "labels": ["odd": number % 2 == 1 ? "yes" : "no"]]])
    }
    let answer = try await world.send("DELETE", "\(Self.maps)?labelSelector=odd%3Dyes")
    #expect(answer.json["kind"] == "ConfigMapList")
    #expect(answer.names == ["m1", "m3", "m5"])
    #expect(
      try await world.send("GET", Self.maps).names == ["kube-root-ca.crt", "m0", "m2", "m4", "m6"])
    try await world.stop()
  }

  @Test func aNamespaceEndsWhenItsFinalizersAreGone() async throws {
    let world = try await TestServer()
    try await world.send("POST", "/api/v1/namespaces", ["metadata": ["name": "t1"]])
    let accounts = try await world.send("GET", "/api/v1/namespaces/t1/serviceaccounts")
    #expect(accounts.names == ["default"])
    let deleted = try await world.send("DELETE", "/api/v1/namespaces/t1", ["propagationPolicy": "Background"])
    #expect(deleted.json["status"]?["phase"] == "Terminating")
    #expect(deleted.json["metadata"]?["deletionTimestamp"] != nil)
    let refused = try await world.send("POST", "/api/v1/namespaces/t1/configmaps", ["metadata": ["name": "a"]])
    #expect(refused.status == 403)
    #expect(
      refused.message
        == #"configmaps "a" is forbidden: unable to create new content in namespace t1 because it is being terminated"#)
    #expect(refused.json["details"]?["causes"]?[0]?["reason"] == "NamespaceTerminating")
    var finalized = try #require(deleted.json.object)
    finalized[object: "spec"]["finalizers"] = []
    try await NamespaceEndTests.empty(world, "/api/v1/namespaces/t1")
    #expect(try await world.send("PUT", "/api/v1/namespaces/t1/finalize", .object(finalized)).status == 200)
    #expect(try await world.send("GET", "/api/v1/namespaces/t1").status == 404)
    try await world.stop()
  }

  @Test func whatEveryNamespaceHasComesBack() async throws {
    let world = try await TestServer()
    let before = try await world.send("GET", "\(Self.maps)/kube-root-ca.crt")
    #expect(before.json["data"] == ["ca.crt": "PEM"])
    #expect(try await world.send("DELETE", "\(Self.maps)/kube-root-ca.crt").status == 200)
    let after = try await world.send("GET", "\(Self.maps)/kube-root-ca.crt")
    #expect(after.json["data"] == ["ca.crt": "PEM"])
    #expect(after.json["metadata"]?["uid"] != before.json["metadata"]?["uid"])
    try await world.stop()
  }

  @Test func eventsGoAfterAnHour() async throws {
    let world = try await TestServer()
    let path = "/api/v1/namespaces/default/events"
    func event(_ name: String) -> JSONValue {
      [
        "metadata": ["name": .string(name), "namespace": "default"], "reason": "Test", "type": "Normal",
        "involvedObject": ["kind": "Pod", "name": "p", "namespace": "default"],
      ]
    }
    let created = try await world.send("POST", path, event("old"))
    try #require(created.status == 201, "\(created.text)")
    world.advance(seconds: 1800)
    try await world.send("POST", path, event("new"))
    var expiries = EventExpiries(seconds: 3600)
    await world.server.removeExpiredEvents(&expiries)
    #expect(try await world.send("GET", path).names == ["new", "old"])
    world.advance(seconds: 1801)
    await world.server.removeExpiredEvents(&expiries)
    #expect(try await world.send("GET", path).names == ["new"])
    try await world.stop()
  }
}
