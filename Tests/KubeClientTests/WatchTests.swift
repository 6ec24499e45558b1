import JSON
import KubeModel
import Testing

@testable import KubeClient

@Suite struct WatchTests {
  private func event(_ type: String, _ object: JSONValue) -> [UInt8] {
    let document: JSONValue = ["type": .string(type), "object": object]
    return document.encoded() + [0x0A]
  }

  private func cut(_ bytes: [UInt8], seed: Int) -> [[UInt8]] {
    var dice = Dice(seed: seed)
    var rest = bytes[...]
    var chunks: [[UInt8]] = []
    while !rest.isEmpty {
      let size = dice.chance(30) ? 1 : Int.random(in: 1...200, using: &dice)
      chunks.append(Array(rest.prefix(size)))
      rest = rest.dropFirst(size)
    }
    return chunks
  }

  private func text(_ event: WatchEvent<ConfigMap>) -> String {
    switch event {
    case .added(let map): "added \(map.metadata.name ?? "")"
    case .modified(let map): "modified \(map.metadata.name ?? "")"
    case .deleted(let map): "deleted \(map.metadata.name ?? "")"
    case .bookmark(let revision): "bookmark \(revision)"
    case .error(let problem): "error \(problem.code) \(problem.reason)"
    }
  }

  private func read(_ chunks: [[UInt8]]) async throws -> [String] {
    let script = Script([Script.lines(chunks)])
    let client = KubeClient(transport: script.transport, retry: .never)
    var found: [String] = []
    let watch: KubeWatch<ConfigMap> = try await client.watch(ConfigMap.self, WatchOptions(resourceVersion: "5"))
    for try await event in watch { found.append(text(event)) }
    return found
  }

  @Test(arguments: 0..<50) func eventsAreFoundHoweverTheStreamIsCut(_ seed: Int) async throws {
    let bytes =
      event("ADDED", configMap("a").json) + [0x0A] + event("MODIFIED", configMap("a", data: ["ä": "\u{1F426}"]).json)
      + event("BOOKMARK", ["kind": "ConfigMap", "metadata": ["resourceVersion": "9"]])
      + event("DELETED", configMap("a").json)
      + event("ERROR", ["kind": "Status", "code": 410, "reason": "Expired", "message": "too old"])
    #expect(
      try await read(cut(bytes, seed: seed)) == [
        "added a", "modified a", "bookmark 9", "deleted a", "error 410 Expired",
      ])
  }

  @Test func aStreamThatEndsWithinAnEventThrows() async throws {
    let bytes = event("ADDED", configMap("a").json)
    await #expect(throws: KubeError.self) { _ = try await read([Array(bytes.dropLast(5))]) }
  }

  @Test(arguments: ["[1]\n", "nonsense\n", "{\"type\":\"WHAT\",\"object\":{}}\n", "{\"type\":\"ADDED\"}\n"])
  func whatIsNoEventThrows(_ line: String) async throws {
    await #expect(throws: KubeError.self) { _ = try await read([Array(line.utf8)]) }
  }

  @Test func anObjectThatCannotBeReadIsToldAndTheWatchGoesOn() async throws {
    let found = try await read([
      event("ADDED", ["kind": "ConfigMap", "metadata": ["name": 5]]), event("ADDED", configMap("b").json),
    ])
    #expect(found == ["error 0 ", "added b"])
  }

  @Test func aLineWithoutEndIsRefused() {
    var lines = LineSplitter()
    let piece = [UInt8](repeating: 0x61, count: 1 << 20)
    var taken = 0
    while lines.append(piece), taken < 100 {
      #expect(lines.next() == nil)
      taken += 1
    }
    #expect((16...17).contains(taken))
  }

  @Test func theQuerySaysWhatIsWanted() async throws {
    let script = Script([Script.lines([])])
    let client = KubeClient(transport: script.transport, retry: .never)
    let _: KubeWatch<Pod> = try await client.watch(
      namespace: "n",
      WatchOptions(
        labelSelector: "app=web", fieldSelector: "spec.nodeName=x", resourceVersion: "5", timeoutSeconds: 300))
    let query = script.requests[0].query.map { "\($0.name)=\($0.value)" }
    #expect(script.requests[0].path == "/api/v1/namespaces/n/pods")
    #expect(script.requests[0].timeoutSeconds == nil)
    #expect(
      query == [
        "watch=true", "labelSelector=app=web", "fieldSelector=spec.nodeName=x", "resourceVersion=5",
        "timeoutSeconds=300", "allowWatchBookmarks=true",
      ])
  }
}
