/// An address of IPv4 or IPv6.
package struct CELAddress: Hashable, Sendable {
  /// 4 or 16.
  let bytes: [UInt8]
  /// As it was written.
  let source: String

  package static func == (left: CELAddress, right: CELAddress) -> Bool { left.bytes == right.bytes }
  package func hash(into hasher: inout Hasher) { hasher.combine(bytes) }

  init(bytes: [UInt8]) {
    self.bytes = bytes
    source = ""
  }

  /// Neither zones nor IPv4 in IPv6.
  package init?(_ text: String) {
    guard let bytes = text.contains(":") ? Self.sixteen(text) : Self.four(text) else { return nil }
    (self.bytes, source) = (bytes, text)
  }

  private static func four(_ text: String) -> [UInt8]? {
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count == 4 else { return nil }
    var bytes: [UInt8] = []
    for part in parts {
      guard part.utf8.allSatisfy({ (0x30...0x39).contains($0) }), part.count == 1 || !part.hasPrefix("0"),
        let byte = UInt8(part)
      else { return nil }
      bytes.append(byte)
    }
    return bytes
  }

  private static func sixteen(_ text: String) -> [UInt8]? {
    func groups(_ half: Substring) -> [UInt16]? {
      if half.isEmpty { return [] }
      var found: [UInt16] = []
      for part in half.split(separator: ":", omittingEmptySubsequences: false) {
        guard (1...4).contains(part.utf8.count), part.utf8.allSatisfy({ $0 != 0x2B && $0 != 0x2D }),
          let group = UInt16(part, radix: 16)
        else { return nil }
        found.append(group)
      }
      return found
    }
    var all: [UInt16]
    if let gap = text.firstRange(of: "::") {
      guard let head = groups(text[..<gap.lowerBound]), let tail = groups(text[gap.upperBound...]),
        head.count + tail.count < 8
      else { return nil }
      all = head + Array(repeating: 0, count: 8 - head.count - tail.count) + tail
    } else {
      guard let found = groups(text[...]), found.count == 8 else { return nil }
      all = found
    }
    // An address of IPv4 within one of IPv6 is refused, as Kubernetes does.
    if all[..<5].allSatisfy({ $0 == 0 }), all[5] == 0xFFFF { return nil }
    return all.flatMap { [UInt8($0 >> 8), UInt8($0 & 0xFF)] }
  }

  var family: Int { bytes.count == 4 ? 4 : 6 }
  var isUnspecified: Bool { bytes.allSatisfy { $0 == 0 } }
  var isLoopback: Bool { family == 4 ? bytes[0] == 127 : bytes.dropLast().allSatisfy { $0 == 0 } && bytes[15] == 1 }
  var isLinkLocalMulticast: Bool {
    family == 4 ? bytes[0] == 224 && bytes[1] == 0 && bytes[2] == 0 : bytes[0] == 0xFF && bytes[1] & 0x0F == 2
  }
  var isLinkLocalUnicast: Bool {
    family == 4 ? bytes[0] == 169 && bytes[1] == 254 : bytes[0] == 0xFE && bytes[1] & 0xC0 == 0x80
  }
  private var isMulticast: Bool { family == 4 ? bytes[0] & 0xF0 == 0xE0 : bytes[0] == 0xFF }
  var isGlobalUnicast: Bool {
    !isUnspecified && !isLoopback && !isMulticast && !isLinkLocalUnicast
      && !(family == 4 && bytes == [255, 255, 255, 255])
  }

  /// As RFC 5952 writes it.
  var text: String {
    if family == 4 { return bytes.map { String($0) }.joined(separator: ".") }
    let groups = stride(from: 0, to: 16, by: 2).map { UInt16(bytes[$0]) << 8 | UInt16(bytes[$0 + 1]) }
    var (best, place) = (0..<0, 0)
    while place < 8 {
      var end = place
      while end < 8, groups[end] == 0 { end += 1 }
      if end - place > max(1, best.count) { best = place..<end }
      place = max(end, place + 1)
    }
    func shown(_ part: ArraySlice<UInt16>) -> String { part.map { String($0, radix: 16) }.joined(separator: ":") }
    return best.isEmpty
      ? shown(groups[...]) : "\(shown(groups[..<best.lowerBound]))::\(shown(groups[best.upperBound...]))"
  }
}

/// `10.0.0.0/8`; bits of the host may be set.
package struct CELNetwork: Hashable, Sendable {
  let address: CELAddress
  let prefix: Int

  package init?(_ text: String) {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count == 2, let address = CELAddress(String(parts[0])), let prefix = Int(parts[1]),
      String(prefix) == parts[1], (0...(address.bytes.count * 8)).contains(prefix)
    else { return nil }
    (self.address, self.prefix) = (address, prefix)
  }

  init(_ address: CELAddress, _ prefix: Int) { (self.address, self.prefix) = (address, prefix) }

  var text: String { "\(address.text)/\(prefix)" }
  var masked: CELNetwork {
    let bytes = address.bytes.enumerated().map { place, byte in
      byte & ~UInt8(truncatingIfNeeded: 0xFF >> max(0, min(8, prefix - place * 8)))
    }
    return CELNetwork(CELAddress(bytes: bytes), prefix)
  }

  func contains(_ other: CELAddress) -> Bool {
    other.bytes.count == address.bytes.count && CELNetwork(other, prefix).masked.address == masked.address
  }
  func contains(_ other: CELNetwork) -> Bool { other.prefix >= prefix && contains(other.address) }
}

/// An absolute URL, or an absolute path.
package struct CELURL: Hashable, Sendable {
  let source: String
  private(set) var scheme = ""
  /// With the port.
  private(set) var host = ""
  private(set) var path = ""
  private(set) var query = ""

  package init?(_ text: String) {
    guard !text.unicodeScalars.contains(where: { $0.value <= 0x20 || $0.value == 0x7F }), !text.isEmpty else {
      return nil
    }
    source = text
    var rest = Substring(text)
    if let hash = rest.firstIndex(of: "#") { rest = rest[..<hash] }
    if let mark = rest.firstIndex(of: "?") {
      query = String(rest[rest.index(after: mark)...])
      rest = rest[..<mark]
    }
    if !rest.hasPrefix("/") {
      guard let colon = rest.firstIndex(of: ":"), let first = rest.first, first.isASCII, first.isLetter,
        rest[..<colon].allSatisfy({ $0.isASCII && ($0.isLetter || $0.isNumber || "+-.".contains($0)) })
      else { return nil }
      scheme = rest[..<colon].lowercased()
      rest = rest[rest.index(after: colon)...]
      guard rest.hasPrefix("/") else {
        // `mailto:a@b` has neither host nor path.
        return
      }
    }
    if rest.hasPrefix("//"), !scheme.isEmpty || text.hasPrefix("//") {
      rest = rest.dropFirst(2)
      var authority = rest.prefix { $0 != "/" }
      rest = rest[authority.endIndex...]
      if let at = authority.lastIndex(of: "@") { authority = authority[authority.index(after: at)...] }
      host = String(authority)
      guard hostIsWhole else { return nil }
    }
    path = String(rest)
    guard Self.isEscaped(path) else { return nil }
  }

  private var hostIsWhole: Bool {
    if host.hasPrefix("[") {
      guard let end = host.firstIndex(of: "]") else { return false }
      let behind = host[host.index(after: end)...]
      return behind.isEmpty || (behind.hasPrefix(":") && behind.dropFirst().allSatisfy(\.isNumber))
    }
    let parts = host.split(separator: ":", omittingEmptySubsequences: false)
    return parts.count <= 2 && (parts.count < 2 || parts[1].allSatisfy(\.isNumber))
  }

  private static func isEscaped(_ text: String) -> Bool {
    let bytes = Array(text.utf8)
    for place in bytes.indices where bytes[place] == UInt8(ascii: "%") {
      guard place + 2 < bytes.count,
        UInt8(String(decoding: bytes[(place + 1)...(place + 2)], as: UTF8.self), radix: 16) != nil
      else { return false }
    }
    return true
  }

  var hostname: String {
    if host.hasPrefix("["), let end = host.firstIndex(of: "]") { return String(host.dropFirst()[..<end]) }
    return String(host.prefix { $0 != ":" })
  }
  var port: String {
    guard let colon = host.lastIndex(of: ":"), !host.hasSuffix("]") else { return "" }
    return String(host[host.index(after: colon)...])
  }

  static func unescaped(_ text: String) -> String {
    var bytes: [UInt8] = []
    let all = Array(text.utf8)
    var place = 0
    while place < all.count {
      if all[place] == UInt8(ascii: "%"), place + 2 < all.count,
        let byte = UInt8(String(decoding: all[(place + 1)...(place + 2)], as: UTF8.self), radix: 16)
      {
        bytes.append(byte)
        place += 3
      } else {
        bytes.append(all[place] == UInt8(ascii: "+") ? UInt8(ascii: " ") : all[place])
        place += 1
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  static func escapedPath(_ text: String) -> String {
    var bytes: [UInt8] = []
    for byte in text.utf8 {
      let isKept =
        byte > 0x20 && byte < 0x7F && !"\"<>\\^`{}|".utf8.contains(byte)
      bytes += isKept ? [byte] : Array("%\(byte < 16 ? "0" : "")\(String(byte, radix: 16, uppercase: true))".utf8)
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}
