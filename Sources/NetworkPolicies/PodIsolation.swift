package import Kernel

/// What may reach one pod of this node, and what it may reach, because of the NetworkPolicies that select it.
package struct PodIsolation: Hashable, Sendable {
  /// The pod's own, one a family.
  package var addresses: [IPAddress]
  /// Nil: no policy selects the pod for this direction, so everything may. Empty: nothing may.
  package var ingress: [PolicyAllowance]?
  package var egress: [PolicyAllowance]?

  package init(addresses: [IPAddress], ingress: [PolicyAllowance]? = nil, egress: [PolicyAllowance]? = nil) {
    (self.addresses, self.ingress, self.egress) = (addresses, ingress, egress)
  }

  package var isOpen: Bool { ingress == nil && egress == nil }
}

/// One thing that is allowed: these peers, on these ports.
package struct PolicyAllowance: Hashable, Sendable {
  package var peers: PolicyPeers
  /// Nil: all ports of all protocols.
  package var ports: [PolicyPorts]?

  package init(peers: PolicyPeers, ports: [PolicyPorts]? = nil) { (self.peers, self.ports) = (peers, ports) }
}

/// The other ends of connections.
package enum PolicyPeers: Hashable, Sendable {
  case anywhere
  /// Addresses of pods, sorted, and blocks of addresses.
  case some(addresses: [IPAddress], blocks: [PolicyBlock])

  package var isEmpty: Bool { self == .some(addresses: [], blocks: []) }
}

/// A block of addresses without some that lie within it.
package struct PolicyBlock: Hashable, Sendable {
  package var prefix: IPPrefix
  package var except: [IPPrefix]

  package init(_ prefix: IPPrefix, except: [IPPrefix] = []) { (self.prefix, self.except) = (prefix, except) }

  /// The same addresses as blocks without exceptions, disjoint, in order.
  ///
  /// Each exception splits the block that holds it into at most one block a bit of the difference of their lengths.
  package var disjoint: [IPPrefix] {
    var open = [prefix]
    for hole in except {
      open = open.flatMap { Self.cut(hole, from: $0) }
    }
    return open.sorted { $0.address == $1.address ? $0.length < $1.length : $0.address < $1.address }
  }

  private static func cut(_ hole: IPPrefix, from block: IPPrefix) -> [IPPrefix] {
    guard hole.address.family == block.address.family else { return [block] }
    if hole.length <= block.length { return hole.contains(block.address) ? [] : [block] }
    guard block.contains(hole.address), let (low, high) = block.halves else { return [block] }
    return cut(hole, from: low) + cut(hole, from: high)
  }
}

extension IPPrefix {
  /// The two blocks that are one bit longer; nil for a single address.
  fileprivate var halves: (IPPrefix, IPPrefix)? {
    var bytes = address.bytes
    guard length < bytes.count * 8, let low = IPPrefix(address: address, length: length + 1) else { return nil }
    bytes[length / 8] |= 0x80 >> UInt8(length % 8)
    guard let upper = IPAddress(bytes: bytes), let high = IPPrefix(address: upper, length: length + 1) else {
      return nil
    }
    return (low, high)
  }
}

/// Ports of one protocol.
package struct PolicyPorts: Hashable, Sendable, Comparable {
  package enum Transport: String, Hashable, Sendable, Comparable, CaseIterable {
    case sctp = "SCTP"
    case tcp = "TCP"
    case udp = "UDP"

    package static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
  }
  package var transport: Transport
  /// 0 to 65535: every port.
  package var range: ClosedRange<UInt16>

  package init(_ transport: Transport, _ range: ClosedRange<UInt16>) {
    (self.transport, self.range) = (transport, range)
  }

  package static let all: ClosedRange<UInt16> = 0...65535

  package static func < (left: Self, right: Self) -> Bool {
    if left.transport != right.transport { return left.transport < right.transport }
    return (left.range.lowerBound, left.range.upperBound) < (right.range.lowerBound, right.range.upperBound)
  }
}
