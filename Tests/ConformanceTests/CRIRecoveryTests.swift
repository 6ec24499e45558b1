import CRIClient
import CRIModel
import JSON
import Kernel
import SwiftProtobuf
import TestSupport
import Testing

@Suite struct CRIRecoveryTests {
  @Test func aKilledDaemonFindsEverythingAgainAndNothingRunningNotices() async throws {
    try await CRINode.with { node, client in
      let config = node.pod("kept")
      let pod = try await client.runPodSandbox(config)
      let counting = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done"
      let running = try await node.run(client, in: pod, config, node.container("running", ["sh", "-c", counting]))
      let ending = try await node.run(
        client, in: pod, config, node.container("ending", ["sh", "-c", "sleep 0.5; exit 7"]))
      let created = try await client.createContainer(
        podSandboxID: pod, config: node.container("created", ["sleep", "1000"]), sandboxConfig: config)
      let address = try await client.podSandboxStatus(pod).status.network.ip
      let pid = try await client.containerStatus(running, verbose: true).info["info"]
      try node.kill()
      try await Task.sleep(for: .milliseconds(800))
      try node.start()
      try await node.connected { client in
        let status = try await client.podSandboxStatus(pod).status
        #expect(status.state == .sandboxReady)
        #expect(status.network.ip == address)
        #expect(status.labels == ["app": "kept"])
        #expect(try await client.containerStatus(running, verbose: true).info["info"] == pid)
        let ended = try await client.containerStatus(ending).status
        #expect(ended.state == .containerExited && ended.exitCode == 7)
        #expect(try await client.containerStatus(created).status.state == .containerCreated)
        try await client.startContainer(created)
        #expect(try await client.execSync(created, command: ["hostname"]).exitCode == 0)
        #expect(try await client.execSync(running, command: ["true"]).exitCode == 0)
        #expect(try await client.runPodSandbox(config) == pod)
        let other = try await client.runPodSandbox(node.pod("other"))
        #expect(try await client.podSandboxStatus(other).status.network.ip != address)
        try await client.stopContainer(running, graceSeconds: 0)
        let numbers = try node.log("kept", "running").split(separator: "\n").map { $0.split(separator: " ").last ?? "" }
        #expect(numbers == (1...numbers.count).map { "\($0)" }, "no line is lost or doubled")
        try await client.removePodSandbox(pod)
      }
    }
  }

  @Test func endingTheDaemonLeavesPodsAlone() async throws {
    try await CRINode.with { node, client in
      let config = node.pod("calm")
      let pod = try await client.runPodSandbox(config)
      let id = try await node.run(client, in: pod, config, node.container("main", ["sleep", "1000"]))
      try await node.stop()
      #expect(!Files.exists(node.socketPath))
      try node.start()
      try await node.connected { client in
        let status = try await client.containerStatus(id).status
        #expect(status.state == .containerRunning)
      }
    }
  }

  @Test func aSecondDaemonOnTheSameDirectoriesIsRefused() async throws {
    try await CRINode.with { node, client in
      let outcome = try await ChildProcess.run(
        try BuiltPrograms.path("martletd"),
        arguments: ["martletd", "--root", "\(node.path)/root", "--run", "\(node.path)/run"],
        timeoutSeconds: 20)
      #expect(outcome.status == .exited(1))
      let text = String(decoding: outcome.errorOutput, as: UTF8.self)
      #expect(text.contains("which another process holds"), "\(text)")
      #expect(try await client.version().runtimeName == "martlet")
    }
  }

  @Test func aDeadShimIsReportedAndItsPodCleaned() async throws {
    try await CRINode.with { node, client in
      let config = node.pod("orphaned")
      let pod = try await client.runPodSandbox(config)
      let id = try await node.run(client, in: pod, config, node.container("main", ["sleep", "1000"]))
      let ended = try await node.run(client, in: pod, config, node.container("ended", ["sh", "-c", "exit 6"]))
      _ = try await node.status(client, ended, .containerExited)
      let shim = try await node.shimPID(client, pod)
      try await sendKill(to: shim)
      let status = try await node.status(client, id, .containerExited)
      #expect(status.reason == "ShimLost")
      #expect(try await client.containerStatus(ended).status.exitCode == 6)
      #expect(try await client.podSandboxStatus(pod).status.state == .sandboxNotready)
      let refused = await #expect(throws: CRIError.self) {
        try await client.createContainer(
          podSandboxID: pod, config: node.container("late", ["true"]), sandboxConfig: config)
      }
      #expect(refused?.code == .failedPrecondition)
      try await client.stopPodSandbox(pod)
      try await client.removePodSandbox(pod)
      try node.expectNothingLeftOfPods()
    }
  }

  @Test func aShimThatDiedWhileTheDaemonWasAwayIsReportedToo() async throws {
    try await CRINode.with { node, client in
      let config = node.pod("alone")
      let pod = try await client.runPodSandbox(config)
      let id = try await node.run(client, in: pod, config, node.container("main", ["sleep", "1000"]))
      let shim = try await node.shimPID(client, pod)
      try node.kill()
      try await sendKill(to: shim)
      try node.start()
      try await node.connected { client in
        let status = try await node.status(client, id, .containerExited)
        #expect(status.reason == "ShimLost")
        #expect(try await client.podSandboxStatus(pod).status.state == .sandboxNotready)
        try await client.removePodSandbox(pod)
        try node.expectNothingLeftOfPods()
      }
    }
  }

  @Test func aBadRecordIsSetAsideAndStopsNobody() async throws {
    try await CRINode.with { node, client in
      let good = node.pod("good")
      let kept = try await client.runPodSandbox(good)
      let bad = node.pod("bad")
      let lost = try await client.runPodSandbox(bad)
      _ = try await node.run(client, in: lost, bad, node.container("main", ["sleep", "1000"]))
      try node.kill()
      try Files.writeAtomically("\(node.podsDirectory)/\(lost)/record.json", Array("{\"version\":1".utf8))
      try node.start()
      try await node.connected { client in
        #expect(try await client.listPodSandboxes().map(\.id) == [kept])
        #expect(try Directory(path: "\(node.path)/run/bad").list().count == 1)
        #expect(try await client.runPodSandbox(bad) != lost)
        let text = try Files.readText("\(node.path)/martletd.log") ?? ""
        #expect(text.contains("a record is set aside"))
      }
    }
  }

  @Test func podsOfAnEarlierBootAreRemoved() async throws {
    try await CRINode.with { node, client in
      let config = node.pod("ghost")
      let pod = try await client.runPodSandbox(config)
      let shim = try await node.shimPID(client, pod)
      try node.kill()
      // A reboot ends every process and cgroup, and here leaves the directory.
      try await sendKill(to: shim)
      let path = "\(node.podsDirectory)/\(pod)/record.json"
      var record = try JSONValue.parse(try Files.read(path)).object ?? JSONObject()
      let group = record["cgroupPath"]?.string ?? ""
      record["bootID"] = "00000000-0000-0000-0000-000000000000"
      try Files.writeAtomically(path, JSONValue.object(record).encoded())
      try CgroupHierarchy.discover().group(try CgroupPath(group)).killAndRemove(milliseconds: 5000)
      try node.start()
      try await node.connected { client in
        let pods = try await client.listPodSandboxes()
        #expect(pods.isEmpty)
        #expect(!Files.exists("\(node.podsDirectory)/\(pod)"))
        #expect(try await client.runPodSandbox(config) != pod)
      }
    }
  }

  /// The daemon is killed at some moment of making and starting; whatever was half done is finished or undone.
  @Test(arguments: [1, 2, 4, 7, 11, 16, 22, 30]) func aCrashAtAnyMomentOfAStartLeavesNothingHalfMade(milliseconds: Int)
    async throws
  {
    try await CRINode.with { node, client in
      let config = node.pod("crash")
      let starting = Task {
        let pod = try await client.runPodSandbox(config)
        _ = try await node.run(client, in: pod, config, node.container("main", ["sleep", "1000"]))
      }
      try await Task.sleep(for: .milliseconds(milliseconds))
      try node.kill()
      _ = await starting.result
      try node.start()
      try await node.connected { client in
        for container in try await client.listContainers() {
          #expect([.containerCreated, .containerRunning].contains(container.state))
          try await client.removeContainer(container.id)
        }
        for pod in try await client.listPodSandboxes() { try await client.removePodSandbox(pod.id) }
        let pod = try await client.runPodSandbox(config)
        let id = try await node.run(client, in: pod, config, node.container("main", ["sleep", "1000"]))
        #expect(try await client.execSync(id, command: ["true"]).exitCode == 0)
        try await client.removePodSandbox(pod)
        try node.expectNothingLeftOfPods()
      }
    }
  }

  private func sendKill(to process: Int32) async throws {
    let outcome = try await ChildProcess.run("/bin/sh", arguments: ["sh", "-c", "kill -9 \(process)"])
    #expect(outcome.status == .exited(0))
  }
}
