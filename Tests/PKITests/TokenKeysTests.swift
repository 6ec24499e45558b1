import JSON
import Kernel
import TestSupport
import Testing

@testable import PKI

@Suite struct TokenKeysTests {
  private static let claims: JSONObject = ["iss": "somebody", "sub": "x", "exp": 5]

  private func refusal(_ keys: TokenKeys, _ token: String) -> TokenError? {
    do throws(TokenError) {
      _ = try keys.claims(of: token)
      return nil
    } catch {
      return error
    }
  }

  @Test func whatWasSignedIsReadAgain() throws {
    let keys = TokenKeys.ephemeral()
    let token = try keys.sign(Self.claims)
    #expect(try keys.claims(of: token) == Self.claims)
    #expect(token.split(separator: ".").count == 3)
    #expect(keys.publicKeys["keys"]?[0]?["alg"] == "ES256")
    #expect(keys.publicKeys["keys"]?[0]?["d"] == nil)
  }

  /// Each forgery is refused for what is wrong with it.
  @Test func hostileTokensAreRefused() throws {
    let keys = TokenKeys.ephemeral()
    let token = try keys.sign(Self.claims)
    let parts = token.split(separator: ".").map(String.init)
    func header(_ value: JSONValue) -> String { Base64URL.encoded(value.encoded()) }
    let forged = Base64URL.encoded(JSONValue.object(["sub": "admin"]).encoded())
    let id = try #require(keys.publicKeys["keys"]?[0]?["kid"]?.string)
    let cases: [(String, TokenError)] = [
      ("", .malformed), ("x", .malformed), ("..", .malformed), ("a.b", .malformed), ("\(token).x", .malformed),
      ("\(header(["alg": "none"])).\(parts[1]).", .algorithm("none")),
      ("\(header(["alg": "None"])).\(forged).", .algorithm("None")),
      ("\(header(["alg": "HS256", "kid": .string(id)])).\(parts[1]).\(parts[2])", .algorithm("HS256")),
      ("\(header(["alg": "ES256", "kid": "other"])).\(parts[1]).\(parts[2])", .unknownKey),
      ("\(header(["alg": "ES256", "kid": .string(id), "crit": ["b64"]])).\(parts[1]).\(parts[2])", .malformed),
      ("\(header(["alg": "ES256"])).\(parts[1]).\(parts[2])", .signature),
      ("\(parts[0]).\(forged).\(parts[2])", .signature), ("\(parts[0]).\(parts[1]).", .signature),
      ("\(parts[0]).\(parts[1]).\(parts[2].dropLast(6))", .signature),
      ("\(parts[0]).\(parts[1]).\(Base64URL.encoded([UInt8](repeating: 0, count: 64)))", .signature),
      (try TokenKeys.ephemeral().sign(Self.claims), .unknownKey),
      (String(repeating: "a", count: 1 << 20), .tooLong(bytes: 1 << 20)),
      ("\(Base64URL.encoded(Array(String(repeating: "[", count: 4000).utf8))).\(parts[1]).\(parts[2])", .malformed),
    ]
    for (text, error) in cases { #expect(refusal(keys, text) == error, "\(text.prefix(80))") }
  }

  /// Any one changed character spoils a token.
  @Test func noCharacterMayChange() throws {
    let keys = TokenKeys.ephemeral()
    let token = Array(try keys.sign(Self.claims).utf8)
    for index in token.indices where token[index] != UInt8(ascii: ".") {
      var changed = token
      changed[index] = changed[index] == UInt8(ascii: "A") ? UInt8(ascii: "B") : UInt8(ascii: "A")
      #expect(refusal(keys, String(decoding: changed, as: UTF8.self)) != nil, "\(index)")
    }
  }

  @Test func keysStayAndAreRenewedWithoutForgettingTheLast() throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    let first = try TokenKeys.open(directory.path)
    let token = try first.sign(Self.claims)
    #expect(try TokenKeys.open(directory.path).claims(of: token) == Self.claims)
    #expect(try Files.status("\(directory.path)/service-account-keys.pem")?.mode == 0o600)
    let second = try TokenKeys.open(directory.path, renews: true)
    #expect(try second.claims(of: token) == Self.claims)
    #expect(refusal(first, try second.sign(Self.claims)) == .unknownKey)
    for _ in 0..<TokenKeys.keysMax { _ = try TokenKeys.open(directory.path, renews: true) }
    let last = try TokenKeys.open(directory.path)
    #expect(last.publicKeys["keys"]?.array?.count == TokenKeys.keysMax)
    #expect(refusal(last, token) == .unknownKey)
  }

  @Test(arguments: ["", "nonsense", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
  func aDamagedFileOfKeysIsRefusedAndKept(_ text: String) throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    let file = "\(directory.path)/service-account-keys.pem"
    try Files.writeAtomically(file, Array(text.utf8))
    #expect(throws: PKIError.self) { try TokenKeys.open(directory.path, renews: true) }
    #expect(try Files.readText(file) == text)
  }
}
