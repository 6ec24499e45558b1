internal import Kernel

/// Which addresses of the node's blocks are taken: one number, a slot, stands for the pod's address in each family.
///
/// Pure. A freed slot is the last to be given out again, so that nothing that still talks to the old pod meets a new one.
struct AddressPool: Sendable {
  /// Slots at most, whatever the blocks' size: a bitmap of 8 KiB.
  static let slotsMax = 65_536
  /// Slot 0 is the block's own address, slot 1 the node's.
  static let nodeSlot = 1
  private static let firstSlot = 2

  let ipv4: IPPrefix?
  let ipv6: IPPrefix?
  /// Behind the last slot.
  let end: Int
  private var taken: [UInt64]
  private var next: Int
  private(set) var free: Int

  /// Nil where the blocks hold no pod: at least one, IPv4 up to /30, IPv6 up to /126.
  /// - Parameter start: where to begin, so that a restarted node does not begin with addresses that were just in use.
  init?(ipv4: IPPrefix?, ipv6: IPPrefix?, start: Int = 0) {
    guard ipv4 != nil || ipv6 != nil, ipv4.map({ $0.length <= 30 }) ?? true, ipv6.map({ $0.length <= 126 }) ?? true
    else { return nil }
    self.ipv4 = ipv4
    self.ipv6 = ipv6
    // The last IPv4 address of a block is often taken for its broadcast address.
    let room4 = ipv4.map { $0.length <= 16 ? Self.slotsMax : (1 << (32 - $0.length)) - 1 } ?? Self.slotsMax
    let room6 = ipv6.map { $0.length <= 112 ? Self.slotsMax : 1 << (128 - $0.length) } ?? Self.slotsMax
    end = min(room4, room6)
    taken = [UInt64](repeating: 0, count: (end + 63) / 64)
    free = end - Self.firstSlot
    next = Self.firstSlot + start % free
  }

  /// The next free slot, in a circle; nil when all are taken.
  mutating func claim() -> Int? {
    if free == 0 { return nil }
    var candidate = next
    while isTaken(candidate) { candidate = candidate + 1 == end ? Self.firstSlot : candidate + 1 }
    _ = claim(candidate)
    next = candidate + 1 == end ? Self.firstSlot : candidate + 1
    return candidate
  }

  /// Takes a certain slot; false where it is taken or no pod's.
  mutating func claim(_ slot: Int) -> Bool {
    guard (Self.firstSlot..<end).contains(slot), !isTaken(slot) else { return false }
    taken[slot / 64] |= 1 << UInt64(slot % 64)
    free -= 1
    return true
  }

  mutating func release(_ slot: Int) {
    guard (Self.firstSlot..<end).contains(slot), isTaken(slot) else { return }
    taken[slot / 64] &= ~(1 << UInt64(slot % 64))
    free += 1
  }

  private func isTaken(_ slot: Int) -> Bool { taken[slot / 64] & (1 << UInt64(slot % 64)) != 0 }

  func addressIPv4(_ slot: Int) -> IPAddress? { ipv4?.address.advanced(by: UInt64(slot)) }
  func addressIPv6(_ slot: Int) -> IPAddress? { ipv6?.address.advanced(by: UInt64(slot)) }
  func addresses(_ slot: Int) -> [IPAddress] { [addressIPv4(slot), addressIPv6(slot)].compactMap { $0 } }
}
