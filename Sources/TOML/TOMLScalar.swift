internal import JSON

/// Numbers and dates.
enum TOMLScalar {
  /// Nil where the text is no number that JSON can say, too.
  static func number(_ text: String) -> JSONValue? {
    let isPrefixed = ["0x", "0o", "0b"].contains(String(text.prefix(2)))
    guard let plain = withoutUnderscores(text, hexadecimal: text.hasPrefix("0x")) else { return nil }
    if isPrefixed {
      let radix = ["0x": 16, "0o": 8, "0b": 2][String(plain.prefix(2))] ?? 10
      let digits = plain.dropFirst(2)
      guard digits.first != "+", digits.first != "-" else { return nil }
      return Int64(digits, radix: radix).map { .integer($0) }
    }
    var rest = Substring(plain)
    let sign = rest.hasPrefix("-") ? "-" : ""
    if rest.hasPrefix("-") || rest.hasPrefix("+") { rest.removeFirst() }
    let whole = rest.prefix { $0.isASCII && $0.isNumber }
    guard !whole.isEmpty, whole == "0" || !whole.hasPrefix("0") else { return nil }
    rest = rest.dropFirst(whole.count)
    if rest.isEmpty { return Int64(sign + whole).map { .integer($0) } }
    var text = sign + whole
    if rest.hasPrefix(".") {
      let fraction = rest.dropFirst().prefix { $0.isASCII && $0.isNumber }
      guard !fraction.isEmpty else { return nil }
      text += "." + fraction
      rest = rest.dropFirst(1 + fraction.count)
    }
    if let mark = rest.first, mark == "e" || mark == "E" {
      rest.removeFirst()
      var exponent = "e"
      if let sign = rest.first, sign == "+" || sign == "-" {
        if sign == "-" { exponent += "-" }
        rest.removeFirst()
      }
      guard !rest.isEmpty, rest.allSatisfy({ $0.isASCII && $0.isNumber }) else { return nil }
      text += exponent + rest
      rest = ""
    }
    return rest.isEmpty ? .number(text) : nil
  }

  /// Underscores stand between digits only.
  private static func withoutUnderscores(_ text: String, hexadecimal: Bool) -> String? {
    func isDigit(_ byte: UInt8) -> Bool {
      hexadecimal ? Character(Unicode.Scalar(byte)).isHexDigit : (48...57).contains(byte)
    }
    let bytes = Array(text.utf8)
    guard bytes.allSatisfy({ $0 < 0x80 }) else { return nil }
    for (index, byte) in bytes.enumerated() where byte == UInt8(ascii: "_") {
      guard index > 0, index + 1 < bytes.count, isDigit(bytes[index - 1]), isDigit(bytes[index + 1]) else { return nil }
    }
    return String(decoding: bytes.filter { $0 != UInt8(ascii: "_") }, as: UTF8.self)
  }

  /// RFC 3339's forms: date and time with or without offset, a date, a time. As they are written.
  static func date(_ text: String) -> JSONValue? {
    var rest = Substring(text)
    var isDate = false
    if rest.utf8.count >= 10, rest.dropFirst(4).first == "-" {
      let parts = rest.prefix(10).split(separator: "-", omittingEmptySubsequences: false)
      guard parts.count == 3, let year = fixed(parts[0], 4), let month = fixed(parts[1], 2),
        let day = fixed(parts[2], 2), (1...12).contains(month), (1...days(year, month)).contains(day)
      else { return nil }
      isDate = true
      rest = rest.dropFirst(10)
      if rest.isEmpty { return .string(text) }
      guard let mark = rest.first, "Tt ".contains(mark) else { return nil }
      rest.removeFirst()
    }
    guard rest.utf8.count >= 8, isTime(rest.prefix(8)) else { return nil }
    rest = rest.dropFirst(8)
    if rest.first == "." {
      let fraction = rest.dropFirst().prefix { $0.isASCII && $0.isNumber }
      guard !fraction.isEmpty else { return nil }
      rest = rest.dropFirst(1 + fraction.count)
    }
    if rest.isEmpty { return .string(text) }
    guard isDate else { return nil }
    if rest == "Z" || rest == "z" { return .string(text) }
    guard rest.first == "+" || rest.first == "-", rest.utf8.count == 6, isTime(rest.dropFirst() + ":00") else {
      return nil
    }
    return .string(text)
  }

  private static func isTime(_ text: some StringProtocol) -> Bool {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    guard parts.count == 3, let hour = fixed(parts[0], 2), let minute = fixed(parts[1], 2),
      let second = fixed(parts[2], 2)
    else { return false }
    return hour < 24 && minute < 60 && second <= 60
  }

  private static func fixed(_ text: some StringProtocol, _ count: Int) -> Int? {
    guard text.utf8.count == count, text.utf8.allSatisfy({ (48...57).contains($0) }) else { return nil }
    return Int(text)
  }

  private static func days(_ year: Int, _ month: Int) -> Int {
    if month == 2 { return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28 }
    return [4, 6, 9, 11].contains(month) ? 30 : 31
  }
}
