import JSON

/// Where the next page of a list begins, as clients hand it back: opaque to them.
struct ContinueToken: Hashable {
  /// The revision of the first page; nil: the present, after the first one was too old.
  var revision: Int64?
  /// The last key that was given, without the resource's prefix.
  var after: String

  private static let version = "meta.k8s.io/v1"

  var text: String {
    let document: JSONValue = [
      "v": .string(Self.version), "rv": .integer(revision ?? -1), "start": .string("\(after)\0"),
    ]
    return Base64URL.encode(document.encoded())
  }

  init(revision: Int64?, after: String) {
    self.revision = revision
    self.after = after
  }

  /// Bytes of a token: a key and some.
  private static let bytesMax = 4096

  init(_ text: String) throws(APIStatus) {
    guard text.utf8.count <= Self.bytesMax, let bytes = Base64URL.decode(text),
      let document = try? JSONValue.parse(bytes), document.text("v") == Self.version,
      let revision = document["rv"]?.integer, revision != 0, var start = document["start"]?.string, !start.isEmpty
    else { throw .badRequest("continue key is not valid: it was not given by this server") }
    if start.hasSuffix("\0") { start.removeLast() }
    guard !start.contains("..") else {
      throw .badRequest("continue key is not valid: it was not given by this server")
    }
    self.revision = revision > 0 ? revision : nil
    after = start
  }
}

/// RFC 4648, section 4.
enum Base64 {
  static func standard(_ bytes: [UInt8]) -> String {
    let text = Base64URL.encode(bytes).map { $0 == "-" ? "+" : $0 == "_" ? "/" : $0 }
    return String(text) + String(repeating: "=", count: (3 - bytes.count % 3) % 3)
  }
}

/// RFC 4648, section 5, without padding.
enum Base64URL {
  private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)

  static func encode(_ bytes: [UInt8]) -> String {
    var text: [UInt8] = []
    for start in stride(from: 0, to: bytes.count, by: 3) {
      let group = bytes[start..<min(start + 3, bytes.count)]
      var bits: UInt32 = 0
      for byte in group { bits = bits << 8 | UInt32(byte) }
      bits <<= UInt32((3 - group.count) * 8)
      for index in 0...group.count { text.append(alphabet[Int(bits >> UInt32(18 - 6 * index) & 63)]) }
    }
    return String(decoding: text, as: UTF8.self)
  }

  static func decode(_ text: String) -> [UInt8]? {
    var bytes: [UInt8] = []
    var bits: UInt32 = 0
    var count = 0
    for character in text.utf8 where character != UInt8(ascii: "=") {
      guard let value = alphabet.firstIndex(of: character) else { return nil }
      bits = bits << 6 | UInt32(value)
      count += 6
      if count >= 8 {
        count -= 8
        bytes.append(UInt8(truncatingIfNeeded: bits >> UInt32(count)))
      }
    }
    return bytes
  }
}
