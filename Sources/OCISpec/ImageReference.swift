/// The name of an image in a registry: `[registry[:port]/]repository[:tag][@digest]`.
///
/// A name without a registry is on docker.io, and there without a namespace in `library`; a name without tag and digest
/// has the tag `latest`. `description` is the canonical form with all of that written out.
package struct ImageReference: Hashable, Sendable, CustomStringConvertible {
  /// Host and optional port, as typed: "docker.io", "localhost:5000", "[::1]:5000".
  package let registry: String
  /// Lower-case path below the registry: "library/alpine".
  package let repository: String
  /// Nil only where a digest is given without a tag.
  package let tag: String?
  package let digest: Digest?

  package static let defaultRegistry = "docker.io"
  package static let defaultNamespace = "library"
  package static let defaultTag = "latest"
  /// Bytes of registry and repository together.
  package static let nameBytesMax = 255
  /// Bytes of a tag.
  package static let tagBytesMax = 128

  package init(registry: String, repository: String, tag: String?, digest: Digest?) {
    self.registry = registry
    self.repository = repository
    self.tag = tag == nil && digest == nil ? Self.defaultTag : tag
    self.digest = digest
  }

  /// - Throws: `ImageSpecError` with the part that is wrong and the rule it breaks.
  package init(_ text: String) throws(ImageSpecError) {
    let subject = "image reference \(Self.shown(text))"
    func refused(_ problem: String) -> ImageSpecError { ImageSpecError(.invalid, subject, problem) }
    guard !text.isEmpty else { throw ImageSpecError(.invalid, "image reference", "is empty") }
    guard text.utf8.count <= Self.nameBytesMax + Self.tagBytesMax + 80 else {
      throw refused("is longer than a name of \(Self.nameBytesMax), a tag of \(Self.tagBytesMax) and a digest allow")
    }
    var rest = Substring(text)
    var digest: Digest?
    if let at = rest.utf8.firstIndex(of: UInt8(ascii: "@")) {
      do { digest = try Digest(String(rest[rest.index(after: at)...])) } catch { throw refused(error.description) }
      rest = rest[..<at]
    }
    var tag: String?
    let lastComponent = rest.utf8.lastIndex(of: UInt8(ascii: "/")) ?? rest.startIndex
    if let colon = rest.utf8.lastIndex(of: UInt8(ascii: ":")), colon >= lastComponent {
      let candidate = rest[rest.index(after: colon)...]
      if let problem = Self.tagProblem(candidate) { throw refused(problem) }
      tag = String(candidate)
      rest = rest[..<colon]
    }
    guard !rest.isEmpty else { throw refused("has no repository name") }
    guard rest.utf8.count <= Self.nameBytesMax else {
      throw refused("its name has \(rest.utf8.count) bytes, at most \(Self.nameBytesMax) are allowed")
    }
    if digest == nil, tag == nil, Digest(sha256Hex: text) != nil {
      throw refused("64 hexadecimal digits are an image id, not a name; names end in :tag or @digest there")
    }
    var (registry, repository) = Self.split(rest)
    if registry == "index.docker.io" { registry = Self.defaultRegistry }
    if registry == Self.defaultRegistry, !repository.utf8.contains(UInt8(ascii: "/")) {
      repository = "\(Self.defaultNamespace)/\(repository)"
    }
    if let problem = Self.registryProblem(registry) { throw refused(problem) }
    if let problem = Self.repositoryProblem(repository) { throw refused(problem) }
    self.init(registry: registry, repository: repository, tag: tag, digest: digest)
  }

  /// Registry and repository: "docker.io/library/alpine".
  package var name: String { "\(registry)/\(repository)" }

  /// The canonical form: "docker.io/library/alpine:3.20", "ghcr.io/a/b@sha256:…".
  package var description: String {
    var text = name
    if let tag { text += ":\(tag)" }
    if let digest { text += "@\(digest)" }
    return text
  }

  /// As people write it: without docker.io and library.
  package var familiar: String {
    let text = description
    for prefix in ["\(Self.defaultRegistry)/\(Self.defaultNamespace)/", "\(Self.defaultRegistry)/"]
    where text.hasPrefix(prefix) {
      return String(text.dropFirst(prefix.count))
    }
    return text
  }

  /// What a registry is asked for: the digest where there is one, else the tag.
  package var target: String { digest?.description ?? tag ?? Self.defaultTag }

  /// The same repository, by tag only; nil where there is no tag, and where a digest pins the reference.
  package var tagged: ImageReference? {
    guard let tag, digest == nil else { return nil }
    return ImageReference(registry: registry, repository: repository, tag: tag, digest: nil)
  }

  /// The same repository at one digest, without tag.
  package func pinned(to digest: Digest) -> ImageReference {
    ImageReference(registry: registry, repository: repository, tag: nil, digest: digest)
  }

  /// `text` as it may stand in a message: quoted, control bytes replaced, cut after 96 bytes.
  package static func shown(_ text: String) -> String {
    var bytes: [UInt8] = []
    for byte in text.utf8.prefix(96) { bytes.append(byte < 0x20 || byte == 0x7F ? UInt8(ascii: "?") : byte) }
    return "\"" + String(decoding: bytes, as: UTF8.self) + (text.utf8.count > 96 ? "…\"" : "\"")
  }
}

// The grammar, part by part.
extension ImageReference {
  /// The first component is a registry where it cannot be a repository: it has a dot, a port or capitals, or is localhost.
  private static func split(_ name: Substring) -> (registry: String, repository: String) {
    guard let slash = name.utf8.firstIndex(of: UInt8(ascii: "/")) else { return (defaultRegistry, String(name)) }
    let first = name[..<slash]
    let isRegistry =
      first == "localhost" || first.utf8.contains { $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: ":") || isUpper($0) }
    guard isRegistry else { return (defaultRegistry, String(name)) }
    return (String(first), String(name[name.index(after: slash)...]))
  }

  private static func tagProblem(_ tag: Substring) -> String? {
    if tag.isEmpty { return "ends in a colon without a tag" }
    if tag.utf8.count > tagBytesMax { return "its tag has \(tag.utf8.count) bytes, at most \(tagBytesMax) are allowed" }
    for (index, byte) in tag.utf8.enumerated() {
      let isWord = isLowerOrDigit(byte) || isUpper(byte) || byte == UInt8(ascii: "_")
      let isPunctuation = byte == UInt8(ascii: ".") || byte == UInt8(ascii: "-")
      guard isWord || (isPunctuation && index > 0) else {
        return "its tag \(shown(String(tag))) may only have letters, digits, _ . and -, and not begin with . or -"
      }
    }
    return nil
  }

  /// nil where `registry` is a host name, IPv4 or bracketed IPv6 address with an optional port.
  package static func registryProblem(_ registry: String) -> String? {
    var host = Substring(registry)
    if host.utf8.first == UInt8(ascii: "[") {
      guard let end = host.utf8.firstIndex(of: UInt8(ascii: "]")) else {
        return "its registry \(shown(registry)) has [ without ]"
      }
      let inside = host[host.index(after: host.startIndex)..<end]
      let after = host[host.index(after: end)...]
      let isAddress =
        !inside.isEmpty
        && inside.utf8.allSatisfy {
          Digest.isLowerHex($0) || isUpper($0) || $0 == UInt8(ascii: ":") || $0 == UInt8(ascii: ".")
        }
      guard isAddress else { return "its registry \(shown(registry)) is not an IPv6 address in brackets" }
      if after.isEmpty { return nil }
      guard after.utf8.first == UInt8(ascii: ":") else { return "its registry \(shown(registry)) has text after ]" }
      return portProblem(after.dropFirst(), registry)
    }
    if let colon = host.utf8.firstIndex(of: UInt8(ascii: ":")) {
      if let problem = portProblem(host[host.index(after: colon)...], registry) { return problem }
      host = host[..<colon]
    }
    for label in host.split(separator: ".", omittingEmptySubsequences: false) {
      let fits =
        !label.isEmpty && label.utf8.first != UInt8(ascii: "-") && label.utf8.last != UInt8(ascii: "-")
        && label.utf8.allSatisfy { isLowerOrDigit($0) || isUpper($0) || $0 == UInt8(ascii: "-") }
      guard fits else { return "its registry \(shown(registry)) is not a host name" }
    }
    return nil
  }

  private static func portProblem(_ port: Substring, _ registry: String) -> String? {
    guard port.utf8.allSatisfy({ isDigit($0) }), let number = UInt32(port), (1...65535).contains(number) else {
      return "the port of its registry \(shown(registry)) is not a number from 1 to 65535"
    }
    return nil
  }

  private static func repositoryProblem(_ repository: String) -> String? {
    if repository.utf8.contains(where: { isUpper($0) }) {
      return "its repository \(shown(repository)) must be lower case"
    }
    for component in repository.split(separator: "/", omittingEmptySubsequences: false) {
      if component.isEmpty { return "its repository \(shown(repository)) has an empty component between slashes" }
      guard componentFits(Array(component.utf8)) else {
        return "\(shown(String(component))) in its repository must be lower-case letters and digits,"
          + " separated by one . or one or two _ or any number of -"
      }
    }
    return nil
  }

  private static func componentFits(_ bytes: [UInt8]) -> Bool {
    var index = 0
    while true {
      let start = index
      while index < bytes.count, isLowerOrDigit(bytes[index]) { index += 1 }
      guard index > start else { return false }
      if index == bytes.count { return true }
      let separator = bytes[index]
      let first = index
      while index < bytes.count, bytes[index] == separator { index += 1 }
      switch separator {
      case UInt8(ascii: "."): guard index - first == 1 else { return false }
      case UInt8(ascii: "_"): guard index - first <= 2 else { return false }
      case UInt8(ascii: "-"): break
      default: return false
      }
    }
  }

  private static func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }
  private static func isUpper(_ byte: UInt8) -> Bool { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) }
  private static func isLowerOrDigit(_ byte: UInt8) -> Bool {
    (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) || isDigit(byte)
  }
}
