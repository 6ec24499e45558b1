import Kernel
import KubeClient
import KubeModel
import Logging
import PodNetwork

/// What a joined machine runs, as a value.
struct JoinPlan: Equatable, Sendable {
  var root: String
  var run: String
  /// martletd's; nil: its usual one.
  var configuration: String?
  var name: String
  var kubeconfig: String
  /// By which the cluster knows this node.
  var addresses: [String]
  var podCIDRs: [String]
  /// Nil where the server has not said: then the programs' own are taken.
  var facts: ClusterFacts?

  var processLogs: String { "\(run)/logs" }

  var processes: [UpPlan.Process] {
    func all(_ option: String, _ values: [String]) -> [String] { values.flatMap { [option, $0] } }
    let places = ["--root", root, "--run", run]
    let ranges =
      all("--pod-cidr", podCIDRs) + all("--service-cidr", facts?.serviceCIDRs ?? [])
      + all("--cluster-cidr", facts?.clusterCIDRs ?? [])
    // One address a family is what a Node has; those of pods lead nowhere.
    var families: Set<Bool> = []
    let blocks = podCIDRs.compactMap { IPPrefix($0) }
    let own = addresses.filter { text in
      guard let address = IPAddress(text), !blocks.contains(where: { $0.contains(address) }) else { return false }
      return families.insert(address.family == .ipv4).inserted
    }
    let manifests = root == "/var/lib/martlet" ? [] : ["--manifests", "\(root)/manifests"]
    return [
      UpPlan.Process(
        name: "martletd", program: "martletd",
        arguments: places + ranges + (configuration.map { ["--config", $0] } ?? [])),
      UpPlan.Process(
        name: "node", program: "martlet",
        arguments: ["node"] + places + ranges + ["--kubeconfig", kubeconfig, "--node-name", name]
          + all("--node-address", own) + (facts.map { ["--pod-routing", $0.routing.rawValue] } ?? []) + manifests),
    ]
  }

  /// For a person who starts them by hand.
  var commands: String {
    processes.map { "  \($0.program) \($0.arguments.joined(separator: " "))" }.joined(separator: "\n")
  }

  /// Supervises them until the task is cancelled.
  func serve() async throws {
    guard CurrentProcess.effectiveUser == 0 else { throw Failure("being a node needs root", hint: "sudo martlet join") }
    try Files.makeDirectories(processLogs, mode: 0o700)
    let lock = try UpLock.take(run)
    let programs = Files.parent(of: try Files.readLink(UpCommand.programs))
    let logs = processLogs
    let client = KubeClient(transport: try KubeTransport.kubeconfig(path: kubeconfig), userAgent: "martlet-join")
    let volumes = UpVolumes(
      nodeName: name, root: "\(root)/local-path", client: client, mayWriteVolumes: false)
    let supervisor = Supervisor(logDirectory: logs) { UpCommand.report($0, logs: logs) }
    LoggingSystem.bootstrap(StreamLogHandler.standardError)
    Console.note("node \(name): pods from \(podCIDRs.joined(separator: ", ")); what the parts say: \(logs)")
    try await Interruption.endsInOrder {
      try await withThrowingTaskGroup(of: Void.self) { group in
        for process in processes {
          group.addTask {
            await supervisor.keep(
              name: process.name, program: "\(programs)/\(process.program)", arguments: process.arguments)
          }
        }
        group.addTask { await supervisor.trimLogs(of: processes.map(\.name)) }
        group.addTask { try await volumes.run() }
        group.addTask { try await Memory.keepSettled() }
        defer { group.cancelAll() }
        while try await group.next() != nil {}
      }
    }
    Console.note("stopped; pods go on")
    withExtendedLifetime(lock) {}
  }
}
