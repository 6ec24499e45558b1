import CRIClient
import CRIModel
import Kernel
import SwiftProtobuf
import Synchronization
import TestSupport
import Testing

/// martletd dies by SIGKILL at every call of a pod's life: while it works on it, at a moment that is drawn, and right
/// after its answer. CHAOS_ROUNDS=n draws more moments.
@Suite(.serialized) struct ChaosDaemonTests {
  @Test(arguments: LifeCall.allCases)
  func theDaemonDiesDuringACallAndAfterItAndItsNextLifeGoesOnWhereItWas(call: LifeCall) async throws {
    var dice = ChaosDice()
    let rounds = chaosCount("CHAOS_ROUNDS", default: 3)
    try await CRINode.with { node, client in
      let bystander = try await Bystander(node, client)
      let typical = try await milliseconds(of: call, node, client)
      // Zero: right after the answer.
      var delays: [Double?] = [nil]
      for _ in 0..<rounds { delays.append(Double.random(in: 0...1.1, using: &dice) * typical) }
      for (round, delay) in delays.enumerated() {
        do {
          try await dieOnce(node, call, round, delay, bystander)
        } catch {
          throw CRINode.Failure(
            description: "round \(round) of seed \(dice.seed), killed \(delay.map { "\($0) ms into" } ?? "after") "
              + "\(call.rawValue): \(error)")
        }
      }
      try await node.connected { client in try await bystander.expectUntouched(client) }
    }
  }

  /// What runs beside all of it, and must never notice.
  private struct Bystander {
    let node: CRINode
    let config: CRIPodSandboxConfig
    let sandbox: String
    let container: String
    let info: String?
    let address: String

    init(_ node: CRINode, _ client: CRIClient) async throws {
      self.node = node
      config = node.pod("bystander")
      sandbox = try await client.runPodSandbox(config)
      let counting = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done"
      container = try await node.run(client, in: sandbox, config, node.container("main", ["sh", "-c", counting]))
      info = try await client.containerStatus(container, verbose: true).info["info"]
      address = try await client.podSandboxStatus(sandbox).status.network.ip
    }

    func expectUntouched(_ client: CRIClient) async throws {
      let status = try await client.containerStatus(container, verbose: true)
      #expect(status.status.state == .containerRunning)
      #expect(status.info["info"] == info)
      #expect(try await client.podSandboxStatus(sandbox).status.network.ip == address)
      #expect(try await client.execSync(container, command: ["true"]).exitCode == 0)
      let numbers = try node.log("bystander", "main").split(separator: "\n").map {
        $0.split(separator: " ").last.map(String.init) ?? ""
      }
      #expect(numbers == (1...max(1, numbers.count)).map { "\($0)" }, "no line is lost or doubled")
    }
  }

  /// How long the call takes here.
  private func milliseconds(of call: LifeCall, _ node: CRINode, _ client: CRIClient) async throws -> Double {
    var life = PodLife(node, name: "measure")
    var found = 0.0
    for each in LifeCall.allCases {
      let begin = SystemClock.bootNanoseconds
      try await life.make(each, client)
      if each == call { found = Double(SystemClock.bootNanoseconds - begin) / 1e6 }
    }
    return found
  }

  private func dieOnce(
    _ node: CRINode, _ call: LifeCall, _ round: Int, _ delay: Double?, _ bystander: Bystander
  ) async throws {
    var life = PodLife(node, name: "life\(round)")
    let before = LifeCall.allCases.prefix { $0 != call }
    let ending = try await node.connected { client -> String in
      try await life.make(before, client)
      // It ends while no daemon is there to see.
      let ending = try await node.run(
        client, in: bystander.sandbox, bystander.config,
        node.container("ending\(round)", ["sh", "-c", "sleep 0.15; exit 7"]))
      if let delay {
        let cut = Task { [life] in
          var life = life
          try await life.make(call, client)
        }
        try await Task.sleep(for: .microseconds(Int(delay * 1000)))
        try node.kill()
        _ = await cut.result
      } else {
        try await life.make(call, client)
        try node.kill()
      }
      return ending
    }
    try await Task.sleep(for: .milliseconds(200))
    try node.start()
    try await node.connected { client in
      try await expectTheEnd(of: ending, client)
      #expect(try await client.containerStatus(bystander.container).status.state == .containerRunning)
      // What was asked is asked again, then comes the rest.
      try await life.make(LifeCall.allCases.drop { $0 != call }, client)
      try await client.removeContainer(ending)
      try node.expectOnly(pods: [bystander.sandbox], containers: [bystander.container])
    }
  }

  /// Its exit code is kept, and the first who follows events hears of it.
  private func expectTheEnd(of container: String, _ client: CRIClient) async throws {
    let status = try await client.containerStatus(container).status
    #expect(status.state == .containerExited && status.exitCode == 7, "\(status)")
    let isTold = Mutex(false)
    struct Enough: Error {}
    let following = Task {
      try await client.containerEvents { event in
        guard event.containerID == container, event.containerEventType == .containerStoppedEvent else { return }
        isTold.withLock { $0 = true }
        throw Enough()
      }
    }
    let watchdog = Task {
      try await Task.sleep(for: .seconds(10))
      following.cancel()
    }
    _ = await following.result
    watchdog.cancel()
    #expect(isTold.withLock { $0 }, "nobody was told that \(container) ended")
  }
}
