import Kernel
import TestSupport
import Testing

@testable import PodNetwork

@Suite struct AddressPoolTests {
  func makePool(_ ipv4: String?, _ ipv6: String? = nil, start: Int = 0) -> AddressPool? {
    AddressPool(ipv4: ipv4.flatMap { IPPrefix($0) }, ipv6: ipv6.flatMap { IPPrefix($0) }, start: start)
  }

  @Test func podsBeginBehindTheNodesAddress() throws {
    var pool = try #require(makePool("10.88.0.0/24", "fd00:88::/64"))
    let claimed = pool.claim()
    let slot = try #require(claimed)
    #expect(pool.addresses(slot).map(\.description) == ["10.88.0.2", "fd00:88::2"])
    #expect(pool.addresses(AddressPool.nodeSlot).map(\.description) == ["10.88.0.1", "fd00:88::1"])
  }

  static let sizes: [(String?, String?, Int)] = [
    ("10.88.0.0/30", nil, 1), ("10.88.0.0/24", nil, 253), (nil, "fd00::/126", 2), ("10.0.0.0/8", "fd00::/64", 65_534),
  ]

  @Test(arguments: sizes)
  func blockHoldsAsManyPodsAsItHasAddresses(_ ipv4: String?, _ ipv6: String?, _ count: Int) throws {
    var pool = try #require(makePool(ipv4, ipv6))
    var slots: Set<Int> = []
    while let slot = pool.claim() { slots.insert(slot) }
    #expect(slots.count == count)
    #expect(pool.free == 0)
  }

  static let tooSmall: [(String?, String?)] = [("10.88.0.0/31", nil), (nil, "fd00::/127"), (nil, nil)]

  @Test(arguments: tooSmall)
  func blocksWithoutRoomAreRefused(_ ipv4: String?, _ ipv6: String?) { #expect(makePool(ipv4, ipv6) == nil) }

  @Test func freedAddressIsTheLastToComeBack() throws {
    var pool = try #require(makePool("10.88.0.0/24"))
    let claimed = pool.claim()
    let first = try #require(claimed)
    pool.release(first)
    var order: [Int] = []
    for _ in 0..<253 { if let slot = pool.claim() { order.append(slot) } }
    #expect(order.last == first)
  }

  @Test func restartBeginsSomewhereElse() throws {
    var pool = try #require(makePool("10.88.0.0/24", start: 1000))
    let claimed = pool.claim()
    #expect(claimed == 2 + 1000 % 253)
  }

  @Test(arguments: 1...200 as ClosedRange<UInt64>) func noAddressHasTwoOwnersWhateverHappens(_ seed: UInt64) throws {
    var random = Random(seed: seed)
    var pool = try #require(makePool("10.88.0.0/28", start: Int(seed)))
    var owned: Set<Int> = []
    for _ in 0..<200 {
      switch Int.random(in: 0..<5, using: &random) {
      case 0, 1:
        if let slot = pool.claim() {
          #expect(owned.insert(slot).inserted, "seed \(seed)")
          #expect((2..<15).contains(slot))
        } else {
          #expect(owned.count == 13)
        }
      case 2:
        // A restart finds a record: any slot may be asked for.
        let slot = Int.random(in: 0..<17, using: &random)
        let allowed = (2..<15).contains(slot) && !owned.contains(slot)
        let claimed = pool.claim(slot)
        #expect(claimed == allowed, "seed \(seed)")
        if allowed { owned.insert(slot) }
      default:
        let slot = Int.random(in: 0..<17, using: &random)
        pool.release(slot)
        owned.remove(slot)
      }
      #expect(pool.free == 13 - owned.count, "seed \(seed)")
    }
  }
}

/// SplitMix64.
struct Random: RandomNumberGenerator {
  private var state: UInt64
  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }
}

@Suite struct NetworkRecordTests {
  @Test func recordSurvivesTheDisk() throws {
    let record = NetworkRecord(
      sandboxID: String(repeating: "a1", count: 32), slot: 7, ipv4: IPAddress("10.88.0.7"),
      ipv6: IPAddress("fd00:88::7"),
      hostLink: "mlt0123456789",
      hostPorts: [
        HostPort(transport: .tcp, hostIP: IPAddress("192.0.2.1"), hostPort: 8080, containerPort: 80),
        HostPort(transport: .udp, hostPort: 53, containerPort: 5353),
      ])
    #expect(try NetworkRecord.parse(record.encoded()) == record)
  }

  @Test(arguments: [
    "", "{", "[]", "{\"version\":2}", "{\"version\":1,\"sandbox\":\"x\"}",
    "{\"version\":1,\"sandbox\":\"x\",\"slot\":3,\"hostLink\":\"y\",\"ipv4\":\"300.1.1.1\"}",
  ])
  func damagedRecordIsAnErrorNotATrap(_ text: String) {
    #expect(throws: NetworkRecord.Damage.self) { try NetworkRecord.parse(Array(text.utf8)) }
  }
}
