extension JSONValue {
  /// The document as UTF-8.
  /// - Parameter pretty: two blanks an inner level and a line for each member.
  package func encoded(pretty: Bool = false) -> [UInt8] {
    var writer = JSONWriter(pretty: pretty)
    writer.write(self, level: 0)
    if pretty { writer.out.append(0x0A) }
    return writer.out
  }

  package func encodedString(pretty: Bool = false) -> String {
    String(decoding: encoded(pretty: pretty), as: UTF8.self)
  }
}

private struct JSONWriter {
  let pretty: Bool
  var out: [UInt8] = []

  init(pretty: Bool) { self.pretty = pretty }

  mutating func write(_ value: JSONValue, level: Int) {
    switch value {
    case .null: out += "null".utf8
    case .bool(let bool): out += (bool ? "true" : "false").utf8
    case .integer(let integer): out += String(integer).utf8
    case .number(let text): out += text.utf8
    case .string(let text): write(text)
    case .array(let elements):
      out.append(UInt8(ascii: "["))
      for (index, element) in elements.enumerated() {
        if index > 0 { out.append(UInt8(ascii: ",")) }
        newLine(level + 1)
        write(element, level: level + 1)
      }
      if !elements.isEmpty { newLine(level) }
      out.append(UInt8(ascii: "]"))
    case .object(let object):
      out.append(UInt8(ascii: "{"))
      for (index, member) in object.members.enumerated() {
        if index > 0 { out.append(UInt8(ascii: ",")) }
        newLine(level + 1)
        write(member.key)
        out += (pretty ? ": " : ":").utf8
        write(member.value, level: level + 1)
      }
      if !object.isEmpty { newLine(level) }
      out.append(UInt8(ascii: "}"))
    }
  }

  private mutating func newLine(_ level: Int) {
    guard pretty else { return }
    out.append(0x0A)
    for _ in 0..<level { out += "  ".utf8 }
  }

  private mutating func write(_ text: String) {
    out.append(UInt8(ascii: "\""))
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "\""): out += "\\\"".utf8
      case UInt8(ascii: "\\"): out += "\\\\".utf8
      case 0x0A: out += "\\n".utf8
      case 0x0D: out += "\\r".utf8
      case 0x09: out += "\\t".utf8
      case 0..<0x20:
        out += (byte < 16 ? "\\u000" : "\\u00").utf8
        out += String(byte, radix: 16).utf8
      default: out.append(byte)
      }
    }
    out.append(UInt8(ascii: "\""))
  }
}
