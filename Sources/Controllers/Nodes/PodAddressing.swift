/// A range of IPv4 addresses of which each node gets a part for its pods.
package struct PodAddressing: Sendable {
  package struct Refusal: Error, Hashable, CustomStringConvertible {
    package let description: String
  }

  private let base: UInt32
  private let clusterPrefix: Int
  private let nodePrefix: Int

  /// - Parameters:
  ///   - clusterCIDR: such as `10.244.0.0/16`.
  ///   - nodePrefix: the length of the prefix that one node gets.
  package init(clusterCIDR: String, nodePrefix: Int = 24) throws(Refusal) {
    guard let (address, prefix) = Self.parse(clusterCIDR) else {
      throw Refusal(description: "cluster CIDR \(clusterCIDR): not an IPv4 range such as 10.244.0.0/16")
    }
    guard nodePrefix >= prefix, nodePrefix <= 30, nodePrefix - prefix <= 16 else {
      throw Refusal(
        description: "cluster CIDR \(clusterCIDR): cannot be cut into parts of /\(nodePrefix); choose a length from "
          + "\(prefix) to \(min(30, prefix + 16))")
    }
    base = address & Self.mask(prefix)
    clusterPrefix = prefix
    self.nodePrefix = nodePrefix
  }

  /// The first part that overlaps none of those in use; nil where all are.
  package func free(besides used: [String]) -> String? {
    let taken = used.compactMap(Self.parse)
    for index in 0..<(UInt32(1) << UInt32(nodePrefix - clusterPrefix)) {
      let candidate = base + index << UInt32(32 - nodePrefix)
      let overlaps = taken.contains { address, prefix in
        let mask = Self.mask(min(prefix, nodePrefix))
        return address & mask == candidate & mask
      }
      if !overlaps {
        let bytes = [24, 16, 8, 0].map { String(candidate >> UInt32($0) & 255) }
        return "\(bytes.joined(separator: "."))/\(nodePrefix)"
      }
    }
    return nil
  }

  private static func mask(_ prefix: Int) -> UInt32 { prefix == 0 ? 0 : ~UInt32(0) << UInt32(32 - prefix) }

  private static func parse(_ text: String) -> (address: UInt32, prefix: Int)? {
    let halves = text.split(separator: "/", omittingEmptySubsequences: false)
    guard halves.count == 2, let prefix = Int(halves[1]), (0...32).contains(prefix) else { return nil }
    let parts = halves[0].split(separator: ".", omittingEmptySubsequences: false).map { UInt8($0) }
    guard parts.count == 4 else { return nil }
    var address: UInt32 = 0
    for part in parts {
      guard let part else { return nil }
      address = address << 8 | UInt32(part)
    }
    return (address, prefix)
  }
}
