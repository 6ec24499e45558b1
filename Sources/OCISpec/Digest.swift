/// A content digest, `sha256:` and 64 lowercase hexadecimal digits.
///
/// The OCI image specification also registers sha512; registries do not serve it, and it is refused by name.
/// - SeeAlso: OCI image-spec, descriptor.md, "Digests".
package struct Digest: Hashable, Sendable, Comparable, CustomStringConvertible {
  /// 64 lowercase hexadecimal digits. Safe as a file name.
  package let hex: String

  /// - Throws: `ImageSpecError` that says which part is wrong.
  package init(_ text: String) throws(ImageSpecError) {
    let subject = "digest \(ImageReference.shown(text))"
    guard let colon = text.utf8.firstIndex(of: UInt8(ascii: ":")) else {
      throw ImageSpecError(.invalid, subject, "has no algorithm; it must look like sha256:<64 hexadecimal digits>")
    }
    let algorithm = text[..<colon]
    guard algorithm == "sha256" else {
      throw ImageSpecError(
        .unsupported, subject, "algorithm \(ImageReference.shown(String(algorithm))) is not supported, only sha256")
    }
    guard let digest = Digest(sha256Hex: String(text[text.index(after: colon)...])) else {
      throw ImageSpecError(.invalid, subject, "sha256: must be followed by 64 lowercase hexadecimal digits")
    }
    self = digest
  }

  /// From the 64 lowercase hexadecimal digits alone; nil where it is anything else.
  package init?(sha256Hex hex: String) {
    guard hex.utf8.count == 64, hex.utf8.allSatisfy({ Self.isLowerHex($0) }) else { return nil }
    self.hex = hex
  }

  /// From the 32 bytes of a SHA-256 hash.
  package init(sha256 bytes: [UInt8]) {
    precondition(bytes.count == 32)
    let digits = Array("0123456789abcdef".utf8)
    var text: [UInt8] = []
    text.reserveCapacity(64)
    for byte in bytes {
      text.append(digits[Int(byte >> 4)])
      text.append(digits[Int(byte & 15)])
    }
    self.hex = String(decoding: text, as: UTF8.self)
  }

  package var description: String { "sha256:\(hex)" }

  package static func < (left: Digest, right: Digest) -> Bool { left.hex < right.hex }

  static func isLowerHex(_ byte: UInt8) -> Bool {
    (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte)
  }
}
