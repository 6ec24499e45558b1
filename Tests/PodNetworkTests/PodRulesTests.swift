import Kernel
import NFT
import PodNetwork
import TestSupport
import Testing

@Suite struct PodRulesTests {
  static let rules = PodRules(
    podCIDRs: [IPPrefix("10.88.0.0/24")!, IPPrefix("fd00:88::/64")!],
    clusterCIDRs: [IPPrefix("10.88.0.0/16")!, IPPrefix("fd00:88::/56")!],
    serviceCIDRs: [IPPrefix("10.96.0.0/16")!, IPPrefix("fd00:96::/112")!], masquerade: true)

  static let forwards = [
    PodRules.Forward(
      port: HostPort(transport: .tcp, hostPort: 8080, containerPort: 80),
      addresses: [IPAddress("10.88.0.5")!, IPAddress("fd00:88::5")!]),
    PodRules.Forward(
      port: HostPort(transport: .udp, hostIP: IPAddress("192.0.2.1"), hostPort: 53, containerPort: 5353),
      addresses: [IPAddress("10.88.0.6")!, IPAddress("fd00:88::6")!]),
  ]

  @Test func tableRendersAsItsGoldenFile() throws {
    try Golden.check(Self.rules.table(Self.forwards).text, named: "pods.nft")
  }

  @Test func nftAcceptsTheTable() async throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    let node = try await LabNamespace.make(at: "\(directory.path)/node")
    defer { try? node.remove() }
    try await node.command("nft", "-c", "-f", "-", input: Self.rules.table(Self.forwards).text)
  }
}
