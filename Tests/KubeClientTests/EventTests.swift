import JSON
import KubeClient
import KubeModel
import Synchronization
import Testing

@Suite struct EventTests {
  private func event(_ message: String, on pod: String = "p", reason: String = "Failed") -> Event {
    var event = Event()
    event.metadata.name = "\(pod).\(message)"
    event.metadata.namespace = "default"
    event.involvedObject.name = pod
    (event.type, event.reason, event.message, event.count) = ("Warning", reason, message, 1)
    event.lastTimestamp = Time(secondsSinceEpoch: 100)
    event.firstTimestamp = Time(secondsSinceEpoch: 100)
    return event
  }

  @Test func theSameEventIsCountedUp() throws {
    var correlator = EventCorrelator()
    let first = correlator.correlate(event("x"), at: .zero)
    #expect(first?.step == .create)
    for count in 2...4 {
      let next = correlator.correlate(event("x"), at: .seconds(count))
      let action = try #require(next)
      #expect(
        action.step
          == .patch(
            name: "p.x", ["count": .integer(Int64(count)), "lastTimestamp": "1970-01-01T00:01:40Z", "message": "x"]))
    }
    let other = correlator.correlate(event("y"), at: .seconds(9))
    #expect(other?.step == .create)
  }

  @Test func anObjectHasABurstAndThenOneEachFiveMinutes() {
    var correlator = EventCorrelator()
    let burst = (0..<40).filter { correlator.correlate(event("x\($0 % 5)"), at: .milliseconds($0)) != nil }
    #expect(burst.count == 25)
    let later = [290, 301, 302].map { correlator.correlate(event("x"), at: .seconds($0)) != nil }
    #expect(later == [false, true, false])
    let another = correlator.correlate(event("x", on: "q"), at: .seconds(302))
    #expect(another != nil)
  }

  @Test func manyThatDifferInWordsOnlyBecomeOne() throws {
    var correlator = EventCorrelator()
    let first = (0..<10).map { correlator.correlate(event("m\($0)"), at: .zero)?.step }
    #expect(first == Array(repeating: .create, count: 10))
    let eleventh = try required(correlator.correlate(event("m10"), at: .zero))
    #expect(eleventh.step == .create)
    #expect(eleventh.event.message == "(combined from similar events): m10")
    let twelfth = try required(correlator.correlate(event("m11"), at: .zero))
    guard case .patch(let name, let change) = twelfth.step else { throw Wrong() }
    #expect(name == eleventh.event.metadata.name)
    #expect(change["message"] == "(combined from similar events): m11")
    let later = correlator.correlate(event("m12"), at: .seconds(700))
    #expect(later?.step == .create)
  }

  private struct Wrong: Error {}

  private func required(_ action: EventCorrelator.Action?) throws -> EventCorrelator.Action { try #require(action) }

  @Test func eventsAreWrittenAndCountedUpOnTheServer() async throws {
    let (requests, sink) = AsyncStream.makeStream(of: KubeRequest.self)
    let transport = KubeTransport { request throws(KubeError) in
      sink.yield(request)
      if request.method == .patch, request.path.contains("gone") {
        return KubeResponse(status: 404, body: .bytes(Array("{\"kind\":\"Status\",\"code\":404}".utf8)))
      }
      var event = Event()
      event.metadata.name = "x"
      return KubeResponse(status: 200, body: .bytes(event.json.encoded()))
    }
    let clock = ManualClock()
    let recorder = EventRecorder(
      client: KubeClient(transport: transport, clock: clock.clock), component: "default-scheduler", logger: silent)
    var pod = Pod()
    (pod.metadata.name, pod.metadata.namespace, pod.metadata.uid) = ("web", "shop", "u1")
    try await with({ try await recorder.run() }) {
      var seen = requests.makeAsyncIterator()
      recorder.record(pod, .normal, reason: "Scheduled", "Successfully assigned shop/web to n1")
      let create = try #require(await seen.next())
      #expect(create.path == "/api/v1/namespaces/shop/events")
      let body = try JSONValue.parse(create.body)
      #expect(body["metadata"]?["name"] == "web.18fae27693b40000")
      #expect(body["source"]?["component"] == "default-scheduler")
      #expect(body["involvedObject"]?["kind"] == "Pod")
      #expect(body["involvedObject"]?["uid"] == "u1")
      #expect(body["count"] == 1)
      recorder.record(pod, .normal, reason: "Scheduled", "Successfully assigned shop/web to n1")
      let patch = try #require(await seen.next())
      #expect(patch.method == .patch)
      #expect(patch.path == "/api/v1/namespaces/shop/events/web.18fae27693b40000")
      #expect(try JSONValue.parse(patch.body)["count"] == 2)

      pod.metadata.name = "gone"
      for _ in 0..<2 { recorder.record(pod, .warning, reason: "Failed", "x") }
      #expect(await seen.next()?.method == .post)
      #expect(await seen.next()?.method == .patch)
      #expect(await seen.next()?.method == .post)
    }
  }

  @Test func recordingNeverWaits() {
    let transport = KubeTransport { _ throws(KubeError) in
      throw KubeError(.connection(wasSent: false), message: "no server")
    }
    let recorder = EventRecorder(client: KubeClient(transport: transport), component: "test", logger: silent)
    for number in 0..<5000 { recorder.record(configMap("a"), .normal, reason: "R", "\(number)") }
  }
}
