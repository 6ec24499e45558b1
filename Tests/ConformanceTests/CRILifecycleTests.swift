import CRIClient
import CRIModel
import Kernel
import SwiftProtobuf
import Synchronization
import TestSupport
import Testing

@Suite struct CRILifecycleTests {
  @Test func aPodLivesAndLeavesNothing() async throws {
    try await CRINode.with { node, client in
      let config = node.pod("web")
      let pod = try await client.runPodSandbox(config)
      let status = try await client.podSandboxStatus(pod).status
      #expect(status.state == .sandboxReady)
      #expect(IPAddress(status.network.ip)?.family == .ipv4)
      #expect(status.network.additionalIps.count == 1)
      let script = "echo out; echo err >&2; trap 'exit 4' TERM; while :; do sleep 0.05; done"
      let id = try await node.run(client, in: pod, config, node.container("main", ["sh", "-c", script]))
      #expect(try await client.containerStatus(id).status.state == .containerRunning)
      let exec = try await client.execSync(id, command: ["sh", "-c", "echo $FROM_IMAGE; hostname; exit 3"])
      #expect(String(decoding: exec.stdout, as: UTF8.self) == "yes\nweb\n")
      #expect(exec.exitCode == 3)
      try await client.stopContainer(id, graceSeconds: 20)
      let ended = try await client.containerStatus(id).status
      #expect(ended.state == .containerExited)
      #expect(ended.exitCode == 4)
      #expect(ended.reason == "Error")
      #expect(ended.finishedAt >= ended.startedAt && ended.startedAt >= ended.createdAt)
      let log = try node.log("web", "main")
      #expect(log.contains(" stdout F out\n") && log.contains(" stderr F err\n"))
      try await client.removeContainer(id)
      #expect(try await client.listContainers().isEmpty)
      try await client.stopPodSandbox(pod)
      #expect(try await client.podSandboxStatus(pod).status.state == .sandboxNotready)
      try await client.removePodSandbox(pod)
      try await client.removePodSandbox(pod)
      try await client.stopPodSandbox(pod)
      try await client.stopContainer(id, graceSeconds: 0)
      try await client.removeContainer(id)
      #expect(try await client.listPodSandboxes().isEmpty)
    }
  }

  @Test func theSameRequestGivesTheSameObjectAndAnotherUnderItsNameIsRefused() async throws {
    try await CRINode.with { node, client in
      let config = node.pod("same")
      async let first = client.runPodSandbox(config)
      async let second = client.runPodSandbox(config)
      let pod = try await first
      #expect(try await second == pod)
      var other = config
      other.hostname = "other"
      let refusal = await #expect(throws: CRIError.self) { try await client.runPodSandbox(other) }
      #expect(refusal?.code == .alreadyExists)
      #expect(refusal?.message.contains("default/same (uid same-uid, attempt 0)") == true)
      let container = node.container("main", ["sleep", "1000"])
      let id = try await node.run(client, in: pod, config, container)
      #expect(try await node.run(client, in: pod, config, container) == id)
      var changed = container
      changed.envs = [CRIKeyValue.with { $0.key = "A" }]
      let taken = await #expect(throws: CRIError.self) { try await node.run(client, in: pod, config, changed) }
      #expect(taken?.code == .alreadyExists)
      changed.metadata.attempt = 1
      #expect(try await node.run(client, in: pod, config, changed) != id)
      #expect(try await client.listContainers().count == 2)
    }
  }

  @Test func aContainerThatIgnoresItsStopSignalIsKilledAfterTheGrace() async throws {
    try await CRINode.with { node, client in
      let config = node.pod("stubborn")
      let pod = try await client.runPodSandbox(config)
      let id = try await node.run(client, in: pod, config, node.container("main", ["sleep", "1000"]))
      let start = ContinuousClock.now
      try await client.stopContainer(id, graceSeconds: 1)
      #expect(ContinuousClock.now - start >= .seconds(1))
      #expect(try await client.containerStatus(id).status.exitCode == 137)
    }
  }

  @Test func containersOfAPodThatSharesProcessesSeeEachOtherAndLeaveNoChildren() async throws {
    try await CRINode.with { node, client in
      var config = node.pod("shared")
      config.linux.securityContext.namespaceOptions.pid = .pod
      let pod = try await client.runPodSandbox(config)
      var first = node.container("first", ["sh", "-c", "sleep 4242 & exec sleep 1717"])
      first.linux.securityContext.namespaceOptions.pid = .pod
      var second = node.container("second", ["sleep", "1818"])
      second.linux.securityContext.namespaceOptions.pid = .pod
      let id = try await node.run(client, in: pod, config, first)
      let other = try await node.run(client, in: pod, config, second)
      let seen = String(decoding: try await client.execSync(other, command: ["ps"]).stdout, as: UTF8.self)
      for process in ["sleep 4242", "sleep 1717", "sleep 1818"] { #expect(seen.contains(process), "\(seen)") }
      try await client.stopContainer(id, graceSeconds: 0)
      try await client.removeContainer(id)
      let left = String(decoding: try await client.execSync(other, command: ["ps"]).stdout, as: UTF8.self)
      #expect(!left.contains("sleep 4242") && left.contains("sleep 1818"), "\(left)")
    }
  }

  @Test func usersAndGroupsComeFromRequestAndImage() async throws {
    try await CRINode.with { node, client in
      let config = node.pod("users")
      let pod = try await client.runPodSandbox(config)
      var named = node.container("named", ["sleep", "1000"])
      named.linux.securityContext.runAsUsername = "app"
      named.linux.securityContext.supplementalGroups = [3000]
      let id = try await node.run(client, in: pod, config, named)
      let merged = try await client.execSync(id, command: ["sh", "-c", "id -u; id -g; id -G; echo $HOME"])
      let lines = String(decoding: merged.stdout, as: UTF8.self).split(separator: "\n").map(String.init)
      #expect(lines.prefix(2) == ["1000", "1000"] && lines.last == "/home/app")
      #expect(Set(lines[2].split(separator: " ")).isSuperset(of: ["1000", "2000", "3000"]))
      var strict = node.container("strict", ["sleep", "1000"])
      strict.linux.securityContext.runAsUser.value = 1000
      strict.linux.securityContext.runAsGroup.value = 77
      strict.linux.securityContext.supplementalGroups = [3000]
      strict.linux.securityContext.supplementalGroupsPolicy = .strict
      let other = try await node.run(client, in: pod, config, strict)
      let only = String(decoding: try await client.execSync(other, command: ["id", "-G"]).stdout, as: UTF8.self)
      #expect(only == "77 3000\n")
      #expect(try await client.containerStatus(other).status.user.linux.uid == 1000)
    }
  }

  @Test func nobodyElseReachesTheDaemon() async throws {
    try await CRINode.with { node, client in
      var config = node.pod("closed")
      config.linux.securityContext.namespaceOptions.network = .node
      let pod = try await client.runPodSandbox(config)
      var container = node.container("main", ["sleep", "1000"])
      container.linux.securityContext.namespaceOptions.network = .node
      let id = try await node.run(client, in: pod, config, container)
      #expect(try Files.status(node.socketPath)?.mode == 0o600)
      for directory in ["run", "run/pods", "run/pods/\(pod)", "root/images", "root/layers", "root/containers"] {
        #expect(try Files.status("\(node.path)/\(directory)")?.mode == 0o700, "\(directory)")
      }
      // A root process on the node's network sees the sockets of its namespace: none of ours has an abstract name.
      let sockets = try await client.execSync(id, command: ["cat", "/proc/net/unix"]).stdout
      let text = String(decoding: sockets, as: UTF8.self)
      #expect(text.contains("martlet.sock") && !text.contains("@"), "\(text)")
    }
  }

  @Test func anExecThatTakesTooLongIsKilled() async throws {
    try await CRINode.with { node, client in
      let config = node.pod("exec")
      let pod = try await client.runPodSandbox(config)
      let id = try await node.run(client, in: pod, config, node.container("main", ["sleep", "1000"]))
      let start = ContinuousClock.now
      let late = await #expect(throws: CRIError.self) {
        try await client.execSync(id, command: ["yes"], timeoutSeconds: 1)
      }
      #expect(late?.code == .deadlineExceeded)
      #expect(ContinuousClock.now - start < .seconds(10))
      let left = String(decoding: try await client.execSync(id, command: ["ps"]).stdout, as: UTF8.self)
      #expect(!left.contains("yes"), "\(left)")
    }
  }

  @Test func devicesOfTheNodeAreOutOfReachUnlessGiven() async throws {
    try await CRINode.with { node, client in
      var config = node.pod("devices")
      config.linux.securityContext.privileged = true
      let pod = try await client.runPodSandbox(config)
      let plain = try await node.run(client, in: pod, config, node.container("plain", ["sleep", "1000"]))
      let script = "(mknod /tmp/fuse c 10 229 && : < /tmp/fuse)"
      let refused = try await client.execSync(plain, command: ["sh", "-c", script])
      #expect(refused.exitCode != 0)
      #expect(String(decoding: refused.stderr, as: UTF8.self).contains("Operation not permitted"))
      var given = node.container("given", ["sleep", "1000"])
      given.devices = [
        CRIDevice.with { ($0.hostPath, $0.containerPath, $0.permissions) = ("/dev/kmsg", "/dev/mine", "r") }
      ]
      given.linux.securityContext.capabilities.addCapabilities = ["SYSLOG"]
      let other = try await node.run(client, in: pod, config, given)
      let opened = try await client.execSync(other, command: ["sh", "-c", ": < /dev/mine && echo read; : > /dev/mine"])
      #expect(String(decoding: opened.stdout, as: UTF8.self) == "read\n" && opened.exitCode != 0)
      var privileged = node.container("privileged", ["sleep", "1000"])
      privileged.linux.securityContext.privileged = true
      let all = try await node.run(client, in: pod, config, privileged)
      let status = try await client.execSync(all, command: ["sh", "-c", script + "; cat /proc/self/status"])
      let text = String(decoding: status.stdout, as: UTF8.self)
      let own = try #require(try Files.readText("/proc/self/status")).split(separator: "\n").first {
        $0.hasPrefix("CapBnd")
      }
      #expect(text.contains(try #require(own).replacing("CapBnd", with: "CapEff")) && text.contains("Seccomp:\t0"))
    }
  }

  @Test func aRotatedLogLosesNoLine() async throws {
    try await CRINode.with { node, client in
      let config = node.pod("logs")
      let pod = try await client.runPodSandbox(config)
      let script = "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo line $i; done; sleep 1000"
      let id = try await node.run(client, in: pod, config, node.container("main", ["sh", "-c", script]))
      let path = "\(node.path)/logs/logs/main.log"
      for number in 1...5 {
        try await Task.sleep(for: .milliseconds(5))
        try Files.rename(path, to: "\(path).\(number)")
        try await client.reopenContainerLog(id)
      }
      let deadline = ContinuousClock.now + .seconds(10)
      var lines: [Substring] = []
      while ContinuousClock.now < deadline {
        var text = ""
        for number in 1...5 { text += try Files.readText("\(path).\(number)", maxBytes: 16 << 20) ?? "" }
        text += try Files.readText(path, maxBytes: 16 << 20) ?? ""
        lines = text.split(separator: "\n")
        if lines.count >= 3000 { break }
        try await Task.sleep(for: .milliseconds(20))
      }
      #expect(
        lines.map { $0.split(separator: " ", maxSplits: 3).last.map(String.init) ?? "" }
          == (1...3000).map { "line \($0)" })
    }
  }

  /// Who rotates may die between the two steps, and the daemon with it: lines go on where they went, and nothing is lost
  /// when it is done at last.
  @Test func aRotationThatACrashCutsInTwoLosesNoLine() async throws {
    try await CRINode.with { node, client in
      let config = node.pod("cut")
      let pod = try await client.runPodSandbox(config)
      let script = """
        i=0; while [ $i -lt 4000 ]; do i=$((i+1)); echo line $i; [ $((i%500)) != 0 ] || usleep 200000; done
        sleep 1000
        """
      let id = try await node.run(client, in: pod, config, node.container("main", ["sh", "-c", script]))
      let path = "\(node.path)/logs/cut/main.log"
      try await Task.sleep(for: .milliseconds(300))
      try Files.rename(path, to: "\(path).1")
      try node.kill()
      try await Task.sleep(for: .milliseconds(300))
      try node.start()
      try await node.connected { client in
        #expect(!Files.exists(path), "somebody made the log that nobody asked for yet")
        try await client.reopenContainerLog(id)
        #expect(Files.exists(path))
        // Once more of what is done already is no harm.
        try await client.reopenContainerLog(id)
        let wanted = (1...4000).map { "line \($0)" }
        var lines: [String] = []
        for _ in 0..<500 where lines.count < wanted.count {
          let text =
            try (Files.readText("\(path).1", maxBytes: 16 << 20) ?? "")
            + (Files.readText(path, maxBytes: 16 << 20) ?? "")
          lines = text.split(separator: "\n").map { $0.split(separator: " ", maxSplits: 3).last.map(String.init) ?? "" }
          try await Task.sleep(for: .milliseconds(20))
        }
        #expect(lines == wanted)
        let before = try Files.readText("\(path).1", maxBytes: 16 << 20) ?? ""
        #expect(before.contains("line 1\n"))
      }
    }
  }

  @Test func eventsTellOfALife() async throws {
    try await CRINode.with { node, client in
      let config = node.pod("events")
      let pod = try await client.runPodSandbox(config)
      let kinds = Mutex<[CRIContainerEventType]>([])
      let following = Task {
        try await client.containerEvents { event in
          if event.containerID != pod { kinds.withLock { $0.append(event.containerEventType) } }
        }
      }
      defer { following.cancel() }
      try await Task.sleep(for: .milliseconds(300))
      let id = try await node.run(client, in: pod, config, node.container("main", ["true"]))
      _ = try await node.status(client, id, .containerExited)
      try await client.removeContainer(id)
      for _ in 0..<200 where kinds.withLock({ $0.count < 4 }) { try await Task.sleep(for: .milliseconds(20)) }
      let seen = kinds.withLock { $0 }
      #expect(
        seen == [.containerCreatedEvent, .containerStartedEvent, .containerStoppedEvent, .containerDeletedEvent])
    }
  }

  @Test func eightPodsAtATimeComeAndGo() async throws {
    try await CRINode.with { node, client in
      try await withThrowingTaskGroup(of: Void.self) { group in
        for number in 0..<8 {
          group.addTask {
            let config = node.pod("many\(number)")
            for _ in 0..<2 {
              let pod = try await client.runPodSandbox(config)
              let id = try await node.run(client, in: pod, config, node.container("main", ["sleep", "1000"]))
              let exec = try await client.execSync(id, command: ["hostname"])
              #expect(String(decoding: exec.stdout, as: UTF8.self) == "many\(number)\n")
              try await client.removePodSandbox(pod)
            }
          }
        }
        try await group.waitForAll()
      }
    }
  }
}
