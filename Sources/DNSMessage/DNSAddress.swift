/// Addresses as names have them.
package enum DNSAddress {
  /// As `10-1-2-3`, or IPv6 with every group and hyphens for colons.
  package static func dashed(_ address: [UInt8]) -> String {
    if address.count == 4 { return address.map(String.init).joined(separator: "-") }
    return groups(address).map { String($0, radix: 16) }.joined(separator: "-")
  }

  private static func groups(_ address: [UInt8]) -> [UInt16] {
    stride(from: 0, to: address.count - 1, by: 2).map { UInt16(address[$0]) << 8 | UInt16(address[$0 + 1]) }
  }

  /// The address that a label such as `10-1-2-3` or `fd00--1` means.
  package static func parse(dashed label: String) -> [UInt8]? {
    let parts = label.split(separator: "-", omittingEmptySubsequences: false)
    if parts.count == 4, !label.contains("--"), let bytes = decimals(parts) { return bytes }
    return parseIPv6(parts)
  }

  private static func decimals(_ parts: [Substring]) -> [UInt8]? {
    var bytes: [UInt8] = []
    for part in parts {
      guard !part.isEmpty, part.count <= 3, part.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let byte = UInt8(part)
      else { return nil }
      bytes.append(byte)
    }
    return bytes
  }

  private static func parseIPv6(_ parts: [Substring]) -> [UInt8]? {
    guard (3...9).contains(parts.count) else { return nil }
    // `--` is the gap; at either end there is one empty part more.
    var head: [UInt16] = []
    var tail: [UInt16]?
    for (index, part) in parts.enumerated() {
      if part.isEmpty {
        let isEdge = (index == 0 && parts[1].isEmpty) || (index == parts.count - 1 && parts[index - 1].isEmpty)
        if isEdge { continue }
        guard tail == nil else { return nil }
        tail = []
        continue
      }
      guard part.count <= 4, part.utf8.allSatisfy({ isHex($0) }), let group = UInt16(part, radix: 16) else {
        return nil
      }
      if tail == nil { head.append(group) } else { tail?.append(group) }
    }
    let known = head.count + (tail?.count ?? 0)
    guard tail == nil ? known == 8 : known < 8 else { return nil }
    let all = head + Array(repeating: 0, count: 8 - known) + (tail ?? [])
    return all.flatMap { [UInt8($0 >> 8), UInt8($0 & 0xff)] }
  }

  private static func isHex(_ byte: UInt8) -> Bool {
    (0x30...0x39).contains(byte) || (0x61...0x66).contains(byte) || (0x41...0x46).contains(byte)
  }

  /// The name under `in-addr.arpa` or `ip6.arpa`.
  package static func reverse(_ address: [UInt8]) -> String {
    if address.count == 4 { return address.reversed().map(String.init).joined(separator: ".") + ".in-addr.arpa." }
    let nibbles = address.reversed().flatMap { [$0 & 0xf, $0 >> 4] }
    return nibbles.map { String($0, radix: 16) }.joined(separator: ".") + ".ip6.arpa."
  }

  /// The address that a whole name under `in-addr.arpa` or `ip6.arpa` is about.
  package static func parse(reverse words: [String]) -> [UInt8]? {
    let parts = words.dropLast(2).map { Substring($0) }
    switch Array(words.suffix(2)) {
    case ["in-addr", "arpa"]:
      return parts.count == 4 ? decimals(parts.reversed()) : nil
    case ["ip6", "arpa"]:
      guard parts.count == 32 else { return nil }
      var nibbles: [UInt8] = []
      for part in parts.reversed() {
        guard part.utf8.count == 1, let nibble = UInt8(part, radix: 16) else { return nil }
        nibbles.append(nibble)
      }
      return stride(from: 0, to: 32, by: 2).map { nibbles[$0] << 4 | nibbles[$0 + 1] }
    default: return nil
    }
  }
}
