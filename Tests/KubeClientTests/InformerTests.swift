import JSON
import KubeClient
import KubeModel
import Synchronization
import Testing

@Suite struct InformerTests {
  /// What handlers were told, put together again; and whether each event fitted what was told before.
  private final class Mirror: Sendable {
    private let state = Mutex((objects: [ObjectKey: ConfigMap](), wrong: [String](), events: 0))

    var objects: [ObjectKey: ConfigMap] { state.withLock { $0.objects } }
    var wrong: [String] { state.withLock { $0.wrong } }

    func take(_ event: InformerEvent<ConfigMap>) {
      state.withLock { state in
        let key = ObjectKey(event.object)
        let known = state.objects[key]
        state.events += 1
        switch event {
        case .added(let new):
          if known != nil { state.wrong.append("\(key) added twice") }
          state.objects[key] = new
        case .updated(let old, let new):
          if known != old { state.wrong.append("\(key) updated from what it was not") }
          if old.metadata.uid != new.metadata.uid { state.wrong.append("\(key) became another object") }
          state.objects[key] = new
        case .deleted(let old):
          if known != old { state.wrong.append("\(key) deleted, but it was not so") }
          state.objects[key] = nil
        }
      }
    }
  }

  private func client(_ server: FakeServer) -> KubeClient {
    KubeClient(transport: server.transport, retry: .never, clock: LeapingClock().clock)
  }

  @Test(arguments: 0..<60) func theCacheConvergesWhateverBreaks(_ seed: Int) async throws {
    let server = FakeServer(seed: seed, faultPercent: seed % 6 * 4)
    let informer = Informer<ConfigMap>(client: client(server), logger: silent, random: { 0.7 })
    informer.addIndex("value") { $0.data["value"].map { [$0] } ?? [] }
    let (early, late) = (Mirror(), Mirror())
    let (ends, end) = AsyncStream.makeStream(of: Void.self)
    informer.onChange(early.take)
    var dice = Dice(seed: seed + 1000)
    for number in 0..<10 { server.put("m\(number)", "0") }
    try await with({ try await informer.run() }) {
      for step in 0..<300 {
        let name = "m\(Int.random(in: 0..<30, using: &dice))"
        if dice.chance(30) { server.delete(name) } else { server.put(name, "\(step % 5)") }
        if dice.chance(4) { server.compact(keeping: Int.random(in: 0...20, using: &dice)) }
        if dice.chance(20) { await Task.yield() }
        if step == 150 { informer.onChange(late.take) }
      }
      server.stopFaults()
      informer.onChange { if $0.object.metadata.name == "zzz" { end.yield() } }
      server.put("zzz", "end")
      for await _ in ends { break }
      #expect(Dictionary(uniqueKeysWithValues: informer.list().map { (ObjectKey($0), $0) }) == server.truth)
      for mirror in [early, late] {
        while mirror.objects.count != server.truth.count { await Task.yield() }
        #expect(mirror.objects == server.truth)
        #expect(mirror.wrong == [])
      }
      for value in 0..<5 {
        let expected = server.truth.filter { $0.value.data["value"] == "\(value)" }.map(\.key).sorted()
        #expect(informer.list(index: "value", "\(value)").map { ObjectKey($0) } == expected)
      }
    }
  }

  @Test func aWatchGoesOnFromWhereTheLastOneEnded() async throws {
    let script = Script([
      Script.answer(
        200, ["kind": "ConfigMapList", "metadata": ["resourceVersion": "10"], "items": [configMap("a").json]]),
      Script.lines([
        line(["type": "ADDED", "object": configMap("b", revision: 12).json]),
        line(["type": "BOOKMARK", "object": ["metadata": ["resourceVersion": "15"]]]),
      ]),
      Script.refuse(410, "Expired"),
      Script.answer(200, ["kind": "ConfigMapList", "metadata": ["resourceVersion": "20"], "items": []]),
      Script.lines([]),
    ])
    let informer = Informer<ConfigMap>(
      client: KubeClient(transport: script.transport, retry: .never, clock: LeapingClock().clock), logger: silent)
    try await with({ try await informer.run() }) {
      while script.requests.count < 5 { await Task.yield() }
    }
    func revision(_ index: Int) -> String? {
      script.requests[index].query.first { $0.name == "resourceVersion" }?.value
    }
    #expect(revision(0) == nil)
    #expect(revision(1) == "10")
    #expect(revision(2) == "15")
    #expect(revision(3) == nil)
    #expect(revision(4) == "20")
    #expect(informer.count == 0)
  }

  @Test func itWaitsForTheFirstListAndNoLongerThanTold() async throws {
    let server = FakeServer(seed: 1, faultPercent: 0)
    server.put("a", "1")
    let informer = Informer<ConfigMap>(client: KubeClient(transport: server.transport), logger: silent)
    #expect(await informer.waitForSync(timeout: .milliseconds(1)) == false)
    try await with({ try await informer.run() }) {
      #expect(await informer.waitForSync(timeout: .seconds(20)))
      #expect(informer.get(name: "a", namespace: "default")?.data == ["value": "1"])
    }
  }

  @Test func fieldManagersAreNotKept() async throws {
    var map = configMap("a")
    var entry = ManagedFieldsEntry()
    entry.manager = "kubectl"
    map.metadata.managedFields = [entry]
    let script = Script([
      Script.answer(200, ["kind": "ConfigMapList", "metadata": ["resourceVersion": "1"], "items": [map.json]])
    ])
    let informer = Informer<ConfigMap>(client: KubeClient(transport: script.transport, retry: .never), logger: silent)
    try await with({ try await informer.run() }) { _ = await informer.waitForSync() }
    #expect(informer.list().first?.metadata.managedFields == [])
  }

  @Test func whoAsksForTheSameSelectionSharesAnInformer() async throws {
    let server = FakeServer(seed: 1, faultPercent: 0)
    let informers = Informers(client: KubeClient(transport: server.transport), logger: silent)
    let all = informers.informer(ConfigMap.self)
    #expect(all === informers.informer(ConfigMap.self))
    #expect(all !== informers.informer(ConfigMap.self, namespace: "default"))
    try await with({ try await informers.run() }) {
      #expect(await informers.waitForSync(timeout: .seconds(20)))
      let late = informers.informer(ConfigMap.self, labelSelector: "a=b")
      #expect(await late.waitForSync(timeout: .seconds(20)))
    }
  }

  @Test func cancellationEndsIt() async throws {
    let server = FakeServer(seed: 1, faultPercent: 0)
    let informers = Informers(client: KubeClient(transport: server.transport), logger: silent)
    let informer = informers.informer(ConfigMap.self)
    let task = Task { try await informers.run() }
    await informer.waitForSync()
    task.cancel()
    await #expect(throws: CancellationError.self) { try await task.value }
  }
}

private func line(_ document: JSONValue) -> [UInt8] { document.encoded() + [0x0A] }
