import Dataplane
import Kernel
import NFT
import TestSupport
import Testing

func address(_ text: String) -> IPAddress { IPAddress(text)! }

let podCIDRs = [IPPrefix("10.88.0.0/24")!, IPPrefix("fd00:88::/64")!]

/// A service of `count` endpoints 10.88.0.10, .11, … (or fd00:88::a, …), port 8080.
func service(
  _ id: String, _ virtual: String, port: UInt16 = 80, _ transport: TransportProtocol = .tcp,
  _ balance: ServiceEntry.Balance = .roundRobin, endpoints count: Int
) -> ServiceEntry {
  let base = address(virtual).family == .ipv4 ? address("10.88.0.10") : address("fd00:88::a")
  return ServiceEntry(
    id: id, address: address(virtual), transport: transport, port: port, balance: balance,
    endpoints: (0..<count).map { ServiceEndpoint(address: base.advanced(by: UInt64($0))!, port: 8080) })
}

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
      ]
    ),
    (
      "hash-and-refused",
      [
        service("default/sticky", "10.96.0.20", .tcp, .hash, endpoints: 3),
        service("default/sticky", "fd00:96::20", .tcp, .hash, endpoints: 3),
        service("default/idle", "10.96.0.30", endpoints: 0), service("default/idle", "fd00:96::30", endpoints: 0),
      ]
    ),
  ]

  @Test(arguments: cases.map(\.name)) func tableRendersAsItsGoldenFile(_ name: String) throws {
    let entries = try #require(Self.cases.first { $0.name == name }).entries
    try Golden.check(ServiceTable(entries).table(podCIDRs: podCIDRs).text, named: "\(name).nft")
  }

  @Test(arguments: cases.map(\.name)) func nftAcceptsTheTable(_ name: String) async throws {
    let entries = try #require(Self.cases.first { $0.name == name }).entries
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    let node = try await LabNamespace.make(at: "\(directory.path)/node")
    defer { try? node.remove() }
    try await node.command("nft", "-c", "-f", "-", input: try ServiceTable(entries).table(podCIDRs: podCIDRs).text)
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

  @Test func twoServicesWithOneAddressAndPortAreRefusedByName() {
    #expect(throws: ServiceTableError.self) {
      try ServiceTable([service("a", "10.96.0.1", endpoints: 1), service("b", "10.96.0.1", endpoints: 2)])
    }
    let error = ServiceTableError.taken(key: service("a", "10.96.0.1", endpoints: 1).key, by: "a", wantedBy: "b")
    #expect(
      error.description
        == "service b: 10.96.0.1 tcp port 80 is taken by service a; give one of them another address or port")
  }

  @Test func endpointOfTheOtherFamilyIsRefused() {
    var entry = service("a", "10.96.0.1", endpoints: 1)
    entry.endpoints.append(ServiceEndpoint(address: address("fd00::1"), port: 80))
    #expect(
      throws: ServiceTableError.familyMismatch(id: "a", address: address("10.96.0.1"), endpoint: address("fd00::1"))
    ) {
      try ServiceTable([entry])
    }
  }
}
