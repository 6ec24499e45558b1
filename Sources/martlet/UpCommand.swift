import ArgumentParser
import Controllers
import JSON
import Kernel
import KubeClient
import KubeModel
import PodNetwork
import Synchronization

/// `martlet up`: a one-machine cluster in one command.
struct UpCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "up",
    abstract: "Run a one-machine cluster: martletd, the API server and the node agent.",
    discussion: """
      Starts the three as processes, starts again what ends, and says when the node is ready. Pods go on while it is
      away, and the next martlet up takes them over.

      EXAMPLES
        sudo martlet up
        sudo martlet up --root /srv/martlet --run /run/martlet-b --secure-port 7443
        sudo martlet up --reset      stop it, or a joined node, remove every pod, image and object, and leave nothing

      EXIT CODES
        0  stopped when asked to        1  failure, or not ready in time with --timeout
      """)

  @Option(help: ArgumentHelp("Where images, objects and volumes are kept.", valueName: "directory"))
  var root = "/var/lib/martlet"

  @Option(help: ArgumentHelp("Where state is kept that is lost at reboot.", valueName: "directory"))
  var run: String?

  @Option(help: ArgumentHelp("martletd's configuration; /etc/martlet/martletd.toml by default.", valueName: "file"))
  var config: String?

  @Option(name: .customLong("node-name"), help: "This node's name; the host's by default.")
  var nodeName: String?

  @Option(
    name: .customLong("bind-address"), help: ArgumentHelp("Where people reach the API server.", valueName: "address"))
  var bindAddress = "127.0.0.1"

  @Option(
    name: .customLong("advertise-address"),
    help: ArgumentHelp("Where pods reach the API server; the node's own pod address by default.", valueName: "address"))
  var advertiseAddress: String?

  @Option(name: .customLong("secure-port"), help: "The API server's port.")
  var securePort = 6443

  @Option(name: .customLong("node-port"), help: "The node agent's port.")
  var nodePort = 10250

  @Option(
    name: .customLong("node-address"),
    help: ArgumentHelp(
      "Where other nodes, and people, reach this machine; at most once a family. Needed for others to join.",
      valueName: "address"))
  var nodeAddresses: [String] = []

  @Option(
    name: .customLong("pod-cidr"),
    help: ArgumentHelp(
      "Addresses of this node's pods; once a family; the first part of --cluster-cidr without.", valueName: "cidr"))
  var podCIDRs: [String] = []

  @Option(
    name: .customLong("cluster-cidr"),
    help: ArgumentHelp("Addresses of all nodes' pods, a part of which each gets; once a family.", valueName: "cidr"))
  var clusterCIDRs: [String] = []

  @Option(
    name: .customLong("pod-routing"),
    help: ArgumentHelp(
      "How pods' packets get from node to node: routes where all are on one link, vxlan where not.", valueName: "way"))
  var podRouting = PodRouting.routes

  @Option(
    name: .customLong("server-flag"), parsing: .unconditionalSingleValue,
    help: ArgumentHelp("One more of martlet server: --server-flag --node-monitor-grace-period=20.", valueName: "flag"))
  var serverFlags: [String] = []

  @Option(
    name: .customLong("service-cidr"), help: ArgumentHelp("Addresses of Services; once a family.", valueName: "cidr"))
  var serviceCIDRs: [String] = []

  @Option(
    name: .customLong("load-balancer-pool"),
    help: ArgumentHelp("Addresses for Services of type LoadBalancer.", valueName: "cidr"))
  var loadBalancerPools: [String] = []

  @Option(help: ArgumentHelp("Manifests of pods that need no API server.", valueName: "directory"))
  var manifests: String?

  @Option(help: ArgumentHelp("Where the administrator's kubeconfig is written.", valueName: "file"))
  var kubeconfig: String?

  @Option(help: ArgumentHelp("How long the node may take until it is ready.", valueName: "seconds"))
  var timeout: Int = 60

  @Flag(help: "Stop what runs here, remove everything that martlet keeps in these places, and end.")
  var reset = false

  /// The directory of programs: they are installed together.
  static let programs = "/proc/self/exe"

  func validate() throws {
    guard (1...65_535).contains(securePort) else { throw ValidationError("--secure-port \(securePort): 1 to 65535") }
    guard (1...65_535).contains(nodePort) else { throw ValidationError("--node-port \(nodePort): 1 to 65535") }
    guard timeout > 0 else { throw ValidationError("--timeout \(timeout): at least 1 second") }
  }

  func run() async throws {
    guard CurrentProcess.effectiveUser == 0 else { throw Failure("martlet up needs root", hint: "sudo martlet up") }
    let plan = try plan()
    if reset { return try await UpReset(plan: plan).run() }
    try Files.makeDirectories(plan.processLogs, mode: 0o700)
    let lock = try UpLock.take(plan.run)
    let bin = Files.parent(of: try Files.readLink(Self.programs))
    let timeout = Duration.seconds(self.timeout)
    try await Interruption.endsInOrder {
      try await Self.serve(plan, programs: bin, timeout: timeout)
    }
    Console.note("stopped; pods go on")
    withExtendedLifetime(lock) {}
  }

  /// Supervises until the task is cancelled; the first word is that the node is ready, or why it is not.
  private static func serve(_ plan: UpPlan, programs: String, timeout: Duration) async throws {
    let began = ContinuousClock.now
    let supervisor = Supervisor(logDirectory: plan.processLogs) { report($0, logs: plan.processLogs) }
    try await withThrowingTaskGroup(of: Void.self) { group in
      for process in plan.processes {
        group.addTask {
          // The agent's certificate is made by the server.
          if process.name == "node" { await until { Files.exists(plan.nodeKubeconfig) } }
          await supervisor.keep(
            name: process.name, program: "\(programs)/\(process.program)", arguments: process.arguments)
        }
      }
      if let address = DNSOptions.address(in: plan.serviceCIDRs.compactMap { IPPrefix($0) }) {
        group.addTask {
          await until { Files.exists(plan.serverSocket) }
          try await UpDNS(address: address, client: KubeClient(transport: .unix(path: plan.serverSocket))).run()
        }
      }
      group.addTask {
        await until { Files.exists(plan.serverSocket) }
        let client = KubeClient(transport: .unix(path: plan.serverSocket))
        try await UpVolumes(nodeName: plan.nodeName, root: "\(plan.root)/local-path", client: client).run()
      }
      group.addTask { await supervisor.trimLogs(of: plan.processes.map(\.name)) }
      group.addTask {
        if let problem = await ReadyWatch(plan: plan).wait(timeout: timeout) {
          try Task.checkCancellation()
          throw Failure(
            "node \(plan.nodeName) is not ready after \(timeout): \(problem)",
            hint: "see why: tail \(plan.processLogs)/*.log")
        }
        let took = (ContinuousClock.now - began).seconds
        try Console.out(plan.welcome(seconds: took))
        try? notifySystemd("READY=1")
        try await Memory.keepSettled()
      }
      defer { group.cancelAll() }
      // The first that fails ends all.
      while try await group.next() != nil {}
    }
    try Task.checkCancellation()
  }

  static func report(_ event: Supervisor.Event, logs: String) {
    switch event {
    case .started: break
    case .ended(let name, let status, let pause):
      Console.error("\(name) ended (\(status)); it starts again in \(pause); see \(logs)/\(name).log")
    case .cannotStart(let name, let error, let pause):
      Console.error("\(name) cannot be started: \(error); tried again in \(pause)")
    }
  }

  private func plan() throws -> UpPlan {
    let run = try Place.absolute(run ?? LeadingOptions.given.run ?? "/run/martlet")
    let root = try Place.absolute(root)
    let isUsual = root == "/var/lib/martlet"
    let (clusterBlocks, podBlocks) = try blocks()
    for (option, texts) in [
      ("--pod-cidr", podCIDRs), ("--service-cidr", serviceCIDRs), ("--load-balancer-pool", loadBalancerPools),
    ] {
      for text in texts where IPPrefix(text) == nil {
        throw Failure("\(option): \"\(text)\" is no range such as 10.87.0.0/16", code: Failure.usageCode)
      }
    }
    for address in nodeAddresses where IPAddress(address) == nil {
      throw Failure("--node-address: \"\(address)\" is no address", code: Failure.usageCode)
    }
    guard let advertised = advertiseAddress ?? nodeAddresses.first ?? UpPlan.nodeAddress(podCIDRs: podBlocks),
      IPAddress(advertised) != nil
    else {
      throw Failure("no address for the API server", hint: "give one: --advertise-address", code: Failure.usageCode)
    }
    return UpPlan(
      root: root, run: run, configuration: try config.map(Place.absolute),
      nodeName: try Place.nodeName(nodeName), bindAddress: bindAddress, advertiseAddress: advertised,
      securePort: securePort, nodePort: nodePort, podCIDRs: podBlocks,
      clusterCIDRs: clusterBlocks, nodeAddresses: nodeAddresses, podRouting: podRouting,
      serviceCIDRs: serviceCIDRs.isEmpty ? NodeCommand.serviceRanges : serviceCIDRs,
      manifests: try manifests.map(Place.absolute) ?? (isUsual ? "/etc/martlet/manifests" : "\(root)/manifests"),
      kubeconfig: try kubeconfig.map(Place.absolute)
        ?? (isUsual ? "/etc/martlet/admin.kubeconfig" : "\(root)/server/admin.kubeconfig"),
      logs: isUsual ? "/var/log/pods" : "\(root)/logs/pods",
      serverFlags: loadBalancerPools.flatMap { ["--load-balancer-pool", $0] } + serverFlags)
  }

  /// The cluster's pod ranges and this node's part of them.
  private func blocks() throws -> (cluster: [String], own: [String]) {
    // Who says only what is this node's means a cluster of one.
    let cluster = clusterCIDRs.isEmpty ? (podCIDRs.isEmpty ? NodeCommand.podRanges : podCIDRs) : clusterCIDRs
    if !podCIDRs.isEmpty { return (cluster, podCIDRs) }
    do throws(PodAddressing.Refusal) {
      return (cluster, try PodAddressing(clusterCIDRs: cluster).free(besides: []) ?? [])
    } catch {
      throw Failure("--cluster-cidr: \(error)", code: Failure.usageCode)
    }
  }

  /// Waits for what another process does, which tells nobody: a look every 10 ms. Ends when cancelled.
  static func until(_ condition: () -> Bool) async {
    while !condition(), !Task.isCancelled { try? await Task.sleep(for: .milliseconds(10)) }
  }

  private static func notifySystemd(_ state: String) throws(SyscallError) {
    guard let path = environmentVariable("NOTIFY_SOCKET"), !path.isEmpty else { return }
    try sendDatagram(state, to: path)
  }
}

/// Waits until the API server says that the node is ready.
private struct ReadyWatch {
  /// Between two questions; each is one request to a socket of this machine.
  static let questionEvery = Duration.milliseconds(20)

  private let plan: UpPlan
  private let client: KubeClient
  private let began = SystemClock.wallNanoseconds / 1000

  init(plan: UpPlan) {
    self.plan = plan
    client = KubeClient(transport: .unix(path: plan.serverSocket), retry: .never)
  }

  /// - Returns: nil when it is ready; what it lacks when that took too long or the task was cancelled.
  func wait(timeout: Duration) async -> String? {
    let deadline = ContinuousClock.now + timeout
    var problem = "the API server made no socket"
    while ContinuousClock.now < deadline, !Task.isCancelled {
      if Files.exists(plan.serverSocket) {
        guard let lacking = await lacking() else { return nil }
        problem = lacking
      }
      try? await Task.sleep(for: Self.questionEvery)
    }
    return problem
  }

  private func lacking() async -> String? {
    do throws(KubeError) {
      let node = try await client.get(Node.self, name: plan.nodeName)
      guard let ready = node.status.conditions.first(where: { $0.type == "Ready" }) else { return "it has not said" }
      guard ready.status == "True" else { return ready.message ?? ready.reason ?? "it says no" }
      // The objects of an earlier run are still there: what counts is that the agent of this one lives.
      let lease = try await client.get(Lease.self, name: plan.nodeName, namespace: "kube-node-lease")
      let renewed = lease.spec.renewTime?.microsecondsSinceEpoch ?? 0
      return renewed >= began ? nil : "its agent has not renewed its lease"
    } catch {
      return "\(error)"
    }
  }
}

/// One `martlet up` a place; its process is written down for whoever wants to stop it.
struct UpLock: ~Copyable {
  private let lock: FileLock

  static func path(_ run: String) -> String { "\(run)/up.lock" }
  private static func owner(_ run: String) -> String { "\(run)/up.pid" }

  static func take(_ run: String) throws -> UpLock {
    do throws(SyscallError) {
      let lock = try FileLock(path: path(run))
      try Files.writeAtomically(owner(run), Array("\(CurrentProcess.id)\n".utf8), mode: 0o644)
      return UpLock(lock: lock)
    } catch {
      throw Failure(
        "\(error)", hint: "another martlet up or join runs here; a second one needs its own --run and --root")
    }
  }

  /// The process that holds the lock; nil: nobody does.
  static func holder(_ plan: UpPlan) -> Int32? {
    guard Files.exists(path(plan.run)) else { return nil }
    do throws(SyscallError) {
      _ = try FileLock(path: path(plan.run))
      return nil
    } catch {
      guard let text = try? Files.readText(owner(plan.run)) else { return nil }
      return Int32(text.prefix { $0 != "\n" })
    }
  }
}

extension Duration {
  fileprivate var seconds: Double { Double(components.seconds) + Double(components.attoseconds) / 1e18 }
}
