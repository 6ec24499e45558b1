internal import NIOCore
internal import NIOSSL
internal import Synchronization

/// What one side of TLS shows and whom it believes, as PEM.
package struct HTTPTLSIdentity: Sendable, Equatable {
  /// The certificate, and those between it and its authority.
  package var certificateChain: [UInt8]
  package var privateKey: [UInt8]
  /// Authorities that the other side's certificate must come from. A server believes nobody without.
  package var authorities: [UInt8]

  package init(certificateChain: [UInt8], privateKey: [UInt8], authorities: [UInt8] = []) {
    self.certificateChain = certificateChain
    self.privateKey = privateKey
    self.authorities = authorities
  }
}

/// A server's side of TLS, whose certificate may be renewed while it serves. Client certificates are asked for, not
/// demanded; one that no authority signed breaks the handshake.
package final class HTTPTLS: Sendable {
  private let current: Mutex<NIOSSLContext>

  /// - Throws: `.certificate` where the PEM does not hold what it must, or key and certificate do not fit.
  package init(_ identity: HTTPTLSIdentity) throws(HTTPServerError) {
    current = Mutex(try Self.makeContext(identity))
  }

  /// For connections from now on; those that are there stay.
  package func replace(_ identity: HTTPTLSIdentity) throws(HTTPServerError) {
    let context = try Self.makeContext(identity)
    current.withLock { $0 = context }
  }

  var context: NIOSSLContext { current.withLock { $0 } }

  private static func makeContext(_ identity: HTTPTLSIdentity) throws(HTTPServerError) -> NIOSSLContext {
    do {
      let chain = try NIOSSLCertificate.fromPEMBytes(identity.certificateChain)
      let key = try NIOSSLPrivateKey(bytes: identity.privateKey, format: .pem)
      var configuration = TLSConfiguration.makeServerConfiguration(
        certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(key))
      configuration.minimumTLSVersion = .tlsv12
      configuration.applicationProtocols = ["h2", "http/1.1"]
      configuration.shutdownTimeout = tlsGoodbyeTime
      if !identity.authorities.isEmpty {
        configuration.certificateVerification = .optionalVerification
        configuration.trustRoots = .certificates(try NIOSSLCertificate.fromPEMBytes(identity.authorities))
      }
      return try NIOSSLContext(configuration: configuration)
    } catch {
      throw .certificate(reason: "\(error)")
    }
  }
}

/// How long a closing connection waits for the other side's TLS to say goodbye, too.
let tlsGoodbyeTime = TimeAmount.seconds(1)
