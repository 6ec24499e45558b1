import Dataplane
import Kernel
import Logging
import PodNetwork
import TestSupport
import Testing

/// A node with pods and a dataplane, in a namespace without a way out; web-0 to web-2 answer on port 8080.
struct PacketBench {
  let directory: TestDirectory
  let node: LabNamespace
  let network: PodNetwork
  let dataplane: Dataplane
  let web: [Pod]
  let client: Pod

  struct Pod {
    let name: String
    let id: String
    let addresses: PodAddresses
    let lab: LabNamespace
    let servers: [EchoServer]

    func endpoint(_ family: IPAddress.Family) -> ServiceEndpoint {
      ServiceEndpoint(address: (family == .ipv4 ? addresses.ipv4 : addresses.ipv6)!, port: 8080)
    }
  }

  static func make() async throws -> PacketBench {
    let directory = try TestDirectory()
    let node = try await LabNamespace.make(at: "\(directory.path)/node")
    let network = PodNetwork(
      runDirectory: directory.path,
      configuration: PodNetworkConfiguration(
        podCIDRs: podCIDRs, serviceCIDRs: [IPPrefix("10.96.0.0/16")!, IPPrefix("fd00:96::/112")!], poolSize: 4),
      logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, namespace: node.namespace)
    _ = try await network.start(known: [])
    var web: [Pod] = []
    for number in 0..<3 { web.append(try await pod("web-\(number)", network, serving: true)) }
    return PacketBench(
      directory: directory, node: node, network: network, dataplane: try await Bench.owner(in: node), web: web,
      client: try await pod("client", network, serving: false))
  }

  static func pod(_ name: String, _ network: PodNetwork, serving: Bool) async throws -> Pod {
    let id = randomHex(bytes: 32)
    let addresses = try await network.attach(id)
    let lab = try LabNamespace.open(addresses.namespacePath)
    var servers: [EchoServer] = []
    if serving {
      for transport in [TransportProtocol.tcp, .udp] {
        servers.append(try await EchoServer(name: name, transport: transport, port: 8080, in: lab))
      }
    }
    return Pod(name: name, id: id, addresses: addresses, lab: lab, servers: servers)
  }

  func remove() async throws {
    for pod in web + [client] {
      for server in pod.servers { server.stop() }
      try await network.detach(pod.id)
    }
    await network.stop()
    #expect(try await node.links() == ["lo", PodNetwork.nodeLink, PodNetwork.nodePeer])
    try node.remove()
    try directory.remove()
    #expect(try LeakCheck(token: directory.token).remains() == [])
  }

  /// Another machine, 192.0.2.2 and 2001:db8::2, which sends services' addresses to the node; 192.0.2.1 is the node.
  func outside() async throws -> LabNamespace {
    let outside = try await LabNamespace.make(at: "\(directory.path)/outside")
    try await node.command(
      "ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1", "netns", "\(directory.path)/outside")
    for (lab, link, end) in [(node, "up0", 1), (outside, "up1", 2)] {
      try await lab.command("ip", "address", "add", "192.0.2.\(end)/24", "dev", link)
      try await lab.command("ip", "address", "add", "2001:db8::\(end)/64", "dev", link, "nodad")
      try await lab.command("ip", "link", "set", link, "up")
    }
    for block in ["10.96.0.0/16", "198.51.100.0/24"] {
      try await outside.command("ip", "route", "add", block, "via", "192.0.2.1")
    }
    try await outside.command("ip", "route", "add", "fd00:96::/112", "via", "2001:db8::1")
    return outside
  }

  func entry(
    _ virtual: String, _ transport: TransportProtocol = .tcp, _ balance: ServiceEntry.Balance = .roundRobin,
    pods: [Pod]? = nil, _ more: (inout ServiceEntry) -> Void = { _ in }
  ) -> ServiceEntry {
    let virtual = address(virtual)
    var entry = ServiceEntry(
      id: "default/web", address: virtual, transport: transport, port: 80, balance: balance,
      endpoints: (pods ?? web).map { $0.endpoint(virtual.family) })
    more(&entry)
    return entry
  }
}

/// Runs `body` on a bench that is taken down after it, whether it throws or not.
func withPacketBench(_ body: (PacketBench) async throws -> Void) async throws {
  let bench = try await PacketBench.make()
  do {
    try await body(bench)
  } catch {
    try? await bench.remove()
    throw error
  }
  try await bench.remove()
}

/// One at a time: each has a node with a dozen links, and connections that must not time out.
@Suite(.serialized) struct PacketTests {
  @Test(
    arguments: [
      ("10.96.0.10", TransportProtocol.tcp), ("fd00:96::10", .tcp), ("10.96.0.10", .udp), ("fd00:96::10", .udp),
    ])
  func roundRobinReachesEachEndpointEquallyOften(_ virtual: String, _ transport: TransportProtocol) async throws {
    try await withPacketBench { bench in
      try await bench.dataplane.apply(try ServiceTable([bench.entry(virtual, transport)]))
      let fromPod = try await bench.client.lab.spread(address(virtual), port: 80, transport, times: 30)
      #expect(fromPod == ["web-0": 10, "web-1": 10, "web-2": 10])
      let fromNode = try await bench.node.spread(address(virtual), port: 80, transport, times: 30)
      #expect(fromNode == ["web-0": 10, "web-1": 10, "web-2": 10])
    }
  }

  @Test(arguments: ["10.96.0.10", "fd00:96::10"])
  func hashKeepsOneClientAtOneEndpoint(_ virtual: String) async throws {
    try await withPacketBench { bench in
      try await bench.dataplane.apply(try ServiceTable([bench.entry(virtual, .tcp, .hash)]))
      #expect(try await bench.client.lab.spread(address(virtual), port: 80, times: 12).values.sorted() == [12])
    }
  }

  @Test(arguments: ["10.96.0.10", "fd00:96::10"])
  func endpointSeesThePodThatAsks(_ virtual: String) async throws {
    try await withPacketBench { bench in
      try await bench.dataplane.apply(try ServiceTable([bench.entry(virtual, pods: [bench.web[1]])]))
      let asker = bench.client.endpoint(address(virtual).family).address
      #expect(try await bench.client.lab.ask(address(virtual), port: 80) == "web-1 \(asker)")
    }
  }

  @Test(arguments: [
    ("10.96.0.10", TransportProtocol.tcp), ("fd00:96::10", .tcp), ("10.96.0.10", .udp), ("fd00:96::10", .udp),
  ])
  func podThatReachesItselfSeesTheNode(_ virtual: String, _ transport: TransportProtocol) async throws {
    try await withPacketBench { bench in
      try await bench.dataplane.apply(try ServiceTable([bench.entry(virtual, transport, pods: [bench.web[0]])]))
      let node = address(virtual).family == .ipv4 ? "10.88.0.1" : "fd00:88::1"
      #expect(try await bench.web[0].lab.ask(address(virtual), port: 80, transport) == "web-0 \(node)")
    }
  }

  @Test(arguments: [
    ("10.96.0.10", TransportProtocol.tcp), ("fd00:96::10", .tcp), ("10.96.0.10", .udp), ("fd00:96::10", .udp),
  ])
  func serviceWithoutEndpointsRefusesAtOnce(_ virtual: String, _ transport: TransportProtocol) async throws {
    try await withPacketBench { bench in
      try await bench.dataplane.apply(try ServiceTable([bench.entry(virtual, transport, pods: [])]))
      // And so does what was never a service.
      for lab in [bench.client.lab, bench.node] {
        for port: UInt16 in [80, 81] {
          let error = await #expect(throws: SyscallError.self) {
            try await lab.ask(address(virtual), port: port, transport)
          }
          // A node's own packet that is refused on its way out fails the call itself.
          let here = lab.path == bench.node.path && transport == .udp
          #expect(error?.errno == (here ? Errno.permission : Errno.connectionRefused), "\(String(describing: error))")
        }
      }
    }
  }

  @Test func endpointsComeAndGoWithoutALostConnection() async throws {
    try await withPacketBench { bench in
      try await bench.dataplane.apply(try ServiceTable([bench.entry("10.96.0.10")]))
      async let spread = bench.client.lab.spread(address("10.96.0.10"), port: 80, times: 300)
      for step in 0..<40 {
        try await bench.dataplane.change(set: [bench.entry("10.96.0.10", pods: Array(bench.web.prefix(1 + step % 3)))])
        if step % 8 == 7 {
          await bench.dataplane.adopt()
          try await bench.dataplane.apply(try ServiceTable([bench.entry("10.96.0.10")]))
        }
      }
      #expect(try await spread.values.reduce(0, +) == 300)
    }
  }

  @Test(arguments: ["10.96.0.10", "fd00:96::10"])
  func clientOfAVanishedUDPEndpointReachesAnother(_ virtual: String) async throws {
    try await withPacketBench { bench in
      try await bench.dataplane.apply(try ServiceTable([bench.entry(virtual, .udp, pods: [bench.web[0]])]))
      // One socket, so one flow: without help its translation would stay as long as it talks.
      let client = try await LabClient(.udp, to: address(virtual), port: 80, from: bench.client.lab)
      #expect(try await client.ask().hasPrefix("web-0 "))
      let applied = try await bench.dataplane.change(set: [bench.entry(virtual, .udp, pods: [bench.web[1]])])
      #expect(applied.forgottenFlows == 1)
      #expect(try await client.ask().hasPrefix("web-1 "))
      // From nothing to one, as after a restart of all pods.
      try await bench.dataplane.change(set: [bench.entry(virtual, .udp, pods: [])])
      await #expect(throws: SyscallError.self) { try await client.ask() }
      try await bench.dataplane.change(set: [bench.entry(virtual, .udp, pods: [bench.web[2]])])
      #expect(try await client.ask().hasPrefix("web-2 "))
    }
  }

  /// The kernel tells of the service's own flows, not of all that there are; of IPv6 by the port alone.
  @Test(arguments: [("10.96.0.10", [1, 2, 3]), ("fd00:96::10", [3, 4, 3])])
  func aChangedServiceLooksAtItsOwnFlows(_ virtual: String, _ listed: [Int]) async throws {
    try await withPacketBench { bench in
      let other = address(virtual).advanced(by: 1)!
      func entry(_ at: IPAddress, _ port: UInt16, _ pod: Int) -> ServiceEntry {
        bench.entry("\(at)", .udp, pods: [bench.web[pod]]) { $0.port = port }
      }
      var table = try ServiceTable([
        entry(address(virtual), 80, 0), entry(address(virtual), 81, 0), entry(other, 80, 0),
      ])
      try await bench.dataplane.apply(table)
      var clients: [LabClient] = []
      for (to, port) in [(address(virtual), UInt16(80)), (address(virtual), 81), (other, 80), (other, 80)] {
        clients.append(try await LabClient(.udp, to: to, port: port, from: bench.client.lab))
        #expect(try await clients[clients.count - 1].ask().hasPrefix("web-0 "))
      }
      func change(_ entries: ServiceEntry...) async throws -> [Int] {
        let applied = try await bench.dataplane.change(set: entries)
        return [applied.listedFlows, applied.forgottenFlows]
      }
      #expect(try await change(entry(address(virtual), 80, 1)) == [listed[0], 1])
      // Both ports of one address at once, one of them anew; then two services of one port.
      _ = try await clients[0].ask()
      #expect(try await change(entry(address(virtual), 80, 2), entry(address(virtual), 81, 1)) == [listed[1], 2])
      _ = try await clients[0].ask()
      #expect(try await change(entry(address(virtual), 80, 0), entry(other, 80, 1)) == [listed[2], 3])
      for client in clients { #expect(try await !client.ask().hasPrefix("web-2 ")) }
      table = ServiceTable()
      #expect(try await bench.dataplane.apply(table).forgottenFlows == 4)
    }
  }

  @Test func tcpConnectionOutlivesItsEndpointsRemoval() async throws {
    try await withPacketBench { bench in
      try await bench.dataplane.apply(try ServiceTable([bench.entry("10.96.0.10", pods: [bench.web[0]])]))
      let client = try await LabClient(.tcp, to: address("10.96.0.10"), port: 80, from: bench.client.lab)
      try await bench.dataplane.change(set: [bench.entry("10.96.0.10", pods: [bench.web[1]])])
      #expect(try await client.ask().hasPrefix("web-0 "))
    }
  }

  @Test(arguments: ["10.96.0.10", "fd00:96::10"])
  func clientFromOutsideIsMasqueraded(_ virtual: String) async throws {
    try await withPacketBench { bench in
      let outside = try await bench.outside()
      defer { try? outside.remove() }
      try await bench.dataplane.apply(try ServiceTable([bench.entry(virtual, pods: [bench.web[2]])]))
      let answer = try await outside.ask(address(virtual), port: 80)
      #expect(answer.hasPrefix("web-2 "))
      #expect(!answer.contains("192.0.2.2") && !answer.contains("2001:db8::2"), "\(answer)")
      try await bench.node.command("ip", "link", "delete", "up0")
    }
  }
}
