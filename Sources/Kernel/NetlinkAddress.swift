/// An IPv4 or IPv6 address, in network byte order.
package struct IPAddress: Sendable, Hashable, Comparable, CustomStringConvertible {
  package enum Family: Sendable, Hashable, Comparable { case ipv4, ipv6 }

  /// 4 or 16 bytes, network order.
  package let bytes: [UInt8]

  package var family: Family { bytes.count == 4 ? .ipv4 : .ipv6 }

  /// Nil unless there are 4 or 16 bytes.
  package init?(bytes: some Collection<UInt8>) {
    guard bytes.count == 4 || bytes.count == 16 else { return nil }
    self.bytes = Array(bytes)
  }

  package static func ipv4(_ a: UInt8, _ b: UInt8, _ c: UInt8, _ d: UInt8) -> IPAddress {
    IPAddress(unchecked: [a, b, c, d])
  }

  private init(unchecked bytes: [UInt8]) { self.bytes = bytes }

  /// Parses dotted IPv4 without leading zeros, or IPv6 as in RFC 4291 §2.2, without a zone.
  package init?(_ text: some StringProtocol) {
    if text.contains(":") {
      guard let bytes = IPAddress.parseIPv6(Substring(text)) else { return nil }
      self.bytes = bytes
    } else {
      guard let bytes = IPAddress.parseIPv4(Substring(text)) else { return nil }
      self.bytes = bytes
    }
  }

  package static func < (left: IPAddress, right: IPAddress) -> Bool {
    if left.bytes.count != right.bytes.count { return left.bytes.count < right.bytes.count }
    return left.bytes.lexicographicallyPrecedes(right.bytes)
  }

  package var isLoopback: Bool { family == .ipv4 ? bytes[0] == 127 : self == IPAddress.ipv6Loopback }
  package var isUnspecified: Bool { bytes.allSatisfy { $0 == 0 } }
  private static let ipv6Loopback = IPAddress(unchecked: [UInt8](repeating: 0, count: 15) + [1])

  /// The address `offset` above this one; nil where that leaves the family's range.
  package func advanced(by offset: UInt64) -> IPAddress? {
    var sum = bytes
    var carry = offset
    for index in sum.indices.reversed() where carry > 0 {
      let total = UInt64(sum[index]) + (carry & 0xff)
      sum[index] = UInt8(truncatingIfNeeded: total)
      carry = (carry >> 8) + (total >> 8)
    }
    return carry == 0 ? IPAddress(unchecked: sum) : nil
  }

  /// Dotted IPv4, or IPv6 as RFC 5952 writes it.
  package var description: String {
    family == .ipv4 ? bytes.map(String.init).joined(separator: ".") : IPAddress.formatIPv6(bytes)
  }

  private static func parseIPv4(_ text: Substring) -> [UInt8]? {
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count == 4 else { return nil }
    var bytes: [UInt8] = []
    for part in parts {
      guard part.utf8.allSatisfy({ (48...57).contains($0) }), part.count == 1 || part.first != "0" else { return nil }
      guard let byte = UInt8(part) else { return nil }
      bytes.append(byte)
    }
    return bytes
  }

  private static func parseIPv6(_ text: Substring) -> [UInt8]? {
    guard let gap = text.firstRange(of: "::") else {
      let all = groups(text)
      return all?.count == 16 ? all : nil
    }
    let before = text[..<gap.lowerBound]
    let after = text[gap.upperBound...]
    guard let head = before.isEmpty ? [] : groups(before), let tail = after.isEmpty ? [] : groups(after),
      head.count + tail.count <= 14, !head.isEmpty || !before.contains(".")
    else { return nil }
    return head + [UInt8](repeating: 0, count: 16 - head.count - tail.count) + tail
  }

  private static func groups(_ text: Substring) -> [UInt8]? {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    var bytes: [UInt8] = []
    for (index, part) in parts.enumerated() {
      if part.contains(".") {
        guard index == parts.count - 1, let embedded = parseIPv4(part) else { return nil }
        bytes += embedded
        continue
      }
      guard (1...4).contains(part.utf8.count), part.utf8.allSatisfy({ $0 != 43 && $0 != 45 }),
        let group = UInt16(part, radix: 16)
      else { return nil }
      bytes += [UInt8(group >> 8), UInt8(group & 0xff)]
    }
    return bytes
  }

  private static func formatIPv6(_ bytes: [UInt8]) -> String {
    let groups = (0..<8).map { UInt16(bytes[$0 * 2]) << 8 | UInt16(bytes[$0 * 2 + 1]) }
    var best = 0..<0
    var start = 0
    while start < 8 {
      var end = start
      while end < 8 && groups[end] == 0 { end += 1 }
      if end - start > max(best.count, 1) { best = start..<end }
      start = max(end, start + 1)
    }
    func text(_ range: Range<Int>) -> String {
      range.map { String(groups[$0], radix: 16) }.joined(separator: ":")
    }
    return best.isEmpty ? text(0..<8) : text(0..<best.lowerBound) + "::" + text(best.upperBound..<8)
  }
}

/// A block of addresses: `10.88.0.0/24`, `fd00:88::/64`.
package struct IPPrefix: Sendable, Hashable, CustomStringConvertible {
  /// The first address: every bit behind `length` is zero.
  package let address: IPAddress
  /// In bits.
  package let length: Int

  /// Nil where `length` does not fit the family or a bit behind it is set.
  package init?(address: IPAddress, length: Int) {
    guard (0...address.bytes.count * 8).contains(length) else { return nil }
    self.address = address
    self.length = length
    guard zip(address.bytes, mask).allSatisfy({ $0 & ~$1 == 0 }) else { return nil }
  }

  /// Parses `address/length`; host bits must be zero.
  package init?(_ text: some StringProtocol) {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count == 2, let address = IPAddress(parts[0]),
      parts[1].utf8.allSatisfy({ (48...57).contains($0) }), let length = Int(parts[1])
    else { return nil }
    self.init(address: address, length: length)
  }

  /// One bits over `length`, in as many bytes as the address has.
  package var mask: [UInt8] {
    (0..<address.bytes.count).map { index in
      let bits = min(max(length - index * 8, 0), 8)
      return bits == 0 ? 0 : UInt8(truncatingIfNeeded: 0xff << (8 - bits))
    }
  }

  package func contains(_ other: IPAddress) -> Bool {
    other.family == address.family && zip(zip(other.bytes, mask), address.bytes).allSatisfy { $0.0 & $0.1 == $1 }
  }

  package var description: String { "\(address)/\(length)" }
}

/// A transport protocol, with its IANA number.
package enum TransportProtocol: UInt8, Sendable, Hashable, CaseIterable, CustomStringConvertible {
  case tcp = 6
  case udp = 17
  case sctp = 132

  /// As nftables and Kubernetes' lower case write it.
  package var description: String {
    switch self {
    case .tcp: "tcp"
    case .udp: "udp"
    case .sctp: "sctp"
    }
  }
}
