import CRIClient
import CRIModel
import Kernel
import TestSupport

/// Draws that a seed repeats: SEED=n replays a run.
struct ChaosDice: RandomNumberGenerator {
  private var state: UInt64
  let seed: UInt64

  init() {
    seed = environmentVariable("SEED").flatMap { UInt64($0) } ?? 20_260_101
    state = seed
  }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }
}

/// A number from the environment, for longer runs than those of every day.
func chaosCount(_ name: String, default count: Int) -> Int {
  environmentVariable(name).flatMap { Int($0) } ?? count
}

/// The calls of a pod's life, in the order in which a kubelet makes them.
enum LifeCall: String, CaseIterable {
  case runPodSandbox, createContainer, startContainer, execSync, reopenContainerLog, stopContainer, removeContainer,
    stopPodSandbox, removePodSandbox
}

/// A pod with one container that lives through its calls. Each may be made again, as by a client that got no answer.
struct PodLife: Sendable {
  let node: CRINode
  let name: String
  private(set) var sandbox = ""
  private(set) var container = ""

  /// Its container answers SIGTERM with this.
  static let exitCode: Int32 = 4
  private static let script = "trap 'exit 4' TERM; echo up; while :; do sleep 0.02; done"

  init(_ node: CRINode, name: String) {
    self.node = node
    self.name = name
  }

  private var pod: CRIPodSandboxConfig { node.pod(name) }

  mutating func make(_ call: LifeCall, _ client: CRIClient) async throws {
    switch call {
    case .runPodSandbox: sandbox = try await client.runPodSandbox(pod)
    case .createContainer:
      container = try await client.createContainer(
        podSandboxID: sandbox, config: node.container("main", ["sh", "-c", Self.script]), sandboxConfig: pod)
    case .startContainer:
      // Whoever does not know whether it was started looks first, as a kubelet does.
      let state = try await client.containerStatus(container).status.state
      switch state {
      case .containerCreated: try await client.startContainer(container)
      case .containerRunning: break
      default: throw CRINode.Failure(description: "a start that was cut left the container \(state)")
      }
    case .execSync:
      // The handler of SIGTERM must be there before the signal is.
      let command = ["sh", "-c", "while ! grep -q '^SigCgt:.*4...$' /proc/1/status; do sleep 0.01; done; echo yes"]
      let outcome = try await client.execSync(container, command: command, timeoutSeconds: 10)
      guard outcome.exitCode == 0 else { throw CRINode.Failure(description: "exec: \(outcome)") }
    case .reopenContainerLog: try await client.reopenContainerLog(container)
    case .stopContainer: try await client.stopContainer(container, graceSeconds: 20)
    case .removeContainer: try await client.removeContainer(container)
    case .stopPodSandbox: try await client.stopPodSandbox(sandbox)
    case .removePodSandbox: try await client.removePodSandbox(sandbox)
    }
  }

  /// Makes these calls, and looks at the exit code between the container's end and its removal.
  mutating func make(_ calls: some Sequence<LifeCall>, _ client: CRIClient) async throws {
    for call in calls {
      try await make(call, client)
      if call == .stopContainer {
        let status = try await client.containerStatus(container).status
        guard status.state == .containerExited, status.exitCode == Self.exitCode else {
          throw CRINode.Failure(description: "after its stop it is \(status.state) with \(status.exitCode)")
        }
      }
    }
  }
}

/// Processes of this machine that belong to a test, found by its token.
enum ChaosProcesses {
  /// Shims, in the cgroups of the test: their main processes, not those on the way to a container.
  static func shims(of token: String) throws -> [Int32] {
    try Directory(path: "/proc").list().compactMap { entry in
      guard let id = Int32(entry.name), let group = try? Files.readText("/proc/\(id)/cgroup"),
        group.contains(token), group.contains("/shim"), let stat = try? Files.readText("/proc/\(id)/stat"),
        stat.contains("(martlet-shim)"), !(stat.split(separator: ")").last ?? "").hasPrefix(" Z")
      else { return nil }
      return id
    }
  }

  static func kill(_ process: Int32) async throws {
    _ = try await ChildProcess.run("/bin/sh", arguments: ["sh", "-c", "kill -9 \(process)"])
  }
}

extension CRINode {
  /// Fails where more is left than what these pods and containers of theirs keep.
  func expectOnly(pods: Set<String>, containers: Set<String>) throws {
    let kept = try Set(Directory(path: podsDirectory).list().map(\.name))
    let written = try Set(Directory(path: "\(path)/root/containers").list().map(\.name))
    let shims = try ChaosProcesses.shims(of: directory.token).count
    let groups = try leaks.remains().filter { $0.hasPrefix("cgroup") }
    guard kept == pods, written == containers, shims == pods.count, groups.count <= 1 else {
      throw Failure(
        description: "left over: pods \(kept.subtracting(pods)), containers \(written.subtracting(containers)), "
          + "\(shims) shims of \(pods.count), \(groups)")
    }
  }
}
