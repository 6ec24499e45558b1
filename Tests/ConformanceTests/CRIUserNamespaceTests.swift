import CRIClient
import CRIModel
import Kernel
import SwiftProtobuf
import Testing

/// Pods whose root is nobody on the node.
@Suite struct CRIUserNamespaceTests {
  private static let mapping = CRIIDMapping.with { ($0.containerID, $0.hostID, $0.length) = (0, 300_000, 65_536) }

  private static func giveUsers(_ options: inout CRINamespaceOption) {
    options.usernsOptions = .with { ($0.mode, $0.uids, $0.gids) = (.pod, [mapping], [mapping]) }
  }

  @Test func aPodWithUsersOfItsOwnRulesItsNetworkAndFilesAndNothingOfTheNodes() async throws {
    try await CRINode.with { node, client in
      #expect(try await client.status().runtimeHandlers.allSatisfy(\.features.userNamespaces))
      var config = node.pod("mapped")
      Self.giveUsers(&config.linux.securityContext.namespaceOptions)
      let pod = try await client.runPodSandbox(config)
      #expect(IPAddress(try await client.podSandboxStatus(pod).status.network.ip)?.family == .ipv4)
      let script = """
        id -u; cat /proc/self/uid_map | tr -s ' '; touch /made && stat -c %u /made /bin/busybox; ip -o link show eth0 | wc -l
        ip address add 10.99.0.1/32 dev eth0 && echo rules its network; echo > /proc/sys/kernel/panic; sleep 1000
        """
      var container = node.container("main", ["sh", "-c", script])
      Self.giveUsers(&container.linux.securityContext.namespaceOptions)
      container.linux.securityContext.capabilities.addCapabilities = ["NET_ADMIN"]
      let id = try await node.run(client, in: pod, config, container)
      let exec = try await client.execSync(id, command: ["sh", "-c", "id -u; cat /proc/1/uid_map | tr -s ' '"])
      #expect(String(decoding: exec.stdout, as: UTF8.self) == "0\n 0 300000 65536\n")
      var lines: [Substring] = []
      for _ in 0..<500 where !lines.contains("rules its network") || lines.count < 7 {
        try await Task.sleep(for: .milliseconds(10))
        lines = try node.log("mapped", "main").split(separator: "\n").map { $0.split(separator: " ", maxSplits: 3)[3] }
      }
      #expect(lines.prefix(6) == ["0", " 0 300000 65536", "0", "0", "1", "rules its network"])
      #expect(lines.last?.contains("/proc/sys/kernel/panic") == true)
    }
  }

  @Test func aContainerThatAsksForOtherUsersThanItsPodIsRefused() async throws {
    try await CRINode.with { node, client in
      var config = node.pod("mapped")
      Self.giveUsers(&config.linux.securityContext.namespaceOptions)
      let pod = try await client.runPodSandbox(config)
      var container = node.container("main", ["true"])
      Self.giveUsers(&container.linux.securityContext.namespaceOptions)
      container.linux.securityContext.namespaceOptions.usernsOptions.uids[0].hostID = 0
      let refusal = await #expect(throws: CRIError.self) {
        try await client.createContainer(podSandboxID: pod, config: container, sandboxConfig: config)
      }
      #expect(refusal?.code == .invalidArgument)
    }
  }
}
