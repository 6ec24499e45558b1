/// A value of a D-Bus message, of the types that systemd's manager takes and gives. D-Bus specification, "Type System".
package enum DBusValue: Hashable, Sendable {
  case bool(Bool)
  case uint32(UInt32)
  case uint64(UInt64)
  case string(String)
  case objectPath(String)
  /// Elements of one type, named by its signature, for there may be none.
  case array(of: String, [DBusValue])
  case structure([DBusValue])
  indirect case variant(DBusValue)

  package var signature: String {
    switch self {
    case .bool: "b"
    case .uint32: "u"
    case .uint64: "t"
    case .string: "s"
    case .objectPath: "o"
    case .array(let element, _): "a" + element
    case .structure(let members): "(" + members.map(\.signature).joined() + ")"
    case .variant: "v"
    }
  }
}

/// Why bytes are no D-Bus message of ours.
struct DBusFormatError: Error, Hashable, Sendable, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

/// Puts values behind each other, little-endian, each at a multiple of its own alignment.
struct DBusWriter {
  private(set) var bytes: [UInt8] = []

  mutating func align(_ boundary: Int) {
    while !bytes.count.isMultiple(of: boundary) { bytes.append(0) }
  }

  mutating func byte(_ value: UInt8) { bytes.append(value) }

  mutating func integer<I: FixedWidthInteger>(_ value: I) {
    align(MemoryLayout<I>.size)
    for shift in 0..<MemoryLayout<I>.size { bytes.append(UInt8(truncatingIfNeeded: value >> (8 * shift))) }
  }

  mutating func signature(_ text: String) {
    bytes.append(UInt8(text.utf8.count))
    bytes += Array(text.utf8) + [0]
  }

  private mutating func text(_ value: String) {
    integer(UInt32(value.utf8.count))
    bytes += Array(value.utf8) + [0]
  }

  mutating func value(_ value: DBusValue) {
    switch value {
    case .bool(let value): integer(UInt32(value ? 1 : 0))
    case .uint32(let value): integer(value)
    case .uint64(let value): integer(value)
    case .string(let value), .objectPath(let value): text(value)
    case .array(let element, let values): array(element, values)
    case .structure(let members):
      align(8)
      for member in members { self.value(member) }
    case .variant(let inner):
      signature(inner.signature)
      self.value(inner)
    }
  }

  private mutating func array(_ element: String, _ values: [DBusValue]) {
    integer(UInt32(0))
    let lengthAt = bytes.count - 4
    // The gap before the first element does not count, and is there without one.
    align(DBusReader.alignment(element.utf8.first))
    let start = bytes.count
    for each in values { value(each) }
    let length = UInt32(bytes.count - start)
    for shift in 0..<4 { bytes[lengthAt + shift] = UInt8(truncatingIfNeeded: length >> (8 * shift)) }
  }
}

/// Takes values from behind each other. Everything is bounded by the bytes that are there.
struct DBusReader {
  let bytes: [UInt8]
  var at = 0

  /// Containers in containers; the specification allows 64.
  private static let depthMax = 32

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  static func alignment(_ type: UInt8?) -> Int {
    switch type {
    case UInt8(ascii: "("), UInt8(ascii: "{"), UInt8(ascii: "t"), UInt8(ascii: "x"), UInt8(ascii: "d"): 8
    case UInt8(ascii: "y"), UInt8(ascii: "g"), UInt8(ascii: "v"): 1
    case UInt8(ascii: "n"), UInt8(ascii: "q"): 2
    default: 4
    }
  }

  mutating func align(_ boundary: Int) throws(DBusFormatError) {
    let next = (at + boundary - 1) / boundary * boundary
    guard next <= bytes.count else { throw DBusFormatError("a message ends within a gap") }
    at = next
  }

  mutating func byte() throws(DBusFormatError) -> UInt8 {
    guard at < bytes.count else { throw DBusFormatError("a message ends within a value") }
    defer { at += 1 }
    return bytes[at]
  }

  mutating func integer<I: FixedWidthInteger>(_: I.Type) throws(DBusFormatError) -> I {
    try align(MemoryLayout<I>.size)
    var value: I = 0
    for shift in 0..<MemoryLayout<I>.size { value |= I(truncatingIfNeeded: try byte()) << (8 * shift) }
    return value
  }

  private mutating func text(_ count: Int) throws(DBusFormatError) -> String {
    guard count >= 0, count < bytes.count - at else { throw DBusFormatError("a text is longer than its message") }
    let text = String(decoding: bytes[at..<at + count], as: UTF8.self)
    at += count + 1
    return text
  }

  mutating func signature() throws(DBusFormatError) -> String { try text(Int(try byte())) }

  /// Values of a whole signature.
  mutating func values(_ signature: String) throws(DBusFormatError) -> [DBusValue] {
    var types = Array(signature.utf8)[...]
    var values: [DBusValue] = []
    while !types.isEmpty { values.append(try value(&types, depth: 0)) }
    return values
  }

  private mutating func value(_ types: inout ArraySlice<UInt8>, depth: Int) throws(DBusFormatError) -> DBusValue {
    guard let type = types.popFirst(), depth < Self.depthMax else { throw DBusFormatError("a signature ends early") }
    switch type {
    case UInt8(ascii: "b"): return .bool(try integer(UInt32.self) != 0)
    case UInt8(ascii: "u"): return .uint32(try integer(UInt32.self))
    case UInt8(ascii: "t"): return .uint64(try integer(UInt64.self))
    case UInt8(ascii: "s"): return .string(try text(Int(try integer(UInt32.self))))
    case UInt8(ascii: "o"): return .objectPath(try text(Int(try integer(UInt32.self))))
    case UInt8(ascii: "v"):
      var inner = Array(try signature().utf8)[...]
      let value = try value(&inner, depth: depth + 1)
      guard inner.isEmpty else { throw DBusFormatError("a variant of several values") }
      return .variant(value)
    case UInt8(ascii: "("): return try structure(&types, depth: depth)
    case UInt8(ascii: "a"): return try array(&types, depth: depth)
    default: throw DBusFormatError("a value of type \(Character(UnicodeScalar(type))), which nobody asked for")
    }
  }

  private mutating func structure(_ types: inout ArraySlice<UInt8>, depth: Int) throws(DBusFormatError) -> DBusValue {
    try align(8)
    var members: [DBusValue] = []
    while types.first != UInt8(ascii: ")") { members.append(try value(&types, depth: depth + 1)) }
    types.removeFirst()
    return .structure(members)
  }

  private mutating func array(_ types: inout ArraySlice<UInt8>, depth: Int) throws(DBusFormatError) -> DBusValue {
    let length = Int(try integer(UInt32.self))
    try align(Self.alignment(types.first))
    let end = at + length
    guard end <= bytes.count else { throw DBusFormatError("an array is longer than its message") }
    let element = try Self.oneType(types)
    types.removeFirst(element.count)
    var values: [DBusValue] = []
    while at < end {
      var inner = element
      values.append(try value(&inner, depth: depth + 1))
    }
    return .array(of: String(decoding: element, as: UTF8.self), values)
  }

  /// The first complete type of a signature.
  private static func oneType(_ types: ArraySlice<UInt8>) throws(DBusFormatError) -> ArraySlice<UInt8> {
    var open = 0
    for (offset, type) in types.enumerated() {
      switch type {
      case UInt8(ascii: "a"): continue
      case UInt8(ascii: "("): open += 1
      case UInt8(ascii: ")"): open -= 1
      default: break
      }
      if open == 0 { return types.prefix(offset + 1) }
    }
    throw DBusFormatError("a signature ends early")
  }
}
