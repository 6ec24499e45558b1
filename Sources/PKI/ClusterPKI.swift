internal import FoundationEssentials
internal import Kernel
internal import Synchronization
internal import X509

/// The names by which clients know the API server.
package struct ServerNames: Hashable, Sendable {
  package var advertiseAddress: String
  package var bindAddress: String
  /// The first address of the Services: `kubernetes.default`.
  package var serviceAddress: String
  package var hostName: String
  package var extra: [String]

  package init(
    advertiseAddress: String, bindAddress: String = "", serviceAddress: String = "10.96.0.1", hostName: String = "",
    extra: [String] = []
  ) {
    self.advertiseAddress = advertiseAddress
    self.bindAddress = bindAddress
    self.serviceAddress = serviceAddress
    self.hostName = hostName
    self.extra = extra
  }

  package var all: [String] {
    [
      "localhost", "127.0.0.1", "::1", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
      "kubernetes.default.svc.cluster.local", serviceAddress, advertiseAddress,
    ] + ([bindAddress].filter { $0 != "0.0.0.0" && $0 != "::" }) + [hostName] + extra
  }
}

/// A cluster's certificates: its authority, and what it signed for the server, its administrator and its nodes.
///
/// Kept as PEM files in one directory, mode 0600, certificate and key in one file so that they are never of two times.
/// What is due is renewed when the directory is opened and by `renew`; what is damaged is refused by name. Blocks on
/// the disk.
package final class ClusterPKI: Sendable {
  /// The authority's certificate, for everybody.
  package let authority: [UInt8]
  private let directory: String
  private let names: ServerNames
  private let state: Mutex<State>

  private struct State {
    var authority: KeyPair
    var serving: Credential
    var administrator: Credential
    var nodeClient: Credential
    var nodes: [String: NodeCredentials] = [:]
  }

  /// What one node needs.
  package struct NodeCredentials: Hashable, Sendable {
    /// By which the node asks the API server.
    package var client: Credential
    /// By which its own server is known.
    package var serving: Credential
    /// By which its Service proxy and network policies ask the API server: they see pods of other nodes, too.
    package var proxy: Credential
    package var addresses: [String]
  }

  package static let administratorRequest = CredentialRequest(
    commonName: "kubernetes-admin", organizations: ["system:masters"], use: .client)
  package static let nodeClientRequest = CredentialRequest(
    commonName: "kube-apiserver-node-client", organizations: ["system:masters"], use: .client)

  /// Loads what is there, and makes what is missing or due.
  /// - Parameter now: seconds since 1970.
  /// - Throws: `.damaged` for a file that cannot be what it must be; nothing is overwritten then.
  package static func open(
    _ directory: String, names: ServerNames, now: Int64 = SystemClock.wallNanoseconds / 1_000_000_000
  ) throws(PKIError) -> ClusterPKI {
    do {
      try Files.makeDirectories("\(directory)/nodes", mode: 0o700)
    } catch {
      throw .disk(reason: "\(error)")
    }
    let authority = try loadAuthority(directory, now)
    let shop = Workshop(directory: directory, authority: authority, now: now)
    let state = State(
      authority: authority, serving: try shop.credential("apiserver.pem", servingRequest(names)),
      administrator: try shop.credential("admin.pem", administratorRequest),
      nodeClient: try shop.credential("apiserver-node-client.pem", nodeClientRequest))
    return try ClusterPKI(directory, names, state)
  }

  private init(_ directory: String, _ names: ServerNames, _ state: consuming State) throws(PKIError) {
    self.directory = directory
    self.names = names
    do {
      authority = try state.authority.credential().certificate
      // For those who look for the authority alone.
      let file = "\(directory)/ca.crt"
      if (try? Files.read(file)) != authority { try Files.writeAtomically(file, authority, mode: 0o644) }
    } catch {
      throw .disk(reason: "\(directory)/ca.crt: \(error)")
    }
    self.state = Mutex(state)
  }

  private static func servingRequest(_ names: ServerNames) -> CredentialRequest {
    CredentialRequest(commonName: "kube-apiserver", use: .server, names: names.all)
  }

  private static func loadAuthority(_ directory: String, _ now: Int64) throws(PKIError) -> KeyPair {
    let file = "\(directory)/ca.pem"
    guard let known = try Workshop.read(file) else {
      // What is signed by an authority that is gone cannot be told from anybody's.
      for other in ["apiserver.pem", "admin.pem"] where Files.exists("\(directory)/\(other)") {
        throw .damaged(file: file, reason: "the authority is missing beside what it signed")
      }
      do {
        let made = try KeyPair.makeAuthority(now: now)
        try Files.writeAtomically(file, try made.credential().pem, mode: 0o600, durable: true)
        return made
      } catch {
        throw .disk(reason: "\(error)")
      }
    }
    let pair = try KeyPair(pem: known, file: file)
    guard case .some(.isCertificateAuthority) = try? pair.certificate.extensions.basicConstraints else {
      throw .damaged(file: file, reason: "the certificate is not an authority's")
    }
    guard KeyPair.seconds(pair.certificate.notValidAfter) > now else { throw .expired(file: file) }
    return pair
  }

  // MARK: what there is

  /// Signs what others bring.
  var signingPair: KeyPair { state.withLock { $0.authority } }

  package var serving: Credential { state.withLock { $0.serving } }
  package var administrator: Credential { state.withLock { $0.administrator } }
  /// By which the API server asks the nodes' servers.
  package var nodeClient: Credential { state.withLock { $0.nodeClient } }

  /// Credentials of a node, made or renewed where needed.
  /// - Parameter addresses: of the node's own server, besides its name.
  package func node(
    _ name: String, addresses: [String], now: Int64 = SystemClock.wallNanoseconds / 1_000_000_000
  ) throws(PKIError) -> NodeCredentials {
    let shop = Workshop(directory: directory, authority: state.withLock { $0.authority }, now: now)
    let made = try Self.makeNode(name, addresses, shop)
    state.withLock { $0.nodes[name] = made }
    return made
  }

  private static func makeNode(
    _ name: String, _ addresses: [String], _ shop: Workshop
  ) throws(PKIError) -> NodeCredentials {
    guard !name.isEmpty, !name.contains("/"), !name.hasPrefix(".") else {
      throw .issue(name: name, reason: "this cannot be a node's name")
    }
    let client = CredentialRequest(
      commonName: "system:node:\(name)", organizations: ["system:nodes"], use: .client)
    let serving = CredentialRequest(
      commonName: "system:node:\(name)", organizations: ["system:nodes"], use: .server,
      names: [name, "localhost", "127.0.0.1", "::1"] + addresses)
    let proxy = CredentialRequest(
      commonName: "system:kube-proxy:\(name)", organizations: ["system:kube-proxies"], use: .client)
    return NodeCredentials(
      client: try shop.credential("nodes/\(name).client.pem", client),
      serving: try shop.credential("nodes/\(name).serving.pem", serving),
      proxy: try shop.credential("nodes/\(name).proxy.pem", proxy), addresses: addresses)
  }

  // MARK: renewal

  /// Something that was renewed, and that whoever uses it must take anew.
  package enum Renewed: Hashable, Sendable { case serving, administrator, nodeClient, node(String) }

  /// Renews what is due.
  package func renew(
    now: Int64 = SystemClock.wallNanoseconds / 1_000_000_000
  ) throws(PKIError) -> Set<Renewed> {
    var old = state.withLock { $0 }
    let shop = Workshop(directory: directory, authority: old.authority, now: now)
    var renewed: Set<Renewed> = []
    let serving = try shop.credential("apiserver.pem", Self.servingRequest(names))
    if serving != old.serving { renewed.insert(.serving) }
    let administrator = try shop.credential("admin.pem", Self.administratorRequest)
    if administrator != old.administrator { renewed.insert(.administrator) }
    let nodeClient = try shop.credential("apiserver-node-client.pem", Self.nodeClientRequest)
    if nodeClient != old.nodeClient { renewed.insert(.nodeClient) }
    for (name, known) in old.nodes {
      let made = try Self.makeNode(name, known.addresses, shop)
      if made != known { renewed.insert(.node(name)) }
      old.nodes[name] = made
    }
    let nodes = old.nodes
    state.withLock { state in
      state.serving = serving
      state.administrator = administrator
      state.nodeClient = nodeClient
      state.nodes.merge(nodes) { _, new in new }
    }
    return renewed
  }

  /// When something is due next, in seconds since 1970.
  package var nextRenewal: Int64 {
    state.withLock { state in
      let nodes = state.nodes.values.flatMap { [$0.client, $0.serving, $0.proxy] }
      return ([state.serving, state.administrator, state.nodeClient] + nodes).map(\.renewalTime).min() ?? .max
    }
  }
}

/// Loads credentials from files, and makes those that are missing, due or for somebody else.
private struct Workshop {
  let directory: String
  let authority: KeyPair
  let now: Int64

  static func read(_ file: String) throws(PKIError) -> [UInt8]? {
    guard Files.exists(file) else { return nil }
    do {
      return try Files.read(file, maxBytes: 1 << 20)
    } catch {
      throw .disk(reason: "\(error)")
    }
  }

  func credential(_ name: String, _ request: CredentialRequest) throws(PKIError) -> Credential {
    let file = "\(directory)/\(name)"
    if let known = try Self.read(file) {
      let pair = try KeyPair(pem: known, file: file)
      do {
        let credential = try pair.credential()
        if pair.fits(request, of: authority), !credential.isDue(at: now) { return credential }
      } catch {
        throw .damaged(file: file, reason: "\(error)")
      }
    }
    do {
      let made = try authority.issue(request, now: now).credential()
      try Files.writeAtomically(file, made.pem, mode: 0o600, durable: true)
      return made
    } catch {
      throw .issue(name: request.commonName, reason: "\(error)")
    }
  }
}
