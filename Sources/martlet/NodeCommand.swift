import ArgumentParser
import CRIClient
import ClusterDNS
import Dataplane
import HTTPServer
import JSON
import Kernel
import KubeClient
import KubeModel
import Logging
import NodeAgent
import PodTranslation
import ServiceProxy
import Volumes

/// `martlet node`: the node agent and the Service load balancer, from files.
struct NodeCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "node",
    abstract: "Keep this node as its manifests and the API server say: pods, their volumes, and Services.",
    discussion: """
      Watches a directory of manifests (Pods, Services, ConfigMaps, Secrets; YAML or JSON; several to a file) and
      drives martletd through its socket. With --kubeconfig it is also a node of a cluster: it registers itself, runs
      the pods that the API server gives it, and serves their logs and streams. When it ends, pods go on running, and
      the next one takes them over.

      EXAMPLES
        sudo martlet node
        sudo martlet node --kubeconfig node.kubeconfig --node-name worker-1
        sudo martlet node --manifests ./manifests --service-cidr 10.96.0.0/16 --service-cidr fd00:96::/112

      Needs root: it mounts volumes and sets the kernel's packet rules.
      """)

  @Option(help: ArgumentHelp("The directory of manifests.", valueName: "directory"))
  var manifests = "/etc/martlet/manifests"

  @Option(help: ArgumentHelp("Where volumes are kept.", valueName: "directory"))
  var root = "/var/lib/martlet"

  @Option(help: ArgumentHelp("Where state is kept that is lost at reboot.", valueName: "directory"))
  var run: String?

  @Option(
    name: [.customLong("cri-socket"), .customLong("socket")],
    help: ArgumentHelp(
      "The container runtime's socket; martlet.sock in the run directory by default.", valueName: "path"))
  var criSocket: String?

  @Option(help: ArgumentHelp("Where pods' logs are kept.", valueName: "directory"))
  var logs: String?

  @Option(
    name: .customLong("pod-cidr"),
    help: ArgumentHelp("Addresses of pods, as martletd gives them out; may be given once a family.", valueName: "cidr"))
  var podCIDRs: [String] = []

  @Option(
    name: .customLong("service-cidr"),
    help: ArgumentHelp("Where Services without an address get theirs; may be given once a family.", valueName: "cidr"))
  var serviceCIDRs: [String] = []

  @Option(name: .customLong("node-name"), help: "This node's name; the host's by default.")
  var nodeName: String?

  @OptionGroup var cluster: ClusterOptions

  @OptionGroup var dns: DNSOptions

  @OptionGroup var tuning: NodeTuning

  @OptionGroup var routing: RoutingOptions

  @Option(name: .customLong("backoff-scale"), help: .hidden)
  var backoffScale: Double = 1

  @Flag(name: [.short, .long], help: "Say more.")
  var verbose = false

  static let podRanges = ["10.87.0.0/16", "fd87:6d61:7274::/64"]
  static let serviceRanges = ["10.96.0.0/16", "fd96:6d61:7274::/112"]

  func run() async throws {
    guard CurrentProcess.effectiveUser == 0 else {
      throw Failure("martlet node needs root", hint: "sudo martlet node")
    }
    let runDirectory = run ?? LeadingOptions.given.run ?? "/run/martlet"
    let socket = criSocket ?? LeadingOptions.given.socket ?? "\(runDirectory)/martlet.sock"
    let verbose = self.verbose
    LoggingSystem.bootstrap { label in
      var handler = StreamLogHandler.standardError(label: label)
      handler.logLevel = verbose ? .debug : .info
      return handler
    }
    let logger = Logger(label: "martlet.node")
    let place = NodePlace(runDirectory: runDirectory)
    try Files.makeDirectories(place.directory, mode: 0o755)
    let lock = try takeLock(place)
    let facts = try nodeFacts()
    var tools = NodeTools(
      runtime: try Self.client(socket), volumes: VolumeStore(root: "\(root)/volumes"), facts: facts, logger: logger)
    tools.backoff = BackoffRule(scaledBy: backoffScale)
    let proxy = try self.proxy(logger)
    let pods = try prefixes(podCIDRs, Self.podRanges, "--pod-cidr").map(\.description)
    guard let client = tools.runtime as? CRIClient else { return }
    let membership = try await cluster.join(
      facts: facts, podCIDRs: pods, root: root, proxy: proxy, runtime: client, logger: logger)
    if let membership {
      tools.serviceLinks = { membership.cluster.links(in: $0) }
      tools.notes = { membership.cluster.record($0, $1) }
      tools.hooks = membership.hooks
    }
    let ranges =
      try prefixes(podCIDRs, Self.podRanges, "--pod-cidr")
      + prefixes(serviceCIDRs, Self.serviceRanges, "--service-cidr")
    let names = try membership.flatMap {
      try dns.server(of: $0, facts: facts, ranges: ranges, logger: Logger(label: "martlet.dns"))
    }
    let router = try membership.map { membership in
      try routing.router(
        nodes: membership.wideInformers.informer(Node.self), name: facts.nodeName,
        podCIDRs: pods.compactMap { IPPrefix($0) }, addresses: { membership.place.now })
    }
    try place.describe(
      manifests: try Place.absolute(manifests), nodeName: facts.nodeName,
      podSuffix: membership == nil ? "" : "-\(facts.nodeName)")
    var settings = NodeAgent.Settings(manifests: manifests, statusFile: place.statusFile)
    settings.eviction = try tuning.eviction()
    settings.cgroups = { [root = tuning.cgroupRoot] in await NodeTuning.cgroups(client, root: root) }
    let agent = NodeAgent(settings: settings, tools: tools, cluster: membership?.cluster) { services, backends in
      await Self.sync(proxy, services, backends)
    }
    logger.info("node \(facts.nodeName): manifests in \(manifests), runtime at \(socket)")
    try await Interruption.endsInOrder {
      try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { try await client.run() }
        group.addTask { try await agent.run() }
        group.addTask { try await Memory.keepSettled() }
        if let membership {
          group.addTask { try await membership.run(agent: agent) }
        } else {
          group.addTask { try await ClusterMembership.keep(proxy) }
        }
        if let names { group.addTask { try await names.run() } }
        if tuning.readOnlyPort > 0 {
          let server = NodeReadOnly(agent: agent, runtime: client, port: tuning.readOnlyPort, logger: logger)
          group.addTask { try await server.run() }
        }
        if let router { group.addTask { try await router.run() } }
        try await group.next()
        group.cancelAll()
      }
    }
    withExtendedLifetime(lock) {}
  }

  private func takeLock(_ place: NodePlace) throws -> HeldLock {
    do throws(SyscallError) {
      return HeldLock(try FileLock(path: place.lockFile))
    } catch {
      throw Failure(
        "\(error)", hint: "another martlet node runs here; a second one needs its own --run, --root and --manifests")
    }
  }

  private static func client(_ socket: String) throws -> CRIClient {
    var options = CRIClient.Options()
    options.waitsForServer = false
    return try CRIClient(socketPath: socket, options: options)
  }

  private func prefixes(_ given: [String], _ usual: [String], _ option: String) throws -> [IPPrefix] {
    try (given.isEmpty ? usual : given).flatMap { $0.split(separator: ",") }.map { text in
      guard let prefix = IPPrefix(text) else {
        throw Failure("\(option): \"\(text)\" is no range such as \(usual[0])", code: Failure.usageCode)
      }
      return prefix
    }
  }

  private func proxy(_ logger: Logger) throws -> ServiceProxy {
    let pods = try prefixes(podCIDRs, Self.podRanges, "--pod-cidr")
    let services = try prefixes(serviceCIDRs, Self.serviceRanges, "--service-cidr")
    do throws(DataplaneError) {
      let dataplane = try Dataplane(configuration: DataplaneConfiguration(podCIDRs: pods), logger: logger)
      return ServiceProxy(
        dataplane: dataplane, ranges: services, logger: logger, waitsForServer: cluster.kubeconfig != nil)
    } catch {
      throw Failure("services: \(error)", hint: "the kernel needs nf_tables, and this program CAP_NET_ADMIN")
    }
  }

  private func nodeFacts() throws -> NodeFacts {
    var facts = NodeFacts(nodeName: try Place.nodeName(nodeName))
    let services = try prefixes(serviceCIDRs, Self.serviceRanges, "--service-cidr")
    facts.clusterDNS = dns.servers(isCluster: cluster.kubeconfig != nil, serviceRanges: services)
    facts.clusterDomain = dns.clusterDomain
    facts.hostDNS = DNSSettings(resolvConf: try Files.readText("/etc/resolv.conf") ?? "")
    // Beside everything else of this node where that was moved; else where all the world looks for them.
    facts.logRoot = try Place.absolute(logs ?? (root == "/var/lib/martlet" ? "/var/log/pods" : "\(root)/logs/pods"))
    facts.seccompRoot = "\(try Place.absolute(root))/seccomp"
    facts.hostIPs = HostFacts.addresses()
    facts.memoryCapacityBytes = HostFacts.memoryBytes()
    facts.cpuCapacityMilli = HostFacts.cpus() * 1000
    return facts
  }

  private static func sync(
    _ proxy: ServiceProxy, _ services: [Placed<Service>], _ backends: [ServiceBackend]
  ) async -> [ServiceReport] {
    let targets = backends.map { backend in
      ServiceTarget(
        namespace: backend.namespace, labels: backend.labels, addresses: backend.addresses.compactMap { IPAddress($0) },
        isReady: backend.isReady, namedPorts: backend.namedPorts.compactMapValues { UInt16(exactly: $0) })
    }
    return await proxy.sync(services: services.map(\.object), targets: targets).map { outcome in
      ServiceReport(
        namespace: outcome.namespace, name: outcome.name, clusterIPs: outcome.addresses.map(\.description),
        ports: outcome.ports.map { port in
          ServiceReport.Port(
            name: port.name, transport: port.transport, port: Int32(port.port),
            endpoints: port.endpoints.map { endpoint in
              endpoint.address.family == .ipv6
                ? "[\(endpoint.address)]:\(endpoint.port)" : "\(endpoint.address):\(endpoint.port)"
            })
        }, problem: outcome.problem)
    }
  }
}

/// Keeps the lock as long as a reference to it lives.
private final class HeldLock: Sendable {
  private let lock: FileLock

  init(_ lock: consuming FileLock) { self.lock = lock }
}

/// The files by which `martlet node` is found by others.
struct NodePlace {
  let directory: String

  init(runDirectory: String) { directory = "\(runDirectory)/node" }

  var statusFile: String { "\(directory)/status.json" }
  var lockFile: String { "\(directory)/lock" }
  private var placeFile: String { "\(directory)/place.json" }

  /// - Parameter podSuffix: what the names of this node's pods of files end in.
  func describe(manifests: String, nodeName: String, podSuffix: String) throws(SyscallError) {
    let place: JSONValue = [
      "manifests": .string(manifests), "node": .string(nodeName), "podSuffix": .string(podSuffix),
    ]
    try Files.writeAtomically(placeFile, place.encoded(pretty: true), mode: 0o644)
  }

  /// Where the node agent that runs here looks for manifests, and its name; nil: none runs here.
  func running() -> (manifests: String, nodeName: String, podSuffix: String)? {
    guard Files.exists(lockFile) else { return nil }
    do throws(SyscallError) {
      // Whoever can take the lock knows that nobody holds it.
      _ = try FileLock(path: lockFile)
      return nil
    } catch {
      if error.errno != Errno.addressInUse { return nil }
    }
    guard let bytes = try? Files.read(placeFile), let value = try? JSONValue.parse(bytes),
      let manifests = value["manifests"]?.string, let name = value["node"]?.string
    else { return nil }
    return (manifests, name, value["podSuffix"]?.string ?? "")
  }
}
