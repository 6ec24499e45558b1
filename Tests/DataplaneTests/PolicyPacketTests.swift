import Kernel
import NFT
import TestSupport
import Testing

@testable import Dataplane

@Suite(.serialized) struct PolicyPacketTests {
  static let example = PolicyTable(
    peers: [
      "clients": PeerSet(
        addresses: [address("10.88.0.7"), address("fd00:88::7")],
        blocks: [PeerSet.Block(prefix: IPPrefix("10.0.0.0/8")!, except: [IPPrefix("10.1.0.0/16")!])])
    ],
    policies: [
      "a/in": Policy(
        direction: .ingress,
        rules: [
          Policy.Rule(
            peers: ["clients"],
            ports: [
              Policy.Ports(transport: .tcp, range: 80...80), Policy.Ports(transport: .udp, range: 1000...2000),
              Policy.Ports(transport: .sctp),
            ])
        ]),
      "a/out": Policy(direction: .egress, rules: [Policy.Rule(peers: nil, ports: nil)]),
    ],
    pods: [
      IsolatedPod(addresses: [address("10.88.0.10"), address("fd00:88::a")], ingress: ["a/in"], egress: ["a/out"]),
      IsolatedPod(addresses: [address("10.88.0.11")], ingress: [], egress: nil),
    ])

  @Test func tableRendersAsItsGoldenFile() throws { try Golden.check(Self.example.table().text, named: "policies.nft") }

  @Test func kernelListsWhatWeRenderAndNothingDiffers() async throws {
    let bench = try await Bench.make()
    defer { bench.remove() }
    try await bench.dataplane.apply(Self.example)
    try await bench.dataplane.apply(ServiceTable())
    let found = try await bench.dataplane.verify()
    #expect(found.isIntact, "\(found)")
    let listing = try await bench.listing()
    for block in normalized(Self.example.table().text) where !block.hasPrefix("table") {
      #expect(listing.contains(block), "\(block)")
    }
    try await bench.dataplane.apply(PolicyTable())
    #expect(try await !bench.listing().contains { $0.hasPrefix("chain forward") })
    #expect(try await bench.dataplane.verify().isIntact)
  }

  @Test func onlyWhatAPolicyAllowsReachesAPodOrLeavesIt() async throws {
    try await withPacketBench { bench in
      let web = bench.web[0]
      let target = web.endpoint(.ipv4).address
      let client = bench.client.endpoint(.ipv4).address
      try await bench.dataplane.apply(try ServiceTable([bench.entry("10.96.0.10", pods: [web])]))
      func apply(_ rules: [Policy.Rule]?, peers: Set<IPAddress> = [], egress: [Policy.Rule]? = nil) async throws {
        var table = PolicyTable(peers: ["p": PeerSet(addresses: peers)])
        if let rules {
          table.policies["in"] = Policy(direction: .ingress, rules: rules)
          table.pods.append(IsolatedPod(addresses: [target], ingress: ["in"], egress: nil))
        }
        if let egress {
          table.policies["out"] = Policy(direction: .egress, rules: egress)
          table.pods.append(IsolatedPod(addresses: [client], ingress: nil, egress: ["out"]))
        }
        try await bench.dataplane.apply(table)
      }
      func ask() async throws -> String {
        let direct = try await bench.client.lab.outcome(target, port: 8080)
        #expect(try await bench.client.lab.outcome(address("10.96.0.10"), port: 80) == direct)
        // The node reaches its pods whatever policies say.
        #expect(try await bench.node.outcome(target, port: 8080).hasPrefix("web-0 "))
        return direct
      }
      let answer = "web-0 \(client)"
      #expect(try await ask() == answer)
      try await apply([])
      #expect(try await ask() == "dropped")
      try await apply(
        [Policy.Rule(peers: ["p"], ports: [Policy.Ports(transport: .tcp, range: 8080...8080)])], peers: [client])
      #expect(try await ask() == answer)
      try await apply(
        [Policy.Rule(peers: ["p"], ports: [Policy.Ports(transport: .tcp, range: 8081...9000)])], peers: [client])
      #expect(try await ask() == "dropped")
      try await apply([Policy.Rule(peers: ["p"], ports: nil)], peers: [bench.web[2].endpoint(.ipv4).address])
      #expect(try await ask() == "dropped")
      try await apply(nil, egress: [])
      #expect(try await ask() == "dropped")
      // Both ends have a say.
      try await apply([], egress: [Policy.Rule(peers: nil, ports: nil)])
      #expect(try await ask() == "dropped")
      try await apply([Policy.Rule(peers: nil, ports: nil)], egress: [Policy.Rule(peers: nil, ports: nil)])
      #expect(try await ask() == answer)
      // A pod reaches itself.
      try await apply([])
      #expect(try await web.lab.outcome(address("10.96.0.10"), port: 80).hasPrefix("web-0 "))
    }
  }
}
