import Kernel
import NetworkPolicies
import Testing

@Suite struct PolicyBlockTests {
  @Test(arguments: [
    ("10.0.0.0/8", [String](), ["10.0.0.0/8"]),
    ("10.0.0.0/30", ["10.0.0.1/32"], ["10.0.0.0/32", "10.0.0.2/31"]),
    ("10.0.0.0/30", ["10.0.0.0/31", "10.0.0.2/31"], []),
    ("10.0.0.0/24", ["10.0.0.0/16"], []),
    ("10.0.0.0/24", ["11.0.0.0/24", "fd00::/8"], ["10.0.0.0/24"]),
    ("fd00::/126", ["fd00::3/128"], ["fd00::/127", "fd00::2/128"]),
  ])
  func exceptionsAreCutOut(_ block: String, _ except: [String], _ expected: [String]) throws {
    let cut = PolicyBlock(try #require(IPPrefix(block)), except: except.compactMap { IPPrefix($0) })
    #expect(cut.disjoint.map(\.description) == expected)
  }

  @Test(arguments: 1...40) func aBlockHoldsWhatItsPiecesHold(_ seed: UInt64) throws {
    var dice = SplitMix(seed: seed)
    let block = try #require(IPPrefix("10.0.0.0/24"))
    let holes = (0..<Int.random(in: 0...5, using: &dice)).compactMap { _ -> IPPrefix? in
      let length = Int.random(in: 25...32, using: &dice)
      let last = UInt8.random(in: 0...255, using: &dice) & UInt8(truncatingIfNeeded: 0xff << (32 - length))
      return IPPrefix(address: .ipv4(10, 0, 0, last), length: length)
    }
    let pieces = PolicyBlock(block, except: holes).disjoint
    for last in UInt8.min...UInt8.max {
      let address = IPAddress.ipv4(10, 0, 0, last)
      let expected = !holes.contains { $0.contains(address) }
      #expect(pieces.count { $0.contains(address) } == (expected ? 1 : 0), "\(address) without \(holes)")
    }
  }
}

/// SplitMix64: small, and the same everywhere.
private struct SplitMix: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = (state ^ (state >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }
}
