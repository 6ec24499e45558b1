package import JSON
package import Kernel
internal import YAML

/// A kubeconfig: one cluster, one user, everything embedded.
package struct KubeconfigFile: Sendable {
  /// `https://HOST:PORT`.
  package var server: String
  package var authority: [UInt8]
  package var user: String
  package var credential: Credential
  package var cluster: String

  package init(server: String, authority: [UInt8], user: String, credential: Credential, cluster: String = "martlet") {
    self.server = server
    self.authority = authority
    self.user = user
    self.credential = credential
    self.cluster = cluster
  }

  package var value: JSONValue {
    let context = "\(user)@\(cluster)"
    return [
      "apiVersion": "v1", "kind": "Config",
      "clusters": [
        [
          "name": .string(cluster),
          "cluster": [
            "server": .string(server), "certificate-authority-data": .string(Base64.encoded(authority)),
          ],
        ]
      ],
      "users": [
        [
          "name": .string(user),
          "user": [
            "client-certificate-data": .string(Base64.encoded(credential.certificate)),
            "client-key-data": .string(Base64.encoded(credential.privateKey)),
          ],
        ]
      ],
      "contexts": [
        ["name": .string(context), "context": ["cluster": .string(cluster), "user": .string(user)]]
      ],
      "current-context": .string(context),
    ]
  }

  /// Writes the file at once, mode 0600, and leaves it alone where it says the same already. Blocks.
  /// - Returns: whether it was written.
  @discardableResult
  package func write(to path: String) throws(SyscallError) -> Bool {
    let text = Array(YAML.encoded(value).utf8)
    if Files.exists(path), try Files.read(path, maxBytes: 1 << 20) == text {
      try Files.chmod(path, mode: 0o600)
      return false
    }
    try Files.makeDirectories(Files.parent(of: path), mode: 0o755)
    try Files.writeAtomically(path, text, mode: 0o600, durable: true)
    return true
  }
}

/// RFC 4648's usual alphabet, padded.
enum Base64 {
  static func encoded(_ bytes: [UInt8]) -> String {
    let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
    var text: [UInt8] = []
    text.reserveCapacity((bytes.count + 2) / 3 * 4)
    for start in stride(from: 0, to: bytes.count, by: 3) {
      let count = min(3, bytes.count - start)
      var group = UInt32(0)
      for offset in 0..<3 { group = group << 8 | (offset < count ? UInt32(bytes[start + offset]) : 0) }
      for digit in 0..<4 {
        text.append(digit <= count ? alphabet[Int(group >> (18 - 6 * UInt32(digit)) & 63)] : UInt8(ascii: "="))
      }
    }
    return String(decoding: text, as: UTF8.self)
  }
}
