import CRIClient
import Kernel
import Synchronization

/// What one process of the node takes.
struct NodeMemory: Sendable {
  let name: String
  let memory: ProcessMemory
}

/// A `martlet up` on directories of the benchmark's own.
final class BenchNode: Sendable {
  private let work: String
  private let running = Mutex<Background?>(nil)

  private var root: String { "\(work)/root" }
  private var run: String { "\(work)/run" }
  var kubeconfig: String { "\(root)/server/admin.kubeconfig" }
  var serverSocket: String { "\(run)/server.sock" }
  var runtimeSocket: String { "\(run)/martlet.sock" }

  private static let readyTimeout: Duration = .seconds(60)
  private static let resetTimeoutSeconds = 120.0
  private static let emptyTimeout: Duration = .seconds(120)
  private static let emptyLookEvery: Duration = .milliseconds(5)

  init(work: String) throws {
    self.work = work
    try Files.makeDirectories(work)
    try Files.writeAtomically("\(work)/config.toml", Array(Daemon.configuration.utf8))
  }

  private var places: [String] {
    ["--root", root, "--run", run, "--config", "\(work)/config.toml", "--node-name", "bench"]
  }

  /// - Returns: milliseconds from the start of the program until it says that the node is ready.
  func start() async throws -> Double {
    try await milliseconds {
      let up = try Background(program: "martlet", ["up"] + places, name: "up", work: work)
      running.withLock { $0 = up }
      do {
        try await up.wait(for: "Martlet is ready", timeout: Self.readyTimeout)
      } catch {
        let logs = logEnds()
        _ = try? await end()
        throw BenchError("\(error)\n\(logs)")
      }
    }
  }

  /// Stops the node and removes everything that it keeps.
  /// - Returns: milliseconds of the removal.
  func end() async throws -> Double {
    let up = running.withLock { running in
      defer { running = nil }
      return running
    }
    // What is left is removed also where it did not end as it should.
    let stopping: (any Error)?
    do {
      try await up?.stop()
      stopping = nil
    } catch {
      stopping = error
    }
    let path = "\(try programDirectory())/martlet"
    let elapsed = try await milliseconds {
      let outcome = try await ChildProcess.run(
        path, arguments: [path, "up", "--reset"] + places,
        environment: ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], timeoutSeconds: Self.resetTimeoutSeconds)
      guard outcome.status == .exited(0) else {
        throw BenchError("martlet up --reset: \(String(decoding: outcome.errorOutput.suffix(2000), as: UTF8.self))")
      }
    }
    if let stopping { throw stopping }
    return elapsed
  }

  /// Of `martlet up` and the processes it started.
  func memory() throws -> [NodeMemory] {
    guard let up = running.withLock({ $0?.processID }) else { return [] }
    var parts = [NodeMemory(name: "up", memory: try ProcessMemory.of(up))]
    for process in try ProcessUse.all() where process.parent == up {
      let program = Files.name(of: process.arguments.first ?? "")
      let name = program == "martlet" && process.arguments.count > 1 ? process.arguments[1] : program
      parts.append(NodeMemory(name: name, memory: try ProcessMemory.of(process.id)))
    }
    for name in ["server", "node", "martletd"] where !parts.contains(where: { $0.name == name }) {
      throw BenchError("no process \(name) below martlet up, but \(parts.map(\.name))")
    }
    return parts
  }

  func waitUntilRuntimeIsEmpty() async throws {
    try await CRIClient.connected(to: runtimeSocket) { client in
      let end = ContinuousClock.now + Self.emptyTimeout
      while true {
        let count = try await client.listPodSandboxes().count
        if count == 0 { return }
        guard ContinuousClock.now < end else {
          throw BenchError("\(count) pods are in the runtime \(Self.emptyTimeout) after they left the API")
        }
        // The runtime tells of containers' ends, not of a pod's removal.
        try await Task.sleep(for: Self.emptyLookEvery)
      }
    }
  }

  func logEnds() -> String {
    ["martletd", "server", "node"].map { name in
      let bytes = (try? Files.read("\(run)/logs/\(name).log")) ?? []
      return "\(name):\n\(String(decoding: bytes.suffix(1500), as: UTF8.self))"
    }.joined(separator: "\n")
  }

  /// Fails with what a reset node left on this machine: processes, mounts, links, control groups, files.
  func requireNothingLeft() throws {
    var left: [String] = []
    for process in try ProcessUse.all() where process.arguments.contains(where: { $0.contains(work) }) {
      left.append("process \(process.id): \(process.arguments.joined(separator: " "))")
    }
    left += try MountInfo.current().filter { $0.mountPoint.hasPrefix("\(work)/") }.map { "mount \($0.mountPoint)" }
    left += try Directory(path: "/sys/class/net").list().map(\.name).filter { $0 != "lo" }.map { "link \($0)" }
    if let cgroups = try? CgroupHierarchy.discover(), let path = try? CgroupPath(Daemon.cgroupParent),
      cgroups.group(path).exists
    {
      left.append("control group \(Daemon.cgroupParent)")
    }
    left += [root, run].filter(Files.exists).map { "directory \($0)" }
    guard left.isEmpty else { throw BenchError("left after martlet up --reset:\n\(left.joined(separator: "\n"))") }
  }
}
