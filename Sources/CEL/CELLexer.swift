/// A word of an expression.
enum CELToken: Hashable, Sendable {
  case name(String)
  /// `` `a-b` ``: a field whose name is no word.
  case quotedName(String)
  case integer(UInt64)
  case unsigned(UInt64)
  case double(Double)
  case text(String)
  case bytes([UInt8])
  case sign(String)
  case end
}

/// Cuts an expression into words: https://github.com/google/cel-spec/blob/master/doc/langdef.md#syntax
struct CELLexer {
  private let source: String
  private let scalars: [Unicode.Scalar]
  private var place = 0

  /// Scalars of an expression.
  static let lengthMax = 100_000

  init(_ source: String) throws(CELProblem) {
    self.source = source
    scalars = Array(source.unicodeScalars)
    guard scalars.count <= Self.lengthMax else {
      throw CELProblem(
        .compilation, "expression code point size exceeds limit: size: \(scalars.count), limit \(Self.lengthMax)")
    }
  }

  private func fail(_ message: String, at offset: Int? = nil) -> CELProblem {
    .compilation("Syntax error: \(message)", source, at: offset ?? place)
  }

  private func peek(_ ahead: Int = 0) -> Unicode.Scalar? {
    place + ahead < scalars.count ? scalars[place + ahead] : nil
  }

  mutating func tokens() throws(CELProblem) -> [(CELToken, Int)] {
    var found: [(CELToken, Int)] = []
    while true {
      skipSpace()
      let start = place
      guard let scalar = peek() else {
        found.append((.end, start))
        return found
      }
      found.append((try token(scalar), start))
    }
  }

  private mutating func skipSpace() {
    while let scalar = peek() {
      if scalar == "/", peek(1) == "/" {
        while let other = peek(), other != "\n" {
          _ = other
          place += 1
        }
      } else if [" ", "\t", "\n", "\r", "\u{0C}"].contains(scalar) {
        place += 1
      } else {
        return
      }
    }
  }

  private mutating func token(_ scalar: Unicode.Scalar) throws(CELProblem) -> CELToken {
    if let text = try string() { return text }
    if Self.isDigit(scalar) || (scalar == "." && peek(1).map(Self.isDigit) ?? false) { return try number() }
    if Self.isWord(scalar) {
      let start = place
      while let next = peek(), Self.isWord(next) || Self.isDigit(next) { place += 1 }
      return .name(text(start, place))
    }
    if scalar == "`" {
      let start = place + 1
      place += 1
      while let next = peek(), next != "`" { place += next == "\n" ? scalars.count : 1 }
      guard peek() == "`", place > start else { throw fail("token recognition error at: '`'", at: start - 1) }
      place += 1
      return .quotedName(text(start, place - 1))
    }
    for sign in ["&&", "||", "==", "!=", "<=", ">="] where text(place, place + 2) == sign {
      place += 2
      return .sign(sign)
    }
    guard "()[]{}.,:?<>+-*/%!".unicodeScalars.contains(scalar) else {
      throw fail("token recognition error at: '\(Character(scalar))'")
    }
    place += 1
    return .sign(String(Character(scalar)))
  }

  private func text(_ start: Int, _ end: Int) -> String {
    var view = String.UnicodeScalarView()
    view.append(contentsOf: scalars[start..<min(end, scalars.count)])
    return String(view)
  }

  static func isDigit(_ scalar: Unicode.Scalar) -> Bool { ("0"..."9").contains(scalar) }
  static func isWord(_ scalar: Unicode.Scalar) -> Bool {
    ("a"..."z").contains(scalar) || ("A"..."Z").contains(scalar) || scalar == "_"
  }

  // MARK: numbers

  private mutating func number() throws(CELProblem) -> CELToken {
    let start = place
    if peek() == "0", peek(1) == "x" || peek(1) == "X" {
      place += 2
      while let next = peek(), next.properties.isASCIIHexDigit { place += 1 }
      return try whole(text(start + 2, place), radix: 16, start)
    }
    digits()
    var isWhole = true
    if peek() == ".", peek(1).map(Self.isDigit) ?? false {
      isWhole = false
      place += 1
      digits()
    }
    if peek() == "e" || peek() == "E" {
      let ahead = peek(1) == "+" || peek(1) == "-" ? 2 : 1
      if peek(ahead).map(Self.isDigit) ?? false {
        isWhole = false
        place += ahead
        digits()
      }
    }
    if isWhole { return try whole(text(start, place), radix: 10, start) }
    guard let value = Double(text(start, place)) else { throw fail("invalid double literal", at: start) }
    return .double(value)
  }

  private mutating func digits() { while let next = peek(), Self.isDigit(next) { place += 1 } }

  private mutating func whole(_ digits: String, radix: Int, _ start: Int) throws(CELProblem) -> CELToken {
    let isUnsigned = peek() == "u" || peek() == "U"
    if isUnsigned { place += 1 }
    guard let value = UInt64(digits, radix: radix) else {
      throw fail("invalid \(isUnsigned ? "uint" : "int") literal", at: start)
    }
    return isUnsigned ? .unsigned(value) : .integer(value)
  }

  // MARK: strings

  /// A string or bytes; nil where something else follows.
  private mutating func string() throws(CELProblem) -> CELToken? {
    let start = place
    var (isRaw, isBytes, ahead) = (false, false, 0)
    while let scalar = peek(ahead), ahead < 2 {
      if scalar == "r" || scalar == "R", !isRaw {
        isRaw = true
      } else if scalar == "b" || scalar == "B", !isBytes {
        isBytes = true
      } else {
        break
      }
      ahead += 1
    }
    guard let quote = peek(ahead), quote == "\"" || quote == "'" else { return nil }
    place += ahead + 1
    let isTriple = peek() == quote && peek(1) == quote
    if isTriple { place += 2 }
    var content: [UInt8] = []
    while true {
      guard let scalar = peek(), isTriple || scalar != "\n" else {
        throw fail("token recognition error at: '\(text(start, place))'", at: start)
      }
      if scalar == quote, !isTriple || (peek(1) == quote && peek(2) == quote) {
        place += isTriple ? 3 : 1
        break
      }
      place += 1
      if scalar == "\\", !isRaw {
        try escape(into: &content, isBytes)
      } else {
        content += Array(String(Character(scalar)).utf8)
      }
    }
    return isBytes ? .bytes(content) : .text(String(decoding: content, as: UTF8.self))
  }

  private static let simple: [Unicode.Scalar: UInt8] = [
    "a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92, "?": 63, "\"": 34, "'": 39, "`": 96,
  ]

  private mutating func escape(into content: inout [UInt8], _ isBytes: Bool) throws(CELProblem) {
    let start = place - 1
    guard let scalar = peek() else { throw fail("unterminated escape", at: start) }
    place += 1
    if let byte = Self.simple[scalar] { return content.append(byte) }
    let (count, radix): (Int, Int)
    switch scalar {
    case "x", "X": (count, radix) = (2, 16)
    case "u" where !isBytes: (count, radix) = (4, 16)
    case "U" where !isBytes: (count, radix) = (8, 16)
    case "0"..."3":
      place -= 1
      (count, radix) = (3, 8)
    default: throw fail("invalid escape sequence '\\\(Character(scalar))'", at: start)
    }
    let digits = text(place, place + count)
    guard digits.unicodeScalars.count == count, let value = UInt32(digits, radix: radix) else {
      throw fail("invalid escape sequence", at: start)
    }
    place += count
    if isBytes {
      guard let byte = UInt8(exactly: value) else { throw fail("invalid escape sequence", at: start) }
      content.append(byte)
    } else {
      guard let scalar = Unicode.Scalar(value) else { throw fail("invalid unicode code point", at: start) }
      content += Array(String(Character(scalar)).utf8)
    }
  }
}
