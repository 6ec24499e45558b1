internal import JSON

/// A cursor over a document. Every read is checked against the end: beyond it lies 0, which no document may hold.
struct TOMLParser {
  private let bytes: [UInt8]
  private var position = 0
  private var line = 1
  private var depth = 0

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  mutating func document() throws(TOMLError) -> TOMLTable {
    let root = TOMLTable(.header)
    var current = root
    while true {
      try skipBlank()
      if isAtEnd { return root }
      if peek == "[" {
        current = try header(root)
      } else {
        try keyValue(into: current)
      }
      skipSpaces()
      try skipComment()
      guard isAtEnd || takeNewline() else { throw error("more text after the value; one setting a line") }
    }
  }

  // MARK: Tables and keys

  private mutating func header(_ root: TOMLTable) throws(TOMLError) -> TOMLTable {
    advance()
    let isArray = take("[")
    skipSpaces()
    let path = try keyPath()
    skipSpaces()
    guard take("]"), !isArray || take("]") else { throw error("the header does not end with \(isArray ? "]]" : "]")") }
    var table = root
    for key in path.dropLast() { table = try step(into: table, key, path) }
    let last = path[path.count - 1]
    switch (table[last], isArray) {
    case (nil, true):
      let new = TOMLTable(.header)
      table.set(last, .tables([new]))
      return new
    case (.tables(let tables), true):
      let new = TOMLTable(.header)
      table.set(last, .tables(tables + [new]))
      return new
    case (nil, false):
      let new = TOMLTable(.header)
      table.set(last, .table(new))
      return new
    case (.table(let known), false) where known.origin == .way:
      known.origin = .header
      return known
    default: throw error("\(path.joined(separator: ".")) stands twice")
    }
  }

  /// One key of a header before its last.
  private func step(into table: TOMLTable, _ key: String, _ path: [String]) throws(TOMLError) -> TOMLTable {
    switch table[key] {
    case nil:
      let new = TOMLTable(.way)
      table.set(key, .table(new))
      return new
    case .table(let known) where known.origin != .inline: return known
    case .tables(let tables): return tables[tables.count - 1]
    default: throw error("\(path.joined(separator: ".")): \(key) is no table that can be added to")
    }
  }

  private mutating func keyValue(into start: TOMLTable) throws(TOMLError) {
    let path = try keyPath()
    skipSpaces()
    guard take("=") else { throw error("\(path.joined(separator: ".")): no = after the key") }
    skipSpaces()
    var table = start
    for key in path.dropLast() {
      switch table[key] {
      case nil:
        let new = TOMLTable(.dotted)
        table.set(key, .table(new))
        table = new
      case .table(let known) where known.origin == .dotted: table = known
      default: throw error("\(path.joined(separator: ".")): \(key) is defined elsewhere")
      }
    }
    let last = path[path.count - 1]
    guard table[last] == nil else { throw error("\(path.joined(separator: ".")) stands twice") }
    let value = try value()
    table.set(last, value)
  }

  private mutating func keyPath() throws(TOMLError) -> [String] {
    var path: [String] = []
    while true {
      path.append(try key())
      guard path.count <= TOML.depthMax else { throw error("a key of more than \(TOML.depthMax) parts") }
      skipSpaces()
      guard take(".") else { return path }
      skipSpaces()
    }
  }

  private mutating func key() throws(TOMLError) -> String {
    if peek == "\"" { return try basicString() }
    if peek == "'" { return try literalString() }
    let start = position
    while Self.isBare(peek) { advance() }
    guard position > start else { throw error("a key is expected") }
    return String(decoding: bytes[start..<position], as: UTF8.self)
  }

  private static func isBare(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar {
    case "a"..."z", "A"..."Z", "0"..."9", "_", "-": true
    default: false
    }
  }

  // MARK: Values

  private mutating func value() throws(TOMLError) -> TOMLTable.Value {
    switch peek {
    case "\"": return .plain(.string(startsWith("\"\"\"") ? try multiLine("\"") : try basicString()))
    case "'": return .plain(.string(startsWith("'''") ? try multiLine("'") : try literalString()))
    case "[": return .plain(.array(try nested { parser throws(TOMLError) in try parser.array() }))
    case "{": return .table(try nested { parser throws(TOMLError) in try parser.inlineTable() })
    default: return .plain(try scalar())
    }
  }

  private mutating func nested<R>(_ body: (inout TOMLParser) throws(TOMLError) -> R) throws(TOMLError) -> R {
    depth += 1
    guard depth <= TOML.depthMax else { throw error("values lie more than \(TOML.depthMax) deep") }
    defer { depth -= 1 }
    return try body(&self)
  }

  private mutating func array() throws(TOMLError) -> [JSONValue] {
    advance()
    var elements: [JSONValue] = []
    while true {
      try skipBlank()
      if take("]") { return elements }
      switch try value() {
      case .plain(let value): elements.append(value)
      case .table(let table): elements.append(.object(table.json))
      case .tables: break
      }
      try skipBlank()
      if take("]") { return elements }
      guard take(",") else { throw error("an array needs , or ] after an element") }
    }
  }

  private mutating func inlineTable() throws(TOMLError) -> TOMLTable {
    advance()
    let table = TOMLTable(.inline)
    skipSpaces()
    if take("}") { return table }
    while true {
      try keyValue(into: table)
      skipSpaces()
      if take("}") { break }
      guard take(",") else { throw error("an inline table needs , or } after a value, on one line") }
      skipSpaces()
    }
    return table
  }

  /// Everything that is no string and has no brackets: up to what may follow a value.
  private mutating func scalar() throws(TOMLError) -> JSONValue {
    let start = position
    while !isAtEnd, !",]}# \t\r\n".unicodeScalars.contains(peek) {
      advance()
      // A date and a time may have a space between them.
      if peek == " ", position - start == 10, bytes[start + 4] == UInt8(ascii: "-"), position + 1 < bytes.count,
        (48...57).contains(bytes[position + 1])
      {
        advance()
      }
    }
    let text = String(decoding: bytes[start..<position], as: UTF8.self)
    switch text {
    case "": throw error("a value is expected")
    case "true": return .bool(true)
    case "false": return .bool(false)
    default: break
    }
    guard let value = TOMLScalar.number(text) ?? TOMLScalar.date(text) else {
      throw error("\(text) is no value; a text needs quotes")
    }
    return value
  }

  // MARK: Strings

  private mutating func basicString() throws(TOMLError) -> String {
    advance()
    var text: [UInt8] = []
    while true {
      switch peek {
      case "\"" where !isAtEnd:
        advance()
        return String(decoding: text, as: UTF8.self)
      case "\\": try escape(into: &text)
      default: text.append(try plainByte())
      }
    }
  }

  private mutating func literalString() throws(TOMLError) -> String {
    advance()
    var text: [UInt8] = []
    while peek != "'" { text.append(try plainByte()) }
    advance()
    return String(decoding: text, as: UTF8.self)
  }

  /// Between three quotes; up to two more of them may stand before the end.
  private mutating func multiLine(_ quote: Unicode.Scalar) throws(TOMLError) -> String {
    let end = String(repeating: Character(quote), count: 3)
    for _ in 0..<3 { advance() }
    _ = takeNewline()
    var text: [UInt8] = []
    while true {
      if startsWith(end) {
        for _ in 0..<3 { advance() }
        for _ in 0..<2 where peek == quote {
          text.append(UInt8(ascii: quote))
          advance()
        }
        return String(decoding: text, as: UTF8.self)
      }
      if takeNewline() {
        text.append(UInt8(ascii: "\n"))
      } else if quote == "\"", peek == "\\" {
        if !skipEscapedNewline() { try escape(into: &text) }
      } else {
        text.append(try plainByte())
      }
    }
  }

  /// A backslash at the end of a line takes away the white space up to the next text.
  private mutating func skipEscapedNewline() -> Bool {
    let (start, startLine) = (position, line)
    advance()
    skipSpaces()
    guard takeNewline() else {
      (position, line) = (start, startLine)
      return false
    }
    repeat { skipSpaces() } while takeNewline()
    return true
  }

  private mutating func escape(into text: inout [UInt8]) throws(TOMLError) {
    advance()
    let kind = peek
    advance()
    switch kind {
    case "b": text.append(8)
    case "t": text.append(9)
    case "n": text.append(10)
    case "f": text.append(12)
    case "r": text.append(13)
    case "\"": text.append(UInt8(ascii: "\""))
    case "\\": text.append(UInt8(ascii: "\\"))
    case "u", "U":
      let digits = kind == "u" ? 4 : 8
      guard position + digits <= bytes.count,
        bytes[position..<position + digits].allSatisfy({ Character(Unicode.Scalar($0)).isHexDigit }),
        let code = UInt32(String(decoding: bytes[position..<position + digits], as: UTF8.self), radix: 16),
        let scalar = Unicode.Scalar(code)
      else { throw error("\\\(kind) needs \(digits) hexadecimal digits of a character") }
      position += digits
      text += Array(String(scalar).utf8)
    default: throw error("\\\(kind) is no escape; write \\\\ for a backslash, or use single quotes")
    }
  }

  /// A byte of text that stands for itself.
  private mutating func plainByte() throws(TOMLError) -> UInt8 {
    guard !isAtEnd else { throw error("the document ends within a text") }
    let byte = bytes[position]
    guard byte == 9 || (byte >= 0x20 && byte != 0x7f) else {
      throw error(byte == 10 || byte == 13 ? "the line ends within a text" : "a control character within a text")
    }
    position += 1
    return byte
  }

  // MARK: The cursor

  private func error(_ problem: String) -> TOMLError { TOMLError(line: line, problem: problem) }

  private var isAtEnd: Bool { position >= bytes.count }
  private var peek: Unicode.Scalar { isAtEnd ? "\0" : Unicode.Scalar(bytes[position]) }
  private mutating func advance() { if !isAtEnd { position += 1 } }

  private mutating func take(_ scalar: Unicode.Scalar) -> Bool {
    guard !isAtEnd, peek == scalar else { return false }
    advance()
    return true
  }

  private func startsWith(_ text: String) -> Bool { bytes[position...].starts(with: text.utf8) }

  private mutating func takeNewline() -> Bool {
    if startsWith("\r\n") { advance() } else if peek != "\n" { return false }
    advance()
    line += 1
    return true
  }

  private mutating func skipSpaces() { while peek == " " || peek == "\t" { advance() } }

  private mutating func skipComment() throws(TOMLError) {
    guard peek == "#" else { return }
    while !isAtEnd, peek != "\n", !startsWith("\r\n") {
      let byte = bytes[position]
      guard byte == 9 || (byte >= 0x20 && byte != 0x7f) else { throw error("a control character in a comment") }
      advance()
    }
  }

  /// White space, ends of lines and comments.
  private mutating func skipBlank() throws(TOMLError) {
    repeat {
      skipSpaces()
      try skipComment()
    } while takeNewline()
  }
}
