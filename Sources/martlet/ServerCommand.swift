import APIServer
import ArgumentParser
import Controllers
import EtcdStore
import Kernel
import Logging
import PodNetwork
import PodTranslation

/// `martlet server`: the API server, the scheduler and the controllers, in one process.
struct ServerCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "server",
    abstract: "Serve the Kubernetes API, schedule pods and run the controllers.",
    discussion: """
      Starts from nothing but a directory: makes its certificates, its objects and an administrator's kubeconfig there.
      It may be killed at any time; the next one goes on where this one was.

      EXAMPLES
        martlet server --root ./data --run ./run
        martlet server --bind-address 10.0.0.1 --node-name worker-1 --node-name worker-2
        martlet server --etcd-servers https://10.0.0.2:2379 --etcd-cafile ca.pem --etcd-certfile me.pem --etcd-keyfile me.key
        kubectl --kubeconfig ./data/server/admin.kubeconfig get nodes

      Who comes with a client certificate is who it names, who brings a service account's or a bootstrap token is who
      that is of; a process of root, or of this server's user, on the unix socket is the administrator; nobody else is
      let in. What they may do is what roles and bindings grant.

      EXIT CODES
        0  stopped when asked to        1  failure        2  wrong usage
      """)

  @Option(help: ArgumentHelp("Where objects and certificates are kept.", valueName: "directory"))
  var root = "/var/lib/martlet"

  @Option(help: ArgumentHelp("Where the unix socket is.", valueName: "directory"))
  var run: String?

  @Option(name: .customLong("secure-port"), help: "The port of the API over TLS.")
  var securePort = 6443

  @Option(
    name: .customLong("bind-address"),
    help: ArgumentHelp("Where the API listens; 0.0.0.0 is everywhere.", valueName: "address"))
  var bindAddress = "127.0.0.1"

  @Option(
    name: .customLong("advertise-address"),
    help: ArgumentHelp(
      "Where pods and other machines reach the API; it listens there, too. It need not exist yet.",
      valueName: "address"))
  var advertiseAddress: String?

  @Option(
    name: .customLong("service-cidr"),
    help: ArgumentHelp("Addresses of Services: an IPv4 range, and an IPv6 range besides.", valueName: "cidr"))
  var serviceCIDRs: [String] = []

  @Option(
    name: .customLong("cluster-cidr"),
    help: ArgumentHelp(
      "Addresses of pods, a part of which each node gets; once a family; nodes choose without.", valueName: "cidr"))
  var clusterCIDRs: [String] = []

  @Option(
    name: .customLong("node-cidr-mask-size-ipv4"),
    help: ArgumentHelp("Length of the prefix of a node's part; a 32nd of the range without.", valueName: "bits"))
  var nodeLengthIPv4: Int?

  @Option(
    name: .customLong("node-cidr-mask-size-ipv6"),
    help: ArgumentHelp("The same for IPv6; a 65,536th of the range without.", valueName: "bits"))
  var nodeLengthIPv6: Int?

  @Option(
    name: .customLong("pod-routing"),
    help: ArgumentHelp(
      "What nodes that join are told: routes where all are on one link, vxlan where not.", valueName: "way"))
  var podRouting = PodRouting.routes

  @Option(
    name: .customLong("node-monitor-grace-period"),
    help: ArgumentHelp("Seconds of silence after which a node counts as lost.", valueName: "seconds"))
  var nodeGraceSeconds: Int64 = 40

  @Option(
    name: .customLong("load-balancer-pool"),
    help: ArgumentHelp(
      "Addresses that Services of type LoadBalancer get; may be given several times.", valueName: "cidr"))
  var loadBalancerPools: [String] = []

  @Option(
    name: .customLong("node-name"),
    help: ArgumentHelp("Make credentials for this node; may be given several times.", valueName: "name"))
  var nodeNames: [String] = []

  @Option(
    name: .customLong("kubeconfig-out"),
    help: ArgumentHelp("Where the administrator's kubeconfig is written.", valueName: "file"))
  var kubeconfigOut: String?

  @Option(
    name: .customLong("tls-san"),
    help: ArgumentHelp("One more name or address of the API in its certificate.", valueName: "name"))
  var extraNames: [String] = []

  @OptionGroup(title: "Objects") var store: StoreOptions

  @OptionGroup(title: "Security") var security: SecurityOptions

  @Flag(name: .customLong("no-scheduler"), help: "Leave scheduling to another process.")
  var noScheduler = false

  @Flag(name: .customLong("no-controllers"), help: "Leave the controllers to another process.")
  var noControllers = false

  @Flag(name: [.short, .long], help: "Say more.")
  var verbose = false

  func validate() throws {
    guard (1...65_535).contains(securePort) else { throw ValidationError("--secure-port \(securePort): 1 to 65535") }
    // Nodes say every ten seconds that they live.
    guard (12...3600).contains(nodeGraceSeconds) else {
      throw ValidationError("--node-monitor-grace-period \(nodeGraceSeconds): 12 to 3600 seconds")
    }
  }

  func run() async throws {
    let plan = try plan()
    let level: Logger.Level = verbose ? .debug : .info
    LoggingSystem.bootstrap { label in
      var handler = StreamLogHandler.standardError(label: label)
      handler.logLevel = level
      return handler
    }
    let server = ControlPlane(plan: plan, logger: Logger(label: "martlet.server"))
    try await Interruption.endsInOrder { try await server.run() }
  }

  private func plan() throws -> ServerPlan {
    func address(_ option: String, _ text: String) throws -> String {
      guard let address = IPAddress(text) else {
        throw Failure("\(option): \"\(text)\" is no address", code: Failure.usageCode)
      }
      return address.description
    }
    var plan = ServerPlan(
      root: try Place.absolute(root), run: try Place.absolute(run ?? LeadingOptions.given.run ?? "/run/martlet"),
      bindAddress: try address("--bind-address", bindAddress))
    plan.securePort = securePort
    (plan.serviceCIDR, plan.moreServiceCIDRs) = try serviceRanges()
    plan.clusterCIDRs = clusterCIDRs.flatMap { $0.split(separator: ",") }.map(String.init)
    for (family, length) in [(IPAddress.Family.ipv4, nodeLengthIPv4), (.ipv6, nodeLengthIPv6)] {
      plan.nodePrefixLengths[family] = length
    }
    plan.podRouting = podRouting
    plan.nodeGraceSeconds = nodeGraceSeconds
    do throws(PodAddressing.Refusal) {
      _ = try PodAddressing(clusterCIDRs: plan.clusterCIDRs, lengths: plan.nodePrefixLengths)
    } catch {
      throw Failure("--cluster-cidr: \(error)", code: Failure.usageCode)
    }
    plan.loadBalancerPools = loadBalancerPools
    plan.advertiseAddress =
      try advertiseAddress.map { try address("--advertise-address", $0) }
      ?? (plan.listensEverywhere ? HostFacts.addresses().first ?? "127.0.0.1" : plan.bindAddress)
    plan.nodeNames = try nodeNames.map { try Place.nodeName($0) }
    if let kubeconfigOut { plan.kubeconfig = try Place.absolute(kubeconfigOut) }
    plan.extraNames = extraNames
    plan.hostName = try Place.nodeName(nil)
    plan.etcd = try store.plan()
    plan.security = try security.plan(plan.directory)
    plan.schedules = !noScheduler
    plan.controls = !noControllers
    return plan
  }

  /// One IPv4 range, and at most one IPv6 range besides.
  private func serviceRanges() throws -> (first: String, more: [String]) {
    var found: [IPAddress.Family: String] = [:]
    for text in serviceCIDRs.flatMap({ $0.split(separator: ",") }) {
      guard let prefix = IPPrefix(text) else {
        throw Failure("--service-cidr: \"\(text)\" is no range such as 10.96.0.0/16", code: Failure.usageCode)
      }
      guard found.updateValue(String(text), forKey: prefix.address.family) == nil else {
        throw Failure("--service-cidr: one range of each family", code: Failure.usageCode)
      }
      if prefix.address.family == .ipv6, ServiceNetwork(prefix) == nil {
        throw Failure("--service-cidr: \(text): an IPv6 range is /64 to /124", code: Failure.usageCode)
      }
    }
    guard serviceCIDRs.isEmpty || found[.ipv4] != nil else {
      throw Failure("--service-cidr: one IPv4 range is needed", code: Failure.usageCode)
    }
    return (found[.ipv4] ?? ServerPlan.usualServiceCIDR, found[.ipv6].map { [$0] } ?? [])
  }
}

/// Everything that `martlet server` is told, once its options are read.
struct ServerPlan: Equatable, Sendable {
  static let usualServiceCIDR = "10.96.0.0/16"

  let root: String
  let run: String
  let bindAddress: String
  var securePort = 6443
  var advertiseAddress = ""
  var serviceCIDR = ServerPlan.usualServiceCIDR
  /// Of other families.
  var moreServiceCIDRs: [String] = []
  var clusterCIDRs: [String] = []
  var nodePrefixLengths: [IPAddress.Family: Int] = [:]
  var podRouting = PodRouting.routes
  var nodeGraceSeconds: Int64 = 40
  var loadBalancerPools: [String] = []
  var nodeNames: [String] = []
  /// The administrator's.
  var kubeconfig: String
  var extraNames: [String] = []
  var hostName = ""
  /// Where the objects are, if not in a file of ours.
  var etcd: EtcdOptions?
  var security = SecurityPlan()
  var schedules = true
  var controls = true

  init(root: String, run: String, bindAddress: String) {
    self.root = root
    self.run = run
    self.bindAddress = bindAddress
    kubeconfig = "\(root)/server/admin.kubeconfig"
  }

  var directory: String { "\(root)/server" }
  var pkiDirectory: String { "\(directory)/pki" }
  var lockFile: String { "\(directory)/lock" }
  var socket: String { "\(run)/server.sock" }

  var listensEverywhere: Bool { bindAddress == "0.0.0.0" || bindAddress == "::" }

  /// Where the API listens: the bound address, and the advertised one where that is another.
  var addresses: [String] {
    listensEverywhere || advertiseAddress == bindAddress ? [bindAddress] : [bindAddress, advertiseAddress]
  }

  /// Where a client on this machine finds the API.
  func url(port: Int) -> String {
    let host = listensEverywhere ? advertiseAddress : bindAddress
    return "https://\(host.contains(":") ? "[\(host)]" : host):\(port)"
  }

  func nodeKubeconfig(_ name: String) -> String { "\(directory)/nodes/\(name).kubeconfig" }
  /// Of the node's Service proxy and network policies.
  func proxyKubeconfig(_ name: String) -> String { "\(directory)/nodes/\(name).proxy.kubeconfig" }
  /// Certificate and key of the node's own server, in one file.
  func nodeServing(_ name: String) -> String { "\(directory)/nodes/\(name).serving.pem" }
}
