internal import Crypto
internal import FoundationEssentials
internal import Kernel
internal import SwiftASN1
internal import X509

/// Whom a certificate is for, and what for: everything but its key and its dates.
package struct CredentialRequest: Hashable, Sendable {
  package enum Use: Hashable, Sendable { case server, client }

  package var commonName: String
  package var organizations: [String] = []
  package var use: Use
  /// DNS names and addresses that a client may know a server by.
  package var names: [String] = []

  package init(commonName: String, organizations: [String] = [], use: Use, names: [String] = []) {
    self.commonName = commonName
    self.organizations = organizations
    self.use = use
    self.names = names
  }
}

/// A certificate and its key, as PEM.
package struct Credential: Hashable, Sendable {
  package let certificate: [UInt8]
  package let privateKey: [UInt8]
  /// Seconds since 1970.
  package let notBefore: Int64
  package let notAfter: Int64

  package init(certificate: [UInt8], privateKey: [UInt8], notBefore: Int64 = 0, notAfter: Int64 = .max) {
    self.certificate = certificate
    self.privateKey = privateKey
    self.notBefore = notBefore
    self.notAfter = notAfter
  }

  /// Both in one, as they are on disk, where they must not come from different times.
  package var pem: [UInt8] { certificate + privateKey }

  /// Renewed when no more than a third of its time is left.
  package func isDue(at now: Int64) -> Bool { now >= renewalTime }
  package var renewalTime: Int64 { notAfter - (notAfter - notBefore) / 3 }
}

/// A certificate with its key, as the library's values.
struct KeyPair {
  let certificate: Certificate
  let key: Certificate.PrivateKey

  /// - Throws: `.damaged`, in the name of `file`.
  init(pem: [UInt8], file: String) throws(PKIError) {
    let documents: [PEMDocument]
    do {
      documents = try PEMDocument.parseMultiple(pemString: String(decoding: pem, as: UTF8.self))
    } catch {
      throw .damaged(file: file, reason: "no PEM")
    }
    guard let certificate = documents.first(where: { $0.discriminator == "CERTIFICATE" }),
      let key = documents.first(where: { $0.discriminator.hasSuffix("PRIVATE KEY") })
    else { throw .damaged(file: file, reason: "it does not hold a certificate and a private key") }
    do {
      self.certificate = try Certificate(pemDocument: certificate)
      self.key = try Certificate.PrivateKey(pemDocument: key)
    } catch {
      throw .damaged(file: file, reason: "certificate or key cannot be read: \(error)")
    }
    guard self.certificate.publicKey == self.key.publicKey else {
      throw .damaged(file: file, reason: "the key does not belong to the certificate")
    }
  }

  init(certificate: Certificate, key: Certificate.PrivateKey) {
    self.certificate = certificate
    self.key = key
  }

  func credential() throws -> Credential {
    Credential(
      certificate: Array("\(try certificate.serializeAsPEM().pemString)\n".utf8),
      privateKey: Array("\(try key.serializeAsPEM().pemString)\n".utf8),
      notBefore: Self.seconds(certificate.notValidBefore),
      notAfter: Self.seconds(certificate.notValidAfter))
  }

  static func seconds(_ date: Date) -> Int64 { Int64(date.timeIntervalSince1970) }

  /// Whether this certificate says what `request` asks for, and `authority` signed it.
  func fits(_ request: CredentialRequest, of authority: KeyPair) -> Bool {
    guard certificate.subject == (try? Self.subject(request)), certificate.issuer == authority.certificate.subject,
      authority.certificate.publicKey.isValidSignature(certificate.signature, for: certificate)
    else { return false }
    let names = (try? certificate.extensions.subjectAlternativeNames).map { Set($0.map { $0 }) } ?? []
    let wanted = Set((try? Self.alternativeNames(request)) ?? [])
    return names == wanted
  }

  // MARK: making

  private static let daySeconds: Int64 = 86400
  static let authorityDays: Int64 = 3650
  static let credentialDays: Int64 = 365
  /// Clocks of other machines may be behind.
  static let skewSeconds: Int64 = 300

  static func makeAuthority(now: Int64) throws -> KeyPair {
    let key = Certificate.PrivateKey(P256.Signing.PrivateKey())
    // A name of its own, so that two authorities are never taken for each other.
    let name = try DistinguishedName { CommonName("martlet-ca-\(randomHex(bytes: 4))") }
    let certificate = try Certificate(
      version: .v3, serialNumber: Certificate.SerialNumber(), publicKey: key.publicKey,
      notValidBefore: Date(timeIntervalSince1970: Double(now - skewSeconds)),
      notValidAfter: Date(timeIntervalSince1970: Double(now + authorityDays * daySeconds)), issuer: name,
      subject: name, signatureAlgorithm: .ecdsaWithSHA256,
      extensions: try Certificate.Extensions {
        Critical(BasicConstraints.isCertificateAuthority(maxPathLength: 0))
        Critical(KeyUsage(digitalSignature: true, keyCertSign: true, cRLSign: true))
        SubjectKeyIdentifier(hash: key.publicKey)
      }, issuerPrivateKey: key)
    return KeyPair(certificate: certificate, key: key)
  }

  /// Signs a certificate for `request` with a new key.
  func issue(_ request: CredentialRequest, now: Int64) throws -> KeyPair {
    let own = Certificate.PrivateKey(P256.Signing.PrivateKey())
    // Never beyond its authority.
    let end = min(now + Self.credentialDays * Self.daySeconds, Self.seconds(certificate.notValidAfter))
    let names = try Self.alternativeNames(request)
    let authorityKey = try certificate.extensions.subjectKeyIdentifier?.keyIdentifier
    let issued = try Certificate(
      version: .v3, serialNumber: Certificate.SerialNumber(), publicKey: own.publicKey,
      notValidBefore: Date(timeIntervalSince1970: Double(now - Self.skewSeconds)),
      notValidAfter: Date(timeIntervalSince1970: Double(end)), issuer: certificate.subject,
      subject: try Self.subject(request), signatureAlgorithm: .ecdsaWithSHA256,
      extensions: try Certificate.Extensions {
        Critical(BasicConstraints.notCertificateAuthority)
        Critical(KeyUsage(digitalSignature: true))
        try ExtendedKeyUsage([request.use == .server ? .serverAuth : .clientAuth])
        SubjectKeyIdentifier(hash: own.publicKey)
        if let authorityKey { AuthorityKeyIdentifier(keyIdentifier: authorityKey) }
        if !names.isEmpty { SubjectAlternativeNames(names) }
      }, issuerPrivateKey: key)
    return KeyPair(certificate: issued, key: own)
  }

  static func subject(_ request: CredentialRequest) throws -> DistinguishedName {
    try DistinguishedName {
      for organization in request.organizations { OrganizationName(organization) }
      CommonName(request.commonName)
    }
  }

  static func alternativeNames(_ request: CredentialRequest) throws -> [GeneralName] {
    var seen: Set<String> = []
    return request.names.filter { !$0.isEmpty && seen.insert($0).inserted }.map { name in
      guard let address = IPAddress(name) else { return .dnsName(name) }
      return .ipAddress(ASN1OctetString(contentBytes: address.bytes[...]))
    }
  }
}
