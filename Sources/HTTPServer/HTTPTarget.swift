/// A request target taken apart: `/api/v1/pods?limit=5`.
package struct HTTPTarget: Hashable, Sendable {
  /// As it was sent.
  package let raw: String
  /// Before the question mark, with escapes resolved.
  package let path: String
  /// After it, in order, with escapes and plus signs resolved.
  package let query: HTTPQuery

  /// - Returns: nil where the target does not begin with a slash, holds a broken escape, or means a path that is no text
  ///   or has a NUL in it.
  package init?(_ raw: String) {
    var text = raw[...]
    // The absolute form, which proxies send: what stands before the path is not ours to judge.
    for scheme in ["http://", "https://"] where text.hasPrefix(scheme) {
      text = text.dropFirst(scheme.count).drop { $0 != "/" && $0 != "?" }
    }
    let mark = text.firstIndex(of: "?")
    let before = mark.map { text[..<$0] } ?? text
    guard before.first == "/", let path = Self.unescaped(before, plusIsSpace: false) else { return nil }
    var query = HTTPQuery()
    if let mark {
      for pair in text[text.index(after: mark)...].split(separator: "&") {
        let equals = pair.firstIndex(of: "=")
        guard let name = Self.unescaped(equals.map { pair[..<$0] } ?? pair, plusIsSpace: true),
          let value = Self.unescaped(equals.map { pair[pair.index(after: $0)...] } ?? "", plusIsSpace: true)
        else { return nil }
        query.add(name, value)
      }
    }
    self.raw = raw
    self.path = path
    self.query = query
  }

  /// Of a path and parameters that are not escaped.
  package init(path: String, query: HTTPQuery) {
    let escaped = Self.escaped(path, allowing: "/:@!$&'()*+,;=")
    raw = query.isEmpty ? escaped : "\(escaped)?\(query.encoded)"
    self.path = path
    self.query = query
  }

  /// Resolves `%XX`, and `+` in a query. nil: a broken escape, bytes that are no UTF-8, or a NUL.
  static func unescaped(_ text: Substring, plusIsSpace: Bool) -> String? {
    let source = text.utf8
    guard source.contains(where: { $0 == UInt8(ascii: "%") || $0 == UInt8(ascii: "+") || $0 == 0 }) else {
      return String(text)
    }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(source.count)
    var iterator = source.makeIterator()
    while let byte = iterator.next() {
      switch byte {
      case UInt8(ascii: "%"):
        guard let high = iterator.next().flatMap(digit), let low = iterator.next().flatMap(digit) else { return nil }
        bytes.append(high << 4 | low)
      case UInt8(ascii: "+") where plusIsSpace: bytes.append(UInt8(ascii: " "))
      default: bytes.append(byte)
      }
    }
    guard !bytes.contains(0) else { return nil }
    return String(validating: bytes, as: UTF8.self)
  }

  private static func digit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
    default: nil
    }
  }

  /// `text` with everything escaped that is not a letter, a digit or one of `-._~`, and of `allowing`.
  package static func escaped(_ text: String, allowing: String = "") -> String {
    let digits = Array("0123456789ABCDEF".utf8)
    let kept = Array("-._~\(allowing)".utf8)
    var bytes: [UInt8] = []
    bytes.reserveCapacity(text.utf8.count)
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"),
        UInt8(ascii: "A")...UInt8(ascii: "Z"):
        bytes.append(byte)
      case let byte where kept.contains(byte): bytes.append(byte)
      default: bytes += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}

/// The parameters of a request, in order; a name may come several times.
package struct HTTPQuery: Hashable, Sendable, Sequence, ExpressibleByDictionaryLiteral {
  package struct Item: Hashable, Sendable {
    package var name: String
    package var value: String

    package init(_ name: String, _ value: String) {
      self.name = name
      self.value = value
    }
  }

  package var items: [Item] = []

  package init() {}
  package init(_ items: [Item]) { self.items = items }
  package init(dictionaryLiteral elements: (String, String)...) { items = elements.map { Item($0.0, $0.1) } }

  package func makeIterator() -> IndexingIterator<[Item]> { items.makeIterator() }
  package var isEmpty: Bool { items.isEmpty }
  package mutating func add(_ name: String, _ value: String) { items.append(Item(name, value)) }

  /// The first value of this name.
  package subscript(name: String) -> String? { items.first { $0.name == name }?.value }
  package func all(_ name: String) -> [String] { items.filter { $0.name == name }.map(\.value) }

  /// As it stands in a target, without the question mark.
  package var encoded: String {
    items.map { "\(HTTPTarget.escaped($0.name))=\(HTTPTarget.escaped($0.value))" }.joined(separator: "&")
  }
}
