import JSON
import Kernel
import KubeModel
import NodeAgent
import Synchronization
import TestSupport
import Testing

/// Evictions of pods of an API server, as it and the runtime see them.
@Suite struct EvictedPodTests {
  private static func enough() -> [PressureSignal: SignalReading] {
    [
      .memory: SignalReading(available: 8 << 30, capacity: 16 << 30),
      .nodeBytes: SignalReading(available: 80 << 30, capacity: 100 << 30),
    ]
  }

  /// - Parameter runtime: given, there is enough again once something of it was stopped.
  private static func settings(_ readings: SharedReadings, untilStopIn runtime: FakeRuntime? = nil)
    -> @Sendable (inout NodeAgent.Settings) -> Void
  {
    { settings in
      settings.pressureLook = .milliseconds(10)
      settings.eviction.transition = 100
      settings.readings = { _ in
        let isOver = runtime?.state.withLock { !$0.stops.isEmpty } ?? false
        return isOver ? enough() : readings.now
      }
    }
  }

  final class SharedReadings: Sendable {
    private let readings = Mutex(EvictedPodTests.enough())
    var now: [PressureSignal: SignalReading] { readings.withLock { $0 } }
    func set(_ signal: PressureSignal, _ available: Int64?) {
      readings.withLock { $0[signal]?.available = available ?? EvictedPodTests.enough()[signal]?.available ?? 0 }
    }
  }

  @Test func theLargestPodBeyondItsRequestGoesAndTheOthersStay() async throws {
    let node = try ServedNode()
    let readings = SharedReadings()
    node.adjust.withLock { $0 = Self.settings(readings, untilStopIn: node.runtime) }
    try node.put("small")
    try node.put(
      "large", #""volumes":[{"name":"e","emptyDir":{}}],"#,
      #","resources":{"requests":{"memory":"1Mi"}},"volumeMounts":[{"name":"e","mountPath":"/e"}]"#)
    try await node.withAgent { agent, _ in
      try await node.wait("ready") { $0.isReady("small") && $0.isReady("large") }
      let uid = node.api.get(ServedNode.path("large"))?["metadata"]?["uid"]?.string ?? ""
      #expect(Files.exists("\(node.scratch.path)/volumes/\(uid)"))
      node.runtime.state.withLock { $0.used = ["c": 64 << 20] }
      readings.set(.memory, 50 << 20)
      // Both use as much; only one of them asked for some of it.
      try await node.wait("one") { $0.status("small")?["phase"] == "Failed" }
      readings.set(.memory, nil)
      let status = try #require(node.status("small"))
      #expect(status["reason"] == "Evicted")
      let words = status["message"]?.string ?? ""
      #expect(words.hasPrefix("The node was low on resource: memory. Threshold quantity: 100Mi, available: 51200Ki. "))
      #expect(words.contains("Container c was using 65536Ki, request is 0, has larger consumption of memory. "))
      #expect(node.condition("small", "DisruptionTarget")?["reason"] == "TerminationByKubelet")
      try await node.wait("told") { $0.events.contains { $0.hasPrefix("Evicted: The node was low on") } }
      try await node.wait("over") { _ in node.runtime.state.withLock { $0.sandboxes.values.count { $0.isReady } } == 1 }
      #expect(node.isReady("large"))
      #expect(node.runtime.state.withLock { $0.stops } == ["c 1"])
    }
    // Another agent does not start again what was evicted.
    try await node.withAgent { _, _ in
      try await node.wait("taken over") { $0.isReady("large") }
      #expect(node.runtime.starts.count == 2)
      #expect(node.status("small")?["reason"] == "Evicted")
      node.api.delete(pod: ServedNode.path("small"), graceSeconds: 0)
      try await node.wait("gone") { $0.api.get(ServedNode.path("small")) == nil }
    }
    try node.finish()
  }

  @Test func aFullDiskTakesImagesThenDeadContainersThenPodsAndFreesTheirVolumes() async throws {
    let node = try ServedNode()
    let readings = SharedReadings()
    node.adjust.withLock { $0 = Self.settings(readings) }
    try node.put("done", #""restartPolicy":"Never","#)
    try node.put(
      "web", #""volumes":[{"name":"e","emptyDir":{}}],"#, #","volumeMounts":[{"name":"e","mountPath":"/e"}]"#)
    try await node.withAgent { agent, _ in
      try await node.wait("ready") { $0.isReady("web") && $0.isReady("done") }
      let done = node.api.get(ServedNode.path("done"))?["metadata"]?["uid"]?.string ?? ""
      node.runtime.endContainer(ofPod: done, code: 0)
      try await node.wait("done") { $0.status("done")?["phase"] == "Succeeded" }
      let web = node.api.get(ServedNode.path("web"))?["metadata"]?["uid"]?.string ?? ""
      readings.set(.nodeBytes, 1 << 30)
      try await node.wait("evicted") { $0.status("web")?["reason"] == "Evicted" }
      #expect(node.runtime.state.withLock { !$0.images.contains("job:1") })
      try await node.wait("freed") { node in
        !Files.exists("\(node.scratch.path)/volumes/\(web)") && node.runtime.state.withLock { $0.containers.isEmpty }
      }
      #expect(node.status("done")?["containerStatuses"]?[0]?["state"]?["terminated"]?["exitCode"] == 0)
      #expect(await agent.pressures == [.disk])
      // None comes in while that lasts.
      try node.put("late")
      try await node.wait("rejected") { $0.status("late")?["reason"] == "Evicted" }
      #expect(node.status("late")?["message"] == "Pod was rejected: The node had condition: [DiskPressure]. ")
      readings.set(.nodeBytes, nil)
      for name in ["late", "web", "done"] { node.api.delete(pod: ServedNode.path(name), graceSeconds: 0) }
      try await node.wait("gone") { $0.api.list("pods").isEmpty && $0.runtime.isEmpty }
    }
    try node.finish()
  }

  @Test func aContainerBeyondItsLimitOfStorageGoes() async throws {
    let node = try ServedNode()
    node.adjust.withLock { $0 = { $0.measure = .milliseconds(10) } }
    try node.put("web", "", #","resources":{"limits":{"ephemeral-storage":"1Mi"}}"#)
    try await node.withAgent { _, _ in
      try await node.wait("ready") { $0.isReady("web") }
      node.runtime.state.withLock { $0.used = ["c": 2 << 20] }
      try await node.wait("evicted") { $0.status("web")?["reason"] == "Evicted" }
      #expect(
        node.status("web")?["message"] == "Container c exceeded its local ephemeral storage limit \"1Mi\". ")
    }
    try node.finish()
  }
}
