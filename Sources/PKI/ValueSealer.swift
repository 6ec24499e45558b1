internal import Crypto
internal import FoundationEssentials

/// Encryption of values at rest: AES-GCM (NIST SP 800-38D) with a random nonce, by one of several keys with names.
///
/// The first seals, all open, so that keys can be changed: add one, restart, write everything anew, remove the other. The
/// form is that of Kubernetes' `aesgcm` provider; what a value belongs to is authenticated with it.
package struct ValueSealer: Sendable {
  /// Before the name of the key and a colon.
  package static let prefix = "k8s:enc:aesgcm:v1:"

  private let keys: [(name: String, key: SymmetricKey)]

  /// - Parameter keys: of 16, 24 or 32 bytes, under names without a colon.
  /// - Throws: `.issue` in the name of the key that is none.
  package init(_ keys: [(name: String, bytes: [UInt8])]) throws(PKIError) {
    var names: Set<String> = []
    for (name, bytes) in keys {
      guard !name.isEmpty, !name.contains(":"), name.utf8.count <= 64, names.insert(name).inserted else {
        throw .issue(name: "encryption key \"\(name)\"", reason: "names are 1 to 64 bytes, without colons, each once")
      }
      guard [16, 24, 32].contains(bytes.count) else {
        throw .issue(name: "encryption key \"\(name)\"", reason: "\(bytes.count) bytes; 16, 24 or 32 are expected")
      }
    }
    self.keys = keys.map { ($0.name, SymmetricKey(data: $0.bytes)) }
  }

  package static func isSealed(_ value: [UInt8]) -> Bool { value.starts(with: prefix.utf8) }

  /// Whether the key that seals now sealed this.
  package func isCurrent(_ value: [UInt8]) -> Bool {
    keys.first.map { value.starts(with: "\(Self.prefix)\($0.name):".utf8) } ?? false
  }

  /// Nil where there is no key.
  package func seal(_ value: [UInt8], of subject: String) -> [UInt8]? {
    guard let (name, key) = keys.first,
      let box = try? AES.GCM.seal(value, using: key, authenticating: Array(subject.utf8)), let sealed = box.combined
    else { return nil }
    return Array("\(Self.prefix)\(name):".utf8) + Array(sealed)
  }

  /// Nil where no key opens it, it is of another subject, or it was changed.
  package func open(_ value: [UInt8], of subject: String) -> [UInt8]? {
    guard Self.isSealed(value) else { return nil }
    let rest = value.dropFirst(Self.prefix.utf8.count)
    guard let colon = rest.prefix(65).firstIndex(of: UInt8(ascii: ":")) else { return nil }
    let name = String(decoding: rest[..<colon], as: UTF8.self)
    guard let key = keys.first(where: { $0.name == name })?.key,
      let box = try? AES.GCM.SealedBox(combined: Array(rest[(colon + 1)...])),
      let opened = try? AES.GCM.open(box, using: key, authenticating: Array(subject.utf8))
    else { return nil }
    return Array(opened)
  }
}
