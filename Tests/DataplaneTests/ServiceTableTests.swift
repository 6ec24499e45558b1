import Kernel
import NFT
import TestSupport
import Testing

@testable import Dataplane

func address(_ text: String) -> IPAddress { IPAddress(text)! }

let podCIDRs = [IPPrefix("10.88.0.0/24")!, IPPrefix("fd00:88::/64")!]

/// A service of `count` endpoints 10.88.0.10, .11, … (or fd00:88::a, …), port 8080.
func service(
  _ id: String, _ virtual: String, port: UInt16 = 80, _ transport: TransportProtocol = .tcp,
  _ balance: ServiceEntry.Balance = .roundRobin, endpoints count: Int, _ more: (inout ServiceEntry) -> Void = { _ in }
) -> ServiceEntry {
  let base = address(virtual).family == .ipv4 ? address("10.88.0.10") : address("fd00:88::a")
  var entry = ServiceEntry(
    id: id, address: address(virtual), transport: transport, port: port, balance: balance,
    endpoints: (0..<count).map { ServiceEndpoint(address: base.advanced(by: UInt64($0))!, port: 8080) })
  more(&entry)
  return entry
}

let nodeAddresses: Set<IPAddress> = [address("192.0.2.1"), address("2001:db8:5::1")]

@Suite struct ServiceTableTests {
  static let cases: [(name: String, entries: [ServiceEntry])] = [
    ("empty", []),
    ("one-service", [service("default/web", "10.96.0.10", endpoints: 3)]),
    (
      "both-families",
      [
        service("default/web", "10.96.0.10", endpoints: 2), service("default/web", "fd00:96::10", endpoints: 2),
        service("default/dns", "10.96.0.53", port: 53, .udp, endpoints: 2),
        service("default/dns", "10.96.0.53", port: 53, .tcp, endpoints: 2),
        service("default/sctp", "fd00:96::11", port: 5060, .sctp, endpoints: 1),
      ]
    ),
    (
      "refused-dropped-none",
      [
        service("default/idle", "10.96.0.30", endpoints: 0), service("default/idle", "fd00:96::30", endpoints: 0),
        service("default/elsewhere", "10.96.0.31", endpoints: 0) { $0.whenEmpty = .drop },
        service("default/free", "10.96.0.32", endpoints: 0) { $0.whenEmpty = .none },
      ]
    ),
    ("random", [service("default/any", "10.96.0.40", .tcp, .random, endpoints: 3)]),
    ("hash", [service("default/same", "fd00:96::41", .tcp, .hash, endpoints: 2)]),
    (
      "affinity",
      [
        service("default/sticky", "10.96.0.20", endpoints: 3) { $0.affinitySeconds = 10_800 },
        service("default/brief", "10.96.0.21", .tcp, .random, endpoints: 2) { $0.affinitySeconds = 90 },
      ]
    ),
    ("affinity-ipv6", [service("default/sticky", "fd00:96::20", endpoints: 2) { $0.affinitySeconds = 10_800 }]),
    (
      "node-ports",
      [
        service("default/web", "0.0.0.0", port: 30_080, endpoints: 2) { $0.kind = .nodePort },
        service("default/web", "::", port: 30_080, endpoints: 2) { $0.kind = .nodePort },
        service("default/port", "192.0.2.1", port: 8080, endpoints: 1) { $0.kind = .hostPort },
      ]
    ),
    (
      "load-balancer",
      [
        service("default/lb", "198.51.100.1", endpoints: 2) {
          $0.kind = .external
          $0.sourceRanges = [IPPrefix("203.0.113.0/24")!, IPPrefix("203.0.113.128/25")!, IPPrefix("192.0.2.7/32")!]
        },
        service("default/lb", "2001:db8::1", endpoints: 2) {
          $0.kind = .external
          $0.sourceRanges = [IPPrefix("2001:db8:1::/48")!]
        },
      ]
    ),
    (
      "local",
      [
        service("default/here", "198.51.100.2", endpoints: 3) {
          $0.kind = .external
          $0.outside = Array($0.endpoints.suffix(1))
        },
        service("default/there", "198.51.100.3", endpoints: 2) {
          $0.kind = .external
          $0.outside = []
        },
        service("default/all", "0.0.0.0", port: 30_081, endpoints: 3) {
          $0.kind = .nodePort
          $0.outside = Array($0.endpoints.prefix(2))
          $0.affinitySeconds = 60
          $0.sourceRanges = [IPPrefix("203.0.113.0/24")!]
        },
      ]
    ),
  ]

  /// nft 1.0.6 aborts when it reads a statement that puts a value beside an IPv6 address; it lists it well.
  static let loadable = cases.map(\.name).filter { $0 != "affinity-ipv6" }

  static func table(_ entries: [ServiceEntry]) throws -> Table {
    try ServiceTable(entries).table(podCIDRs: podCIDRs, nodePortAddresses: nodeAddresses)
  }

  @Test(arguments: cases.map(\.name)) func tableRendersAsItsGoldenFile(_ name: String) throws {
    let entries = try #require(Self.cases.first { $0.name == name }).entries
    try Golden.check(Self.table(entries).text, named: "\(name).nft")
  }

  @Test(arguments: loadable) func nftAcceptsTheTable(_ name: String) async throws {
    let entries = try #require(Self.cases.first { $0.name == name }).entries
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    let node = try await LabNamespace.make(at: "\(directory.path)/node")
    defer { try? node.remove() }
    try await node.command("nft", "-c", "-f", "-", input: try Self.table(entries).text)
  }

  @Test func orderOfServicesAndEndpointsDoesNotMatter() throws {
    let entries = Self.cases.flatMap(\.entries).filter { $0.port != 53 && $0.address != address("10.96.0.10") }
    let turned = entries.reversed().map { entry in
      var other = entry
      other.endpoints = entry.endpoints.reversed() + entry.endpoints
      return other
    }
    let one = try ServiceTable(Dictionary(entries.map { ($0.key, $0) }) { $1 }.values)
    let other = try ServiceTable(Dictionary(turned.map { ($0.key, $0) }) { $1 }.values)
    #expect(one == other)
    #expect(one.table(podCIDRs: podCIDRs).text == other.table(podCIDRs: podCIDRs).text)
  }

  @Test func chainsDoNotGrowWithServices() throws {
    func chains(_ count: Int) throws -> Int {
      try ServiceTable((0..<count).map { service("s\($0)", "10.96.\($0 / 250).\($0 % 250 + 1)", endpoints: 3) })
        .table(podCIDRs: podCIDRs).chains.count
    }
    #expect(try chains(5_000) == chains(1_000))
  }

  @Test func twoServicesWithOneAddressAndPortAreAProblemOfTheSecond() throws {
    let (table, problems) = ServiceTable.collecting([
      service("a", "10.96.0.1", endpoints: 1), service("b", "10.96.0.1", endpoints: 2),
      service("c", "10.96.0.2", endpoints: 2),
    ])
    #expect(table.services.values.map(\.id).sorted() == ["a", "c"])
    #expect(problems.map(\.reason) == [.addressTaken])
    #expect(problems.first?.description == "service b: 10.96.0.1 tcp port 80: is taken by service a")
  }

  static let bad: [(EntryProblem.Reason, @Sendable (inout ServiceEntry) -> Void)] = [
    (.familyMismatch, { $0.endpoints.append(ServiceEndpoint(address: address("fd00::1"), port: 80)) }),
    (.invalidPort, { $0.port = 0 }),
    (.invalidPort, { $0.endpoints[0].port = 0 }),
    (.invalidAddress, { $0.address = address("0.0.0.0") }),
    (.invalidAddress, { $0.kind = .nodePort }),
    (.invalidAffinity, { $0.affinitySeconds = 86_401 }),
    (.tooManySourceRanges, { $0.sourceRanges = (0..<257).map { IPPrefix("10.\($0 / 256).\($0 % 256).0/24")! } }),
    (
      .tooManyEndpoints,
      { $0.endpoints = (0..<100_000).map { ServiceEndpoint(address: address("10.88.0.0").advanced(by: $0)!, port: 1) } }
    ),
  ]

  @Test(arguments: bad.indices) func whatCannotBeIsANamedProblemAndAllOthersAreThere(_ index: Int) {
    let (reason, change) = Self.bad[index]
    let (table, problems) = ServiceTable.collecting([
      service("bad", "10.96.0.1", endpoints: 1, change), service("good", "10.96.0.2", endpoints: 2),
    ])
    #expect(table.services.values.map(\.id) == ["good"])
    #expect(problems.map(\.reason) == [reason])
  }

  @Test func aNodePortYieldsToWhoNamesTheAddress() throws {
    let table = try Self.table([
      service("everywhere", "0.0.0.0", port: 30_000, endpoints: 2) { $0.kind = .nodePort },
      service("here", "192.0.2.1", port: 30_000, endpoints: 1) { $0.kind = .external },
    ])
    #expect(table.text.contains("192.0.2.1 . tcp . 30000 : 1"))
    #expect(table.sets.first { $0.declaration.name == "endpoints4" }?.elements.count == 1)
  }
}

@Suite struct HashSlotTests {
  static func endpoints(_ count: Int) -> [ServiceEndpoint] {
    (0..<count).map { ServiceEndpoint(address: address("10.88.0.1").advanced(by: UInt64($0))!, port: 8080) }
  }

  @Test(arguments: [1, 2, 3, 7, 12, 13, 50, 120, 400]) func everyEndpointHasAsManySlotsAsAnyOther(_ count: Int) {
    var shares = [Int](repeating: 0, count: count)
    for index in HashSlots.fill(Self.endpoints(count)) { shares[index] += 1 }
    #expect(shares.max()! - shares.min()! <= 1)
  }

  @Test(arguments: [3, 8, 30, 50]) func anEndpointThatGoesMovesLittleButItsOwn(_ count: Int) {
    let all = Self.endpoints(count)
    let before = HashSlots.fill(all).map { all[$0] }
    for gone in [0, count / 2, count - 1] {
      var rest = all
      rest.remove(at: gone)
      let after = HashSlots.fill(rest).map { rest[$0] }
      let moved = zip(before, after).filter { $0 != $1 }.count
      let slots = before.count
      #expect(moved <= slots / count + 1 + slots / 4, "\(moved) of \(slots)")
    }
  }

  @Test(arguments: [
    Lane(.ipv4, .turn(endpoints: 50, counter: 15), .outside), Lane(.ipv6, .random(endpoints: 16_384)),
    Lane(.ipv4, .hash(slots: 65_521)), Lane(.ipv4, .keep(seconds: 1)), Lane(.ipv4, .keep(seconds: 86_400), .outside),
    Lane(.ipv6, .refuse), Lane(.ipv6, .drop), Lane(.ipv6, .split), Lane(.ipv6, .restricted),
  ])
  func aClassSaysWhatItWasMadeOf(_ lane: Lane) {
    for leaving in [Lane.Leaving.never, .cluster, .always, .split] {
      var lane = lane
      lane.leaving = leaving
      #expect(Lane(lane.family, classID: lane.classID) == lane)
    }
  }
}
