internal import JSON

/// Plain scalars of YAML 1.1 by their looks, as sigs.k8s.io/yaml takes them: `y` and `on` are true, `0644` is octal.
enum YAMLScalar {
  static func value(_ text: String, tag: String, plain: Bool, line: Int) throws(YAMLError) -> JSONValue {
    switch tag {
    case "":
      let value = plain ? looks(text) : .string(text)
      guard !plain || !unsayable.contains(text) else {
        throw YAMLError("line \(line): \"\(text)\" is a number that JSON does not have; quote it to mean the text")
      }
      return value
    case "str": return .string(text)
    case "null": return .null
    case "bool", "int", "float":
      let value = looks(text)
      let fits =
        switch value {
        case .bool: tag == "bool"
        case .integer: tag != "bool"
        case .number: tag == "float"
        default: false
        }
      guard fits else { throw YAMLError("line \(line): \"\(text)\" is not a !!\(tag)") }
      return value
    default: throw YAMLError("line \(line): the tag \(tag) is not supported")
    }
  }

  /// What a scalar is as a key: JSON's keys are texts, so `1` and `yes` become "1" and "true". Nil for null.
  static func key(_ value: JSONValue) -> String? {
    switch value {
    case .string(let text): text
    case .bool, .integer, .number: value.encodedString()
    default: nil
    }
  }

  private static let unsayable: Set<String> = [
    ".nan", ".NaN", ".NAN", ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF",
  ]

  static func looks(_ text: String) -> JSONValue {
    switch text {
    case "", "~", "null", "Null", "NULL": .null
    case "true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", "Y": .bool(true)
    case "false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "n", "N": .bool(false)
    default: number(text) ?? .string(text)
    }
  }

  private static func number(_ text: String) -> JSONValue? {
    guard let first = text.utf8.first, "+-.0123456789".utf8.contains(first) else { return nil }
    let plain = first == UInt8(ascii: ".") ? text : text.filter { $0 != "_" }
    var digits = plain[...]
    let negative = digits.hasPrefix("-")
    if negative || digits.hasPrefix("+") { digits = digits.dropFirst() }
    guard let leading = digits.utf8.first else { return nil }
    if (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(leading), let value = integer(digits, negative) { return value }
    return float(plain)
  }

  private static func integer(_ digits: Substring, _ negative: Bool) -> JSONValue? {
    var (digits, radix) = (digits, 10)
    if digits.utf8.count > 1, digits.hasPrefix("0") {
      let prefixes = [("0x", 16), ("0X", 16), ("0b", 2), ("0B", 2), ("0o", 8), ("0O", 8), ("0", 8)]
      if let (prefix, base) = prefixes.first(where: { digits.hasPrefix($0.0) }) {
        (digits, radix) = (digits.dropFirst(prefix.utf8.count), base)
      }
    }
    // `Int64(_:radix:)` takes a sign, which may not stand after a prefix.
    guard let first = digits.utf8.first, first != UInt8(ascii: "-"), first != UInt8(ascii: "+") else { return nil }
    if let value = Int64((negative ? "-" : "") + digits, radix: radix) { return .integer(value) }
    return negative ? nil : UInt64(digits, radix: radix).map { .number("\($0)") }
  }

  private static func float(_ text: String) -> JSONValue? {
    guard text.utf8.contains(where: { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
      text.utf8.allSatisfy({ "+-.0123456789eE".utf8.contains($0) }), let value = Double(text), value.isFinite
    else { return nil }
    return JSONValue(value)
  }
}
