/// The address families that rules look into.
package enum AddressFamily: Sendable, Hashable, CaseIterable {
  case ipv4, ipv6

  /// The payload match's name in nft's language.
  var header: String { self == .ipv4 ? "ip" : "ip6" }
  /// NFPROTO_*, and AF_* for NAT.
  var number: UInt32 { self == .ipv4 ? 2 : 10 }
  package var addressBytes: Int { self == .ipv4 ? 4 : 16 }
}

/// What one part of a key or of a map's value is.
package enum DataType: Sendable, Hashable {
  case ipv4Address
  case ipv6Address
  case transport
  case port
  /// A traffic class: where the packet priority lies.
  case classID

  package static func address(_ family: AddressFamily) -> DataType { family == .ipv4 ? .ipv4Address : .ipv6Address }

  /// Bytes that hold the value; in a key it is padded to a multiple of four.
  package var bytes: Int {
    switch self {
    case .ipv4Address, .classID: 4
    case .ipv6Address: 16
    case .transport: 1
    case .port: 2
    }
  }

  var name: String {
    switch self {
    case .ipv4Address: "ipv4_addr"
    case .ipv6Address: "ipv6_addr"
    case .transport: "inet_proto"
    case .port: "inet_service"
    case .classID: "classid"
    }
  }

  /// nft's number of the type, which `nft list` reads back.
  var number: UInt32 {
    switch self {
    case .ipv4Address: 7
    case .ipv6Address: 8
    case .transport: 12
    case .port: 13
    case .classID: 23
    }
  }

  /// The types of a concatenation by its number; nil where one is unknown.
  package static func list(_ number: UInt32) -> [DataType]? {
    var types: [DataType] = []
    var rest = number
    while rest != 0 {
      guard
        let type = [DataType.ipv4Address, .ipv6Address, .transport, .port, .classID].first(where: {
          $0.number == rest & 0x3f
        })
      else { return nil }
      types.insert(type, at: 0)
      rest >>= 6
    }
    return types.isEmpty ? nil : types
  }

  /// The value as nft writes it, from `bytes` bytes.
  func text(_ value: ArraySlice<UInt8>) -> String {
    switch self {
    case .ipv4Address, .ipv6Address: return addressText(Array(value))
    case .transport: return transportText(value.first ?? 0)
    case .port: return String(UInt16(value[value.startIndex]) << 8 | UInt16(value[value.startIndex + 1]))
    case .classID: return classIDText(nativeNumber(value))
    }
  }
}

/// Bytes of a key or value, part by part, as the kernel's registers hold them.
package struct Words: Sendable, Hashable {
  package private(set) var bytes: [UInt8] = []

  package init() {}

  /// As the kernel lists them.
  package init(listed bytes: [UInt8]) { self.bytes = bytes }

  /// Of four bytes: a class.
  package var number: UInt32 { nativeNumber(bytes[...]) }

  /// Network order, 4 or 16 bytes.
  package consuming func address(_ value: [UInt8]) -> Words {
    add(value)
    return self
  }

  package consuming func transport(_ value: UInt8) -> Words {
    add(CollectionOfOne(value))
    return self
  }

  package consuming func port(_ value: UInt16) -> Words {
    bytes.append(UInt8(value >> 8))
    add(CollectionOfOne(UInt8(value & 0xff)))
    return self
  }

  package consuming func classID(_ value: UInt32) -> Words {
    add(nativeBytes(value))
    return self
  }

  private mutating func add(_ value: some Collection<UInt8>) {
    // The longest key; keys are made by the ten thousand.
    if bytes.isEmpty { bytes.reserveCapacity(32) }
    bytes.append(contentsOf: value)
    while bytes.count % 4 != 0 { bytes.append(0) }
  }
}

func padded(_ count: Int) -> Int { (count + 3) & ~3 }

func nativeBytes(_ value: UInt32) -> [UInt8] {
  #if _endian(little)
    return [0, 8, 16, 24].map { UInt8(truncatingIfNeeded: value >> $0) }
  #else
    return [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: value >> $0) }
  #endif
}

func nativeNumber(_ bytes: ArraySlice<UInt8>) -> UInt32 {
  #if _endian(little)
    return bytes.reversed().reduce(0) { $0 << 8 | UInt32($1) }
  #else
    return bytes.reduce(0) { $0 << 8 | UInt32($1) }
  #endif
}

func classIDText(_ value: UInt32) -> String {
  if value == 0 { return "none" }
  if value == .max { return "root" }
  let minor = value & 0xffff
  let major = value >> 16
  return (major == 0 ? "" : String(major, radix: 16)) + ":" + (minor == 0 ? "" : String(minor, radix: 16))
}

func transportText(_ number: UInt8) -> String {
  switch number {
  case 6: "tcp"
  case 17: "udp"
  case 132: "sctp"
  default: String(number)
  }
}

/// Dotted IPv4, or IPv6 as RFC 5952 writes it.
func addressText(_ bytes: [UInt8]) -> String {
  if bytes.count != 16 { return bytes.map(String.init).joined(separator: ".") }
  let groups = (0..<8).map { UInt16(bytes[$0 * 2]) << 8 | UInt16(bytes[$0 * 2 + 1]) }
  var longest = 0..<0
  var start = 0
  while start < 8 {
    let end = groups[start...].firstIndex { $0 != 0 } ?? 8
    if end - start > max(longest.count, 1) { longest = start..<end }
    start = max(end, start + 1)
  }
  func text(_ range: Range<Int>) -> String { range.map { String(groups[$0], radix: 16) }.joined(separator: ":") }
  return longest.isEmpty ? text(0..<8) : text(0..<longest.lowerBound) + "::" + text(longest.upperBound..<8)
}
