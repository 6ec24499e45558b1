import HTTPServer
import JSON
import ObjectStore
import Testing

@testable import APIServer

/// The end of a namespace, and what comes to it in its last moment.
@Suite struct NamespaceEndTests {
  private static let namespace = "/api/v1/namespaces/t1"

  /// Takes away what every namespace has.
  static func empty(_ world: TestServer, _ path: String) async throws {
    for resource in ["serviceaccounts", "configmaps"] {
      #expect(try await world.send("DELETE", "\(path)/\(resource)").status == 200)
    }
  }

  private func finalized(_ namespace: TestServer.Answer) throws -> JSONValue {
    var object = try #require(namespace.json.object)
    object[object: "metadata"]["resourceVersion"] = nil
    object[object: "spec"]["finalizers"] = []
    return .object(object)
  }

  @Test func aNamespaceGoesOnlyWhenItIsEmpty() async throws {
    let world = try await TestServer()
    try await world.send("POST", "/api/v1/namespaces", ["metadata": ["name": "t1"]])
    let deleted = try await world.send("DELETE", Self.namespace)
    let final = try finalized(deleted)
    let early = try await world.send("PUT", "\(Self.namespace)/finalize", final)
    #expect(early.status == 409, "\(early.text)")
    #expect(early.message.contains("the namespace is not empty"))
    #expect(try await world.send("GET", Self.namespace).status == 200)
    try await Self.empty(world, Self.namespace)
    #expect(try await world.send("PUT", "\(Self.namespace)/finalize", final).status == 200)
    #expect(try await world.send("GET", Self.namespace).status == 404)
    try await world.stop()
  }

  @Test func anObjectOfACustomKindWithAFinalizerHoldsItsNamespace() async throws {
    let world = try await CustomResourceTests.world()
    try await world.send("POST", "/api/v1/namespaces", ["metadata": ["name": "t1"]])
    let widgets = "/apis/x.example.com/v1/namespaces/t1/widgets"
    var widget = CustomResourceTests.widget("w", ["size": 1])
    widget[path: "metadata", "finalizers"] = ["example.com/hold"]
    let made = try await world.send("POST", widgets, widget)
    try #require(made.status == 201, "\(made.text)")
    let deleted = try await world.send("DELETE", Self.namespace)
    try await Self.empty(world, Self.namespace)
    let final = try finalized(deleted)
    let held = try await world.send("PUT", "\(Self.namespace)/finalize", final)
    #expect(held.status == 409 && held.message.contains("widgets.x.example.com"), "\(held.text)")
    try await world.send(
      "PATCH", "\(widgets)/w", ["metadata": ["finalizers": .null]], type: "application/merge-patch+json")
    try await world.send("DELETE", "\(widgets)/w")
    #expect(try await world.send("GET", "\(widgets)/w").status == 404)
    #expect(try await world.send("PUT", "\(Self.namespace)/finalize", final).status == 200)
    #expect(try await world.send("GET", Self.namespace).status == 404)
    try await world.stop()
  }

  /// Many create while the namespace is marked, emptied and finalized again and again.
  @Test func nothingOutlivesItsNamespace() async throws {
    let world = try await TestServer()
    for turn in 0..<20 {
      let path = "/api/v1/namespaces/t\(turn)"
      try await world.send("POST", "/api/v1/namespaces", ["metadata": ["name": .string("t\(turn)")]])
      try await withThrowingTaskGroup(of: Void.self) { group in
        for number in 0..<8 {
          group.addTask {
            for each in 0..<10 {
              let made = try await world.send(
                "POST", "\(path)/configmaps", ["metadata": ["name": .string("m\(number)-\(each)")]])
              #expect([201, 403, 404].contains(made.status), "\(made.text)")
            }
          }
        }
        group.addTask {
          let final = try self.finalized(try await world.send("DELETE", path))
          // Conflicts while something is left; each turn empties it once more.
          for _ in 0..<100 {
            try await Self.empty(world, path)
            if try await world.send("PUT", "\(path)/finalize", final).status == 200 { break }
          }
        }
        try await group.waitForAll()
      }
      #expect(try await world.send("GET", path).status == 404)
      #expect(world.store.list(prefix: "/configmaps/t\(turn)/").objects.isEmpty)
    }
    try await world.stop()
  }

  @Test func aChangeOfTheNamespaceIsNoReasonToRefuseAnObject() async throws {
    let world = try await TestServer()
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask {
        for number in 0..<100 {
          try await world.send(
            "PATCH", "/api/v1/namespaces/default", ["metadata": ["labels": ["turn": .string("\(number)")]]],
            type: "application/merge-patch+json")
        }
      }
      group.addTask {
        for number in 0..<100 {
          let made = try await world.send(
            "POST", "/api/v1/namespaces/default/configmaps", ["metadata": ["name": .string("m\(number)")]])
          #expect(made.status == 201, "\(made.text)")
        }
      }
      try await group.waitForAll()
    }
    try await world.stop()
  }
}
