import Kernel
import Logging
import TestSupport
import Testing

@testable import PodNetwork

private func machine(_ name: String, _ podCIDRs: [String], _ addresses: [String]) -> ClusterMachine {
  ClusterMachine(
    name: name, podCIDRs: podCIDRs.map { IPPrefix($0)! }, addresses: addresses.map { IPAddress($0)! })
}

private func route(_ prefix: String, _ gateway: String, from source: String) -> ClusterRoute {
  ClusterRoute(prefix: IPPrefix(prefix)!, gateway: IPAddress(gateway)!, source: IPAddress(source)!)
}

private let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

@Suite struct ClusterWaysTests {
  private let own = machine("a", ["10.87.0.0/21", "fd87::/80"], ["10.87.0.1", "192.0.2.1", "fd01::1"])
  private let other = machine("b", ["10.87.8.0/21", "fd87:0:0:0:1::/80"], ["192.0.2.2", "fd01::2"])

  private func settings(_ routing: PodRouting = .routes) -> ClusterWays.Settings {
    ClusterWays.Settings(routing: routing, clusterCIDRs: [IPPrefix("10.87.0.0/16")!, IPPrefix("fd87::/64")!])
  }

  @Test func eachRangeIsReachedByTheNodesAddressOfItsFamily() {
    let (ways, problems) = ClusterWays.plan(own: own, others: [own, other], settings())
    #expect(
      ways.routes == [
        route("10.87.8.0/21", "192.0.2.2", from: "10.87.0.1"), route("fd87:0:0:0:1::/80", "fd01::2", from: "fd87::1"),
      ])
    #expect(ways.overlay == nil && ways.peers.isEmpty && problems.isEmpty)
  }

  @Test func anOverlayCarriesBothFamiliesOverOne() throws {
    let (ways, problems) = ClusterWays.plan(own: own, others: [other], settings(.vxlan))
    let overlay = try #require(ways.overlay)
    #expect(overlay.local == IPAddress("192.0.2.1") && overlay.mtu == 1450 && problems.isEmpty)
    let peer = try #require(ways.peers.first)
    #expect(ways.peers.count == 1 && peer.remote == IPAddress("192.0.2.2") && peer.address != overlay.address)
    #expect(ways.gateways == [IPAddress("10.87.8.1")!: peer.address, IPAddress("fd87:0:0:0:1::1")!: peer.address])
    #expect(
      ways.routes == [
        route("10.87.8.0/21", "10.87.8.1", from: "10.87.0.1"),
        route("fd87:0:0:0:1::/80", "fd87:0:0:0:1::1", from: "fd87::1"),
      ])
    // The other finds this one where it says that it is.
    let back = ClusterWays.plan(own: other, others: [own], settings(.vxlan)).ways
    #expect(back.peers.first?.address == overlay.address && back.overlay?.address == peer.address)
  }

  struct Row: Sendable {
    var podCIDRs: [String]
    var addresses: [String]
    var problem: String
  }

  @Test(arguments: [
    Row(podCIDRs: ["10.87.0.0/24"], addresses: ["192.0.2.2"], problem: "overlaps 10.87.0.0/21"),
    Row(podCIDRs: ["0.0.0.0/0"], addresses: ["192.0.2.2"], problem: "outside the cluster's"),
    Row(podCIDRs: ["192.0.2.0/24"], addresses: ["192.0.2.2"], problem: "outside the cluster's"),
    Row(podCIDRs: ["10.87.8.0/21"], addresses: ["10.87.8.1"], problem: "no IPv4 address that others reach"),
    Row(podCIDRs: ["10.87.8.0/21"], addresses: ["fd01::2"], problem: "no IPv4 address that others reach"),
    Row(podCIDRs: ["10.87.8.0/21"], addresses: ["192.0.2.1"], problem: "192.0.2.1, which is this node"),
  ])
  func whatANodeMayNotClaimOrCannotBeReachedByIsSaid(row: Row) {
    let (ways, problems) = ClusterWays.plan(
      own: own, others: [machine("b", row.podCIDRs, row.addresses)], settings())
    #expect(ways.routes.isEmpty)
    #expect(problems["b"]?.contains(row.problem) == true, "\(problems)")
  }

  @Test func ofTwoThatClaimOneRangeTheFirstByNameHasIt() {
    let thief = machine("c", ["10.87.8.0/22"], ["192.0.2.3"])
    let (ways, problems) = ClusterWays.plan(own: own, others: [thief, other], settings())
    #expect(ways.routes.map(\.gateway).filter { $0 == IPAddress("192.0.2.3") }.isEmpty)
    #expect(problems.keys.sorted() == ["c"])
  }

  @Test func onlyWhatDiffersChanges() {
    let kept = route("10.87.8.0/21", "192.0.2.2", from: "10.87.0.1")
    var standing = kept
    standing.link = 7
    let moved = route("10.87.16.0/21", "192.0.2.3", from: "10.87.0.1")
    var before = moved
    before.gateway = IPAddress("192.0.2.9")!
    let (removed, added) = ClusterRouting.difference(standing: [standing, before], wanted: [kept, moved])
    #expect(removed == [before] && added == [moved])
  }
}

/// Two nodes' namespaces, joined by a link.
@Suite(.serialized) struct ClusterRoutingTests {
  private let cluster = [IPPrefix("10.88.0.0/16")!, IPPrefix("fd88::/64")!]

  private func with(_ body: ([LabNamespace], [ClusterMachine]) async throws -> Void) async throws {
    let directory = try TestDirectory()
    var labs: [LabNamespace] = []
    for name in ["a", "b"] { labs.append(try await LabNamespace.make(at: "\(directory.path)/\(name)")) }
    try await labs[0].command(
      "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", labs[1].path)
    var machines: [ClusterMachine] = []
    for (index, lab) in labs.enumerated() {
      try await lab.command("ip", "address", "add", "192.0.2.\(index + 1)/24", "dev", "eth0")
      try await lab.command("ip", "address", "add", "fd01::\(index + 1)/64", "dev", "eth0", "nodad")
      // Else its own link-local address may not be used for two seconds.
      try await lab.command("sysctl", "-qw", "net.ipv6.conf.eth0.accept_dad=0")
      try await lab.command("ip", "link", "set", "eth0", "up")
      // What the pod network gives the node, and a pod.
      for number in [1, 2] {
        try await lab.command("ip", "address", "add", "10.88.\(index).\(number)/32", "dev", "lo")
        try await lab.command("ip", "address", "add", "fd88::\(index):0:0:\(number)/128", "dev", "lo", "nodad")
      }
      machines.append(
        machine(
          index == 0 ? "a" : "b", ["10.88.\(index).0/24", "fd88::\(index):0:0:0/80"],
          ["192.0.2.\(index + 1)", "fd01::\(index + 1)"]))
    }
    try await body(labs, machines)
    for lab in labs { try lab.remove() }
    try directory.remove()
    #expect(try LeakCheck(token: directory.token).remains() == [])
  }

  private func routing(_ lab: LabNamespace, _ routing: PodRouting) -> ClusterRouting {
    ClusterRouting(
      settings: ClusterWays.Settings(routing: routing, clusterCIDRs: cluster), logger: quiet, namespace: lab.namespace)
  }

  @Test(arguments: PodRouting.allCases) func packetsFindTheirWayAndAreOnceAgainWhereTheyWere(_ kind: PodRouting)
    async throws
  {
    try await with { labs, machines in
      let routings = labs.map { routing($0, kind) }
      for (index, each) in routings.enumerated() {
        #expect(try await each.apply(own: machines[index], others: [machines[1 - index]]) == [:])
      }
      let server = try await EchoServer(name: "b", transport: .tcp, port: 80, in: labs[1])
      defer { server.stop() }
      #expect(try await labs[0].ask(IPAddress("10.88.1.2")!, port: 80) == "b 10.88.0.1")
      #expect(try await labs[0].ask(IPAddress("fd88::1:0:0:2")!, port: 80) == "b fd88::1")
      let links = try await labs[0].links()
      #expect(links.contains("martlet-vx") == (kind == .vxlan))
      let before = try await labs[0].command("ip", "-details", "route", "show", "table", "all")
      // Another agent finds what stands, and leaves it as it is.
      #expect(try await routing(labs[0], kind).apply(own: machines[0], others: [machines[1]]) == [:])
      #expect(try await labs[0].command("ip", "-details", "route", "show", "table", "all") == before)
      // What somebody took away comes back.
      try await labs[0].command("ip", "route", "delete", "10.88.1.0/24")
      #expect(try await routings[0].apply(own: machines[0], others: [machines[1]]) == [:])
      #expect(try await labs[0].ask(IPAddress("10.88.1.2")!, port: 80) == "b 10.88.0.1")
      // A node that is gone has no route, no neighbour; with the node's own end nothing is left.
      #expect(try await routings[0].apply(own: machines[0], others: []) == [:])
      #expect(try await labs[0].command("ip", "route").contains("10.88.1.0/24") == false)
      #expect(try await labs[0].command("ip", "neighbour").contains("PERMANENT") == false)
      try await labs[0].namespace.run { () throws(SyscallError) in try ClusterRouting.remove(try RouteSocket()) }
      #expect(try await labs[0].links() == ["eth0", "lo"])
    }
  }

  @Test func aNodeThatIsNotOnTheLinkIsSaidToNeedTheOverlay() async throws {
    try await with { labs, machines in
      let far = machine("far", ["10.88.9.0/24"], ["198.51.100.7"])
      let problems = try await routing(labs[0], .routes).apply(own: machines[0], others: [machines[1], far])
      #expect(problems["far"]?.contains("--pod-routing vxlan") == true, "\(problems)")
      #expect(problems.count == 1)
      #expect(try await labs[0].command("ip", "route").contains("10.88.1.0/24"))
    }
  }
}
