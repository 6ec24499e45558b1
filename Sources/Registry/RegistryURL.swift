import OCISpec

/// An http or https URL, taken apart as far as a registry client needs.
struct RegistryURL: Hashable, Sendable, CustomStringConvertible {
  var scheme: String
  /// Host with port where one is written: "ghcr.io", "localhost:5000", "[::1]:5000".
  var authority: String
  /// With leading slash, with query.
  var path: String

  /// Nil where it is no http or https URL, or has user information in it.
  init?(_ text: String) {
    guard let separator = text.firstRange(of: "://") else { return nil }
    scheme = text[..<separator.lowerBound].lowercased()
    guard scheme == "http" || scheme == "https" else { return nil }
    let rest = text[separator.upperBound...]
    let end = rest.firstIndex { $0 == "/" || $0 == "?" || $0 == "#" } ?? rest.endIndex
    authority = String(rest[..<end]).lowercased()
    guard !authority.isEmpty, ImageReference.registryProblem(authority) == nil else { return nil }
    let tail = rest[end...].prefix { $0 != "#" }
    path = tail.hasPrefix("/") ? String(tail) : "/" + tail
    guard path.utf8.allSatisfy({ $0 > 0x20 && $0 != 0x7F }) else { return nil }
  }

  init(scheme: String, authority: String, path: String) {
    self.scheme = scheme
    self.authority = authority
    self.path = path
  }

  var description: String { "\(scheme)://\(authority)\(path)" }

  /// Without the query, which may hold a signature that is as good as a password.
  var shown: String { "\(scheme)://\(authority)\(path.prefix { $0 != "?" })" }

  /// The same scheme, host and port: who may see the same credentials.
  var origin: String {
    let hasPort = authority.last != "]" && authority.lastIndex(of: ":") != nil
    return "\(scheme)://\(authority)\(hasPort ? "" : scheme == "https" ? ":443" : ":80")"
  }

  /// What a Location header leads to from here.
  func following(_ location: String) -> RegistryURL? {
    if location.contains("://") { return RegistryURL(location) }
    if location.hasPrefix("//") { return RegistryURL("\(scheme):\(location)") }
    if location.hasPrefix("/") { return RegistryURL("\(scheme)://\(authority)\(location)") }
    let directory = path.prefix { $0 != "?" }
    let parent = directory[...(directory.lastIndex(of: "/") ?? directory.startIndex)]
    return RegistryURL("\(scheme)://\(authority)\(parent)\(location)")
  }

  /// Host without port and brackets.
  static func host(of authority: String) -> String {
    if authority.hasPrefix("[") { return String(authority.dropFirst().prefix { $0 != "]" }) }
    return String(authority.prefix { $0 != ":" })
  }

  /// Names this machine: plain http is allowed there without being asked for.
  static func isLoopback(_ authority: String) -> Bool {
    let host = host(of: authority)
    if host == "localhost" || host == "::1" || host.hasSuffix(".localhost") { return true }
    let parts = host.split(separator: ".")
    return parts.count == 4 && parts[0] == "127" && parts.allSatisfy { UInt8($0) != nil }
  }

  /// `text` as a query or form value.
  static func escaped(_ text: String) -> String {
    let digits = Array("0123456789ABCDEF".utf8)
    var bytes: [UInt8] = []
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"),
        UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "~"):
        bytes.append(byte)
      default: bytes += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}

/// Base64 (RFC 4648, section 4), for basic authentication.
enum Base64 {
  private static let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

  static func encode(_ text: String) -> String {
    let bytes = Array(text.utf8)
    var out: [UInt8] = []
    for start in stride(from: 0, to: bytes.count, by: 3) {
      let group = bytes[start..<min(start + 3, bytes.count)]
      let value = group.reduce(0) { $0 << 8 | Int($1) } << (8 * (3 - group.count))
      for index in 0..<4 {
        out.append(index <= group.count ? digits[value >> (18 - 6 * index) & 63] : UInt8(ascii: "="))
      }
    }
    return String(decoding: out, as: UTF8.self)
  }

  static func decode(_ text: String) -> [UInt8]? {
    var out: [UInt8] = []
    var value = 0
    var bits = 0
    for byte in text.utf8.filter({ $0 != UInt8(ascii: "=") }) {
      guard let digit = digits.firstIndex(of: byte) else { return nil }
      value = (value << 6 | digit) & 0xFFFF
      bits += 6
      if bits >= 8 {
        bits -= 8
        out.append(UInt8(value >> bits & 0xFF))
      }
    }
    return out
  }
}
