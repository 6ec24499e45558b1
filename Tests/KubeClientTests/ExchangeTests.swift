import JSON
import KubeClient
import KubeModel
import Synchronization
import Testing

@Suite struct ExchangeTests {
  private func client(_ script: Script, _ clock: LeapingClock = LeapingClock()) -> KubeClient {
    var retry = KubeRetry()
    retry.random = { 0.5 }
    return KubeClient(transport: script.transport, retry: retry, clock: clock.clock)
  }

  @Test func aReadIsTriedAgainAfterABrokenConnection() async throws {
    let script = Script([
      Script.fail(.connection(wasSent: true)), Script.refuse(503, "ServiceUnavailable"),
      Script.answer(200, configMap("a").json),
    ])
    let clock = LeapingClock()
    let found: ConfigMap = try await client(script, clock).get(name: "a", namespace: "default")
    #expect(found.metadata.name == "a")
    #expect(script.requests.map(\.path) == Array(repeating: "/api/v1/namespaces/default/configmaps/a", count: 3))
    #expect(clock.sleeps == [.milliseconds(75), .milliseconds(150)])
  }

  @Test func aWriteThatMayHaveHappenedIsNotTriedAgain() async throws {
    for step in [Script.fail(.connection(wasSent: true)), Script.refuse(500, "InternalError"), Script.fail(.timeout)] {
      let script = Script([step, Script.answer(201, configMap("a").json)])
      await #expect(throws: KubeError.self) { _ = try await client(script).create(configMap("a")) }
      #expect(script.requests.count == 1)
    }
  }

  @Test func aWriteThatNobodySawIsTriedAgain() async throws {
    let script = Script([
      Script.fail(.connection(wasSent: false)), Script.refuse(429, "TooManyRequests", retryAfter: 2),
      Script.answer(201, configMap("a").json),
    ])
    let clock = LeapingClock()
    _ = try await client(script, clock).create(configMap("a"))
    #expect(script.requests.count == 3)
    #expect(clock.sleeps == [.milliseconds(75), .seconds(2)])
  }

  @Test func triesAreBounded() async throws {
    let script = Script(Array(repeating: Script.fail(.connection(wasSent: false)), count: 9))
    await #expect(throws: KubeError.self) {
      let _: ConfigMap = try await client(script).get(name: "a", namespace: "default")
    }
    #expect(script.requests.count == 5)
  }

  @Test func aRefusalKeepsTheWordsOfTheServer() async throws {
    let script = Script([Script.refuse(404, "NotFound", "configmaps \"a\" not found")])
    let problem = await #expect(throws: KubeError.self) {
      let _: ConfigMap = try await client(script).get(name: "a", namespace: "default")
    }
    #expect(problem?.isNotFound == true)
    #expect(problem?.reason == "NotFound")
    #expect(
      problem?.description == "GET /api/v1/namespaces/default/configmaps/a: configmaps \"a\" not found")
  }

  @Test(arguments: [
    (409, "Conflict", "conflict"), (409, "AlreadyExists", "exists"), (410, "Expired", "gone"),
    (403, "Forbidden", "forbidden"), (422, "Invalid", "invalid"), (404, "NotFound", "not found"),
  ]) func refusalsAreToldApart(_ code: Int, _ reason: String, _ expected: String) async {
    let script = Script([Script.refuse(code, reason)])
    let problem = await #expect(throws: KubeError.self) { _ = try await client(script).update(configMap("a")) }
    let found = [
      ("conflict", problem?.isConflict), ("exists", problem?.isAlreadyExists), ("gone", problem?.isGone),
      ("forbidden", problem?.isForbidden), ("invalid", problem?.isInvalid), ("not found", problem?.isNotFound),
    ]
    #expect(found.filter { $0.1 == true }.map(\.0) == [expected])
  }

  @Test func anAnswerThatIsNoStatusIsQuoted() async throws {
    let script = Script([Script.text(400, "what?")])
    let problem = await #expect(throws: KubeError.self) {
      let _: ConfigMap = try await client(script).get(name: "a", namespace: "default")
    }
    #expect(problem?.message == "the server answered 400: what?")
  }

  @Test func anAnswerThatNeverComesTimesOut() async throws {
    let clock = ManualClock()
    let transport = KubeTransport { _ throws(KubeError) in
      try? await Task.sleep(for: .seconds(60))
      throw KubeError(.cancelled, message: "cancelled")
    }
    let client = KubeClient(transport: transport, retry: .never, clock: clock.clock)
    let call = Task { () -> KubeError? in
      do throws(KubeError) {
        let _: ConfigMap = try await client.get(name: "a", namespace: "default")
        return nil
      } catch {
        return error
      }
    }
    while clock.nextDeadline == nil { await Task.yield() }
    clock.advance(by: .seconds(30))
    #expect(await call.value?.failure == .timeout)
  }

  @Test func pagesAreFollowedToTheEnd() async throws {
    func page(_ names: [String], _ token: String?) -> Script.Step {
      Script.answer(
        200,
        [
          "apiVersion": "v1", "kind": "ConfigMapList",
          "metadata": ["resourceVersion": "7", "continue": token.map { .string($0) } ?? .null],
          "items": .array(names.map { configMap($0).json }),
        ])
    }
    let script = Script([page(["a", "b"], "t1"), page(["c"], nil)])
    let all: KubeList<ConfigMap> = try await client(script).listAll(namespace: "default")
    #expect(all.items.compactMap(\.metadata.name) == ["a", "b", "c"])
    #expect(script.requests[0].query.map(\.name) == ["limit"])
    #expect(script.requests[1].query.contains { $0 == ("continue", "t1") })
  }

  @Test func aConflictReadsAnewAndChangesThat() async throws {
    let script = Script([
      Script.refuse(409, "Conflict"), Script.answer(200, configMap("a", revision: 5, data: ["x": "1"]).json),
      Script.echo(),
    ])
    let changed = try await client(script).update(retrying: configMap("a")) { map in
      map.data["y"] = "2"
      return true
    }
    #expect(changed.data == ["x": "1", "y": "2"])
    #expect(changed.metadata.resourceVersion == "5")
  }

  @Test func aConflictWithAnotherObjectOfTheNameIsNotFound() async throws {
    var other = configMap("a")
    other.metadata.uid = "another"
    let script = Script([Script.refuse(409, "Conflict"), Script.answer(200, other.json)])
    let problem = await #expect(throws: KubeError.self) {
      _ = try await client(script).update(retrying: configMap("a")) { _ in true }
    }
    #expect(problem?.isNotFound == true)
  }

  @Test func deletionSendsWhatWasAsked() async throws {
    let script = Script([Script.answer(200, ["kind": "Status"]), Script.answer(201, ["kind": "Status"])])
    try await client(script).delete(
      Pod.self, name: "p", namespace: "n", graceSeconds: 0, propagation: .foreground, uid: "u1")
    let body = try JSONValue.parse(script.requests[0].body)
    #expect(
      body == [
        "apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0, "preconditions": ["uid": "u1"],
        "propagationPolicy": "Foreground",
      ])
    try await client(script).bind(pod: "p", namespace: "n", to: "node-1")
    #expect(script.requests[1].path == "/api/v1/namespaces/n/pods/p/binding")
    #expect(try JSONValue.parse(script.requests[1].body)["target"]?["name"] == "node-1")
  }

  @Test func aBodyThatIsPushedIsReadWithBackPressure() async throws {
    let written = Mutex(0)
    let body = KubeBody.produced(bufferedBytesMax: 100) { writer in
      for _ in 0..<50 {
        try await writer.write(Array(repeating: 1, count: 60))
        written.withLock { $0 += 1 }
      }
    }
    for _ in 0..<100 { await Task.yield() }
    #expect(written.withLock { $0 } <= 2)
    #expect(try await body.collect(bytesMax: 1 << 20, call: "").count == 3000)
    #expect(written.withLock { $0 } == 50)
  }

  @Test func aPushedBodyThatNobodyReadsIsCancelled() async throws {
    let (ended, end) = AsyncStream.makeStream(of: Void.self)
    do {
      let body = KubeBody.produced(bufferedBytesMax: 10) { writer in
        defer { end.finish() }
        while true { try await writer.write([1, 2, 3, 4, 5]) }
      }
      for try await _ in body { break }
    }
    for await _ in ended {}
  }
}
