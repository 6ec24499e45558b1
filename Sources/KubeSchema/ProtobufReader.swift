/// A cursor over the bytes of a message; every read is checked against its end.
struct ProtobufReader {
  enum Wire: UInt64 {
    case varint = 0
    case fixed64 = 1
    case bytes = 2
    case fixed32 = 5
  }

  let bytes: [UInt8]
  private(set) var position: Int
  let end: Int

  init(_ bytes: [UInt8], _ range: Range<Int>) {
    self.bytes = bytes
    (position, end) = (range.lowerBound, range.upperBound)
  }

  var isAtEnd: Bool { position >= end }

  func error(_ problem: String) -> ProtobufError { ProtobufError(problem, at: position) }

  mutating func varint() throws(ProtobufError) -> UInt64 {
    var value: UInt64 = 0
    for shift in stride(from: UInt64(0), to: 70, by: 7) {
      guard position < end else { throw error("a number without an end") }
      let byte = bytes[position]
      position += 1
      guard shift < 63 || byte <= 1 else { throw error("a number of more than 64 bits") }
      value |= UInt64(byte & 0x7F) << shift
      if byte < 0x80 { return value }
    }
    throw error("a number of more than 64 bits")
  }

  /// A field's number and how its value is written.
  mutating func tag() throws(ProtobufError) -> (number: Int, wire: Wire) {
    let tag = try varint()
    guard let wire = Wire(rawValue: tag & 7) else { throw error("wire type \(tag & 7), which is not used") }
    guard tag >> 3 > 0, tag >> 3 < 1 << 29 else { throw error("field number \(tag >> 3)") }
    return (Int(tag >> 3), wire)
  }

  /// Where the bytes of a field lie; moves behind them.
  mutating func range(_ wire: Wire) throws(ProtobufError) -> Range<Int> {
    guard wire == .bytes else { throw error("a number where bytes are meant") }
    let length = try varint()
    guard length <= UInt64(end - position) else { throw error("a field longer than its message") }
    let start = position
    position += Int(length)
    return start..<position
  }

  mutating func text(_ wire: Wire) throws(ProtobufError) -> String {
    let range = try range(wire)
    do {
      return String(copying: try UTF8Span(validating: bytes.span.extracting(range)))
    } catch {
      throw ProtobufError("text is not UTF-8", at: range.lowerBound)
    }
  }

  mutating func number(_ wire: Wire) throws(ProtobufError) -> UInt64 {
    guard wire == .varint else { throw error("bytes where a number is meant") }
    return try varint()
  }

  mutating func fixed64(_ wire: Wire) throws(ProtobufError) -> UInt64 {
    guard wire == .fixed64, end - position >= 8 else { throw error("no number of eight bytes") }
    var value: UInt64 = 0
    for index in 0..<8 { value |= UInt64(bytes[position + index]) << UInt64(8 * index) }
    position += 8
    return value
  }

  mutating func skip(_ wire: Wire) throws(ProtobufError) {
    switch wire {
    case .varint: _ = try varint()
    case .bytes: _ = try range(.bytes)
    case .fixed32, .fixed64:
      let width = wire == .fixed32 ? 4 : 8
      guard end - position >= width else { throw error("a field longer than its message") }
      position += width
    }
  }
}
