extension JSONValue {
  /// The document as UTF-8.
  /// - Parameter pretty: two blanks an inner level and a line for each member.
  package func encoded(pretty: Bool = false) -> [UInt8] {
    var out: [UInt8] = []
    encode(into: &out, pretty: pretty)
    return out
  }

  package func encodedString(pretty: Bool = false) -> String {
    String(decoding: encoded(pretty: pretty), as: UTF8.self)
  }

  /// Appends the document to what is there.
  package func encode(into out: inout [UInt8], pretty: Bool = false) {
    if pretty {
      PrettyWriter.write(self, level: 0, &out)
      out.append(0x0A)
    } else {
      CompactWriter.write(self, &out)
    }
  }
}

/// Writes into room that was counted before: no byte is looked for, and the buffer never grows.
private enum CompactWriter {
  static func write(_ value: JSONValue, _ out: inout [UInt8]) {
    out.append(addingCapacity: size(value)) { (room) in put(value, &room) }
  }

  private static func size(_ value: JSONValue) -> Int {
    switch value {
    case .null: return 4
    case .bool(let bool): return bool ? 4 : 5
    // Nineteen digits and a sign at most; what is not used is not written.
    case .integer: return 20
    case .number(let text): return text.utf8.count
    case .string(let text): return size(text)
    case .array(let elements):
      var sum = 2 + elements.count
      for element in elements { sum += size(element) }
      return sum
    case .object(let object):
      var sum = 2
      for member in object.storage { sum += size(member.key) + 2 + size(member.value) }
      return sum
    }
  }

  private static func size(_ text: String) -> Int {
    let bytes = text.utf8Span.span
    var count = bytes.count + 2
    for index in 0..<bytes.count {
      let byte = bytes[index]
      if byte < 0x20 { count += 5 } else if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") { count += 1 }
    }
    return count
  }

  private static func put(_ value: JSONValue, _ out: inout OutputSpan<UInt8>) {
    switch value {
    case .null: putWord("null", &out)
    case .bool(let bool): putWord(bool ? "true" : "false", &out)
    case .integer(let integer): putInteger(integer, &out)
    case .number(let text): putPlain(text.utf8Span.span, &out)
    case .string(let text): putText(text, &out)
    case .array(let elements):
      out.append(UInt8(ascii: "["))
      var isFirst = true
      for element in elements {
        if !isFirst { out.append(UInt8(ascii: ",")) }
        isFirst = false
        put(element, &out)
      }
      out.append(UInt8(ascii: "]"))
    case .object(let object):
      out.append(UInt8(ascii: "{"))
      var isFirst = true
      for member in object.storage {
        if !isFirst { out.append(UInt8(ascii: ",")) }
        isFirst = false
        putText(member.key, &out)
        out.append(UInt8(ascii: ":"))
        put(member.value, &out)
      }
      out.append(UInt8(ascii: "}"))
    }
  }

  private static func putWord(_ word: StaticString, _ out: inout OutputSpan<UInt8>) {
    for byte in word.description.utf8 { out.append(byte) }
  }

  private static func putInteger(_ integer: Int64, _ out: inout OutputSpan<UInt8>) {
    if integer < 0 { out.append(UInt8(ascii: "-")) }
    var power: UInt64 = 1
    let number = integer.magnitude
    while number / power >= 10 { power *= 10 }
    while power > 0 {
      out.append(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: number / power % 10))
      power /= 10
    }
  }

  private static func putPlain(_ bytes: Span<UInt8>, _ out: inout OutputSpan<UInt8>) {
    for index in 0..<bytes.count { out.append(bytes[index]) }
  }

  private static func putText(_ text: String, _ out: inout OutputSpan<UInt8>) {
    let bytes = text.utf8Span.span
    out.append(UInt8(ascii: "\""))
    for index in 0..<bytes.count {
      let byte = bytes[index]
      if byte >= 0x20, byte != UInt8(ascii: "\""), byte != UInt8(ascii: "\\") {
        out.append(byte)
      } else {
        putEscape(byte, &out)
      }
    }
    out.append(UInt8(ascii: "\""))
  }

  private static func putEscape(_ byte: UInt8, _ out: inout OutputSpan<UInt8>) {
    out.append(UInt8(ascii: "\\"))
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"): out.append(byte)
    case 0x0A: out.append(UInt8(ascii: "n"))
    case 0x0D: out.append(UInt8(ascii: "r"))
    case 0x09: out.append(UInt8(ascii: "t"))
    default:
      out.append(UInt8(ascii: "u"))
      for digit in [0, 0, byte >> 4, byte & 15] as [UInt8] {
        out.append(digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10)
      }
    }
  }
}

private enum PrettyWriter {
  static func write(_ value: JSONValue, level: Int, _ out: inout [UInt8]) {
    switch value {
    case .array(let elements) where !elements.isEmpty:
      out.append(UInt8(ascii: "["))
      for (index, element) in elements.enumerated() {
        if index > 0 { out.append(UInt8(ascii: ",")) }
        newLine(level + 1, &out)
        write(element, level: level + 1, &out)
      }
      newLine(level, &out)
      out.append(UInt8(ascii: "]"))
    case .object(let object) where !object.isEmpty:
      out.append(UInt8(ascii: "{"))
      for (index, member) in object.storage.enumerated() {
        if index > 0 { out.append(UInt8(ascii: ",")) }
        newLine(level + 1, &out)
        CompactWriter.write(.string(member.key), &out)
        out += ": ".utf8
        write(member.value, level: level + 1, &out)
      }
      newLine(level, &out)
      out.append(UInt8(ascii: "}"))
    default: CompactWriter.write(value, &out)
    }
  }

  private static func newLine(_ level: Int, _ out: inout [UInt8]) {
    out.append(0x0A)
    for _ in 0..<level { out += "  ".utf8 }
  }
}
