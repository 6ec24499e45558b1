import ArgumentParser
import JSON
import Kernel
import KubeClient
import KubeModel
import Logging
import PKI

/// `martlet join`: makes this machine a node of a cluster that runs elsewhere.
struct JoinCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "join",
    abstract: "Get this machine's credentials from a cluster that runs elsewhere.",
    discussion: """
      Holds the server's authority against the hash that was given, proves itself by a bootstrap token, and has its
      certificates signed: as a node, for the node's own server, and for its Service proxy. Run again without a token,
      it renews them by the ones that it has.

      EXAMPLES
        martlet token create                     on the server: prints the command for the node
        martlet join https://10.0.0.1:6443 --token 07401b.f395accd246ae52d --ca-hash sha256:1f3c…
        sudo martlet join https://10.0.0.1:6443 --token … --ca-hash … --up     join, and be a node from now on
        sudo martlet join https://10.0.0.1:6443 --up                           be it again

      EXIT CODES
        0  the node has its credentials        1  failure        2  wrong usage
      """)

  @Argument(help: "Where the cluster's API is: https://HOST:PORT.")
  var server: String

  @Option(help: ArgumentHelp("A bootstrap token; the node's own certificate counts without.", valueName: "id.secret"))
  var token: String?

  @Option(
    name: .customLong("ca-hash"),
    help: ArgumentHelp("What the authority's public key must be: sha256:HEX.", valueName: "hash"))
  var hash: String?

  @Option(name: .customLong("node-name"), help: "This node's name; the host's by default.")
  var nodeName: String?

  @Option(
    name: .customLong("node-address"),
    help: ArgumentHelp("Where the node is reached; may be given several times; all by default.", valueName: "address"))
  var addresses: [String] = []

  @Option(help: ArgumentHelp("Where volumes and credentials are kept.", valueName: "directory"))
  var root = "/var/lib/martlet"

  @Option(help: ArgumentHelp("Where state is kept that is lost at reboot.", valueName: "directory"))
  var run: String?

  @Option(help: ArgumentHelp("martletd's configuration; /etc/martlet/martletd.toml by default.", valueName: "file"))
  var config: String?

  @Option(help: ArgumentHelp("Seconds until it gives up.", valueName: "seconds"))
  var timeout = 120

  @Flag(help: "Then run martletd and the node agent, until stopped; pods go on while they are away.")
  var up = false

  func validate() throws {
    guard server.hasPrefix("https://") else { throw ValidationError("\(server): https://HOST:PORT is expected") }
    guard token == nil || hash != nil else {
      throw ValidationError("--ca-hash: is needed with --token, or the token would be anybody's who answers")
    }
    guard (1...3600).contains(timeout) else { throw ValidationError("--timeout \(timeout): 1 to 3600 seconds") }
  }

  func run() async throws {
    let name = try Place.nodeName(nodeName)
    let directory = "\(try Place.absolute(root))/node"
    for address in addresses where IPAddress(address) == nil {
      throw Failure("--node-address: \"\(address)\" is no address", code: Failure.usageCode)
    }
    let join = Join(
      server: server, name: name, addresses: addresses.isEmpty ? HostFacts.addresses() : addresses,
      directory: directory)
    let (token, hash, seconds) = (token, hash, timeout)
    let node: Node
    do {
      node = try await withThrowingTaskGroup(of: Node.self) { group in
        group.addTask { try await join.run(token: token, hash: hash) }
        group.addTask {
          try await Task.sleep(for: .seconds(seconds))
          throw Failure(
            "join \(server): not done after \(seconds) s",
            hint: "do the server's controllers run? kubectl get csr says what waits")
        }
        defer { group.cancelAll() }
        guard let node = try await group.next() else { throw CancellationError() }
        return node
      }
    } catch let error as KubeError {
      throw Failure("join \(server): \(error)", hint: Self.hint(error))
    } catch let error as PKIError {
      throw Failure("join \(server): \(error)")
    }
    let plan = JoinPlan(
      root: try Place.absolute(root), run: try Place.absolute(run ?? LeadingOptions.given.run ?? "/run/martlet"),
      configuration: try config.map(Place.absolute), name: name, kubeconfig: join.kubeconfig,
      addresses: join.addresses, podCIDRs: node.spec.podCIDRs, facts: ClusterFacts(node))
    if up {
      try await plan.serve()
    } else {
      try Console.out(
        """
        This machine has its credentials as node \(name). As root, what it runs now; or again, with --up:

        \(plan.commands)

        """)
    }
  }

  private static func hint(_ error: KubeError) -> String? {
    if error.message.contains("Unauthorized") { return "is the token right, and not too old? martlet token list" }
    return nil
  }
}

/// The steps of a node on its way into a cluster.
struct Join: Sendable {
  let server: String
  let name: String
  let addresses: [String]
  let directory: String

  var kubeconfig: String { "\(directory)/\(name).kubeconfig" }
  private var proxyKubeconfig: String { "\(directory)/\(name).proxy.kubeconfig" }
  private var serving: String { "\(directory)/\(name).serving.pem" }

  /// - Returns: the node, with its pod ranges where the server gives any.
  func run(token: String?, hash: String?) async throws -> Node {
    try Files.makeDirectories(directory, mode: 0o700)
    var configuration: Kubeconfig
    let authority: [UInt8]
    if let token, let hash {
      authority = try await fetchAuthority(hash: hash)
      configuration = Kubeconfig(server: server)
      configuration.certificateAuthority = .bytes(authority)
      configuration.token = .bytes(Array(token.utf8))
    } else {
      configuration = try Kubeconfig.load(path: kubeconfig)
      guard case .bytes(let known)? = configuration.certificateAuthority else {
        throw Failure("\(kubeconfig): it holds no authority", hint: "join again with --token and --ca-hash")
      }
      authority = known
    }
    let bootstrap = try client(configuration)
    let node = try await certificate(
      CredentialRequest(commonName: "system:node:\(name)", organizations: ["system:nodes"], use: .client),
      "kubernetes.io/kube-apiserver-client-kubelet", by: bootstrap)
    var own = Kubeconfig(server: server)
    own.certificateAuthority = .bytes(authority)
    own.clientCertificate = .bytes(node.certificate)
    own.clientKey = .bytes(node.privateKey)
    let asNode = try client(own)
    try await register(asNode)
    let serving = try await certificate(
      CredentialRequest(
        commonName: "system:node:\(name)", organizations: ["system:nodes"], use: .server,
        names: [name, "localhost", "127.0.0.1"] + addresses), "kubernetes.io/kubelet-serving", by: asNode)
    let proxy = try await certificate(
      CredentialRequest(
        commonName: "system:kube-proxy:\(name)", organizations: ["system:kube-proxies"], use: .client),
      "martlet.local/node-proxy", by: asNode)
    try Files.writeAtomically(
      self.serving, serving.certificate + serving.privateKey, mode: 0o600, durable: true)
    try write(proxy, user: "system:kube-proxy:\(name)", authority, to: proxyKubeconfig)
    // Last: whoever waits for it finds the rest.
    try write(node, user: "system:node:\(name)", authority, to: kubeconfig)
    return try await ranges(asNode)
  }

  /// What a server that gives ranges may take for it.
  private static let rangesMax = Duration.seconds(3)

  /// The node, once the server has given it addresses for pods.
  private func ranges(_ client: KubeClient) async throws -> Node {
    var node: Node = try await client.get(name: name)
    let (name, first) = (name, node)
    try await withThrowingTaskGroup(of: Node?.self) { group in
      group.addTask {
        var node = first
        var options = WatchOptions(fieldSelector: "metadata.name=\(name)")
        while node.spec.podCIDRs.isEmpty {
          options.resourceVersion = node.metadata.resourceVersion
          for try await event in try await client.watch(Node.self, options) {
            guard case .modified(let changed) = event else { break }
            node = changed
            if !node.spec.podCIDRs.isEmpty { return node }
          }
          node = try await client.get(name: name)
        }
        return node
      }
      group.addTask {
        try await Task.sleep(for: Self.rangesMax)
        return nil
      }
      defer { group.cancelAll() }
      if let found = try await group.next() { if let found { node = found } }
    }
    if node.spec.podCIDRs.isEmpty {
      Console.note("the server gives no pod ranges (martlet server --cluster-cidr): choose one that no other node has")
    }
    return node
  }

  private func write(
    _ credential: (certificate: [UInt8], privateKey: [UInt8]), user: String, _ authority: [UInt8], to path: String
  ) throws {
    let file = KubeconfigFile(
      server: server, authority: authority, user: user,
      credential: Credential(certificate: credential.certificate, privateKey: credential.privateKey))
    try file.write(to: path)
  }

  private func client(_ configuration: Kubeconfig) throws(KubeError) -> KubeClient {
    KubeClient(transport: try KubeTransport.kubeconfig(configuration), userAgent: "martlet-join")
  }

  /// The authority of whoever answers, if it is the one that was meant. Nothing secret is sent before.
  private func fetchAuthority(hash: String) async throws -> [UInt8] {
    var anybody = Kubeconfig(server: server)
    anybody.isInsecure = true
    let pem = try await client(anybody).raw(KubeRequest(.get, "/cacerts"))
    let found = try AuthorityPin.pin(ofAuthority: pem)
    guard found == hash.lowercased() else {
      throw Failure(
        "join \(server): the authority there is \(found), not \(hash)",
        hint: "somebody else answers there, or the cluster has a new authority: martlet token create says which")
    }
    return pem
  }

  /// The node, with its addresses, before its agent runs: a serving certificate is for what the cluster knows of it.
  private func register(_ client: KubeClient) async throws(KubeError) {
    var node = Node()
    node.metadata.name = name
    node.metadata.labels["kubernetes.io/hostname"] = name
    do throws(KubeError) {
      node = try await client.create(node)
    } catch {
      guard error.isAlreadyExists else { throw error }
      node = try await client.get(name: name)
    }
    let wanted = addresses
    let hostName = name
    _ = try await client.updateStatus(retrying: node) { fresh in
      let known = Set(fresh.status.addresses.map(\.address))
      let missing = (wanted.map { ("InternalIP", $0) } + [("Hostname", hostName)]).filter { !known.contains($0.1) }
      for (type, address) in missing {
        var entry = NodeAddress()
        entry.type = type
        entry.address = address
        fresh.status.addresses.append(entry)
      }
      return !missing.isEmpty
    }
  }

  /// Has a certificate signed, and waits for it.
  private func certificate(
    _ wanted: CredentialRequest, _ signer: String, by client: KubeClient
  ) async throws -> (certificate: [UInt8], privateKey: [UInt8]) {
    let made = try SigningRequest.make(wanted)
    var request = CertificateSigningRequest()
    request.metadata.generateName = "node-csr-"
    request.spec.request = Bytes(made.request)
    request.spec.signerName = signer
    request.spec.usages = ["digital signature", wanted.use == .server ? "server auth" : "client auth"]
    request = try await client.create(request)
    let requestName = request.metadata.name ?? ""
    var options = WatchOptions(fieldSelector: "metadata.name=\(requestName)")
    while true {
      if let done = try Self.outcome(of: request) { return (done, made.privateKey) }
      options.resourceVersion = request.metadata.resourceVersion
      let watch = try await client.watch(CertificateSigningRequest.self, options)
      for try await event in watch {
        if case .error = event { break }
        guard case .modified(let changed) = event else { continue }
        request = changed
        if let done = try Self.outcome(of: changed) { return (done, made.privateKey) }
      }
      request = try await client.get(name: requestName)
    }
  }

  private static func outcome(of request: CertificateSigningRequest) throws -> [UInt8]? {
    if let certificate = request.status.certificate, !certificate.bytes.isEmpty { return certificate.bytes }
    for condition in request.status.conditions where ["Denied", "Failed"].contains(condition.type) {
      throw Failure(
        "certificate request \(request.metadata.name ?? ""): \(condition.type): \(condition.message ?? "")",
        hint: "kubectl describe csr \(request.metadata.name ?? "") on the server says more")
    }
    return nil
  }
}
