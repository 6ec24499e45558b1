import ArgumentParser
import CRIClient
import CRIModel
import HTTPServer
import Kernel
import KubeClient
import KubeModel
import Logging
import NetworkPolicies
import NodeAgent
import PodTranslation
import ServiceProxy

/// How a node belongs to a cluster.
struct ClusterOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "The API server and the node's credentials there; without it there are manifests alone.",
      valueName: "file"))
  var kubeconfig: String?

  @Option(
    name: .customLong("serving-certificate"),
    help: ArgumentHelp(
      "Certificate and key of the node's own server, PEM; beside the kubeconfig by default.", valueName: "file"))
  var servingCertificate: String?

  @Option(
    name: .customLong("node-address"),
    help: ArgumentHelp(
      "The node's address for the cluster, where its own server listens, too; by default the one in its pod range, "
        + "which leads nowhere else. May be given once a family.",
      valueName: "address"))
  var nodeAddresses: [String] = []

  @Option(name: .customLong("node-port"), help: ArgumentHelp("The port of the node's own server.", valueName: "port"))
  var nodePort = 10_250

  @Option(name: .customLong("max-pods"), help: ArgumentHelp("Pods that the node says it takes.", valueName: "number"))
  var podsMax = 110

  /// Seconds that a kubeconfig which is not there yet is waited for: the server makes it when it starts.
  private static let kubeconfigSecondsMax: Int64 = 60

  /// - Returns: nil without a kubeconfig.
  func join(
    facts: NodeFacts, podCIDRs: [String], root: String, proxy: ServiceProxy, runtime: CRIClient, logger: Logger
  ) async throws -> ClusterMembership? {
    guard let kubeconfig else { return nil }
    try await waitFor(kubeconfig)
    let configuration: Kubeconfig
    let transport: KubeTransport
    do throws(KubeError) {
      configuration = try Kubeconfig.load(path: kubeconfig)
      transport = try KubeTransport.kubeconfig(path: kubeconfig)
    } catch {
      throw Failure("\(error)", hint: "give the file that the server wrote for this node: --kubeconfig FILE")
    }
    let client = KubeClient(transport: transport, userAgent: "martlet-node")
    let informers = Informers(client: client, logger: logger)
    let services = informers.informer(Service.self)
    let nodeName = facts.nodeName
    let dataplane = proxy.dataplane
    // All pods of the cluster are needed for policies, which a node's own identity may not see.
    let wide = try Self.proxyClient(beside: kubeconfig) ?? client
    let wideInformers = Informers(client: wide, logger: logger)
    let policies = PodPolicies(
      dataplane: dataplane, client: wide, informers: wideInformers, nodeName: nodeName, logger: logger)
    let desk = ServiceDesk(
      proxy: proxy, reports: ServiceReports(client: wide, nodeName: nodeName, logger: logger), logger: logger)
    let served = ServedServices(
      desk: desk, proxy: proxy, services: services, slices: informers.informer(EndpointSlice.self),
      nodes: informers.informer(Node.self, fieldSelector: "metadata.name=\(nodeName)"), nodeName: nodeName,
      logger: logger, beforeRelease: { await policies.settle() })
    let place = NodeAddresses(given: nodeAddresses, podCIDRs: podCIDRs.compactMap { IPPrefix($0) })
    let cluster = Cluster(
      client: client, nodeName: facts.nodeName, services: services, hostIPs: { place.now },
      logger: logger,
      withdraw: { await served.withdraw(pod: $0) },
      isolate: { try await policies.isolate($0, addresses: $1) })
    var certificate = servingCertificate ?? "\(kubeconfig).serving.pem"
    if servingCertificate == nil, kubeconfig.hasSuffix(".kubeconfig") {
      certificate = kubeconfig.dropLast(".kubeconfig".count) + ".serving.pem"
    }
    var profile = NodeProfile(name: facts.nodeName)
    profile.architecture = HostFacts.architecture
    profile.kernelVersion = HostFacts.line("/proc/sys/kernel/osrelease")
    profile.osImage = HostFacts.osImage()
    profile.machineID = HostFacts.line("/etc/machine-id")
    profile.systemUUID = HostFacts.line("/sys/class/dmi/id/product_uuid")
    if profile.systemUUID.isEmpty { profile.systemUUID = profile.machineID }
    profile.bootID = HostFacts.line("/proc/sys/kernel/random/boot_id")
    profile.cpuMilli = facts.cpuCapacityMilli
    profile.memoryBytes = facts.memoryCapacityBytes
    profile.podsMax = podsMax
    profile.podCIDRs = podCIDRs
    profile.serverPort = Int32(clamping: nodePort)
    return ClusterMembership(
      cluster: cluster, informers: informers, wideInformers: wideInformers, served: served, policies: policies,
      proxy: proxy, configuration: configuration, runtime: runtime,
      place: place, port: nodePort, certificate: certificate, root: root, profile: profile, logger: logger)
  }

  /// `worker-1.proxy.kubeconfig` beside `worker-1.kubeconfig`, where the server wrote one.
  private static func proxyClient(beside kubeconfig: String) throws -> KubeClient? {
    let suffix = ".kubeconfig"
    guard kubeconfig.hasSuffix(suffix) else { return nil }
    let path = kubeconfig.dropLast(suffix.count) + ".proxy" + suffix
    guard Files.exists(String(path)) else { return nil }
    do throws(KubeError) {
      return KubeClient(transport: try KubeTransport.kubeconfig(path: String(path)), userAgent: "martlet-proxy")
    } catch {
      throw Failure("\(error)", hint: "give the file that the server wrote for this node's proxy: \(path)")
    }
  }

  private func waitFor(_ path: String) async throws {
    let deadline = SystemClock.bootNanoseconds + Self.kubeconfigSecondsMax * 1_000_000_000
    while !Files.exists(path) {
      guard SystemClock.bootNanoseconds < deadline else {
        throw Failure(
          "there is no kubeconfig \(path)", hint: "martlet server writes one for each node that it is told of")
      }
      try await Task.sleep(for: .milliseconds(50))
    }
  }
}

/// By which addresses the cluster knows this node: one of each family at most.
struct NodeAddresses: Sendable {
  let given: [String]
  let podCIDRs: [IPPrefix]

  /// Those of this moment: the pod network brings its own when the runtime starts.
  var now: [String] {
    if !given.isEmpty { return given }
    let all = HostFacts.addresses()
    let inside = all.filter { text in
      guard let address = IPAddress(text) else { return false }
      return podCIDRs.contains { $0.contains(address) }
    }
    var families: Set<Bool> = []
    return (inside.isEmpty ? all : inside).filter { families.insert($0.contains(":")).inserted }
  }
}

/// All that a node does because it belongs to a cluster.
struct ClusterMembership: Sendable {
  let cluster: Cluster
  let informers: Informers
  /// Of the whole cluster's pods and namespaces, for policies.
  let wideInformers: Informers
  let served: ServedServices
  let policies: PodPolicies
  let proxy: ServiceProxy
  let configuration: Kubeconfig
  let runtime: CRIClient
  let place: NodeAddresses
  let port: Int
  /// Of the node's own server.
  let certificate: String
  let root: String
  let profile: NodeProfile
  let logger: Logger

  /// Between two looks at the certificate, which is renewed under a running server; also between tries to bind.
  private static let certificateLook = Duration.seconds(30)
  private static let bindRetry = Duration.milliseconds(250)

  /// Until cancelled.
  func run(agent: NodeAgent) async throws {
    let registrar = NodeRegistrar(cluster: cluster, logger: logger) { await self.look(agent) }
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await self.informers.run() }
      group.addTask { try await self.wideInformers.run() }
      group.addTask { await self.policies.run() }
      group.addTask { await self.served.run() }
      group.addTask { try await Self.followAddresses(proxy) }
      group.addTask { await registrar.run() }
      group.addTask { try await self.serve(agent) }
      try await group.next()
      group.cancelAll()
    }
  }

  /// What a node does for its Services that belongs to no cluster, until cancelled.
  static func keep(_ proxy: ServiceProxy) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { await proxy.watch() }
      group.addTask { try await followAddresses(proxy) }
      try await group.next()
      group.cancelAll()
    }
  }

  /// Node ports stand at every address of this node, also at those that come later.
  private static func followAddresses(_ proxy: ServiceProxy) async throws {
    while !Task.isCancelled {
      await proxy.stand(at: HostFacts.addresses().compactMap { IPAddress($0) })
      try await Task.sleep(for: Self.addressLook)
    }
  }

  /// Between two looks at this node's addresses.
  private static let addressLook = Duration.seconds(10)

  /// What others do to this node's pods at turns of their lives.
  var hooks: PodHooks {
    var hooks = PodHooks()
    hooks.beforeStop = { [served] pod, _ in await served.suspend(pod: pod.uid) }
    return hooks
  }

  private func look(_ agent: NodeAgent) async -> (profile: NodeProfile, health: NodeHealth) {
    let root = root
    var profile = profile
    profile.storageBytes = await onFreshThread { Int64(clamping: (try? Files.space(root))?.totalBytes ?? 0) }
    var health = NodeHealth(await agent.pressures)
    // They may come after us: the pod network brings its own.
    profile.addresses = place.now
    do {
      profile.runtimeVersion = "martlet://\(try await runtimeVersion())"
      health.runtimeProblem = await agent.runtimeProblem
    } catch {
      health.runtimeProblem = (error as? CRIError)?.description ?? "Version: no answer within \(Self.versionMax)"
    }
    return (profile, health)
  }

  /// A runtime that takes longer than this to say its version does not work; the lease must not wait for it.
  private static let versionMax = Duration.seconds(8)

  private func runtimeVersion() async throws -> String {
    try await withThrowingTaskGroup(of: String.self) { group in
      group.addTask { try await runtime.version().runtimeVersion }
      group.addTask {
        try await Task.sleep(for: Self.versionMax)
        throw CancellationError()
      }
      defer { group.cancelAll() }
      return try await group.next() ?? ""
    }
  }

  // MARK: the node's own server

  private func serve(_ agent: NodeAgent) async throws {
    let server = NodeServer(agent: agent, runtime: runtime, logger: logger)
    var hasFailed = false
    while !Task.isCancelled {
      do {
        let identity = try self.identity()
        let tls = try HTTPTLS(identity)
        let places = place.now
        guard !places.isEmpty else {
          throw Failure("this node has no address yet", hint: "martletd brings one; else give it: --node-address")
        }
        let hasLoopback = places.contains { ["127.0.0.1", "0.0.0.0", "::"].contains($0) }
        let hosts = hasLoopback ? places : ["127.0.0.1"] + places
        let listeners = hosts.map { HTTPListener.tcp(host: $0, port: port, tls: tls) }
        let bound = try await HTTPServer.bind(
          listeners, logger: logger, handler: { await server.respond(to: $0) })
        logger.info("the node's server listens at \(bound.addresses.joined(separator: ", "))")
        try await withThrowingTaskGroup(of: Void.self) { group in
          group.addTask { try await bound.run() }
          group.addTask { try await self.renew(tls, identity) }
          try await group.next()
          group.cancelAll()
        }
      } catch {
        if Task.isCancelled { return }
        if !hasFailed { logger.error("the node's server: \(error); tried again every \(Self.bindRetry)") }
        hasFailed = true
        try await Task.sleep(for: Self.bindRetry)
      }
    }
  }

  private func renew(_ tls: HTTPTLS, _ first: HTTPTLSIdentity) async throws {
    var known = first
    while !Task.isCancelled {
      try await Task.sleep(for: Self.certificateLook)
      do {
        let identity = try self.identity()
        guard identity != known else { continue }
        try tls.replace(identity)
        known = identity
        logger.info("the node's server has a new certificate")
      } catch {
        logger.error("the node's server keeps its certificate: \(error)")
      }
    }
  }

  private func identity() throws -> HTTPTLSIdentity {
    // Certificate and key are one file, so that they are never of two times; each is found in it by its own label.
    let pem = try Files.read(certificate, maxBytes: 1 << 20)
    let authorities: [UInt8]
    switch configuration.certificateAuthority {
    case .bytes(let bytes)?: authorities = bytes
    case .file(let path)?: authorities = try Files.read(path, maxBytes: 1 << 20)
    case nil: throw Failure("the kubeconfig names no certificate authority", hint: "clients could not be checked")
    }
    return HTTPTLSIdentity(certificateChain: pem, privateKey: pem, authorities: authorities)
  }
}
