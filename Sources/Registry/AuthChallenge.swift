/// One challenge of a `WWW-Authenticate` header.
/// - SeeAlso: RFC 9110, section 11.6.1.
struct AuthChallenge: Hashable, Sendable {
  /// Lower case: "bearer", "basic".
  var scheme: String
  /// Names in lower case.
  var parameters: [String: String]

  /// Bytes of a header that are read; a longer one has no challenges.
  static let headerBytesMax = 8 << 10

  /// The challenges of one header, in order; text that is none is skipped.
  static func parse(_ header: String) -> [AuthChallenge] {
    guard header.utf8.count <= headerBytesMax else { return [] }
    var scanner = Scanner(bytes: Array(header.utf8))
    var challenges: [AuthChallenge] = []
    while !scanner.isAtEnd {
      scanner.skip { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: ",") || $0 == UInt8(ascii: "\t") }
      let word = scanner.token()
      if word.isEmpty {
        scanner.advance()
        continue
      }
      scanner.skipSpaces()
      if scanner.peek == UInt8(ascii: "="), !challenges.isEmpty {
        scanner.advance()
        scanner.skipSpaces()
        challenges[challenges.count - 1].parameters[word.lowercased()] = scanner.value()
      } else {
        challenges.append(AuthChallenge(scheme: word.lowercased(), parameters: [:]))
      }
    }
    return challenges
  }

  private struct Scanner {
    let bytes: [UInt8]
    var index = 0
    var isAtEnd: Bool { index >= bytes.count }
    var peek: UInt8? { isAtEnd ? nil : bytes[index] }
    mutating func advance() { index += 1 }
    mutating func skip(_ matches: (UInt8) -> Bool) { while let byte = peek, matches(byte) { advance() } }
    mutating func skipSpaces() { skip { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") } }

    mutating func token() -> String {
      let start = index
      skip { $0 > 0x20 && $0 < 0x7F && !Array("()<>@,;:\\\"/[]?={}".utf8).contains($0) }
      return String(decoding: bytes[start..<index], as: UTF8.self)
    }

    mutating func value() -> String {
      guard peek == UInt8(ascii: "\"") else {
        let start = index
        skip { $0 != UInt8(ascii: ",") && $0 > 0x20 }
        return String(decoding: bytes[start..<index], as: UTF8.self)
      }
      advance()
      var text: [UInt8] = []
      while let byte = peek, byte != UInt8(ascii: "\"") {
        advance()
        if byte == UInt8(ascii: "\\"), let next = peek {
          text.append(next)
          advance()
        } else {
          text.append(byte)
        }
      }
      advance()
      return String(decoding: text, as: UTF8.self)
    }
  }
}
