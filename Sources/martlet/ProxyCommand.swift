import ArgumentParser
import Dataplane
import HTTPServer
import Kernel
import KubeClient
import KubeModel
import Logging
import NetworkPolicies
import ServiceProxy

/// `martlet proxy`: the Service dataplane alone, in place of kube-proxy.
struct ProxyCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "proxy",
    abstract: "Lead connections to Services, in place of kube-proxy.",
    discussion: """
      Follows the Services and EndpointSlices of any Kubernetes API server, or those of a file, and keeps one nftables
      table ("inet martlet") that leads connections to their endpoints. A change costs what changed. When it ends the
      table stays, so that a restart loses no connection; martlet proxy --cleanup takes it away.

      EXAMPLES
        sudo martlet proxy --kubeconfig /etc/kubernetes/kube-proxy.conf --cluster-cidr 10.244.0.0/16
        sudo martlet proxy --file services.yaml
        sudo martlet proxy --kubeconfig proxy.conf --nodeport-addresses 192.0.2.0/24 --network-policies
        curl localhost:10256/healthz; curl localhost:10249/metrics
        martlet dataplane show

      A node that martlet node runs needs no proxy beside it. Needs root: it sets the kernel's packet rules.

      EXIT CODES
        0  stopped when asked to        1  failure        2  wrong usage
      """)

  @Option(help: ArgumentHelp("The API server, and who we are there.", valueName: "file"))
  var kubeconfig: String?

  @Option(
    help: ArgumentHelp(
      "Services and EndpointSlices, as YAML or JSON, in place of an API server's; read again when it changes.",
      valueName: "file"))
  var file: String?

  @Option(
    name: [.customLong("hostname-override"), .customLong("node-name")],
    help: ArgumentHelp("This node's name; the host's by default.", valueName: "name"))
  var nodeName: String?

  @Option(
    name: [.customLong("cluster-cidr"), .customLong("pod-cidr")],
    help: ArgumentHelp(
      "Addresses of pods: those keep theirs on the way to a Service's endpoint. May be given once a family.",
      valueName: "cidr"))
  var podCIDRs: [String] = []

  @Option(
    name: .customLong("nodeport-addresses"),
    help: ArgumentHelp(
      "Node ports stand at this node's addresses in these ranges; at all of them by default, never at loopback.",
      valueName: "cidr"))
  var nodePortAddresses: [String] = []

  @Option(
    name: .customLong("healthz-bind-address"),
    help: ArgumentHelp("Where /healthz and /livez are answered; empty: nowhere.", valueName: "address:port"))
  var healthAddress = "0.0.0.0:10256"

  @Option(
    name: .customLong("metrics-bind-address"),
    help: ArgumentHelp("Where /metrics is answered; empty: nowhere.", valueName: "address:port"))
  var metricsAddress = "127.0.0.1:10249"

  @Option(
    name: .customLong("service-proxy-name"),
    help: ArgumentHelp("Serve those Services only that name this proxy in their label.", valueName: "name"))
  var proxyName = ""

  @Flag(name: .customLong("masquerade-all"), help: "Give everything that is sent to a Service this node's address.")
  var masqueradeAll = false

  @Flag(
    name: .customLong("external-ips"),
    help: "Serve spec.externalIPs, by which anyone who may write Services takes over traffic to any address.")
  var servesExternalIPs = false

  @Flag(
    name: .customLong("network-policies"),
    help: "Hold this node's pods to NetworkPolicies, too, where the pod network does not.")
  var holdsPolicies = false

  @Flag(help: "Take the table away and end.")
  var cleanup = false

  @Option(help: ArgumentHelp("Where state is kept that is lost at reboot.", valueName: "directory"))
  var run: String?

  @Flag(name: [.short, .long], help: "Say more.")
  var verbose = false

  func validate() throws {
    if cleanup { return }
    guard (kubeconfig == nil) != (file == nil) else {
      throw ValidationError("one of --kubeconfig and --file is needed")
    }
    if holdsPolicies, file != nil { throw ValidationError("--network-policies needs --kubeconfig") }
    for (option, text) in [("--healthz-bind-address", healthAddress), ("--metrics-bind-address", metricsAddress)]
    where !text.isEmpty && Self.listener(text) == nil {
      throw ValidationError("\(option): \"\(text)\" is no address and port such as 0.0.0.0:10256")
    }
  }

  func run() async throws {
    guard CurrentProcess.effectiveUser == 0 else {
      throw Failure("martlet proxy needs root", hint: "sudo martlet proxy")
    }
    let level: Logger.Level = verbose ? .debug : .info
    LoggingSystem.bootstrap { label in
      var handler = StreamLogHandler.standardError(label: label)
      handler.logLevel = level
      return handler
    }
    let logger = Logger(label: "martlet.proxy")
    let dataplane = try self.dataplane(logger)
    if cleanup { return try await Self.flush(dataplane) }
    let lock = try takeLock()
    let ranges = try prefixes(nodePortAddresses, "--nodeport-addresses")
    let work = try source(dataplane, logger)
    try await Interruption.endsInOrder {
      try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { try await work.run() }
        group.addTask { try await Self.followAddresses(work.proxy, ranges) }
        try await serve(work, &group, logger)
        group.addTask { try await Memory.keepSettled() }
        logger.info("node \(work.nodeName): Services of \(work.place)")
        try Self.notifySystemd(logger)
        defer { group.cancelAll() }
        try await group.next()
      }
    }
    withExtendedLifetime(lock) {}
  }

  static func flush(_ dataplane: Dataplane) async throws {
    do throws(DataplaneError) {
      try await dataplane.flush()
    } catch {
      throw Failure("\(error)")
    }
  }

  // MARK: parts

  private func dataplane(_ logger: Logger) throws -> Dataplane {
    let configuration = DataplaneConfiguration(
      podCIDRs: try prefixes(podCIDRs, "--cluster-cidr"), masqueradeAll: masqueradeAll)
    do throws(DataplaneError) {
      return try Dataplane(configuration: configuration, logger: logger)
    } catch {
      throw Failure("services: \(error)", hint: "the kernel needs nf_tables, and this program CAP_NET_ADMIN")
    }
  }

  private func prefixes(_ given: [String], _ option: String) throws -> [IPPrefix] {
    try given.flatMap { $0.split(separator: ",") }.map { text in
      guard let prefix = IPPrefix(text) else {
        throw Failure("\(option): \"\(text)\" is no range such as 10.244.0.0/16", code: Failure.usageCode)
      }
      return prefix
    }
  }

  /// One owner of the table.
  private func takeLock() throws -> ProxyLock {
    let directory = run ?? LeadingOptions.given.run ?? "/run/martlet"
    if NodePlace(runDirectory: directory).running() != nil {
      throw Failure("martlet node runs here and leads to Services itself", hint: "another node: give it its own --run")
    }
    do throws(SyscallError) {
      try Files.makeDirectories(directory, mode: 0o755)
      return ProxyLock(try FileLock(path: "\(directory)/proxy.lock"))
    } catch {
      throw Failure(
        "\(error)", hint: "another martlet proxy runs here; in another network namespace give it its own --run")
    }
  }

  private func source(_ dataplane: Dataplane, _ logger: Logger) throws -> ProxyWork {
    let name = try Place.nodeName(nodeName)
    var rules = ServedService.Rules()
    rules.servesExternalIPs = servesExternalIPs
    rules.proxyName = proxyName
    let proxy = ServiceProxy(dataplane: dataplane, logger: logger, waitsForServer: true)
    if let file {
      let path = try Place.absolute(file)
      guard Files.exists(path) else { throw Failure("there is no file \(path)") }
      let desk = ServiceDesk(proxy: proxy, logger: logger)
      let filed = FiledServices(
        desk: desk, proxy: proxy, path: path, node: ProxyNode(name: name), rules: rules, logger: logger)
      return ProxyWork(
        proxy: proxy, health: ProxyHealth(proxy: proxy, nodeName: name), nodeName: name, place: path
      ) { await filed.run() }
    }
    return try followed(dataplane, proxy, name, rules, logger)
  }

  private func followed(
    _ dataplane: Dataplane, _ proxy: ServiceProxy, _ name: String, _ rules: ServedService.Rules, _ logger: Logger
  ) throws -> ProxyWork {
    let path = kubeconfig ?? ""
    let transport: KubeTransport
    do throws(KubeError) {
      transport = try KubeTransport.kubeconfig(path: path)
    } catch {
      throw Failure("\(error)", hint: "give the kubeconfig of kube-proxy: --kubeconfig FILE")
    }
    let client = KubeClient(transport: transport, userAgent: "martlet-proxy")
    let informers = Informers(client: client, logger: logger)
    let nodes = informers.informer(Node.self, fieldSelector: "metadata.name=\(name)")
    let desk = ServiceDesk(
      proxy: proxy, reports: ServiceReports(client: client, nodeName: name, logger: logger), logger: logger)
    let policies =
      holdsPolicies
      ? PodPolicies(dataplane: dataplane, client: client, informers: informers, nodeName: name, logger: logger) : nil
    var settings = ServedServices.Settings()
    settings.rules = rules
    let served = ServedServices(
      desk: desk, proxy: proxy, services: informers.informer(Service.self, labelSelector: nil),
      slices: informers.informer(EndpointSlice.self), nodes: nodes, nodeName: name, settings: settings, logger: logger,
      beforeRelease: { await policies?.settle() })
    let health = ProxyHealth(proxy: proxy, nodes: nodes, nodeName: name, pending: { served.pending })
    return ProxyWork(proxy: proxy, health: health, nodeName: name, place: path) {
      await desk.setProxyHealthy { await proxy.health.isHealthy }
      try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { try await informers.run() }
        group.addTask { await served.run() }
        if let policies { group.addTask { await policies.run() } }
        defer { group.cancelAll() }
        try await group.next()
      }
    }
  }

  /// Node ports stand at addresses that come later as well.
  private static func followAddresses(_ proxy: ServiceProxy, _ ranges: [IPPrefix]) async throws {
    while !Task.isCancelled {
      let all = HostFacts.addresses().compactMap { IPAddress($0) }
      await proxy.stand(at: ranges.isEmpty ? all : all.filter { address in ranges.contains { $0.contains(address) } })
      try await Task.sleep(for: addressLook)
    }
  }

  /// Between two looks at this node's addresses.
  private static let addressLook = Duration.seconds(10)

  // MARK: health and metrics

  private static func listener(_ text: String) -> HTTPListener? {
    guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]) else { return nil }
    let host = String(text[..<colon].filter { $0 != "[" && $0 != "]" })
    guard IPAddress(host) != nil else { return nil }
    return .tcp(host: host, port: Int(port), tls: nil)
  }

  private func serve(
    _ work: ProxyWork, _ group: inout ThrowingTaskGroup<Void, any Error>, _ logger: Logger
  ) async throws {
    let health = work.health
    let servers: [(String, String, HTTPServer.Handler)] = [
      ("--healthz-bind-address", healthAddress, { await health.answerHealth($0) }),
      ("--metrics-bind-address", metricsAddress, { await health.answerMetrics($0) }),
    ]
    for (option, text, handler) in servers where !text.isEmpty {
      guard let listener = Self.listener(text) else { continue }
      do throws(HTTPServerError) {
        let server = try await HTTPServer.bind([listener], logger: logger, handler: handler)
        group.addTask { try await server.run() }
      } catch {
        throw Failure("\(error)", hint: "is kube-proxy still running here? choose another place: \(option)")
      }
    }
  }

  private static func notifySystemd(_ logger: Logger) throws {
    guard let path = environmentVariable("NOTIFY_SOCKET"), !path.isEmpty else { return }
    do throws(SyscallError) {
      try sendDatagram("READY=1", to: path)
    } catch {
      logger.warning("telling systemd: \(error)")
    }
  }
}

/// What a proxy does, whatever tells it of Services.
private struct ProxyWork: Sendable {
  let proxy: ServiceProxy
  let health: ProxyHealth
  let nodeName: String
  let place: String
  let run: @Sendable () async throws -> Void
}

/// Keeps the lock as long as a reference to it lives.
private final class ProxyLock: Sendable {
  private let lock: FileLock

  init(_ lock: consuming FileLock) { self.lock = lock }
}
