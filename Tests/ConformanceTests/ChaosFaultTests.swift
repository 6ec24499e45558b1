import CRIClient
import CRIModel
import Kernel
import SwiftProtobuf
import TestSupport
import Testing

/// strace of Debian, which is no part of Martlet, makes one kernel call after the other fail with EIO in a running shim and
/// in what it starts, or in the daemon.
@Suite(.serialized) struct ChaosFaultTests {
  /// Of the calls between clone and exec of a container's process and the shim's own around them. FAULT_STRIDE=3 fails
  /// every third, with another start for each seed.
  @Test func everyKernelCallOfAStartMayFailAndNoContainerRunsHalfMade() async throws {
    var dice = ChaosDice()
    let stride = max(1, chaosCount("FAULT_STRIDE", default: 1))
    let offset = stride == 1 ? 0 : Int(dice.next() % UInt64(stride))
    try await CRINode.with { node, client in
      let faults = try await recorded(node, client)
      #expect(faults.count > 150, "\(faults.count) calls were seen")
      let chosen = faults.enumerated().filter { $0.offset % stride == offset }.map(\.element)
      let outcomes = try await withThrowingTaskGroup(of: [Fault: FaultPod.Outcome].self) { group in
        let lanes = 4
        for lane in 0..<lanes {
          let own = chosen.enumerated().filter { $0.offset % lanes == lane }.map(\.element)
          group.addTask { try await Self.start(under: own, node, client, "lane\(lane)") }
        }
        return try await group.reduce(into: [:]) { $0.merge($1) { first, _ in first } }
      }
      // What may fail without harm: letting go of what the exec lets go of anyway, and what only asks.
      let harmless: Set<String> = ["munmap", "umask", "epoll_ctl", "epoll_wait", "getcwd", "fcntl", "setsid"]
      let wrong = outcomes.filter { $0.value == .started && !harmless.contains($0.key.call) }.map(\.key)
      #expect(wrong.isEmpty, "a container runs although this failed: \(wrong)")
      let refused = outcomes.values.count { $0 == .refused }
      #expect(refused > chosen.count / 2, "\(refused) of \(chosen.count)")
      for pod in try await client.listPodSandboxes() { try await client.removePodSandbox(pod.id) }
      try node.expectNothingLeftOfPods()
    }
  }

  /// Of the calls by which the daemon makes and removes pods.
  @Test(arguments: [
    "openat", "openat2", "mkdir", "mkdirat", "rename", "renameat2", "unlink", "unlinkat", "rmdir", "mount", "umount2",
    "fsopen", "fsconfig", "fsmount", "move_mount", "open_tree", "unshare", "setns", "sendmsg", "sendto", "socketpair",
    "getdents64", "newfstatat", "statx", "pidfd_open", "fchmod", "fchown", "symlinkat", "access",
  ]) func aKernelCallOfTheDaemonMayFailAndNothingIsLeft(call: String) async throws {
    try await CRINode.with { node, client in
      let daemon = try node.processID()
      for occurrence in [1, 3] {
        let fault = Fault(call: call, occurrence: occurrence)
        let strace = try await Strace.attach(to: daemon, fault)
        var life = PodLife(node, name: "hurt\(occurrence)")
        do {
          try await life.make(LifeCall.allCases, client)
        } catch let error as CRIError {
          // The call that failed is said, not only that one did.
          #expect(
            error.code != .unavailable && !error.message.isEmpty, "\(fault): \(error)")
        } catch is CRINode.Failure {
          // An exit code or an exec that a fault has spoilt; what matters is what comes now.
        }
        try await strace.detach()
        #expect(try node.processID() == daemon)
        for pod in try await client.listPodSandboxes() {
          try await client.stopPodSandbox(pod.id)
          try await client.removePodSandbox(pod.id)
        }
        var after = PodLife(node, name: "hurt\(occurrence)")
        try await after.make(LifeCall.allCases, client)
        try node.expectNothingLeftOfPods()
      }
    }
  }

  /// Starts a container under each of the faults, one after the other.
  private static func start(
    under faults: [Fault], _ node: CRINode, _ client: CRIClient, _ name: String
  ) async throws -> [Fault: FaultPod.Outcome] {
    var outcomes: [Fault: FaultPod.Outcome] = [:]
    var pod = try await FaultPod(node, client, name)
    for fault in faults {
      let outcome = try await pod.start(under: fault)
      outcomes[fault] = outcome
      if outcome == .shimLost { try await pod.replace() }
    }
    return outcomes
  }

  /// The calls that a shim and its child make for a start, each with the number of times it was made before, plus one.
  private func recorded(_ node: CRINode, _ client: CRIClient) async throws -> [Fault] {
    let pod = try await FaultPod(node, client, "recorded")
    let path = "\(node.path)/strace"
    let strace = try await Strace.attach(to: pod.shim, output: path)
    let container = try await client.createContainer(
      podSandboxID: pod.sandbox, config: node.container("main", ["sleep", "1000"]), sandboxConfig: pod.config)
    try await client.startContainer(container)
    try await strace.detach()
    try await client.removePodSandbox(pod.sandbox)
    let text = try Files.readText(path, maxBytes: 16 << 20) ?? ""
    var counts: [String: Int] = [:]
    var child: Substring?
    var faults: [Fault] = []
    var seen: Set<Fault> = []
    for line in text.split(separator: "\n") {
      let words = line.split(separator: " ", maxSplits: 1)
      guard words.count == 2, let name = words[1].drop(while: { $0 == " " }).split(separator: "(").first,
        !name.hasPrefix("<"),
        name.allSatisfy({ $0.isLetter || $0.isNumber || $0 == "_" })
      else { continue }
      if words[0] != "\(pod.shim)" { child = child ?? words[0] }
      guard words[0] == child || child == nil || words[0] == "\(pod.shim)" else { continue }
      let key = "\(words[0]) \(name)"
      counts[key, default: 0] += 1
      let fault = Fault(call: String(name), occurrence: counts[key] ?? 1)
      if !Self.untouched.contains(fault.call), seen.insert(fault).inserted { faults.append(fault) }
      if words[0] == child, name == "execve" { break }
    }
    return faults
  }

  /// A wait that fails is tried again for ever, an exit cannot fail, and what a shim does not hear of it cannot tell: such a
  /// start ends by the daemon's own limit, which is minutes. A close that fails has closed nevertheless, which strace does
  /// not play.
  private static let untouched: Set<String> = [
    "epoll_wait", "exit_group", "exit", "rt_sigreturn", "restart_syscall", "recvmsg", "sendmsg", "close",
  ]
}

/// The n-th call of that name, of each process, fails.
struct Fault: Hashable, CustomStringConvertible {
  let call: String
  let occurrence: Int

  var description: String { "\(call) \(occurrence)" }
}

/// A pod whose shim is made to fail at starting containers.
private struct FaultPod: Sendable {
  enum Outcome: Sendable { case started, refused, shimLost }

  let node: CRINode
  let client: CRIClient
  let name: String
  private(set) var config: CRIPodSandboxConfig
  private(set) var sandbox: String
  private(set) var shim: Int32
  private var attempt: UInt32 = 0

  init(_ node: CRINode, _ client: CRIClient, _ name: String) async throws {
    self.node = node
    self.client = client
    self.name = name
    config = node.pod(name)
    sandbox = try await client.runPodSandbox(config)
    shim = try await node.shimPID(client, sandbox)
  }

  /// After its shim has died.
  mutating func replace() async throws {
    try await client.stopPodSandbox(sandbox)
    try await client.removePodSandbox(sandbox)
    attempt += 1
    config = node.pod(name, attempt: attempt)
    sandbox = try await client.runPodSandbox(config)
    shim = try await node.shimPID(client, sandbox)
  }

  func start(under fault: Fault) async throws -> Outcome {
    let strace = try await Strace.attach(to: shim, fault)
    let id = try await client.createContainer(
      podSandboxID: sandbox, config: node.container("main", ["sleep", "1000"]), sandboxConfig: config)
    var outcome = Outcome.started
    do {
      try await client.startContainer(id)
    } catch {
      outcome = .refused
      #expect(!error.message.isEmpty && error.code != .unavailable, "\(fault): \(error)")
    }
    try await strace.detach()
    let isReady = try await client.podSandboxStatus(sandbox).status.state == .sandboxReady
    let state = try await client.containerStatus(id).status.state
    if isReady {
      #expect(
        outcome == .started ? state == .containerRunning : state != .containerRunning, "\(fault): \(outcome), \(state)")
    }
    do {
      try await client.removeContainer(id)
    } catch {
      Issue.record("\(fault): \(outcome), \(state), and then it could not be removed: \(error)")
      return .shimLost
    }
    return isReady ? outcome : .shimLost
  }
}

/// Debian's strace, attached to a process and all that it starts.
private final class Strace: Sendable {
  private let child: ChildProcess

  struct Failure: Error, CustomStringConvertible { let description: String }

  static func attach(to process: Int32, _ fault: Fault) async throws -> Strace {
    try await attach(
      to: process,
      ["-e", "trace=\(fault.call)", "-e", "inject=\(fault.call):error=EIO:when=\(fault.occurrence)", "-o", "/dev/null"])
  }

  static func attach(to process: Int32, output: String) async throws -> Strace {
    try await attach(to: process, ["-o", output])
  }

  private static func attach(to process: Int32, _ options: [String]) async throws -> Strace {
    var pipe = try Pipe()
    let write = pipe.takeWriteEnd()
    let child = try ChildProcess.start(
      "/usr/bin/strace", arguments: ["strace", "-f", "-p", "\(process)"] + options, environment: ["LC_ALL=C"],
      stdio: [nil, nil, write.withRaw { $0 }])
    try write.close()
    let read = SharedFD(pipe.takeReadEnd())
    try await onFreshThread { () throws(SyscallError) in
      var said = ""
      let input = try read.duplicate()
      while !said.contains("attached") {
        let bytes = try input.read(upTo: 4096)
        if bytes.isEmpty { break }
        said += String(decoding: bytes, as: UTF8.self)
      }
    }
    return Strace(child: child, errors: read)
  }

  // Its messages fit into the pipe, which stays open so that writing them is no error.
  private let errors: SharedFD

  private init(child: consuming ChildProcess, errors: SharedFD) {
    self.child = child
    self.errors = errors
  }

  /// One that is asked to end sometimes waits for ever for a thread that it has stopped; killed, it lets all of them go.
  func detach() async throws {
    try child.signal(15)
    for _ in 0..<100 {
      if try child.poll() != nil { return }
      try await Task.sleep(for: .milliseconds(10))
    }
    try child.signal(9)
    try await onFreshThread { [self] () throws(SyscallError) in _ = try child.wait() }
  }
}
