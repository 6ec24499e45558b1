import Controllers
import HTTPServer
import Kernel
import KubeClient
import Logging
import Scheduler

/// The scheduler and the controllers of one server. Of several servers on the same objects, one has each at a time, by the
/// Leases `kube-scheduler` and `kube-controller-manager`.
struct Reconcilers: Sendable {
  let plan: ServerPlan
  let signer: CertificateSigner
  let respond: @Sendable (HTTPRequest) async -> HTTPResponse
  private let logger = Logger(label: "martlet.lease")

  init(
    plan: ServerPlan, signer: CertificateSigner, respond: @escaping @Sendable (HTTPRequest) async -> HTTPResponse
  ) {
    (self.plan, self.signer, self.respond) = (plan, signer, respond)
  }

  /// Until cancelled. Whoever loses a lease stops at once and begins anew, from nothing: what it knew is of a time that
  /// is over.
  func run() async throws {
    let identity = try self.identity()
    while true {
      do {
        try await term(identity)
      } catch let lost as LeaderElection.Lost {
        try Task.checkCancellation()
        logger.error("scheduler and controllers stop, and begin anew: \(lost)")
      }
    }
  }

  /// The same for each life of a server on these directories, of which there is one at a time: the next one goes on with
  /// the lease that a killed one left behind.
  private func identity() throws -> String {
    let path = "\(plan.directory)/identity"
    if let text = try Files.readText(path), !text.isEmpty { return text }
    let made = "\(plan.hostName)_\(randomHex(bytes: 8))"
    try Files.writeAtomically(path, Array(made.utf8), mode: 0o600, durable: true)
    return made
  }

  private func client(_ name: String, _ transport: KubeTransport) -> KubeClient {
    KubeClient(transport: transport, userAgent: name)
  }

  private func term(_ identity: String) async throws {
    let transport = ServerTransport.make(respond)
    // Each object is decoded and held once for all.
    let informers = Informers(
      client: client("martlet-server", transport), logger: Logger(label: "martlet.informers"))
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await informers.run() }
      if plan.schedules {
        let scheduler = Scheduler(
          client: client("martlet-scheduler", transport), informers: informers,
          logger: Logger(label: "martlet.scheduler"))
        lead(&group, "kube-scheduler", identity, transport) { try await scheduler.run() }
      }
      if plan.controls {
        lead(&group, "kube-controller-manager", identity, transport) { try await control(transport, informers) }
      }
      defer { group.cancelAll() }
      // None has an end of its own; the first that fails ends all.
      while try await group.next() != nil {}
    }
  }

  private func lead(
    _ group: inout ThrowingTaskGroup<Void, any Error>, _ name: String, _ identity: String, _ transport: KubeTransport,
    _ body: @escaping @Sendable () async throws -> Void
  ) {
    let election = LeaderElection(
      client: client("martlet-lease", transport), name: name, identity: identity, logger: logger)
    group.addTask { try await election.run(body) }
  }

  private func control(_ transport: KubeTransport, _ informers: Informers) async throws {
    var configuration = ControllersConfiguration()
    configuration.clusterCIDRs = plan.clusterCIDRs
    configuration.nodePrefixLengths = plan.nodePrefixLengths
    configuration.clusterFacts =
      ClusterFacts(
        clusterCIDRs: plan.clusterCIDRs, serviceCIDRs: [plan.serviceCIDR] + plan.moreServiceCIDRs,
        routing: plan.podRouting
      ).annotations
    configuration.nodeGraceSeconds = plan.nodeGraceSeconds
    configuration.nodeCheckSeconds = min(configuration.nodeCheckSeconds, plan.nodeGraceSeconds)
    configuration.loadBalancerPools = plan.loadBalancerPools
    let controllers = Controllers(
      client: client("martlet-controllers", transport), informers: informers, configuration: configuration,
      logger: Logger(label: "martlet.controllers"))
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await controllers.run() }
      group.addTask {
        try await CertificateControl.run(
          client: client("martlet-certificates", transport), informers: informers, signer: signer,
          logger: Logger(label: "martlet.certificates"))
      }
      defer { group.cancelAll() }
      while try await group.next() != nil {}
    }
  }
}
