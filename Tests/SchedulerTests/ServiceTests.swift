import JSON
import KubeClient
import KubeModel
import Scheduler
import Synchronization
import Testing

/// The service against a server of a few lines.
@Suite struct ServiceTests {
  private final class Server: Sendable {
    private struct State {
      var objects: [String: [String: JSONValue]] = ["pods": [:], "nodes": [:], "namespaces": [:]]
      var revision = 1
      var watchers: [(resource: String, sink: AsyncStream<[UInt8]>.Continuation)] = []
      var refusals = 0
    }
    private let state = Mutex(State())
    /// Requests that change something: `POST path` and what they said.
    let writes: AsyncStream<(String, JSONValue)>
    private let sink: AsyncStream<(String, JSONValue)>.Continuation

    init() { (writes, sink) = AsyncStream.makeStream() }

    func refuseBindings(_ count: Int) { state.withLock { $0.refusals = count } }

    func put(_ resource: String, _ name: String, _ object: JSONValue) {
      state.withLock { state in
        state.revision += 1
        var members = object.object ?? [:]
        var metadata = members["metadata"]?.object ?? [:]
        metadata["resourceVersion"] = .string("\(state.revision)")
        members["metadata"] = .object(metadata)
        let isNew = state.objects[resource]?.updateValue(.object(members), forKey: name) == nil
        let event: JSONValue = ["type": isNew ? "ADDED" : "MODIFIED", "object": .object(members)]
        for watcher in state.watchers where watcher.resource == resource {
          watcher.sink.yield(event.encoded() + [0x0A])
        }
      }
    }

    var transport: KubeTransport {
      KubeTransport { request throws(KubeError) in
        let parts = request.path.split(separator: "/").map(String.init)
        if request.method == .get { return self.read(parts.last ?? "", request) }
        let body = (try? JSONValue.parse(request.body)) ?? .null
        self.sink.yield(("\(request.method.rawValue) \(request.path)", body))
        if parts.last == "binding" { return self.bind(parts[5], body["target"]?["name"]?.string ?? "") }
        if parts.last == "events" { return KubeResponse(status: 201, body: .bytes(request.body)) }
        return KubeResponse(status: 200, body: .bytes(pod("x").json.encoded()))
      }
    }

    private func bind(_ name: String, _ node: String) -> KubeResponse {
      let isRefused = state.withLock { state in
        state.refusals -= 1
        return state.refusals >= 0
      }
      if isRefused { return KubeResponse(status: 500, body: .bytes([])) }
      let document = state.withLock { $0.objects["pods"]?[name] }
      guard let document, var bound = try? Pod(lenient: document) else {
        return KubeResponse(status: 404, body: .bytes([]))
      }
      bound.spec.nodeName = node
      put("pods", name, bound.json)
      return KubeResponse(status: 201, body: .bytes(Array("{\"kind\":\"Status\"}".utf8)))
    }

    private func read(_ resource: String, _ request: KubeRequest) -> KubeResponse {
      state.withLock { state in
        guard request.query.contains(where: { $0 == ("watch", "true") }) else {
          let list: JSONValue = [
            "metadata": ["resourceVersion": .string("\(state.revision)")],
            "items": .array(Array((state.objects[resource] ?? [:]).values)),
          ]
          return KubeResponse(status: 200, body: .bytes(list.encoded()))
        }
        let (lines, sink) = AsyncStream.makeStream(of: [UInt8].self)
        // What came between the list and the watch.
        let from = Int(request.query.first { $0.name == "resourceVersion" }?.value ?? "") ?? 0
        for object in (state.objects[resource] ?? [:]).values
        where (object["metadata"]?["resourceVersion"]?.string.flatMap { Int($0) } ?? 0) > from {
          let event: JSONValue = ["type": "ADDED", "object": object]
          sink.yield(event.encoded() + [0x0A])
        }
        state.watchers.append((resource, sink))
        return KubeResponse(
          status: 200, body: .produced { writer in for await line in lines { try await writer.write(line) } })
      }
    }
  }

  private func withScheduler(_ server: Server, _ body: () async throws -> Void) async throws {
    let client = KubeClient(transport: server.transport, retry: .never)
    let scheduler = Scheduler(client: client, seed: 1, logger: silent)
    let task = Task { try await scheduler.run() }
    try await body()
    task.cancel()
    await #expect(throws: CancellationError.self) { try await task.value }
  }

  @Test func aPodIsBoundAndToldSo() async throws {
    let server = Server()
    server.put("nodes", "n1", node("n1").json)
    server.put("pods", "web", pod("web", ["cpu": "1"]).json)
    try await withScheduler(server) {
      var writes = server.writes.makeAsyncIterator()
      let (call, body) = try #require(await writes.next())
      #expect(call == "POST /api/v1/namespaces/default/pods/web/binding")
      #expect(body["target"]?["name"] == "n1")
      #expect(body["metadata"]?["uid"] == "uid-web")
      let (eventCall, event) = try #require(await writes.next())
      #expect(eventCall == "POST /api/v1/namespaces/default/events")
      #expect(event["reason"] == "Scheduled")
      #expect(event["message"] == "Successfully assigned default/web to n1")
      #expect(event["source"]?["component"] == "default-scheduler")
    }
  }

  @Test func aPodWithoutRoomIsToldWhyAndGoesWhenThereIsRoom() async throws {
    let server = Server()
    server.put("nodes", "n1", node("n1", ["memory": "1Gi"]).json)
    server.put("pods", "big", pod("big", ["memory": "2Gi"]).json)
    try await withScheduler(server) {
      var seen: [String: JSONValue] = [:]
      var writes = server.writes.makeAsyncIterator()
      while seen.count < 2, let (call, body) = await writes.next() { seen[call] = body }
      let message: JSONValue =
        "0/1 nodes are available: 1 Insufficient memory. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
      #expect(seen["POST /api/v1/namespaces/default/events"]?["reason"] == "FailedScheduling")
      #expect(seen["POST /api/v1/namespaces/default/events"]?["message"] == message)
      let condition = seen["PATCH /api/v1/namespaces/default/pods/big/status"]?["status"]?["conditions"]?[0]
      #expect(condition?["type"] == "PodScheduled")
      #expect(condition?["status"] == "False")
      #expect(condition?["reason"] == "Unschedulable")
      #expect(condition?["message"] == message)
      server.put("nodes", "n2", node("n2").json)
      let (call, body) = try #require(await writes.next())
      #expect(call == "POST /api/v1/namespaces/default/pods/big/binding")
      #expect(body["target"]?["name"] == "n2")
    }
  }

  @Test func aBindingThatFailsIsTriedAgain() async throws {
    let server = Server()
    server.refuseBindings(1)
    server.put("nodes", "n1", node("n1").json)
    server.put("pods", "web", pod("web").json)
    try await withScheduler(server) {
      var bindings = 0
      for await (call, _) in server.writes where call.hasSuffix("/binding") {
        bindings += 1
        if bindings == 2 { break }
      }
    }
  }
}
