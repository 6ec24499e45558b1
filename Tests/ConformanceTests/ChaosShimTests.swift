import CRIClient
import CRIModel
import Kernel
import SwiftProtobuf
import TestSupport
import Testing

/// Shims die by SIGKILL at every call of their pod's life, at a moment that is drawn; the daemon and the pods of others do
/// not mind, and what is left of the pod is removed as always. CHAOS_ROUNDS=n draws more moments.
@Suite(.serialized) struct ChaosShimTests {
  @Test(arguments: LifeCall.allCases)
  func aShimDiesDuringACallAndItsPodIsReportedAndRemoved(call: LifeCall) async throws {
    var dice = ChaosDice()
    let rounds = chaosCount("CHAOS_ROUNDS", default: 3)
    try await CRINode.with { node, client in
      let config = node.pod("neighbour")
      let neighbour = try await client.runPodSandbox(config)
      let kept = try await node.run(client, in: neighbour, config, node.container("main", ["sleep", "1000"]))
      let neighbours = try await node.shimPID(client, neighbour)
      for round in 0..<rounds {
        // Most calls take some milliseconds, and a container's stop by its handler some tens.
        let delay = Double.random(in: 0...(call == .stopContainer ? 40 : 12), using: &dice)
        do {
          try await dieOnce(node, client, call, round, delay, neighbours)
          #expect(try await client.containerStatus(kept).status.state == .containerRunning)
          #expect(try await client.execSync(kept, command: ["true"]).exitCode == 0)
          try node.expectOnly(pods: [neighbour], containers: [kept])
        } catch {
          throw CRINode.Failure(
            description: "round \(round) of seed \(dice.seed), shim killed \(delay) ms into \(call.rawValue): \(error)")
        }
      }
    }
  }

  private func dieOnce(
    _ node: CRINode, _ client: CRIClient, _ call: LifeCall, _ round: Int, _ delay: Double, _ spared: Int32
  ) async throws {
    var life = PodLife(node, name: "life\(round)")
    try await life.make(LifeCall.allCases.prefix { $0 != call }, client)
    let cut = Task { [life] in
      var life = life
      try await life.make(call, client)
    }
    try await Task.sleep(for: .microseconds(Int(delay * 1000)))
    for shim in try ChaosProcesses.shims(of: node.directory.token) where shim != spared {
      try await ChaosProcesses.kill(shim)
    }
    // It may have come to its end before; otherwise the answer says what happened, and is not that nobody is there.
    if case .failure(let error as CRIError) = await cut.result {
      #expect(error.code != .unavailable || error.message.contains("shim"), "\(error)")
    }
    for pod in try await client.listPodSandboxes() where pod.metadata.name == "life\(round)" {
      try await client.stopPodSandbox(pod.id)
      for container in try await client.listContainers() where container.podSandboxID == pod.id {
        #expect(container.state != .containerRunning, "in a pod that is stopped")
      }
      try await client.removePodSandbox(pod.id)
    }
  }
}
