import APIServer
import HTTPServer
import Kernel
import Logging
import ObjectStore
import PKI
import Synchronization

/// What `martlet server` runs: certificates, the store, the API over TLS and on the unix socket, and what reconciles.
struct ControlPlane: Sendable {
  let plan: ServerPlan
  let logger: Logger

  /// Until cancelled, or until a part of it fails.
  func run() async throws {
    do {
      try await runParts()
    } catch let failure as Failure {
      throw failure
    } catch let cancelled as CancellationError {
      throw cancelled
    } catch let error as SyscallError {
      throw error
    } catch {
      // What the rooms throw says itself what it was about.
      throw Failure("\(error)")
    }
  }

  private func runParts() async throws {
    try prepare()
    let lock = try takeLock()
    let pki = try await certificates()
    let encryption = try encryption()
    let store = try await openStore(encryption)
    let audit = try auditLog()
    do {
      try await serve(pki, store, encryption, audit)
    } catch {
      await store.close()
      await audit?.close()
      throw error
    }
    await store.close()
    await audit?.close()
    withExtendedLifetime(lock) {}
  }

  // MARK: before

  private func prepare() throws {
    // No one but this server's user reads objects and keys, also where an earlier hand made it wider.
    try Files.makeDirectories(plan.directory, mode: 0o700)
    try Files.chmod(plan.directory, mode: 0o700)
    try Files.makeDirectories(plan.run, mode: 0o700)
  }

  private func takeLock() throws -> ServerLock {
    do throws(SyscallError) {
      return ServerLock(try FileLock(path: plan.lockFile))
    } catch {
      throw Failure("\(error)", hint: "another martlet server runs here; a second one needs its own --root and --run")
    }
  }

  private func certificates() async throws -> ClusterPKI {
    guard let network = IPv4Network(plan.serviceCIDR) else {
      throw Failure("--service-cidr: \(plan.serviceCIDR) gives no addresses; /8 to /30", code: Failure.usageCode)
    }
    let names = ServerNames(
      advertiseAddress: plan.advertiseAddress, bindAddress: plan.bindAddress, serviceAddress: network.first,
      hostName: plan.hostName,
      extra: plan.extraNames + plan.moreServiceCIDRs.compactMap { IPPrefix($0).flatMap(ServiceNetwork.init)?.first })
    let directory = plan.pkiDirectory
    do {
      return try await onFreshThread { () throws(PKIError) in try ClusterPKI.open(directory, names: names) }
    } catch {
      throw Failure("certificates: \(error)")
    }
  }

  // MARK: serving

  private func serve(
    _ pki: ClusterPKI, _ store: ObjectStore, _ encryption: EncryptionConfiguration?, _ audit: AuditLog?
  ) async throws {
    let tls = try HTTPTLS(Self.identity(pki))
    let api = try makeServer(pki, store, audit)
    try await api.bootstrap()
    if plan.security.rewrites, let encryption {
      let count = try await api.rewrite(folders: encryption.folders)
      logger.info("wrote \(count) objects anew, as \(plan.security.encryption ?? "") says")
    }
    let listeners: [HTTPListener] =
      [.unix(path: plan.socket)] + plan.addresses.map { .tcp(host: $0, port: plan.securePort, tls: tls) }
    let server: HTTPServer
    do throws(HTTPServerError) {
      server = try await HTTPServer.bind(listeners, logger: Logger(label: "martlet.http")) { await api.respond(to: $0) }
    } catch {
      throw Failure("\(error)", hint: "what listens there? choose another: --secure-port, --bind-address")
    }
    let port = server.ports.first ?? plan.securePort
    try writeKubeconfigs(pki, port: port)
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await server.run() }
      group.addTask { try await api.run() }
      group.addTask { try await api.keepSecrets() }
      group.addTask { try await Memory.keepSettled() }
      group.addTask { try await renewCertificates(pki, tls, port: port) }
      if plan.schedules || plan.controls {
        let reconcilers = Reconcilers(plan: plan, signer: Self.signer(pki)) { await api.respond(to: $0) }
        group.addTask { try await reconcilers.run() }
      }
      try announce(server, port: port)
      defer { group.cancelAll() }
      // Whichever ends first ends the others: none of them has an end of its own.
      try await group.next()
    }
  }

  private func makeServer(_ pki: ClusterPKI, _ store: ObjectStore, _ audit: AuditLog?) throws -> APIServer {
    guard let network = IPv4Network(plan.serviceCIDR) else { throw Failure("--service-cidr: \(plan.serviceCIDR)") }
    let authority = pki.authority
    var configuration = APIServerConfiguration(
      serviceNetwork: network, advertiseAddress: plan.advertiseAddress,
      authorityPEM: String(decoding: authority, as: UTF8.self))
    configuration.securePort = UInt16(plan.securePort)
    configuration.moreServiceNetworks = plan.moreServiceCIDRs.compactMap { IPPrefix($0).flatMap(ServiceNetwork.init) }
    var access = Access(reader: ObjectReader(store: store)) {
      let client = pki.nodeClient
      return HTTPDialIdentity(
        authorities: authority, certificateChain: client.certificate, privateKey: client.privateKey)
    }
    access.authenticator = Authenticator(ownUser: CurrentProcess.effectiveUser)
    access.tokens = try tokens(access.reader)
    access.audit = audit
    return APIServer(
      configuration: configuration, store: store, access: access, logger: Logger(label: "martlet.api"))
  }

  private func announce(_ server: HTTPServer, port: Int) throws {
    logger.info("ready: \(plan.url(port: port)) and \(plan.socket)")
    try Console.out(
      """
      The API is served at \(plan.url(port: port)).

        kubectl --kubeconfig \(plan.kubeconfig) get nodes

      """)
    guard let path = environmentVariable("NOTIFY_SOCKET"), !path.isEmpty else { return }
    do throws(SyscallError) {
      try sendDatagram("READY=1", to: path)
    } catch {
      logger.warning("telling systemd: \(error)")
    }
  }

  // MARK: certificates

  private static func identity(_ pki: ClusterPKI) -> HTTPTLSIdentity {
    let serving = pki.serving
    return HTTPTLSIdentity(
      certificateChain: serving.certificate, privateKey: serving.privateKey, authorities: pki.authority)
  }

  private func writeKubeconfigs(_ pki: ClusterPKI, port: Int) throws {
    let url = plan.url(port: port)
    try KubeconfigFile(
      server: url, authority: pki.authority, user: "kubernetes-admin", credential: pki.administrator
    ).write(to: plan.kubeconfig)
    for name in plan.nodeNames {
      let addresses = [plan.advertiseAddress] + HostFacts.addresses()
      let credentials: ClusterPKI.NodeCredentials
      do throws(PKIError) {
        credentials = try pki.node(name, addresses: addresses)
      } catch {
        throw Failure("node \(name): \(error)")
      }
      try Files.makeDirectories("\(plan.directory)/nodes", mode: 0o700)
      // The kubeconfig last: whoever waits for it finds the rest.
      try Files.writeAtomically(plan.nodeServing(name), credentials.serving.pem, mode: 0o600, durable: true)
      try KubeconfigFile(
        server: url, authority: pki.authority, user: "system:kube-proxy:\(name)", credential: credentials.proxy
      ).write(to: plan.proxyKubeconfig(name))
      try KubeconfigFile(
        server: url, authority: pki.authority, user: "system:node:\(name)", credential: credentials.client
      ).write(to: plan.nodeKubeconfig(name))
    }
  }

  /// The longest wait between two looks at the clock, which may be set in between.
  private static let renewalLookSeconds: Int64 = 3600
  /// After a renewal that failed.
  private static let renewalRetrySeconds: Int64 = 60

  private func renewCertificates(_ pki: ClusterPKI, _ tls: HTTPTLS, port: Int) async throws {
    var wait = Self.wait(pki)
    while true {
      try await Task.sleep(for: .seconds(wait))
      do {
        let renewed = try await onFreshThread { () throws(PKIError) in try pki.renew() }
        wait = Self.wait(pki)
        guard !renewed.isEmpty else { continue }
        try tls.replace(Self.identity(pki))
        try writeKubeconfigs(pki, port: port)
        logger.info("certificates renewed: \(renewed.map { "\($0)" }.sorted().joined(separator: ", "))")
      } catch {
        logger.error("certificates: \(error); tried again in \(Self.renewalRetrySeconds) s")
        wait = Self.renewalRetrySeconds
      }
    }
  }

  private static func wait(_ pki: ClusterPKI) -> Int64 {
    let now = SystemClock.wallNanoseconds / 1_000_000_000
    return min(max(pki.nextRenewal - now, 1), renewalLookSeconds)
  }
}

/// Keeps the lock as long as a reference to it lives.
private final class ServerLock: Sendable {
  private let lock: FileLock

  init(_ lock: consuming FileLock) { self.lock = lock }
}
