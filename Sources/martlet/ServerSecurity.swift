import APIServer
import ArgumentParser
import Controllers
import Kernel
import KubeClient
import Logging
import ObjectStore
import PKI

/// Options of `martlet server` about who may do what, and what of it is kept.
struct SecurityOptions: ParsableArguments {
  @Flag(
    name: .customLong("new-service-account-key"),
    help: "Sign tokens of service accounts with a new key from now on; the last ones go on counting.")
  var renewsTokenKey = false

  @Option(
    name: .customLong("service-account-issuer"),
    help: ArgumentHelp("Who tokens of service accounts say they are from.", valueName: "url"))
  var issuer = TokenAuthority.usualIssuer

  @Option(
    name: .customLong("api-audience"),
    help: ArgumentHelp("Whom tokens must be for; may be given several times; the issuer without.", valueName: "name"))
  var audiences: [String] = []

  @Option(
    name: .customLong("audit-policy-file"),
    help: ArgumentHelp("What of which requests is written down: a Policy of audit.k8s.io/v1.", valueName: "file"))
  var auditPolicy: String?

  @Option(
    name: .customLong("audit-log-path"),
    help: ArgumentHelp("Where it is written; ROOT/server/audit.log without.", valueName: "file"))
  var auditLog: String?

  @Option(name: .customLong("audit-log-maxsize"), help: "Megabytes after which the file is put aside.")
  var auditMegabytes = 100

  @Option(name: .customLong("audit-log-maxbackup"), help: "Files put aside that are kept.")
  var auditBackups = 10

  @Option(
    name: .customLong("encryption-provider-config"),
    help: ArgumentHelp(
      "What is encrypted on the disk, and by which keys: an EncryptionConfiguration with aesgcm and identity.",
      valueName: "file"))
  var encryption: String?

  @Flag(
    name: .customLong("encrypt-secrets"),
    help: "Encrypt Secrets on the disk by a key made for it: ROOT/server/encryption.yaml.")
  var encryptsSecrets = false

  @Flag(
    name: .customLong("rewrite-encrypted"),
    help: "Write all that is to be encrypted anew by the first key when starting, and forget what was written before.")
  var rewrites = false

  func validate() throws {
    guard (1...65_536).contains(auditMegabytes) else {
      throw ValidationError("--audit-log-maxsize \(auditMegabytes): 1 to 65536")
    }
    guard (0...1000).contains(auditBackups) else {
      throw ValidationError("--audit-log-maxbackup \(auditBackups): 0 to 1000")
    }
    if auditPolicy == nil, auditLog != nil { throw ValidationError("--audit-log-path: needs --audit-policy-file") }
    if encryption != nil, encryptsSecrets {
      throw ValidationError("--encrypt-secrets: the keys are in --encryption-provider-config already")
    }
    guard !issuer.isEmpty else { throw ValidationError("--service-account-issuer: is empty") }
  }

  func plan(_ directory: String) throws -> SecurityPlan {
    var plan = SecurityPlan()
    plan.renewsTokenKey = renewsTokenKey
    plan.issuer = issuer
    plan.audiences = audiences
    plan.auditPolicy = try auditPolicy.map { try Place.absolute($0) }
    plan.auditLog = try auditLog.map { try Place.absolute($0) } ?? "\(directory)/audit.log"
    plan.auditBytesMax = auditMegabytes << 20
    plan.auditFilesMax = auditBackups
    plan.encryption = try encryption.map { try Place.absolute($0) }
    if encryptsSecrets {
      plan.encryption = "\(directory)/encryption.yaml"
      plan.makesEncryption = true
    }
    plan.rewrites = rewrites
    return plan
  }
}

/// What the options say, once read.
struct SecurityPlan: Equatable, Sendable {
  var renewsTokenKey = false
  var issuer = TokenAuthority.usualIssuer
  var audiences: [String] = []
  var auditPolicy: String?
  var auditLog = ""
  var auditBytesMax = 100 << 20
  var auditFilesMax = 10
  var encryption: String?
  /// Its file is made where there is none.
  var makesEncryption = false
  var rewrites = false
}

extension ControlPlane {
  /// Keys and files of security, opened. Blocks on the disk.
  func tokens(_ reader: ObjectReader) throws -> TokenAuthority {
    let security = plan.security
    do throws(PKIError) {
      return TokenAuthority(
        keys: try TokenKeys.open(plan.pkiDirectory, renews: security.renewsTokenKey), reader: reader,
        issuer: security.issuer, audiences: security.audiences)
    } catch {
      throw Failure("keys of service accounts: \(error)")
    }
  }

  func auditLog() throws -> AuditLog? {
    guard let file = plan.security.auditPolicy else { return nil }
    do {
      var configuration = AuditLogConfiguration(file: plan.security.auditLog)
      configuration.fileBytesMax = plan.security.auditBytesMax
      configuration.filesMax = plan.security.auditFilesMax
      return try AuditLog(
        policy: try AuditPolicy(file: file), configuration: configuration, logger: Logger(label: "martlet.audit"))
    } catch {
      throw Failure("audit: \(error)")
    }
  }

  func encryption() throws -> EncryptionConfiguration? {
    guard let file = plan.security.encryption else { return nil }
    do throws(SecurityFileError) {
      if plan.security.makesEncryption { try EncryptionConfiguration.makeFile(file) }
      return try EncryptionConfiguration(file: file)
    } catch {
      throw Failure("encryption: \(error)")
    }
  }

  /// Signs requests for certificates with the cluster's authority.
  static func signer(_ pki: ClusterPKI) -> CertificateSigner {
    CertificateSigner(
      read: { bytes in
        let request = try SigningRequest(pem: bytes)
        return CertificateSubject(
          commonName: request.commonName, organizations: request.organizations, dnsNames: request.dnsNames,
          addresses: request.addresses, hasOtherNames: request.hasOtherNames)
      },
      sign: { bytes, isServer, seconds in try pki.sign(bytes, for: isServer ? .server : .client, seconds: seconds) })
  }
}
