import JSON
import Testing

@testable import APIServer

@Suite struct CreateAndReadTests {
  static func configMap(_ name: String, _ data: String = "v") -> JSONValue {
    ["apiVersion": "v1", "kind": "ConfigMap", "metadata": ["name": .string(name)], "data": ["k": .string(data)]]
  }

  @Test func whatIsCreatedCanBeReadAndListed() async throws {
    let world = try await TestServer()
    let created = try await world.send("POST", "/api/v1/namespaces/default/configmaps", Self.configMap("a"))
    #expect(created.status == 201)
    #expect(created.json["metadata"]?["uid"]?.string?.count == 36)
    #expect(created.json["metadata"]?["creationTimestamp"]?.string == "2027-01-15T08:00:00Z")
    let read = try await world.send("GET", "/api/v1/namespaces/default/configmaps/a")
    #expect(read.status == 200)
    #expect(read.json == created.json)
    let list = try await world.send("GET", "/api/v1/namespaces/default/configmaps")
    #expect(list.json["kind"] == "ConfigMapList")
    #expect(list.names == ["a", "kube-root-ca.crt"])
    #expect(Int(list.revision) ?? 0 >= Int(created.revision) ?? 0)
    try await world.stop()
  }

  @Test func aWatchSeesWhatIsThereAndWhatComes() async throws {
    let world = try await TestServer()
    let list = try await world.send("GET", "/api/v1/namespaces/default/configmaps")
    let watch = try await TestWatch(
      world, "/api/v1/namespaces/default/configmaps?watch=true&resourceVersion=\(list.revision)")
    try await world.send("POST", "/api/v1/namespaces/default/configmaps", Self.configMap("a"))
    try await world.send("PUT", "/api/v1/namespaces/default/configmaps/a", Self.configMap("a", "w"))
    try await world.send("DELETE", "/api/v1/namespaces/default/configmaps/a")
    #expect(await watch.nextWords(3) == ["ADDED a", "MODIFIED a", "DELETED a"])
    try await world.stop()
  }

  @Test func whatIsNotThereIsNotFound() async throws {
    let world = try await TestServer()
    let missing = try await world.send("GET", "/api/v1/namespaces/default/pods/x")
    #expect(missing.status == 404)
    #expect(
      missing.text
        == #"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"pods \"x\" not found","#
        + #""reason":"NotFound","details":{"name":"x","kind":"pods"},"code":404}"#)
    let unknown = try await world.send("GET", "/api/v1/namespaces/default/foos")
    #expect(unknown.status == 404)
    #expect(unknown.text == "404 page not found\n")
    try await world.stop()
  }
}
