import Kernel
import TestSupport
import Testing

@testable import Dataplane

extension LabNamespace {
  /// "web-1 10.88.0.7", "refused" or "dropped".
  func outcome(
    _ address: IPAddress, port: UInt16, _ transport: TransportProtocol = .tcp, seconds: Int = 1
  ) async throws -> String {
    do {
      return try await LabClient(transport, to: address, port: port, from: self, seconds: seconds).ask()
    } catch let error as SyscallError {
      switch error.errno {
      // A node's own packet that is refused on its way out fails the call itself.
      case Errno.connectionRefused, Errno.permission: return "refused"
      // Neither an answer nor a refusal in time: EINPROGRESS, EAGAIN, ETIMEDOUT.
      case 115, 11, 110: return "dropped"
      default: throw error
      }
    }
  }
}

@Suite(.serialized) struct FeaturePacketTests {
  @Test func nodePortIsReachedFromOutsideFromPodsAndFromTheNode() async throws {
    try await withPacketBench { bench in
      let outside = try await bench.outside()
      defer { try? outside.remove() }
      try await bench.dataplane.apply(
        try ServiceTable([
          bench.entry("0.0.0.0") { ($0.kind, $0.port) = (.nodePort, 30_080) },
          bench.entry("0.0.0.0", .udp) { ($0.kind, $0.port) = (.nodePort, 30_080) },
        ]))
      for transport in [TransportProtocol.tcp, .udp] {
        for lab in [outside, bench.client.lab, bench.node] {
          let spread = try await lab.spread(address("192.0.2.1"), port: 30_080, transport, times: 12)
          #expect(spread == ["web-0": 4, "web-1": 4, "web-2": 4])
        }
      }
      // Answers must come back this way, wherever the endpoint is.
      let answer = try await outside.ask(address("192.0.2.1"), port: 30_080)
      #expect(!answer.contains("192.0.2.2"), "\(answer)")
      try await bench.dataplane.setNodePortAddresses([])
      #expect(try await outside.outcome(address("192.0.2.1"), port: 30_080) == "refused")
      try await bench.node.command("ip", "link", "delete", "up0")
    }
  }

  @Test func trafficPolicyLocalKeepsSendersAndStaysHere() async throws {
    try await withPacketBench { bench in
      let outside = try await bench.outside()
      defer { try? outside.remove() }
      let virtual = address("198.51.100.1")
      func apply(_ local: [ServiceEndpoint]?) async throws {
        let entry = bench.entry("198.51.100.1") {
          $0.kind = .external
          $0.outside = local
        }
        try await bench.dataplane.apply(try ServiceTable([entry]))
      }
      try await apply([bench.web[1].endpoint(.ipv4)])
      for _ in 0..<4 { #expect(try await outside.ask(virtual, port: 80) == "web-1 192.0.2.2") }
      let asker = bench.client.endpoint(.ipv4).address
      for name in ["web-0", "web-1", "web-2"] {
        #expect(try await bench.client.lab.ask(virtual, port: 80) == "\(name) \(asker)")
      }
      try await apply([])
      #expect(try await outside.outcome(virtual, port: 80) == "dropped")
      try await apply(nil)
      let answer = try await outside.ask(virtual, port: 80)
      #expect(!answer.contains("192.0.2.2"), "\(answer)")
      try await bench.node.command("ip", "link", "delete", "up0")
    }
  }

  @Test func onlyNamedSendersPassSourceRanges() async throws {
    try await withPacketBench { bench in
      let outside = try await bench.outside()
      defer { try? outside.remove() }
      for (ranges, expected) in [
        (["192.0.2.0/25"], "web-0"), (["192.0.2.2/32", "203.0.113.0/24"], "web-0"), (["192.0.2.128/25"], "dropped"),
        ([], "dropped"),
      ] {
        let entry = bench.entry("198.51.100.1", pods: [bench.web[0]]) {
          $0.kind = .external
          $0.sourceRanges = ranges.map { IPPrefix($0)! }
        }
        try await bench.dataplane.apply(try ServiceTable([entry]))
        let outcome = try await outside.outcome(address("198.51.100.1"), port: 80)
        #expect(outcome.prefix { $0 != " " } == expected, "\(ranges)")
      }
      try await bench.node.command("ip", "link", "delete", "up0")
    }
  }

  @Test(arguments: [
    ("10.96.0.10", TransportProtocol.tcp), ("fd00:96::10", .tcp), ("10.96.0.10", .udp), ("fd00:96::10", .udp),
  ])
  func clientKeepsItsEndpointAsLongAsThatIsOne(_ virtual: String, _ transport: TransportProtocol) async throws {
    try await withPacketBench { bench in
      func apply(_ pods: [PacketBench.Pod]) async throws {
        let entry = bench.entry(virtual, transport, pods: pods) { $0.affinitySeconds = 600 }
        try await bench.dataplane.apply(try ServiceTable([entry]))
      }
      func ask() async throws -> String {
        let spread = try await bench.client.lab.spread(address(virtual), port: 80, transport, times: 6)
        #expect(spread.count == 1)
        return spread.keys.first ?? ""
      }
      try await apply(bench.web)
      let first = try await ask()
      // Others have theirs.
      _ = try await bench.node.ask(address(virtual), port: 80, transport)
      #expect(try await ask() == first)
      try await apply(bench.web.filter { $0.name != first })
      let second = try await ask()
      #expect(second != first)
      try await apply(bench.web)
      #expect(try await ask() == second)
    }
  }

  @Test func affinityEndsWithItsTime() async throws {
    try await withPacketBench { bench in
      let entry = bench.entry("10.96.0.10") { $0.affinitySeconds = 1 }
      try await bench.dataplane.apply(try ServiceTable([entry]))
      var met: Set<String> = []
      for _ in 0..<3 {
        met.insert(try await bench.client.lab.ask(address("10.96.0.10"), port: 80))
        try await Task.sleep(for: .milliseconds(1300))
      }
      #expect(met.count == 3)
    }
  }

  @Test func randomChoiceIsEvenWithinChance() async throws {
    try await withPacketBench { bench in
      try await bench.dataplane.apply(try ServiceTable([bench.entry("10.96.0.10", .udp, .random)]))
      let spread = try await bench.client.lab.spread(address("10.96.0.10"), port: 80, .udp, times: 600)
      // Five standard deviations of a binomial distribution of 600 and 1/3.
      for count in spread.values { #expect(abs(count - 200) < 58, "\(spread)") }
      #expect(spread.count == 3)
    }
  }

  @Test func masqueradeOfEverythingShowsTheNode() async throws {
    try await withPacketBench { bench in
      let entry = bench.entry("10.96.0.10", pods: [bench.web[1]]) { $0.masquerade = .always }
      try await bench.dataplane.apply(try ServiceTable([entry]))
      #expect(try await bench.client.lab.ask(address("10.96.0.10"), port: 80) == "web-1 10.88.0.1")
    }
  }

  @Test func serviceWithoutEndpointsDropsOrStandsAsideWhereThatIsAsked() async throws {
    try await withPacketBench { bench in
      let server = try await EchoServer(name: "node", transport: .tcp, port: 30_090, in: bench.node)
      defer { server.stop() }
      let outside = try await bench.outside()
      defer { try? outside.remove() }
      for (emptiness, expected) in [
        (ServiceEntry.Emptiness.none, "node 192.0.2.2"), (.drop, "dropped"), (.reject, "refused"),
      ] {
        let entry = bench.entry("0.0.0.0", pods: []) {
          ($0.kind, $0.port, $0.whenEmpty) = (.nodePort, 30_090, emptiness)
        }
        try await bench.dataplane.apply(try ServiceTable([entry]))
        #expect(try await outside.outcome(address("192.0.2.1"), port: 30_090) == expected)
      }
      try await bench.node.command("ip", "link", "delete", "up0")
    }
  }

  @Test(arguments: 1...4 as ClosedRange<UInt64>) func packetsGoWhereTheModelSays(_ seed: UInt64) async throws {
    try await withPacketBench { bench in
      let outside = try await bench.outside()
      defer { try? outside.remove() }
      var random = SeededGenerator(seed: seed)
      try await bench.dataplane.apply(ServiceTable())
      for step in 0..<15 {
        let pods = bench.web.filter { _ in Int.random(in: 0..<4, using: &random) > 0 }
        let local = pods.filter { _ in Bool.random(using: &random) }
        var entry = bench.entry("198.51.100.7", pods: pods) { $0.kind = .external }
        entry.balance = [.roundRobin, .random, .hash].randomElement(using: &random)!
        if Bool.random(using: &random) { entry.affinitySeconds = 60 }
        if Bool.random(using: &random) {
          entry.outside = local.map { $0.endpoint(.ipv4) }
          entry.outsideWhenEmpty = .reject
        }
        // What is dropped takes a second to see: seldom.
        if step % 5 == 4 { entry.sourceRanges = [IPPrefix("10.88.0.0/24")!] }
        entry.masquerade = [.automatic, .always, .never].randomElement(using: &random)!
        try await bench.dataplane.change(set: [entry])
        for (name, lab) in [("pod", bench.client.lab), ("outside", outside)] {
          let model = Self.model(bench, entry, name == "outside" ? local : pods, from: name)
          for _ in 0..<4 {
            let outcome = try await lab.outcome(address("198.51.100.7"), port: 80)
            #expect(model.contains(outcome), "\(name): \(outcome) is none of \(model.sorted()): \(entry)")
            if outcome == "dropped" { break }
          }
        }
        #expect(try await bench.dataplane.verify().isIntact)
      }
      try await bench.node.command("ip", "link", "delete", "up0")
    }
  }

  /// What may be seen, by the documented meaning of an entry, without a look at rules.
  private static func model(
    _ bench: PacketBench, _ entry: ServiceEntry, _ reachable: [PacketBench.Pod], from sender: String
  ) -> Set<String> {
    let isOutside = sender == "outside"
    let own = isOutside ? address("192.0.2.2") : bench.client.endpoint(.ipv4).address
    if let ranges = entry.sourceRanges, !ranges.contains(where: { $0.contains(own) }) { return ["dropped"] }
    let pods =
      isOutside && entry.outside != nil
      ? reachable : bench.web.filter { pod in entry.endpoints.contains(pod.endpoint(.ipv4)) }
    if pods.isEmpty { return ["refused"] }
    let isMasqueraded: Bool
    switch entry.masquerade {
    case .always: isMasqueraded = true
    case .never: isMasqueraded = false
    case .automatic: isMasqueraded = entry.outside == nil
    }
    return Set(pods.map { "\($0.name) \(isMasqueraded ? address("10.88.0.1") : own)" })
  }
}
