import CRIModel
import JSON
import KubeModel
import NodeAgent
import PodTranslation
import SwiftProtobuf
import Synchronization
import TestSupport
import Testing

@Suite struct ResizeTests {
  private static func spec(
    _ cpu: String, _ memory: String, limit: String? = nil, restarts: [String] = []
  ) throws -> PodSpec {
    var container = Container()
    container.name = "c"
    container.resources.requests = ["cpu": try #require(Quantity(cpu)), "memory": try #require(Quantity(memory))]
    if let limit { container.resources.limits = ["memory": try #require(Quantity(limit))] }
    container.resizePolicy = restarts.map { name in
      var policy = ContainerResizePolicy()
      (policy.resourceName, policy.restartPolicy) = (name, "RestartContainer")
      return policy
    }
    var spec = PodSpec()
    spec.containers = [container]
    return spec
  }

  @Test func whatFitsWaitsOrNeverFits() throws {
    var facts = NodeFacts(nodeName: "n1")
    (facts.cpuCapacityMilli, facts.memoryCapacityBytes) = (2000, 1 << 30)
    let (small, other) = (try Self.spec("500m", "64Mi"), try Self.spec("1", "128Mi"))
    func verdict(_ wanted: PodSpec) -> ResizePlan.Verdict {
      ResizePlan.verdict(wanted: wanted, allocated: small, others: [other], facts: facts)
    }
    #expect(verdict(try Self.spec("1", "64Mi")) == .fits)
    #expect(verdict(try Self.spec("100m", "1Mi")) == .fits)
    guard case .waits(let later) = verdict(try Self.spec("1500m", "64Mi")) else {
      Issue.record("more than is free fits")
      return
    }
    #expect(later.reason == "Deferred" && later.message.contains("cpu, requested: 1500, used: 1000, capacity: 2000"))
    guard case .waits(let never) = verdict(try Self.spec("500m", "2Gi")) else {
      Issue.record("more than there is fits")
      return
    }
    #expect(never.reason == "Infeasible" && never.message.contains("memory, requested: 2147483648"))
  }

  @Test func aContainerIsRestartedOnlyWhereItsPolicySaysSo() throws {
    let old = try Self.spec("500m", "64Mi", limit: "1Gi", restarts: ["memory"])
    func steps(_ cpu: String, _ memory: String, _ limit: String) throws -> [ResizePlan.Step] {
      ResizePlan.steps(from: old, to: try Self.spec(cpu, memory, limit: limit, restarts: ["memory"]))
    }
    #expect(try steps("500m", "64Mi", "1Gi").isEmpty)
    #expect(try steps("1", "64Mi", "1Gi") == [.update(container: "c")])
    #expect(try steps("1", "64Mi", "2Gi") == [.restart(container: "c")])
    // The same amount in other words is no change.
    #expect(try steps("0.5", "65536Ki", "1024Mi").isEmpty)
  }

  // MARK: on a node

  private static func resources(_ cpu: String, _ limit: String, _ policy: String = "") -> String {
    #","resources":{"requests":{"cpu":"\#(cpu)","memory":"1Mi"},"limits":{"memory":"\#(limit)"}}\#(policy)"#
  }

  private static func hasSettled(_ node: ServedNode, _ name: String, _ cpu: String, _ limit: String) -> Bool {
    let status = node.container(name)
    return status?["resources"]?["requests"]?["cpu"]?.string == cpu
      && status?["resources"]?["limits"]?["memory"]?.string == limit
      && status?["allocatedResources"]?["cpu"]?.string == cpu
      && node.condition(name, "PodResizeInProgress") == nil && node.condition(name, "PodResizePending") == nil
  }

  @Test func aContainerThatRunsGetsWhatThePodAsksForNow() async throws {
    let node = try ServedNode()
    try node.put("web", "", Self.resources("500m", "64Mi"))
    try await node.withAgent { _, _ in
      try await node.wait("ready") { $0.isReady("web") && Self.hasSettled($0, "web", "500m", "64Mi") }
      try node.put("web", "", Self.resources("1", "128Mi"))
      try await node.wait("resized") { Self.hasSettled($0, "web", "1", "128Mi") }
      let update = try #require(node.runtime.state.withLock { $0.updates.last })
      #expect(update.linux.cpuShares == 1024 && update.linux.memoryLimitInBytes == 128 << 20)
      #expect(node.runtime.state.withLock { $0.podUpdates.last?.resources.memoryLimitInBytes } == 128 << 20)
      try await node.wait("told") { $0.events.contains("ResizeCompleted: Pod resize completed") }
      #expect(node.runtime.starts == ["c.0"])
    }
    // Another agent finds nothing to do.
    let updates = node.runtime.state.withLock { $0.updates.count }
    try await node.withAgent { _, _ in
      try await node.wait("ready") { $0.isReady("web") && Self.hasSettled($0, "web", "1", "128Mi") }
      #expect(node.runtime.state.withLock { $0.updates.count } == updates)
    }
    try node.finish()
  }

  @Test func aContainerWhosePolicySaysSoRunsAnew() async throws {
    let node = try ServedNode()
    let policy = #","resizePolicy":[{"resourceName":"memory","restartPolicy":"RestartContainer"}]"#
    try node.put("web", "", Self.resources("500m", "64Mi", policy))
    try await node.withAgent { _, _ in
      try await node.wait("ready") { $0.isReady("web") }
      try node.put("web", "", Self.resources("500m", "128Mi", policy))
      try await node.wait("resized") {
        $0.isReady("web") && Self.hasSettled($0, "web", "500m", "128Mi") && $0.runtime.starts == ["c.0", "c.1"]
      }
      #expect(node.runtime.state.withLock { $0.updates.isEmpty })
      let made = node.runtime.state.withLock { $0.containers.values.first { $0.config.metadata.attempt == 1 } }
      #expect(made?.config.linux.resources.memoryLimitInBytes == 128 << 20)
    }
    try node.finish()
  }

  @Test func whoFindsNoRoomWaitsUntilAnotherGoesAndKeepsWhatItHas() async throws {
    let node = try ServedNode()
    node.adjustFacts.withLock { $0 = { ($0.cpuCapacityMilli, $0.memoryCapacityBytes) = (2000, 1 << 30) } }
    try node.put("web", "", Self.resources("500m", "64Mi"))
    try node.put("other", "", Self.resources("1", "64Mi"))
    try await node.withAgent { _, _ in
      try await node.wait("ready") { $0.isReady("web") && $0.isReady("other") }
      try node.put("web", "", Self.resources("1500m", "64Mi"))
      try await node.wait("waits") { $0.condition("web", "PodResizePending")?["reason"] == "Deferred" }
      #expect(node.container("web")?["allocatedResources"]?["cpu"] == "500m")
      try node.put("web", "", Self.resources("3", "64Mi"))
      try await node.wait("never") { $0.condition("web", "PodResizePending")?["reason"] == "Infeasible" }
      try node.put("web", "", Self.resources("1500m", "64Mi"))
      try await node.wait("waits again") { $0.condition("web", "PodResizePending")?["reason"] == "Deferred" }
      #expect(node.runtime.state.withLock { $0.updates.isEmpty })
      node.api.delete(pod: ServedNode.path("other"), graceSeconds: 0)
      try await node.wait("resized") { Self.hasSettled($0, "web", "1500m", "64Mi") }
    }
    try node.finish()
  }

  @Test func whatTheRuntimeRefusesIsToldAndTriedAgain() async throws {
    let node = try ServedNode()
    node.adjust.withLock { $0 = { $0.measure = .milliseconds(10) } }
    try node.put("web", "", Self.resources("500m", "64Mi"))
    try await node.withAgent { _, _ in
      try await node.wait("ready") { $0.isReady("web") }
      node.runtime.state.withLock { $0.updateRefusal = "no room in the group" }
      try node.put("web", "", Self.resources("1", "64Mi"))
      try await node.wait("refused") {
        $0.condition("web", "PodResizeInProgress")?["message"] == "no room in the group"
      }
      #expect(node.condition("web", "PodResizeInProgress")?["reason"] == "Error")
      #expect(node.container("web")?["resources"]?["requests"]?["cpu"] == "500m")
      #expect(node.container("web")?["allocatedResources"]?["cpu"] == "1")
      node.runtime.state.withLock { $0.updateRefusal = nil }
      try await node.wait("resized") { Self.hasSettled($0, "web", "1", "64Mi") }
    }
    try node.finish()
  }
}
