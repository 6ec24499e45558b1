/// The subject of an X.509 certificate: who it is for. The certificate is verified already; this only reads it.
struct CertificateSubject: Equatable {
  private(set) var commonName = ""
  private(set) var organizations: [String] = []

  /// - Returns: nil where the bytes are no certificate.
  init?(der: [UInt8]) {
    var outer = DERReader(der[...])
    guard var certificate = outer.element(0x30), var body = certificate.element(0x30) else { return nil }
    // version [0], serialNumber, signature, issuer, validity, subject
    if body.peek == 0xA0 { _ = body.element(0xA0) }
    guard body.element(0x02) != nil, body.element(0x30) != nil, body.element(0x30) != nil, body.element(0x30) != nil,
      var names = body.element(0x30)
    else { return nil }
    while var set = names.element(0x31) {
      while var attribute = set.element(0x30) {
        guard let type = attribute.element(0x06), let value = attribute.any() else { return nil }
        let text = String(decoding: value.rest, as: UTF8.self)
        switch Array(type.rest) {
        case [0x55, 0x04, 0x03]: commonName = text
        case [0x55, 0x04, 0x0A]: organizations.append(text)
        default: break
        }
      }
    }
  }
}

/// Walks the elements of DER, never beyond their bounds.
private struct DERReader {
  private(set) var rest: ArraySlice<UInt8>

  init(_ bytes: ArraySlice<UInt8>) { rest = bytes }

  var peek: UInt8? { rest.first }

  /// The content of the next element where it has this tag; nil, and nothing consumed, otherwise.
  mutating func element(_ tag: UInt8) -> DERReader? { peek == tag ? any() : nil }

  mutating func any() -> DERReader? {
    guard rest.count >= 2 else { return nil }
    var at = rest.startIndex + 1
    var length = Int(rest[at])
    at += 1
    if length & 0x80 != 0 {
      let digits = length & 0x7F
      guard (1...4).contains(digits), rest.endIndex - at >= digits else { return nil }
      length = 0
      for _ in 0..<digits {
        length = length << 8 | Int(rest[at])
        at += 1
      }
    }
    guard rest.endIndex - at >= length else { return nil }
    let content = DERReader(rest[at..<(at + length)])
    rest = rest[(at + length)...]
    return content
  }
}
