import HTTPServer
import JSON
import KubeModel
import Logging
import ObjectStore
import PKI
import Synchronization
import TestSupport
import Testing

@testable import APIServer

/// Definitions with several versions.
@Suite(.timeLimit(.minutes(2))) struct CustomConversionTests {
  /// A webhook's server that knows both versions: `spec.size` of v1 is `spec.dimensions.size` of v1beta2.
  private func withHook(
    _ answer: @escaping @Sendable (JSONValue, String) -> JSONValue = Self.converted,
    _ body: @Sendable (_ client: JSONValue, _ calls: Counter) async throws -> Void
  ) async throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    let pki = try ClusterPKI.open(directory.path, names: ServerNames(advertiseAddress: "127.0.0.1"))
    let identity = HTTPTLSIdentity(
      certificateChain: pki.serving.certificate, privateKey: pki.serving.privateKey, authorities: pki.authority)
    let calls = Counter()
    let server = try await HTTPServer.bind(
      [.tcp(host: "127.0.0.1", port: 0, tls: HTTPTLS(identity))], logger: Logger(label: "hook")
    ) { request in
      guard let bytes = try? await request.body(), let review = try? JSONValue.parse(bytes),
        let asked = review["request"], review["kind"] == "ConversionReview"
      else { return .text("no review", status: 400) }
      calls.count.withLock { $0 += 1 }
      let wanted = asked["desiredAPIVersion"]?.string ?? ""
      let document: JSONValue = [
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
        "response": [
          "uid": asked["uid"] ?? "", "result": ["status": "Success"],
          "convertedObjects": .array((asked["objects"]?.array ?? []).map { answer($0, wanted) }),
        ],
      ]
      return HTTPResponse(headers: ["Content-Type": "application/json"], body: .bytes(document.encoded()))
    }
    let task = Task { try await server.run() }
    let client: JSONValue = [
      "url": .string("https://localhost:\(server.ports[0])/convert"),
      "caBundle": .string(Base64.standard(pki.authority)),
    ]
    let result: Result<Void, any Error>
    do { result = .success(try await body(client, calls)) } catch { result = .failure(error) }
    task.cancel()
    _ = await task.result
    try result.get()
  }

  private final class Counter: Sendable { let count = Mutex(0) }

  private static let converted: @Sendable (JSONValue, String) -> JSONValue = { object, wanted in
    var result = object.object ?? [:]
    result["apiVersion"] = .string(wanted)
    if wanted.hasSuffix("v1beta2") {
      result["spec"] = ["dimensions": ["size": object["spec"]?["size"] ?? .null]]
    } else {
      result["spec"] = ["size": object["spec"]?["dimensions"]?["size"] ?? .null]
    }
    return .object(result)
  }

  /// - Parameter client: of the webhook; nil: the versions differ by name only.
  private static func definition(_ client: JSONValue?, storage: String = "v1") -> JSONValue {
    func version(_ name: String, _ spec: JSONValue) -> JSONValue {
      [
        "name": .string(name), "served": true, "storage": .bool(name == storage), "subresources": ["status": [:]],
        "schema": [
          "openAPIV3Schema": [
            "type": "object",
            "properties": [
              "spec": spec, "status": ["type": "object", "x-kubernetes-preserve-unknown-fields": true],
            ],
          ]
        ],
      ]
    }
    let size: JSONValue = ["type": "object", "properties": ["size": ["type": "integer"]]]
    var spec: JSONObject = [
      "group": "x.example.com", "scope": "Namespaced", "names": ["plural": "widgets", "kind": "Widget"],
      "versions": [
        version("v1", size),
        version("v1beta2", client == nil ? size : ["type": "object", "properties": ["dimensions": size]]),
      ],
    ]
    if let client {
      spec["conversion"] = [
        "strategy": "Webhook", "webhook": ["clientConfig": client, "conversionReviewVersions": ["v1"]],
      ]
    }
    return ["metadata": ["name": "widgets.x.example.com"], "spec": .object(spec)]
  }

  private static func place(_ version: String) -> String { "/apis/x.example.com/\(version)/namespaces/default/widgets" }

  private static func widget(_ name: String, _ version: String, _ spec: JSONValue) -> JSONValue {
    [
      "apiVersion": .string("x.example.com/\(version)"), "kind": "Widget", "metadata": ["name": .string(name)],
      "spec": spec,
    ]
  }

  @Test func versionsWithoutAWebhookDifferByName() async throws {
    let world = try await TestServer()
    let made = try await world.send("POST", CustomResourceTests.definitions, Self.definition(nil))
    try #require(made.status == 201, "\(made.text)")
    let old = try await world.send("POST", Self.place("v1beta2"), Self.widget("a", "v1beta2", ["size": 1]))
    #expect(old.status == 201 && old.json["apiVersion"] == "x.example.com/v1beta2", "\(old.text)")
    for version in ["v1", "v1beta2"] {
      let read = try await world.send("GET", "\(Self.place(version))/a")
      #expect(read.json["apiVersion"] == .string("x.example.com/\(version)"), "\(read.text)")
      #expect(read.json["spec"] == ["size": 1])
      let list = try await world.send("GET", Self.place(version))
      #expect(list.json["items"]?[0]?["apiVersion"] == .string("x.example.com/\(version)"), "\(list.text)")
    }
    let watch = try await TestWatch(world, "\(Self.place("v1beta2"))?watch=1&resourceVersion=1")
    let other = try await TestWatch(world, "\(Self.place("v1"))?watch=1&resourceVersion=1")
    #expect(await watch.next(1).first?["object"]?["apiVersion"] == "x.example.com/v1beta2")
    #expect(await other.next(1).first?["object"]?["apiVersion"] == "x.example.com/v1")
    watch.stop()
    other.stop()
    try await world.stop()
  }

  @Test func objectsAreConvertedByTheWebhookWhicheverVersionIsAsked() async throws {
    try await withHook { client, calls in
      let world = try await TestServer()
      let made = try await world.send("POST", CustomResourceTests.definitions, Self.definition(client))
      try #require(made.status == 201, "\(made.text)")
      let watch = try await TestWatch(world, "\(Self.place("v1beta2"))?watch=1&resourceVersion=0")
      let new = try await world.send("POST", Self.place("v1"), Self.widget("a", "v1", ["size": 3]))
      #expect(new.status == 201 && new.json["spec"] == ["size": 3], "\(new.text)")
      let old = try await world.send(
        "POST", Self.place("v1beta2"), Self.widget("b", "v1beta2", ["dimensions": ["size": 4]]))
      #expect(old.status == 201 && old.json["spec"] == ["dimensions": ["size": 4]], "\(old.text)")
      let stored = try JSONValue.parse(try #require(world.store.get("/widgets.x.example.com/default/b")).value)
      #expect(stored["apiVersion"] == "x.example.com/v1" && stored["spec"] == ["size": 4])
      let list = try await world.send("GET", Self.place("v1beta2"))
      #expect(list.json["items"]?.array?.map { $0.at(["spec", "dimensions", "size"]) } == [3, 4], "\(list.text)")
      let patched = try await world.send(
        "PATCH", "\(Self.place("v1beta2"))/a", ["spec": ["dimensions": ["size": 5]]],
        type: "application/merge-patch+json")
      #expect(patched.json["spec"] == ["dimensions": ["size": 5]], "\(patched.text)")
      #expect(try await world.send("GET", "\(Self.place("v1"))/a").json["spec"] == ["size": 5])
      let status = try await world.send(
        "PATCH", "\(Self.place("v1beta2"))/a/status", ["status": ["ready": true]], type: "application/merge-patch+json")
      #expect(status.json["status"] == ["ready": true], "\(status.text)")
      let sizes = await watch.next(4).map { $0["object"]?.at(["spec", "dimensions", "size"]) }
      #expect(sizes == [3, 4, 5, 5])
      watch.stop()
      let before = calls.count.withLock { $0 }
      for _ in 0..<3 { try await world.send("GET", Self.place("v1beta2")) }
      #expect(calls.count.withLock { $0 } == before, "what is known is not asked again")
      #expect(try await world.send("DELETE", "\(Self.place("v1beta2"))/a").status == 200)
      try await world.stop()
    }
  }

  @Test func whatWasStoredBeforeIsConvertedWhenItIsRead() async throws {
    try await withHook { client, _ in
      let world = try await TestServer()
      try await world.send("POST", CustomResourceTests.definitions, Self.definition(client))
      try await world.send("POST", Self.place("v1"), Self.widget("a", "v1", ["size": 3]))
      let current = try await world.send("GET", "\(CustomResourceTests.definitions)/widgets.x.example.com")
      var changed = try #require(current.json.object)
      changed["spec"] = Self.definition(client, storage: "v1beta2")["spec"]
      let updated = try await world.send(
        "PUT", "\(CustomResourceTests.definitions)/widgets.x.example.com", .object(changed))
      #expect(updated.json["status"]?["storedVersions"] == ["v1", "v1beta2"], "\(updated.text)")
      #expect(
        try await world.send("GET", "\(Self.place("v1beta2"))/a").json["spec"] == ["dimensions": ["size": 3]])
      #expect(try await world.send("GET", "\(Self.place("v1"))/a").json["spec"] == ["size": 3])
      try await world.send(
        "PATCH", "\(Self.place("v1"))/a", ["spec": ["size": 4]], type: "application/merge-patch+json")
      let stored = try JSONValue.parse(try #require(world.store.get("/widgets.x.example.com/default/a")).value)
      #expect(stored["spec"] == ["dimensions": ["size": 4]])
      try await world.stop()
    }
  }

  @Test func aWebhookThatAnswersNonsenseIsToldOf() async throws {
    try await withHook { object, _ in
      object
    } _: { client, _ in
      let world = try await TestServer()
      try await world.send("POST", CustomResourceTests.definitions, Self.definition(client))
      let answer = try await world.send(
        "POST", Self.place("v1beta2"), Self.widget("b", "v1beta2", ["dimensions": ["size": 4]]))
      #expect(answer.status == 500)
      #expect(
        answer.message.contains(
          "conversion webhook for x.example.com/v1beta2, Kind=Widget failed: webhook returned an invalid object at "
            + "index 0: it is not x.example.com/v1, Kind=Widget"))
      #expect(world.store.list(prefix: "/widgets.x.example.com/").objects.isEmpty)
      try await world.stop()
    }
  }
}
