import Kernel
import TestSupport
import Testing
import X509

@testable import PKI

@Suite struct SigningTests {
  private static let wanted = CredentialRequest(
    commonName: "system:node:n1", organizations: ["system:nodes"], use: .server, names: ["n1", "192.0.2.7", "fd00::1"])

  @Test func aRequestSaysWhatItIsFor() throws {
    let made = try SigningRequest.make(Self.wanted)
    let read = try SigningRequest(pem: made.request)
    #expect(read.commonName == "system:node:n1" && read.organizations == ["system:nodes"])
    #expect(read.dnsNames == ["n1"] && read.addresses == ["192.0.2.7", "fd00::1"] && !read.hasOtherNames)
  }

  @Test(arguments: [1, 600, 86_400, nil] as [Int64?])
  func theAuthoritySignsForTheKeyOfTheRequest(_ seconds: Int64?) throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    let now: Int64 = 1_800_000_000
    let pki = try ClusterPKI.open(directory.path, names: ServerNames(advertiseAddress: "192.0.2.1"), now: now)
    let made = try SigningRequest.make(Self.wanted)
    let signed = try pki.sign(made.request, for: .server, seconds: seconds, now: now)
    let pair = try KeyPair(pem: signed + made.privateKey, file: "signed")
    let credential = try pair.credential()
    let life = seconds.map { max($0, 600) } ?? 365 * 86_400
    #expect(credential.notAfter == now + life)
    #expect(pki.signingPair.certificate.publicKey.isValidSignature(pair.certificate.signature, for: pair.certificate))
    #expect(try pair.certificate.extensions.subjectAlternativeNames?.count == 3)
    guard case .notCertificateAuthority? = try pair.certificate.extensions.basicConstraints else {
      Issue.record("a request made an authority")
      return
    }
  }

  @Test func whatIsNoRequestIsRefused() throws {
    let made = try SigningRequest.make(Self.wanted)
    var broken = made.request
    // Within the signed part: the name of the node.
    let index = try #require(broken.indices.first { $0 > 60 && broken[$0] == UInt8(ascii: "A") })
    broken[index] = UInt8(ascii: "B")
    for bytes in [[], Array("x".utf8), made.privateKey, broken, Array(repeating: 65, count: 1 << 20)] {
      #expect(throws: PKIError.self) { try SigningRequest(pem: bytes) }
    }
  }
}

@Suite struct ValueSealerTests {
  private static func key(_ name: String, _ byte: UInt8, _ count: Int = 32) -> (name: String, bytes: [UInt8]) {
    (name, [UInt8](repeating: byte, count: count))
  }

  private static let value = Array("a secret".utf8)

  @Test func whatIsSealedIsOpenedAgainAndNotElsewhere() throws {
    let sealer = try ValueSealer([Self.key("a", 1)])
    let sealed = try #require(sealer.seal(Self.value, of: "/secrets/x/y"))
    #expect(sealer.open(sealed, of: "/secrets/x/y") == Self.value)
    #expect(sealer.open(sealed, of: "/secrets/x/z") == nil)
    #expect(sealed != sealer.seal(Self.value, of: "/secrets/x/y"))
    #expect(!String(decoding: sealed, as: UTF8.self).contains("secret"))
    for index in sealed.indices {
      var changed = sealed
      changed[index] ^= 1
      #expect(sealer.open(changed, of: "/secrets/x/y") == nil, "\(index)")
    }
    #expect(sealer.open(Self.value, of: "") == nil && sealer.open([], of: "") == nil)
    #expect(sealer.open(Array("k8s:enc:aesgcm:v1:a:".utf8), of: "") == nil)
  }

  @Test func keysAreChangedOneAfterTheOther() throws {
    let old = try ValueSealer([Self.key("a", 1)])
    let both = try ValueSealer([Self.key("b", 2), Self.key("a", 1)])
    let new = try ValueSealer([Self.key("b", 2)])
    let first = try #require(old.seal(Self.value, of: "k"))
    #expect(both.open(first, of: "k") == Self.value && !both.isCurrent(first))
    let second = try #require(both.seal(Self.value, of: "k"))
    #expect(both.isCurrent(second) && new.open(second, of: "k") == Self.value)
    #expect(old.open(second, of: "k") == nil && new.open(first, of: "k") == nil)
  }

  @Test func aKeyThatIsNoneIsRefusedByName() {
    for keys in [
      [Self.key("a", 1, 31)], [Self.key("", 1)], [Self.key("a:b", 1)], [Self.key("a", 1), Self.key("a", 2)],
    ] {
      #expect(throws: PKIError.self) { try ValueSealer(keys) }
    }
  }
}
