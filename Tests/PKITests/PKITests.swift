import JSON
import Kernel
import PKI
import TestSupport
import Testing
import YAML

private let day: Int64 = 86400
private let names = ServerNames(
  advertiseAddress: "10.1.2.3", bindAddress: "0.0.0.0", hostName: "box", extra: ["api.example"])

/// Runs openssl and gives what it says.
private func openssl(_ words: String...) async throws -> String {
  let outcome = try await ChildProcess.run("/usr/bin/openssl", arguments: ["openssl"] + words)
  return String(decoding: outcome.output + outcome.errorOutput, as: UTF8.self)
}

@Suite struct Certificates {
  private let directory: TestDirectory
  private var path: String { directory.path }

  init() throws { directory = try TestDirectory() }

  private func open(now: Int64? = nil, _ names: ServerNames = names) throws -> ClusterPKI {
    if let now { return try ClusterPKI.open(path, names: names, now: now) }
    return try ClusterPKI.open(path, names: names)
  }

  @Test func opensslVerifiesEachForItsPurpose() async throws {
    defer { try? directory.remove() }
    let pki = try open()
    _ = try pki.node("n1", addresses: ["10.9.9.9"])
    for (file, purpose) in [
      ("apiserver.pem", "sslserver"), ("admin.pem", "sslclient"), ("apiserver-node-client.pem", "sslclient"),
      ("nodes/n1.client.pem", "sslclient"), ("nodes/n1.serving.pem", "sslserver"),
    ] {
      let said = try await openssl(
        "verify", "-x509_strict", "-purpose", purpose, "-CAfile", "\(path)/ca.crt", "\(path)/\(file)")
      #expect(said.hasSuffix(": OK\n"), "\(said)")
      let wrong = purpose == "sslserver" ? "sslclient" : "sslserver"
      let refused = try await openssl("verify", "-purpose", wrong, "-CAfile", "\(path)/ca.crt", "\(path)/\(file)")
      #expect(!refused.hasSuffix(": OK\n"), "\(file) as \(wrong)")
    }
  }

  @Test func theServersCertificateHasEveryName() async throws {
    defer { try? directory.remove() }
    _ = try open()
    let text = try await openssl("x509", "-noout", "-text", "-in", "\(path)/apiserver.pem")
    for name in [
      "DNS:localhost", "IP Address:127.0.0.1", "IP Address:0:0:0:0:0:0:0:1", "DNS:kubernetes,",
      "DNS:kubernetes.default,",
      "DNS:kubernetes.default.svc,", "DNS:kubernetes.default.svc.cluster.local", "IP Address:10.96.0.1",
      "IP Address:10.1.2.3", "DNS:box", "DNS:api.example",
    ] { #expect(text.contains(name), "\(name)") }
    #expect(!text.contains("0.0.0.0"))
    #expect(text.contains("ASN1 OID: prime256v1") && text.contains("ecdsa-with-SHA256"))
  }

  @Test func subjectsAreWhoKubernetesExpects() async throws {
    defer { try? directory.remove() }
    let pki = try open()
    _ = try pki.node("n1", addresses: [])
    for (file, subject) in [
      ("admin.pem", "subject=O = system:masters, CN = kubernetes-admin\n"),
      ("nodes/n1.client.pem", "subject=O = system:nodes, CN = system:node:n1\n"),
      ("apiserver-node-client.pem", "subject=O = system:masters, CN = kube-apiserver-node-client\n"),
    ] {
      let said = try await openssl("x509", "-noout", "-subject", "-in", "\(path)/\(file)")
      #expect(said == subject)
    }
  }

  @Test func keysAreForTheirOwnerAlone() throws {
    defer { try? directory.remove() }
    let pki = try open()
    _ = try pki.node("n1", addresses: [])
    for file in ["ca.pem", "apiserver.pem", "admin.pem", "nodes/n1.client.pem", "nodes/n1.serving.pem"] {
      #expect(try Files.status("\(path)/\(file)")?.mode == 0o600, "\(file)")
    }
    #expect(!String(decoding: try Files.read("\(path)/ca.crt"), as: UTF8.self).contains("PRIVATE"))
  }

  @Test func whatIsThereIsTakenAgain() throws {
    defer { try? directory.remove() }
    let first = try open()
    let node = try first.node("n1", addresses: ["10.0.0.1"])
    let second = try open()
    #expect(second.serving == first.serving && second.administrator == first.administrator)
    #expect(try second.node("n1", addresses: ["10.0.0.1"]) == node)
    #expect(
      try second.node("n1", addresses: ["10.0.0.2"]).serving != node.serving, "another address, another certificate")
  }

  @Test func otherNamesMeanAnotherServingCertificateOnly() throws {
    defer { try? directory.remove() }
    let first = try open()
    let second = try open(ServerNames(advertiseAddress: "10.1.2.4"))
    #expect(second.serving != first.serving)
    #expect(second.administrator == first.administrator && second.authority == first.authority)
  }

  @Test func whatHasAThirdLeftIsRenewed() throws {
    defer { try? directory.remove() }
    let start: Int64 = 1_800_000_000
    let pki = try open(now: start)
    let before = (pki.serving, pki.administrator)
    _ = try pki.node("n1", addresses: [], now: start)
    #expect(try pki.renew(now: start + 200 * day).isEmpty)
    #expect(pki.nextRenewal > start + 240 * day && pki.nextRenewal < start + 250 * day)
    let renewed = try pki.renew(now: start + 250 * day)
    #expect(renewed == [.serving, .administrator, .nodeClient, .node("n1")])
    #expect(pki.serving != before.0 && pki.administrator != before.1)
    #expect(pki.serving.notAfter == start + (250 + 365) * day)
    #expect(try open(now: start + 251 * day).serving == pki.serving, "what was renewed is on the disk")
    // Never longer than its authority.
    _ = try pki.renew(now: start + 3600 * day)
    #expect(pki.serving.notAfter == start + 3650 * day)
    #expect(throws: PKIError.expired(file: "\(path)/ca.pem")) { _ = try open(now: start + 3651 * day) }
  }

  @Test(arguments: ["ca.pem", "apiserver.pem", "admin.pem"]) func aDamagedFileIsRefusedByNameAndKept(_ file: String)
    throws
  {
    defer { try? directory.remove() }
    _ = try open()
    let whole = try Files.read("\(path)/\(file)")
    let other = try ClusterPKI.open("\(path)/other", names: names)
    let foreign = other.administrator
    for damage in [
      [], Array("nonsense".utf8), Array(whole.prefix(whole.count / 2)), foreign.certificate + whole.suffix(250),
    ] {
      try Files.writeAtomically("\(path)/\(file)", Array(damage))
      let error = #expect(throws: PKIError.self) { _ = try open() }
      guard case .damaged(let named, _) = error else {
        Issue.record("\(String(describing: error))")
        continue
      }
      #expect(named == "\(path)/\(file)")
      #expect(try Files.read("\(path)/\(file)") == Array(damage), "nothing is overwritten")
    }
  }

  @Test func anAuthorityThatIsGoneIsNotReplacedBesideWhatItSigned() throws {
    defer { try? directory.remove() }
    _ = try open()
    try Files.remove("\(path)/ca.pem")
    #expect(throws: PKIError.self) { _ = try open() }
  }

  @Test func aCredentialOfAnotherAuthorityIsReplaced() throws {
    defer { try? directory.remove() }
    let pki = try open()
    let other = try ClusterPKI.open("\(path)/other", names: names)
    try Files.writeAtomically("\(path)/admin.pem", other.administrator.pem)
    let again = try open()
    #expect(again.administrator != other.administrator && again.authority == pki.authority)
  }

  @Test(arguments: ["", "../x", "a/b", ".hidden"]) func aNodesNameChoosesNoPath(_ name: String) throws {
    defer { try? directory.remove() }
    let pki = try open()
    #expect(throws: PKIError.self) { _ = try pki.node(name, addresses: []) }
  }

  @Test func aKubeconfigHoldsEverything() async throws {
    defer { try? directory.remove() }
    let pki = try open()
    let file = "\(path)/deep/er/admin.kubeconfig"
    let config = KubeconfigFile(
      server: "https://127.0.0.1:6443", authority: pki.authority, user: "kubernetes-admin",
      credential: pki.administrator)
    #expect(try config.write(to: file))
    #expect(try !config.write(to: file), "the same is left alone")
    #expect(try Files.status(file)?.mode == 0o600)
    let value = try #require(try YAML.parse(String(decoding: try Files.read(file), as: UTF8.self)).first)
    #expect(value["current-context"] == "kubernetes-admin@martlet")
    let cluster = value["clusters"]?[0]?["cluster"]
    #expect(cluster?["server"] == "https://127.0.0.1:6443")
    let encoded = try #require(cluster?["certificate-authority-data"]?.string)
    let outcome = try await ChildProcess.run(
      "/usr/bin/base64", arguments: ["base64", "--decode"], input: Array(encoded.utf8))
    #expect(outcome.output == pki.authority)
  }
}
