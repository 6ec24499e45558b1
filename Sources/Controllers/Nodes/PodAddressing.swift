package import Kernel

/// The ranges of addresses of which each node gets a part for its pods: one range a family.
package struct PodAddressing: Sendable {
  package struct Refusal: Error, Hashable, CustomStringConvertible {
    package let description: String
  }

  private struct Range: Sendable {
    var block: IPPrefix
    /// Length of a node's part.
    var length: Int

    var bits: Int { block.address.bytes.count * 8 }
    var count: Int { 1 << (length - block.length) }

    func part(_ index: Int) -> IPPrefix? {
      let number = PodAddressing.number(block.address) | UInt128(index) << UInt128(bits - length)
      let bytes = (0..<bits / 8).reversed().map { UInt8(truncatingIfNeeded: number >> UInt128($0 * 8)) }
      return IPAddress(bytes: bytes).flatMap { IPPrefix(address: $0, length: length) }
    }

    /// Which parts a range that is in use takes.
    func parts(of used: IPPrefix) -> ClosedRange<Int>? {
      guard used.address.family == block.address.family else { return nil }
      if used.length <= block.length { return used.contains(block.address) ? 0...count - 1 : nil }
      guard block.contains(used.address) else { return nil }
      let offset = PodAddressing.number(used.address) ^ PodAddressing.number(block.address)
      let first = Int(truncatingIfNeeded: offset >> UInt128(bits - length))
      return first...first + (used.length >= length ? 0 : (1 << (length - used.length)) - 1)
    }
  }

  private let ranges: [Range]

  /// Parts that a range may be cut into: 2 to the power of this.
  private static let bitsMax = 16

  /// - Parameters:
  ///   - clusterCIDRs: such as `10.87.0.0/16`; one a family.
  ///   - lengths: of the prefix that one node gets, by family; `usualLength` without.
  package init(clusterCIDRs: [String], lengths: [IPAddress.Family: Int] = [:]) throws(Refusal) {
    var ranges: [Range] = []
    for text in clusterCIDRs {
      guard let block = IPPrefix(text) else {
        throw Refusal(description: "cluster CIDR \(text): not a range such as 10.244.0.0/16")
      }
      let family = block.address.family
      guard !ranges.contains(where: { $0.block.address.family == family }) else {
        throw Refusal(description: "cluster CIDR \(text): a second one of its family")
      }
      let longest = min(block.length + Self.bitsMax, family == .ipv4 ? 30 : 126)
      let length = lengths[family] ?? Self.usualLength(block)
      guard (block.length...longest).contains(length) else {
        throw Refusal(
          description: "cluster CIDR \(text): cannot be cut into parts of /\(length); choose a length from "
            + "\(block.length) to \(longest)")
      }
      ranges.append(Range(block: block, length: length))
    }
    self.ranges = ranges
  }

  /// A 32nd of an IPv4 range, a 65,536th of an IPv6 range; never so little that a node has no room for pods.
  package static func usualLength(_ block: IPPrefix) -> Int {
    block.address.family == .ipv4
      ? max(block.length, min(block.length + 5, 28)) : max(block.length, min(block.length + bitsMax, 120))
  }

  /// The first part of each range that overlaps none of those in use; nil where all of one are.
  package func free(besides used: [String]) -> [String]? {
    let used = used.compactMap { IPPrefix($0) }
    var found: [String] = []
    for range in ranges {
      var taken: Set<Int> = []
      for block in used { if let parts = range.parts(of: block) { taken.formUnion(parts) } }
      guard let index = (0..<range.count).first(where: { !taken.contains($0) }), let part = range.part(index) else {
        return nil
      }
      found.append(part.description)
    }
    return found
  }

  fileprivate static func number(_ address: IPAddress) -> UInt128 {
    address.bytes.reduce(0) { $0 << 8 | UInt128($1) }
  }
}
