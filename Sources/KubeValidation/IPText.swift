import JSON

/// An IPv4 or IPv6 address, or a network of one, read from text.
struct IPText: Hashable {
  /// 4 or 16.
  let bytes: [UInt8]
  var isV6: Bool { bytes.count == 16 }

  /// Nil where the text is no address; octets with leading zeros are none either, since programs differ on their meaning.
  init?(_ text: String) {
    guard let bytes = text.contains(":") ? Self.v6(text) : Self.v4(text) else { return nil }
    self.bytes = bytes
  }

  private static func v4(_ text: String) -> [UInt8]? {
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count == 4 else { return nil }
    var bytes: [UInt8] = []
    for part in parts {
      guard !part.isEmpty, part.utf8.count <= 3, part.utf8.allSatisfy(Pattern.isDigit), let octet = UInt8(part),
        part.utf8.count == 1 || part.first != "0"
      else { return nil }
      bytes.append(octet)
    }
    return bytes
  }

  private static func v6(_ text: String) -> [UInt8]? {
    if let gap = text.firstRange(of: "::") {
      guard !text[gap.upperBound...].contains("::"), let head = groups(text[..<gap.lowerBound], mayEndInV4: false),
        let tail = groups(text[gap.upperBound...]), head.count + tail.count <= 14
      else { return nil }
      return head + Array(repeating: 0, count: 16 - head.count - tail.count) + tail
    }
    guard let all = groups(text[...]), all.count == 16 else { return nil }
    return all
  }

  private static func groups(_ text: Substring, mayEndInV4: Bool = true) -> [UInt8]? {
    if text.isEmpty { return [] }
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    var bytes: [UInt8] = []
    for (index, part) in parts.enumerated() {
      if mayEndInV4, index == parts.count - 1, part.contains(".") {
        guard let v4 = v4(String(part)) else { return nil }
        bytes += v4
      } else {
        guard (1...4).contains(part.utf8.count), part.utf8.allSatisfy({ Character(UnicodeScalar($0)).isHexDigit }),
          let group = UInt16(part, radix: 16)
        else { return nil }
        bytes += [UInt8(group >> 8), UInt8(group & 255)]
      }
    }
    return bytes
  }

  /// `::ffff:10.0.0.1`: an address of one family in the clothes of the other.
  var isV4InV6: Bool { isV6 && bytes[0..<10].allSatisfy { $0 == 0 } && bytes[10] == 0xFF && bytes[11] == 0xFF }
  var isUnspecified: Bool { bytes.allSatisfy { $0 == 0 } }
  var isLoopback: Bool {
    isV6 ? bytes[0..<15].allSatisfy { $0 == 0 } && bytes[15] == 1 : bytes[0] == 127
  }
  var isLinkLocal: Bool {
    isV6 ? bytes[0] == 0xFE && bytes[1] & 0xC0 == 0x80 : bytes[0] == 169 && bytes[1] == 254
  }
  var isLinkLocalMulticast: Bool {
    isV6 ? bytes[0] == 0xFF && bytes[1] & 0x0F == 2 : bytes[0] == 224 && bytes[1] == 0 && bytes[2] == 0
  }
}

/// `10.9.8.0/24`
struct NetworkText: Hashable {
  let address: IPText
  let prefixLength: Int

  init?(_ text: String) {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count == 2, let address = IPText(String(parts[0])), parts[1].utf8.allSatisfy(Pattern.isDigit),
      let length = Int(parts[1]), length <= address.bytes.count * 8
    else { return nil }
    self.address = address
    prefixLength = length
  }

  var hasBitsBeyondPrefix: Bool {
    address.bytes.enumerated().contains { index, byte in
      let kept = max(0, min(8, prefixLength - index * 8))
      return byte & (kept == 8 ? 0 : UInt8(0xFF) >> UInt8(kept)) != 0
    }
  }
}

extension FieldErrors {
  mutating func address(_ path: FieldPath, _ value: String) {
    guard let address = IPText(value) else {
      return invalid(path, value, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")
    }
    if address.isV4InV6 { invalid(path, value, "must not be an IPv4-mapped IPv6 address") }
  }

  mutating func network(_ path: FieldPath, _ value: String) {
    guard let network = NetworkText(value) else {
      return invalid(path, value, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)")
    }
    if network.address.isV4InV6 { invalid(path, value, "must not have an IPv4-mapped IPv6 address") }
    if network.hasBitsBeyondPrefix { invalid(path, value, "must not have bits set beyond the prefix length") }
  }

  /// Addresses that mean something else on every machine do not belong into endpoints and external addresses.
  mutating func endpointAddress(_ path: FieldPath, _ value: String) {
    guard let address = IPText(value) else { return invalid(path, value, "must be a valid IP address") }
    if address.isUnspecified { invalid(path, value, "may not be unspecified (\(value))") }
    if address.isLoopback { invalid(path, value, "may not be in the loopback range (127.0.0.0/8, ::1/128)") }
    if address.isLinkLocal { invalid(path, value, "may not be in the link-local range (169.254.0.0/16, fe80::/10)") }
    if address.isLinkLocalMulticast {
      invalid(path, value, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
    }
  }

  /// At most two, and then one of each family.
  mutating func oneOfEachFamily(_ path: FieldPath, _ values: [String], _ detail: String) {
    let families = values.map { $0.contains(":") }
    if values.count > 2 || Set(families).count != families.count { invalid(path, JSONValue(values), detail) }
  }
}
