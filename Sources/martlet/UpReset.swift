import CRIClient
import CRIModel
import Dataplane
import Kernel
import Logging
import PodNetwork

/// `martlet up --reset`: whatever runs is stopped, and everything that the node keeps goes.
struct UpReset: Sendable {
  /// How long a running martlet up may take to stop, and the runtime to start.
  static let waitMax = Duration.seconds(40)
  /// Pods that are removed at the same time.
  static let podsAtOnce = 8

  let plan: UpPlan

  func run() async throws {
    try await stopRunning()
    try requireNobody()
    try await removePods()
    try await removeNetwork()
    try removeFiles()
    Console.note("nothing of Martlet is left in \(plan.root) and \(plan.run)")
  }

  private func stopRunning() async throws {
    guard let holder = UpLock.holder(plan) else { return }
    Console.note("stopping martlet up, process \(holder)")
    try DaemonSignal.terminate.send(to: holder)
    let deadline = ContinuousClock.now + Self.waitMax
    await UpCommand.until { UpLock.holder(plan) == nil || ContinuousClock.now > deadline }
    guard UpLock.holder(plan) == nil else {
      throw Failure("martlet up, process \(holder), did not stop", hint: "end it, then reset again")
    }
  }

  /// Daemons that somebody started by hand are not ours to stop.
  private func requireNobody() throws {
    let locks = [
      ("martletd", "\(plan.run)/martletd.lock"), ("martlet node", "\(plan.run)/node/lock"),
      ("martlet server", "\(plan.serverDirectory)/lock"),
    ]
    for (name, path) in locks where Files.exists(path) {
      do throws(SyscallError) {
        _ = try FileLock(path: path)
      } catch {
        guard error.errno == Errno.addressInUse else { throw error }
        throw Failure("\(name) is running here", hint: "stop it, then reset again")
      }
    }
  }

  /// Through the runtime, which knows what belongs to a pod.
  private func removePods() async throws {
    let records = "\(plan.run)/pods"
    guard Files.exists(records), try !Directory(path: records).list().isEmpty else { return }
    let logs = plan.processLogs
    try Files.makeDirectories(logs)
    let supervisor = Supervisor(logDirectory: logs) { _ in }
    guard let runtime = plan.processes.first(where: { $0.name == "martletd" }) else { return }
    let bin = Files.parent(of: try Files.readLink(UpCommand.programs))
    let keeping = Task {
      await supervisor.keep(name: runtime.name, program: "\(bin)/\(runtime.program)", arguments: runtime.arguments)
    }
    do {
      try await removePods(logs: logs)
    } catch {
      keeping.cancel()
      await keeping.value
      throw error
    }
    keeping.cancel()
    await keeping.value
  }

  private func removePods(logs: String) async throws {
    var options = CRIClient.Options()
    options.waitsForServer = true
    try await CRIClient.connected(to: plan.runtimeSocket, options: options) { client in
      let pods = try await client.listPodSandboxes()
      if !pods.isEmpty { Console.note("removing \(pods.count) \(pods.count == 1 ? "pod" : "pods")") }
      try await withThrowingTaskGroup(of: Void.self) { group in
        var left = pods[...]
        var atWork = 0
        while !left.isEmpty || atWork > 0 {
          while atWork < Self.podsAtOnce, let pod = left.popFirst() {
            atWork += 1
            group.addTask {
              try await client.stopPodSandbox(pod.id)
              try await client.removePodSandbox(pod.id)
              let name = "\(pod.metadata.namespace)_\(pod.metadata.name)_\(pod.metadata.uid)"
              try Files.removeTree("\(plan.logs)/\(name)")
            }
          }
          try await group.next()
          atWork -= 1
        }
      }
    }
  }

  private func removeNetwork() async throws {
    try await PodNetwork.removeNode()
    let dataplane = try Dataplane(configuration: DataplaneConfiguration(podCIDRs: []), logger: Logger(label: "reset"))
    try await dataplane.flush()
  }

  /// What martlet writes, by name: the places may be somebody's own directories, with more in them.
  private func removeFiles() throws {
    for place in [plan.root, plan.run] { try VolumeMount.detachAll(below: place) }
    let ofRoot = [
      "images", "layers", "containers", "volumes", "local-path", "server", "seccomp", "logs", "blobs", "ingest", "cni",
      "node",
      "martletd.lock",
    ]
    for name in ofRoot { try Files.removeTree("\(plan.root)/\(name)") }
    let ofRun = [
      "pods", "netns", "network", "node", "logs", "martlet.sock", "martlet.sock.lock", "server.sock",
      "server.sock.lock", "martletd.lock", "up.lock", "up.pid", "cni", "metrics.sock", "metrics.sock.lock",
    ]
    for name in ofRun { try Files.removeTree("\(plan.run)/\(name)") }
    try Files.removeTree(plan.kubeconfig)
    // Manifests are a person's; the directory for them is ours.
    if let manifests = try? Directory(path: plan.manifests).list(), manifests.isEmpty {
      try Files.removeTree(plan.manifests)
    }
    for place in [plan.root, plan.run] where Files.exists(place) {
      let left = try Directory(path: place).list().map(\.name).sorted()
      if left.isEmpty {
        try Files.removeTree(place)
      } else {
        Console.note("\(place) keeps what is not Martlet's: \(left.joined(separator: ", "))")
      }
    }
  }
}
