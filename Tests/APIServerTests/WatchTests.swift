import HTTPServer
import JSON
import ObjectStore
import Synchronization
import Testing

@testable import APIServer

@Suite struct WatchTests {
  static let maps = "/api/v1/namespaces/default/configmaps"

  static func map(_ name: String, labels: [String: String] = [:], data: String = "v") -> JSONValue {
    [
      "metadata": ["name": .string(name), "labels": JSONValue(labels)], "data": ["k": .string(data)],
    ]
  }

  @Test(arguments: ["", "&resourceVersion=0"])
  func withoutARevisionAWatchBeginsWithWhatIsThere(_ version: String) async throws {
    let world = try await TestServer()
    try await world.send("POST", Self.maps, Self.map("a"))
    let watch = try await TestWatch(world, "\(Self.maps)?watch=1\(version)")
    #expect(await watch.nextWords(2) == ["ADDED a", "ADDED kube-root-ca.crt"])
    try await world.send("POST", Self.maps, Self.map("b"))
    #expect(await watch.nextWords(1) == ["ADDED b"])
    try await world.stop()
  }

  @Test func theEndOfTheFirstEventsIsMarkedWhereThatIsAsked() async throws {
    let world = try await TestServer()
    let watch = try await TestWatch(
      world,
      "\(Self.maps)?allowWatchBookmarks=true&fieldSelector=metadata.name%3Dkube-root-ca.crt"
        + "&resourceVersionMatch=NotOlderThan&sendInitialEvents=true&timeoutSeconds=412&watch=true")
    let events = await watch.next(2)
    #expect(events[0]["type"] == "ADDED")
    #expect(events[1]["type"] == "BOOKMARK")
    #expect(events[1]["object"]?["kind"] == "ConfigMap")
    #expect(events[1]["object"]?["metadata"]?["annotations"] == ["k8s.io/initial-events-end": "true"])
    #expect(events[1]["object"]?["metadata"]?["resourceVersion"]?.string == String(world.store.revision))
    try await world.stop()
  }

  @Test func objectsThatBeginOrCeaseToMatchAreAddedAndDeleted() async throws {
    let world = try await TestServer()
    let watch = try await TestWatch(
      world, "\(Self.maps)?watch=1&resourceVersion=\(world.store.revision)&labelSelector=app%3Dweb")
    try await world.send("POST", Self.maps, Self.map("a", labels: ["app": "db"]))
    try await world.send("PUT", "\(Self.maps)/a", Self.map("a", labels: ["app": "web"]))
    try await world.send("PUT", "\(Self.maps)/a", Self.map("a", labels: ["app": "web"], data: "w"))
    try await world.send("PUT", "\(Self.maps)/a", Self.map("a", labels: ["app": "db"], data: "x"))
    try await world.send("DELETE", "\(Self.maps)/a")
    try await world.send("POST", Self.maps, Self.map("b", labels: ["app": "web"]))
    let events = await watch.next(4)
    #expect(events.map { $0["type"] } == ["ADDED", "MODIFIED", "DELETED", "ADDED"])
    // What had matched, at the revision of the change.
    #expect(events[2]["object"]?["data"] == ["k": "w"])
    #expect(events[2]["object"]?["metadata"]?["labels"] == ["app": "web"])
    #expect(events[3]["object"]?["metadata"]?["name"] == "b")
    try await world.stop()
  }

  @Test func aRevisionThatIsForgottenIsGoneAndOneToComeTimesOut() async throws {
    let world = try await TestServer()
    for number in 0..<5 { try await world.send("POST", Self.maps, Self.map("m\(number)")) }
    try await world.store.compact(keeping: 1)
    let watch = try await TestWatch(world, "\(Self.maps)?watch=1&resourceVersion=2")
    let events = await watch.next(2)
    #expect(events.count == 1)
    #expect(events.first?["type"] == "ERROR")
    #expect(events.first?["object"]?["code"] == 410)
    #expect(events.first?["object"]?["reason"] == "Expired")
    #expect(events.first?["object"]?["message"]?.string?.hasPrefix("too old resource version: 2 (") == true)
    let future = try await world.send("GET", "\(Self.maps)?watch=1&resourceVersion=9999")
    #expect(future.status == 504)
    #expect(future.json["details"]?["causes"]?[0]?["reason"] == "ResourceVersionTooLarge")
    try await world.stop()
  }

  @Test func aWatchEndsAfterItsTimeWithABookmark() async throws {
    let world = try await TestServer()
    let watch = try await TestWatch(
      world,
      "\(Self.maps)?watch=1&resourceVersion=\(world.store.revision)&timeoutSeconds=1&allowWatchBookmarks=true")
    let events = await watch.next(5)
    // One, and on a machine so busy that the second lasts half a minute those that come from time to time.
    #expect(!events.isEmpty && events.allSatisfy { $0["type"] == "BOOKMARK" })
    #expect(events.last?["object"]?["metadata"]?["resourceVersion"]?.string == String(world.store.revision))
    try await world.stop()
  }

  @Test func bookmarksComeFromTimeToTime() async throws {
    let world = try await TestServer { $0.bookmarkSeconds = 0.02 }
    let watch = try await TestWatch(
      world, "\(Self.maps)?watch=1&resourceVersion=\(world.store.revision)&allowWatchBookmarks=true")
    #expect(await watch.nextWords(3) == ["BOOKMARK", "BOOKMARK", "BOOKMARK"])
    try await world.stop()
  }

  @Test func aWatchOfTablesHasItsColumnsOnce() async throws {
    let world = try await TestServer()
    let watch = try await TestWatch(
      world, "\(Self.maps)?watch=1", accept: "application/json;as=Table;v=v1;g=meta.k8s.io")
    try await world.send("POST", Self.maps, Self.map("a"))
    let events = await watch.next(2)
    #expect(events.map { $0["object"]?["kind"] } == ["Table", "Table"])
    #expect(events.map { $0["object"]?["rows"]?.array?.count } == [1, 1])
    #expect((events[0]["object"]?["columnDefinitions"]?.array?.count ?? 0) > 0)
    #expect(events[1]["object"]?["columnDefinitions"] == [])
    try await world.stop()
  }

  @Test func thousandsOfObjectsAndWatchersSeeTheSame() async throws {
    let world = try await TestServer()
    var watches: [TestWatch] = []
    for _ in 0..<20 {
      watches.append(try await TestWatch(world, "\(Self.maps)?watch=1&resourceVersion=\(world.store.revision)"))
    }
    for number in 0..<100 { try await world.send("POST", Self.maps, Self.map("m\(number)")) }
    let expected = (0..<100).map { "ADDED m\($0)" }
    for watch in watches { #expect(await watch.nextWords(100) == expected) }
    try await world.stop()
  }

  @Test func aWatchInProtobufIsFramedByLength() async throws {
    let world = try await TestServer()
    let response = try await world.respond(
      "GET", "\(Self.maps)?watch=1&timeoutSeconds=1", accept: "application/vnd.kubernetes.protobuf;stream=watch")
    #expect(response.headers["content-type"] == "application/vnd.kubernetes.protobuf;stream=watch")
    guard case .stream(let write) = response.body else { throw TestServer.Missing("a stream") }
    let sent = Mutex<[UInt8]>([])
    try await write(
      HTTPBodyWriter { parts async throws(HTTPBodyError) in sent.withLock { $0 += parts.joined() } })
    let bytes = sent.withLock { $0 }
    try #require(bytes.count > 20)
    let length = bytes[..<4].reduce(0) { $0 << 8 | Int($1) }
    #expect(bytes.count == 4 + length)
    #expect(Array(bytes[4..<11]) == [0x0A, 5] + Array("ADDED".utf8))
    try await world.stop()
  }

  @Test func eventsOfOneNamespaceStayThere() async throws {
    let world = try await TestServer()
    let revision = world.store.revision
    let here = try await TestWatch(world, "\(Self.maps)?watch=1&resourceVersion=\(revision)")
    let everywhere = try await TestWatch(world, "/api/v1/configmaps?watch=1&resourceVersion=\(revision)")
    try await world.send("POST", "/api/v1/namespaces/kube-system/configmaps", Self.map("other"))
    try await world.send("POST", Self.maps, Self.map("mine"))
    #expect(await here.nextWords(1) == ["ADDED mine"])
    #expect(await everywhere.nextWords(2) == ["ADDED other", "ADDED mine"])
    try await world.stop()
  }
}
