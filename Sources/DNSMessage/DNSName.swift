/// A domain name: labels from the leaf to the root, of any bytes (RFC 1035 §3.1, RFC 2181 §11).
///
/// Two names are the same whatever the case of their ASCII letters; what a name was spelled like is kept.
package struct DNSName: Sendable {
  /// Bytes of one label and of a whole name, length bytes and the root's included.
  package static let labelBytesMax = 63
  package static let bytesMax = 255

  /// Each label after its length; without the root's zero.
  let wire: [UInt8]

  package static let root = DNSName(wire: [])

  init(wire: [UInt8]) { self.wire = wire }

  /// - Parameter text: labels with dots between, with or without a dot at the end; plain ASCII, without escapes.
  /// - Returns: nil where a label is empty or too long, or the whole is.
  package init?(_ text: String) {
    var labels = text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
    if labels.last?.isEmpty == true { labels.removeLast() }
    var wire: [UInt8] = []
    for label in labels {
      guard !label.isEmpty, label.count <= Self.labelBytesMax else { return nil }
      wire.append(UInt8(label.count))
      wire += label
    }
    guard wire.count < Self.bytesMax else { return nil }
    self.wire = wire
  }

  package var labels: [ArraySlice<UInt8>] {
    var out: [ArraySlice<UInt8>] = []
    var index = 0
    while index < wire.count {
      let end = index + 1 + Int(wire[index])
      out.append(wire[(index + 1)..<end])
      index = end
    }
    return out
  }

  package var isRoot: Bool { wire.isEmpty }

  /// The labels in lower case, for lookups; a label that has a dot or is no ASCII in it is escaped, so that no two names
  /// give the same texts.
  package var words: [String] {
    labels.map { label in
      guard
        label.contains(where: { $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "\\") || !(0x21..<0x7f).contains($0) })
      else { return String(decoding: label.map(Self.lower), as: UTF8.self) }
      var text = ""
      for byte in label {
        if byte == UInt8(ascii: ".") || byte == UInt8(ascii: "\\") || !(0x21..<0x7f).contains(byte) {
          text += "\\" + String(1000 + Int(byte)).dropFirst()
        } else {
          text.unicodeScalars.append(Unicode.Scalar(Self.lower(byte)))
        }
      }
      return text
    }
  }

  /// The name in lower case with a dot at the end.
  package var text: String { isRoot ? "." : words.joined(separator: ".") + "." }

  static func lower(_ byte: UInt8) -> UInt8 { (0x41...0x5a).contains(byte) ? byte | 0x20 : byte }
}

extension DNSName: Hashable, CustomStringConvertible {
  package var description: String { text }

  package static func == (left: Self, right: Self) -> Bool {
    left.wire.count == right.wire.count && zip(left.wire, right.wire).allSatisfy { lower($0) == lower($1) }
  }

  package func hash(into hasher: inout Hasher) {
    // Length bytes are below the letters, so that they come through as they are.
    for byte in wire { hasher.combine(Self.lower(byte)) }
  }
}
