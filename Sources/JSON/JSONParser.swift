/// What a document may be at most.
package struct JSONLimits: Hashable, Sendable {
  package var maxBytes: Int
  package var maxDepth: Int

  package init(maxBytes: Int = 8 << 20, maxDepth: Int = 64) {
    self.maxBytes = maxBytes
    self.maxDepth = maxDepth
  }
}

/// Why bytes are not a document that we take.
package struct JSONError: Error, Hashable, CustomStringConvertible {
  package let problem: String
  /// Bytes from the start.
  package let offset: Int

  package init(problem: String, offset: Int) {
    self.problem = problem
    self.offset = offset
  }

  package var description: String { "JSON, byte \(offset): \(problem)" }
}

extension JSONValue {
  /// Reads one document and nothing after it but white space.
  ///
  /// Stricter than RFC 8259 where that leaves a choice that attackers use: a member that stands twice, text that is not
  /// UTF-8 and a lone surrogate are refused.
  /// - Throws: `JSONError` with the byte at which it stopped.
  package static func parse(_ bytes: [UInt8], limits: JSONLimits = JSONLimits()) throws(JSONError) -> JSONValue {
    guard bytes.count <= limits.maxBytes else {
      throw JSONError(problem: "document of \(bytes.count) bytes, more than \(limits.maxBytes)", offset: 0)
    }
    var parser = JSONParser(maxDepth: limits.maxDepth)
    return try parser.document(bytes.span)
  }

  package static func parse(_ text: String, limits: JSONLimits = JSONLimits()) throws(JSONError) -> JSONValue {
    try parse(Array(text.utf8), limits: limits)
  }
}

/// A cursor over the bytes; every read is checked against their end.
private struct JSONParser {
  let maxDepth: Int
  private var position = 0
  private var keys = KeyCache()

  init(maxDepth: Int) { self.maxDepth = maxDepth }

  mutating func document(_ bytes: Span<UInt8>) throws(JSONError) -> JSONValue {
    let value = try value(bytes, depth: 0)
    skipSpace(bytes)
    guard position == bytes.count else { throw error("text after the document") }
    return value
  }

  private func error(_ problem: String) -> JSONError { JSONError(problem: problem, offset: position) }

  /// The byte at the cursor; at the end one that no document has outside of its strings.
  @inline(__always)
  private func current(_ bytes: Span<UInt8>) -> UInt8 { position < bytes.count ? bytes[position] : 0 }

  private func isAtEnd(_ bytes: Span<UInt8>) -> Bool { position >= bytes.count }

  @inline(__always)
  private mutating func skipSpace(_ bytes: Span<UInt8>) {
    while position < bytes.count {
      let byte = bytes[position]
      guard byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 else { return }
      position += 1
    }
  }

  private mutating func value(_ bytes: Span<UInt8>, depth: Int) throws(JSONError) -> JSONValue {
    guard depth <= maxDepth else { throw error("nested deeper than \(maxDepth)") }
    skipSpace(bytes)
    switch current(bytes) {
    case UInt8(ascii: "\""): return .string(try string(bytes))
    case UInt8(ascii: "{"): return try object(bytes, depth: depth)
    case UInt8(ascii: "["): return try array(bytes, depth: depth)
    case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try number(bytes)
    case UInt8(ascii: "t"): return try literal(bytes, "true", .bool(true))
    case UInt8(ascii: "f"): return try literal(bytes, "false", .bool(false))
    case UInt8(ascii: "n"): return try literal(bytes, "null", .null)
    default: throw error(isAtEnd(bytes) ? "ends too early" : "unexpected character")
    }
  }

  private mutating func literal(
    _ bytes: Span<UInt8>, _ word: StaticString, _ value: JSONValue
  ) throws(JSONError) -> JSONValue {
    for expected in word.description.utf8 {
      guard current(bytes) == expected else { throw error("unexpected character") }
      position += 1
    }
    return value
  }

  private mutating func object(_ bytes: Span<UInt8>, depth: Int) throws(JSONError) -> JSONValue {
    position += 1
    var object = JSONObject()
    skipSpace(bytes)
    if current(bytes) == UInt8(ascii: "}") {
      position += 1
      return .object(object)
    }
    object.reserveCapacity(4)
    while true {
      skipSpace(bytes)
      guard current(bytes) == UInt8(ascii: "\"") else { throw error("expected a member's name") }
      let start = position
      let key = try string(bytes, isKey: true)
      skipSpace(bytes)
      guard current(bytes) == UInt8(ascii: ":") else {
        if object.contains(key) { throw twice(key, start) }
        throw error("expected ':'")
      }
      position += 1
      // Said before what the value is read for, and whether or not that can be read.
      if object.contains(key) { throw twice(key, start) }
      object.appendUnchecked(key, try value(bytes, depth: depth + 1))
      skipSpace(bytes)
      switch current(bytes) {
      case UInt8(ascii: ","): position += 1
      case UInt8(ascii: "}"):
        position += 1
        return .object(object)
      default: throw error("expected ',' or '}'")
      }
    }
  }

  private func twice(_ key: String, _ offset: Int) -> JSONError {
    JSONError(problem: "member \"\(key)\" stands twice", offset: offset)
  }

  private mutating func array(_ bytes: Span<UInt8>, depth: Int) throws(JSONError) -> JSONValue {
    position += 1
    var elements: [JSONValue] = []
    skipSpace(bytes)
    if current(bytes) == UInt8(ascii: "]") {
      position += 1
      return .array(elements)
    }
    while true {
      elements.append(try value(bytes, depth: depth + 1))
      skipSpace(bytes)
      switch current(bytes) {
      case UInt8(ascii: ","): position += 1
      case UInt8(ascii: "]"):
        position += 1
        return .array(elements)
      default: throw error("expected ',' or ']'")
      }
    }
  }

  private mutating func string(_ bytes: Span<UInt8>, isKey: Bool = false) throws(JSONError) -> String {
    position += 1
    let start = position
    // Most strings have no escape: one pass to find the end, one to check and copy.
    skipPlain(bytes)
    guard current(bytes) == UInt8(ascii: "\"") else { return try escaped(bytes, from: start) }
    let range = start..<position
    // Short texts live in the value itself; long keys are shared within the document.
    let isShared = isKey && range.count > 15
    if isShared, let key = keys.find(bytes, range) {
      position += 1
      return key
    }
    let text = try Self.text(bytes.extracting(range), position)
    position += 1
    if isShared { keys.keep(text, bytes, range) }
    return text
  }

  @inline(__always)
  private mutating func skipPlain(_ bytes: Span<UInt8>) {
    while position < bytes.count {
      let byte = bytes[position]
      if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") || byte < 0x20 { return }
      position += 1
    }
  }

  private static func text(_ bytes: Span<UInt8>, _ offset: Int) throws(JSONError) -> String {
    do {
      return String(copying: try UTF8Span(validating: bytes))
    } catch {
      throw JSONError(problem: "string is not UTF-8", offset: offset)
    }
  }

  /// A string with escapes, or without an end.
  private mutating func escaped(_ bytes: Span<UInt8>, from start: Int) throws(JSONError) -> String {
    var decoded: [UInt8] = []
    var plain = start
    while !isAtEnd(bytes) {
      for index in plain..<position { decoded.append(bytes[index]) }
      switch current(bytes) {
      case UInt8(ascii: "\""):
        position += 1
        return try Self.text(decoded.span, position - 1)
      case UInt8(ascii: "\\"): try escape(bytes, into: &decoded)
      default: throw error("control character in a string")
      }
      plain = position
      skipPlain(bytes)
    }
    throw error("string without an end")
  }

  private mutating func escape(_ bytes: Span<UInt8>, into decoded: inout [UInt8]) throws(JSONError) {
    position += 1
    guard !isAtEnd(bytes) else { throw error("string without an end") }
    let kind = current(bytes)
    position += 1
    switch kind {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): decoded.append(kind)
    case UInt8(ascii: "b"): decoded.append(0x08)
    case UInt8(ascii: "f"): decoded.append(0x0C)
    case UInt8(ascii: "n"): decoded.append(0x0A)
    case UInt8(ascii: "r"): decoded.append(0x0D)
    case UInt8(ascii: "t"): decoded.append(0x09)
    case UInt8(ascii: "u"):
      var code = try fourHexDigits(bytes)
      if code & 0xFC00 == 0xD800 {
        guard current(bytes) == UInt8(ascii: "\\"), position + 1 < bytes.count, bytes[position + 1] == UInt8(ascii: "u")
        else { throw error("surrogate without its pair") }
        position += 2
        let low = try fourHexDigits(bytes)
        guard low & 0xFC00 == 0xDC00 else { throw error("surrogate without its pair") }
        code = 0x10000 + ((code & 0x3FF) << 10) + (low & 0x3FF)
      }
      guard let scalar = Unicode.Scalar(code) else { throw error("surrogate without its pair") }
      decoded += Array(String(Character(scalar)).utf8)
    default: throw error("unknown escape")
    }
  }

  private mutating func fourHexDigits(_ bytes: Span<UInt8>) throws(JSONError) -> UInt32 {
    var code: UInt32 = 0
    for _ in 0..<4 {
      let digit: UInt8
      switch current(bytes) {
      case let byte where byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9"): digit = byte - UInt8(ascii: "0")
      case let byte where byte >= UInt8(ascii: "a") && byte <= UInt8(ascii: "f"): digit = byte - UInt8(ascii: "a") + 10
      case let byte where byte >= UInt8(ascii: "A") && byte <= UInt8(ascii: "F"): digit = byte - UInt8(ascii: "A") + 10
      default: throw error("expected four hexadecimal digits")
      }
      code = code << 4 | UInt32(digit)
      position += 1
    }
    return code
  }

  private func isDigit(_ byte: UInt8) -> Bool { byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9") }

  private mutating func digits(_ bytes: Span<UInt8>) throws(JSONError) {
    guard isDigit(current(bytes)) else { throw error("expected a digit") }
    while isDigit(current(bytes)) { position += 1 }
  }

  private mutating func number(_ bytes: Span<UInt8>) throws(JSONError) -> JSONValue {
    let start = position
    var whole = true
    if current(bytes) == UInt8(ascii: "-") { position += 1 }
    if current(bytes) == UInt8(ascii: "0") { position += 1 } else { try digits(bytes) }
    if current(bytes) == UInt8(ascii: ".") {
      whole = false
      position += 1
      try digits(bytes)
    }
    if current(bytes) | 0x20 == UInt8(ascii: "e") {
      whole = false
      position += 1
      if current(bytes) == UInt8(ascii: "+") || current(bytes) == UInt8(ascii: "-") { position += 1 }
      try digits(bytes)
    }
    // Up to 18 digits fit whatever they are.
    if whole, position - start <= 18 { return .integer(Self.integer(bytes, start..<position)) }
    let text = try Self.text(bytes.extracting(start..<position), position)
    if whole, let integer = Int64(text) { return .integer(integer) }
    return .number(text)
  }

  private static func integer(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Int64 {
    let isNegative = bytes[range.lowerBound] == UInt8(ascii: "-")
    var value: Int64 = 0
    for index in (isNegative ? range.lowerBound + 1 : range.lowerBound)..<range.upperBound {
      value = value * 10 + Int64(bytes[index] &- UInt8(ascii: "0"))
    }
    return isNegative ? -value : value
  }
}

/// The long keys of a document: each is allocated once, however many objects have it.
private struct KeyCache {
  private static let slots = 64
  private var texts: [String] = []

  private static func slot(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Int {
    let middle = bytes[range.lowerBound + range.count / 2]
    let sum = Int(bytes[range.lowerBound]) &* 31 &+ Int(bytes[range.upperBound - 1]) &* 7 &+ Int(middle) &* 13
    return (sum &+ range.count &* 3) & (slots - 1)
  }

  func find(_ bytes: Span<UInt8>, _ range: Range<Int>) -> String? {
    guard !texts.isEmpty else { return nil }
    let text = texts[Self.slot(bytes, range)]
    let span = text.utf8Span.span
    guard span.count == range.count else { return nil }
    for index in 0..<span.count where span[index] != bytes[range.lowerBound + index] { return nil }
    return text
  }

  mutating func keep(_ text: String, _ bytes: Span<UInt8>, _ range: Range<Int>) {
    if texts.isEmpty { texts = Array(repeating: "", count: Self.slots) }
    texts[Self.slot(bytes, range)] = text
  }
}
