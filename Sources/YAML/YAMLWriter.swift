package import JSON

extension YAML {
  /// The value as YAML that every reader takes for the same value.
  package static func encoded(_ value: JSONValue) -> String {
    switch value {
    case .object(let object) where !object.isEmpty: block(value, indent: 0)
    case .array(let array) where !array.isEmpty: block(value, indent: 0)
    default: scalar(value) + "\n"
    }
  }

  private static func block(_ value: JSONValue, indent: Int) -> String {
    let margin = String(repeating: " ", count: indent)
    switch value {
    case .object(let object):
      return object.members.map { "\(margin)\(string($0.key)):\(after($0.value, indent: indent))" }.joined()
    case .array(let array):
      return array.map { "\(margin)-\(item($0, indent: indent))" }.joined()
    default:
      return margin + scalar(value) + "\n"
    }
  }

  /// What follows a key: a scalar on the line, or a block below; lists keep their key's indent, as kubectl writes them.
  private static func after(_ value: JSONValue, indent: Int) -> String {
    switch value {
    case .object(let object) where !object.isEmpty: "\n" + block(value, indent: indent + 2)
    case .array(let array) where !array.isEmpty: "\n" + block(value, indent: indent)
    default: " " + scalar(value) + "\n"
    }
  }

  /// What follows a dash: the first line of a block sits on the dash's own.
  private static func item(_ value: JSONValue, indent: Int) -> String {
    switch value {
    case .object(let object) where !object.isEmpty: " " + block(value, indent: indent + 2).dropFirst(indent + 2)
    case .array(let array) where !array.isEmpty: " " + block(value, indent: indent + 2).dropFirst(indent + 2)
    default: " " + scalar(value) + "\n"
    }
  }

  private static func scalar(_ value: JSONValue) -> String {
    switch value {
    case .string(let text): string(text)
    // JSON is YAML, so what is empty or no string can stay as it is.
    default: value.encodedString()
    }
  }

  private static func string(_ text: String) -> String {
    if isPlain(text) { return text }
    let quoted = JSONValue.string(text).encodedString()
    guard quoted.unicodeScalars.contains(where: isSpecial) else { return quoted }
    return quoted.unicodeScalars.map { scalar in
      guard isSpecial(scalar) else { return String(Character(scalar)) }
      let digits = String(scalar.value, radix: 16)
      return "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
    }.joined()
  }

  /// What JSON may hold as it is and YAML takes for the end of a line, a mark of byte order or nothing printable.
  private static func isSpecial(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0x7F...0x9F, 0x2028, 0x2029, 0xFEFF, 0xFFFE, 0xFFFF: true
    default: false
    }
  }

  private static let words: Set<String> = [
    "null", "true", "false", "yes", "no", "on", "off", "y", "n",
  ]

  /// Whether the text, unquoted, is that string in YAML 1.1 and 1.2 and nothing else.
  private static func isPlain(_ text: String) -> Bool {
    guard let first = text.utf8.first, !words.contains(text.lowercased()) else { return false }
    let letters = UInt8(ascii: "a")...UInt8(ascii: "z")
    let capitals = UInt8(ascii: "A")...UInt8(ascii: "Z")
    let digits = UInt8(ascii: "0")...UInt8(ascii: "9")
    // A word that begins with a letter or a slash is no number, date, anchor or mark.
    guard letters.contains(first) || capitals.contains(first) || first == UInt8(ascii: "/") else { return false }
    let marks = Array("-_./@+".utf8)
    return text.utf8.allSatisfy {
      letters.contains($0) || capitals.contains($0) || digits.contains($0) || marks.contains($0)
    }
  }
}
