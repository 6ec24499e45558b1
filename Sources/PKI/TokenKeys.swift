internal import Crypto
internal import FoundationEssentials
package import JSON
internal import Kernel
internal import SwiftASN1

/// Why a token is not believed. Told to logs, never to who sent it.
package enum TokenError: Error, Hashable, CustomStringConvertible {
  case tooLong(bytes: Int)
  /// Not three parts of base64url with a JSON header.
  case malformed
  /// `none`, or anything else that this server does not sign with.
  case algorithm(String)
  case unknownKey
  case signature

  package var description: String {
    switch self {
    case .tooLong(let bytes): "token: \(bytes) bytes; \(TokenKeys.tokenBytesMax) are the most"
    case .malformed: "token: not a signed JSON web token"
    case .algorithm(let name): "token: signed by \(name), not by ES256"
    case .unknownKey: "token: signed by a key that is not known here"
    case .signature: "token: the signature does not fit"
    }
  }
}

/// The keys that sign and check the tokens of service accounts: ES256 (RFC 7518, 3.4), P-256.
///
/// The first signs; all check, so that tokens outlive a change of keys. Kept in one file of PEM keys, mode 0600.
package struct TokenKeys: Sendable {
  /// A longer token is refused before anything of it is read.
  package static let tokenBytesMax = 16 << 10
  /// Older ones are dropped when a new key is made: what they signed has long expired.
  package static let keysMax = 4

  private struct Key: Sendable {
    let id: String
    let signing: P256.Signing.PrivateKey
    let checking: P256.Signing.PublicKey

    init(_ key: P256.Signing.PrivateKey) {
      signing = key
      checking = key.publicKey
      id = Base64URL.encoded(Array(SHA256.hash(data: key.publicKey.derRepresentation)))
    }
  }

  private let keys: [Key]

  private init(_ keys: [Key]) { self.keys = keys }

  /// A key of its own that is kept nowhere: what it signs is worth nothing after the process.
  package static func ephemeral() -> TokenKeys { TokenKeys([Key(P256.Signing.PrivateKey())]) }

  /// Loads the keys in `directory`, and makes the first where there is none. Blocks on the disk.
  /// - Parameter renews: a new key signs from now on; those that are there go on checking.
  /// - Throws: `.damaged` for a file that holds anything but keys; it is not overwritten.
  package static func open(_ directory: String, renews: Bool = false) throws(PKIError) -> TokenKeys {
    let file = "\(directory)/service-account-keys.pem"
    var keys: [Key] = []
    do throws(SyscallError) {
      try Files.makeDirectories(directory, mode: 0o700)
      if Files.exists(file) { keys = parse(try Files.read(file, maxBytes: 1 << 20)) }
    } catch {
      throw .disk(reason: "\(error)")
    }
    if Files.exists(file), keys.isEmpty {
      throw .damaged(file: file, reason: "it does not hold P-256 private keys in PEM")
    }
    guard keys.isEmpty || renews else { return TokenKeys(keys) }
    keys.insert(Key(P256.Signing.PrivateKey()), at: 0)
    keys = Array(keys.prefix(keysMax))
    let text = keys.map { $0.signing.pemRepresentation + "\n" }.joined()
    do throws(SyscallError) {
      try Files.writeAtomically(file, Array(text.utf8), mode: 0o600, durable: true)
    } catch {
      throw .disk(reason: "\(error)")
    }
    return TokenKeys(keys)
  }

  /// - Returns: none where any part of the file is no key.
  private static func parse(_ bytes: [UInt8]) -> [Key] {
    guard let documents = try? PEMDocument.parseMultiple(pemString: String(decoding: bytes, as: UTF8.self)) else {
      return []
    }
    var keys: [Key] = []
    for document in documents {
      guard let key = try? P256.Signing.PrivateKey(pemRepresentation: document.pemString) else { return [] }
      keys.append(Key(key))
    }
    return keys
  }

  // MARK: tokens

  /// A signed token with these claims.
  package func sign(_ claims: JSONObject) throws(PKIError) -> String {
    guard let key = keys.first else { throw .issue(name: "a token", reason: "there is no key") }
    let header: JSONValue = ["alg": "ES256", "kid": .string(key.id)]
    let signed = Base64URL.encoded(header.encoded()) + "." + Base64URL.encoded(JSONValue.object(claims).encoded())
    do {
      let signature = try key.signing.signature(for: Array(signed.utf8))
      return signed + "." + Base64URL.encoded(Array(signature.rawRepresentation))
    } catch {
      throw .issue(name: "a token", reason: "\(error)")
    }
  }

  /// The claims of a token that one of the keys signed. What they say is for the caller to judge.
  package func claims(of token: String) throws(TokenError) -> JSONObject {
    let length = token.utf8.count
    guard length <= Self.tokenBytesMax else { throw .tooLong(bytes: length) }
    let parts = token.split(separator: ".", maxSplits: 3, omittingEmptySubsequences: false)
    guard parts.count == 3, let head = Base64URL.decoded(parts[0]), let body = Base64URL.decoded(parts[1]),
      let signature = Base64URL.decoded(parts[2]),
      let header = try? JSONValue.parse(head, limits: JSONLimits(maxBytes: 4096, maxDepth: 4)).object
    else { throw .malformed }
    let algorithm = header["alg"]?.string ?? ""
    guard algorithm == "ES256" else { throw .algorithm(String(algorithm.prefix(16))) }
    // RFC 7515, 4.1.11: what must be understood is not.
    guard header["crit"] == nil else { throw .malformed }
    let id = header["kid"]?.string
    let candidates = keys.filter { id == nil || $0.id == id }
    guard !candidates.isEmpty else { throw .unknownKey }
    guard let parsed = try? P256.Signing.ECDSASignature(rawRepresentation: signature) else { throw .signature }
    let signed = Array(token.utf8.prefix(parts[0].utf8.count + 1 + parts[1].utf8.count))
    guard candidates.contains(where: { $0.checking.isValidSignature(parsed, for: signed) }) else { throw .signature }
    // Only what is signed is read.
    guard let claims = try? JSONValue.parse(body, limits: JSONLimits(maxBytes: Self.tokenBytesMax, maxDepth: 8)).object
    else { throw .malformed }
    return claims
  }

  /// The public keys as RFC 7517 writes them: what `/openid/v1/jwks` answers.
  package var publicKeys: JSONValue {
    [
      "keys": .array(
        keys.map { key in
          let point = Array(key.checking.rawRepresentation)
          return [
            "use": "sig", "kty": "EC", "kid": .string(key.id), "crv": "P-256", "alg": "ES256",
            "x": .string(Base64URL.encoded(point.prefix(32))), "y": .string(Base64URL.encoded(point.suffix(32))),
          ]
        })
    ]
  }
}
