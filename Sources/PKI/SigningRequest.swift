internal import Crypto
internal import FoundationEssentials
internal import Kernel
internal import SwiftASN1
internal import X509

/// A PKCS#10 request (RFC 2986), as far as an authority judges it. Its signature has been checked.
package struct SigningRequest: Hashable, Sendable {
  package let commonName: String
  package let organizations: [String]
  package let dnsNames: [String]
  package let addresses: [String]
  /// Mail addresses, URIs and other names: nothing here is signed with them.
  package let hasOtherNames: Bool

  /// A longer one is refused before anything of it is read.
  static let requestBytesMax = 64 << 10
  static let namesMax = 128

  /// - Throws: `.request` where it is no request, or is not signed by the key that it brings.
  package init(pem: [UInt8]) throws(PKIError) { try self.init(Self.parse(pem)) }

  init(_ request: CertificateSigningRequest) throws(PKIError) {
    var (names, organizations): ([String], [String]) = ([], [])
    for attribute in request.subject.flatMap({ $0 }) {
      let value = String(describing: attribute.value)
      switch attribute.type {
      case .RDNAttributeType.commonName: names.append(value)
      case .RDNAttributeType.organizationName: organizations.append(value)
      default: continue
      }
    }
    guard names.count <= 1 else { throw .request(reason: "it has \(names.count) common names") }
    commonName = names.first ?? ""
    self.organizations = organizations
    let alternatives: SubjectAlternativeNames?
    do {
      alternatives = try request.attributes.extensionRequest?.extensions.subjectAlternativeNames
    } catch {
      throw .request(reason: "its extensions cannot be read: \(error)")
    }
    var (dnsNames, addresses, hasOther): ([String], [String], Bool) = ([], [], false)
    for name in alternatives ?? SubjectAlternativeNames([]) {
      switch name {
      case .dnsName(let text): dnsNames.append(text)
      case .ipAddress(let bytes):
        guard let address = IPAddress(bytes: bytes.bytes) else { throw .request(reason: "an address is malformed") }
        addresses.append("\(address)")
      default: hasOther = true
      }
    }
    guard dnsNames.count + addresses.count <= Self.namesMax else {
      throw .request(reason: "more than \(Self.namesMax) names")
    }
    self.dnsNames = dnsNames
    self.addresses = addresses
    hasOtherNames = hasOther
  }

  static func parse(_ pem: [UInt8]) throws(PKIError) -> CertificateSigningRequest {
    guard pem.count <= requestBytesMax else { throw .request(reason: "\(pem.count) bytes are too many") }
    let request: CertificateSigningRequest
    do {
      request = try CertificateSigningRequest(pemEncoded: String(decoding: pem, as: UTF8.self))
    } catch {
      throw .request(reason: "it is no PEM of a certificate request")
    }
    guard request.publicKey.isValidSignature(request.signature, for: request) else {
      throw .request(reason: "its signature is not by its key")
    }
    return request
  }

  /// A request with a new key, as somebody sends it who wants a certificate. - Returns: both as PEM.
  package static func make(_ wanted: CredentialRequest) throws(PKIError) -> (request: [UInt8], privateKey: [UInt8]) {
    do {
      let key = Certificate.PrivateKey(P256.Signing.PrivateKey())
      let names = try KeyPair.alternativeNames(wanted)
      var attributes = CertificateSigningRequest.Attributes()
      if !names.isEmpty {
        let extensions = try Certificate.Extensions { SubjectAlternativeNames(names) }
        attributes = try CertificateSigningRequest.Attributes([.init(ExtensionRequest(extensions: extensions))])
      }
      let request = try CertificateSigningRequest(
        version: .v1, subject: try KeyPair.subject(wanted), privateKey: key, attributes: attributes,
        signatureAlgorithm: .ecdsaWithSHA256)
      return (
        Array("\(try request.serializeAsPEM().pemString)\n".utf8),
        Array("\(try key.serializeAsPEM().pemString)\n".utf8)
      )
    } catch {
      throw .issue(name: wanted.commonName, reason: "\(error)")
    }
  }
}

/// How a node that joins knows the authority that it was told of.
package enum AuthorityPin {
  /// `sha256:` and the SHA-256 of the certificate's public key (SubjectPublicKeyInfo, DER) in hexadecimal.
  package static func pin(ofAuthority pem: [UInt8]) throws(PKIError) -> String {
    do {
      let certificate = try Certificate(pemEncoded: String(decoding: pem, as: UTF8.self))
      guard case .isCertificateAuthority? = try certificate.extensions.basicConstraints else {
        throw PKIError.request(reason: "the certificate is not an authority's")
      }
      var serializer = DER.Serializer()
      try serializer.serialize(certificate.publicKey)
      return "sha256:\(hexadecimal(Array(SHA256.hash(data: serializer.serializedBytes))))"
    } catch let error as PKIError {
      throw error
    } catch {
      throw .request(reason: "the authority's certificate cannot be read: \(error)")
    }
  }
}

extension ClusterPKI {
  /// Shorter certificates are not worth their way, and clocks differ.
  static let signedSecondsMin: Int64 = 600

  /// Signs a request: its subject, its names and its key, for one use and a time. Whether it may be signed is for the caller
  /// to have judged.
  /// - Parameter seconds: how long it is asked to be valid; nil: a year. Never longer than that or the authority.
  /// - Returns: the certificate as PEM.
  package func sign(
    _ pem: [UInt8], for use: CredentialRequest.Use, seconds: Int64?,
    now: Int64 = SystemClock.wallNanoseconds / 1_000_000_000
  ) throws(PKIError) -> [UInt8] {
    let request = try SigningRequest.parse(pem)
    do {
      return try signingPair.sign(request, use, seconds: seconds.map { max($0, Self.signedSecondsMin) }, now: now)
    } catch {
      throw .issue(name: "\(request.subject)", reason: "\(error)")
    }
  }
}

extension KeyPair {
  func sign(
    _ request: CertificateSigningRequest, _ use: CredentialRequest.Use, seconds: Int64?, now: Int64
  ) throws -> [UInt8] {
    let year = Self.credentialDays * 86400
    let end = min(now + min(seconds ?? year, year), Self.seconds(certificate.notValidAfter))
    let names = try request.attributes.extensionRequest?.extensions.subjectAlternativeNames
    let authorityKey = try certificate.extensions.subjectKeyIdentifier?.keyIdentifier
    let issued = try Certificate(
      version: .v3, serialNumber: Certificate.SerialNumber(), publicKey: request.publicKey,
      notValidBefore: Date(timeIntervalSince1970: Double(now - Self.skewSeconds)),
      notValidAfter: Date(timeIntervalSince1970: Double(end)), issuer: certificate.subject, subject: request.subject,
      signatureAlgorithm: .ecdsaWithSHA256,
      extensions: try Certificate.Extensions {
        Critical(BasicConstraints.notCertificateAuthority)
        Critical(KeyUsage(digitalSignature: true, keyEncipherment: true))
        try ExtendedKeyUsage([use == .server ? .serverAuth : .clientAuth])
        SubjectKeyIdentifier(hash: request.publicKey)
        if let authorityKey { AuthorityKeyIdentifier(keyIdentifier: authorityKey) }
        if let names { names }
      }, issuerPrivateKey: key)
    return Array("\(try issued.serializeAsPEM().pemString)\n".utf8)
  }
}
