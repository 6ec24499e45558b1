import ArgumentParser
import CRIClient
import CRIModel
import Kernel

struct PodCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "pod",
    abstract: "Pods through the CRI socket: start, stop, several at a time, and the memory that each takes.",
    discussion: """
      start is RunPodSandbox, CreateContainer and StartContainer, network and addresses included; stop is StopPodSandbox
      and RemovePodSandbox of the running pod. Memory is the proportional set size of a pod's own processes apart from
      its workload, and what martletd grew by, both divided by the number of pods.
      """)

  @OptionGroup var options: BenchOptions
  @Option(name: .long, help: "Pods one after another.")
  var rounds = 50
  @Option(name: .long, help: "Pods that are started at the same time.")
  var parallel = 8
  @Option(name: .long, help: "Pods that run while memory is measured.")
  var pods = 100

  func run() async throws {
    try options.requireIsolation()
    let work = "\(options.work)/pod"
    defer { try? Files.removeTree(work) }
    var report = Report()
    try await Daemon.serving(work: work) { daemon, client in
      try await Requests.importImage(client, from: options.images)
      let bench = PodBench(client: client, logs: "\(work)/logs")
      try await bench.serial(rounds: rounds, &report)
      try await bench.parallel(parallel, rounds: rounds, &report)
      try await bench.memory(pods: pods, daemon: daemon, &report)
    }
    try options.show(report, as: "pod")
  }
}

/// The measurements, on one connection.
struct PodBench {
  let client: CRIClient
  let logs: String
  private let serial = Serial()

  init(client: CRIClient, logs: String) {
    self.client = client
    self.logs = logs
  }

  /// - Returns: the sandbox's id.
  func start() async throws -> String {
    let pod = Requests.pod(serial.next(), logs: logs)
    let sandbox = try await client.runPodSandbox(pod)
    let container = try await client.createContainer(
      podSandboxID: sandbox, config: Requests.container("wait", waits: true), sandboxConfig: pod)
    try await client.startContainer(container)
    return sandbox
  }

  func stop(_ sandbox: String) async throws {
    try await client.stopPodSandbox(sandbox)
    try await client.removePodSandbox(sandbox)
  }

  func serial(rounds: Int, _ report: inout Report) async throws {
    var starts = Series()
    var stops = Series()
    for round in 0..<(rounds + 3) {
      var sandbox = ""
      let started = try await milliseconds { sandbox = try await start() }
      let stopped = try await milliseconds { try await stop(sandbox) }
      guard round >= 3 else { continue }
      starts.add(started)
      stops.add(stopped)
    }
    report.set("start", starts)
    report.set("start_p99_ms", starts.percentile(0.99))
    report.set("stop", stops)
    report.set("stop_p99_ms", stops.percentile(0.99))
  }

  /// `width` pods start together, then stop together, again and again; figures are of one pod and of all in a second.
  func parallel(_ width: Int, rounds: Int, _ report: inout Report) async throws {
    var starts = Series()
    var stops = Series()
    var elapsed = 0.0
    let turns = max(1, rounds / width)
    for _ in 0..<turns {
      var sandboxes: [String] = []
      elapsed += try await milliseconds {
        for (sandbox, time) in try await together(Array(0..<width), { _ in try await start() }) {
          sandboxes.append(sandbox)
          starts.add(time)
        }
        for (_, time) in try await together(sandboxes, { try await stop($0) }) { stops.add(time) }
      }
    }
    report.set("parallel", width)
    report.set("parallel_start", starts)
    report.set("parallel_stop", stops)
    report.set("parallel_pods_per_s", Double(turns * width) / elapsed * 1000)
  }

  func memory(pods: Int, daemon: Daemon, _ report: inout Report) async throws {
    let idle = try ProcessMemory.of(daemon.processID)
    var sandboxes: [String] = []
    for _ in 0..<pods { sandboxes.append(try await start()) }
    let full = try ProcessMemory.of(daemon.processID)
    var own = ProcessMemory()
    var processes = 0
    for id in try ProcessMemory.processes(inCgroupsNamed: "shim") {
      own.add(try ProcessMemory.of(id))
      processes += 1
    }
    for sandbox in sandboxes { try await stop(sandbox) }
    let count = Double(pods)
    report.set("memory_pods", pods)
    report.set("shim_processes", processes)
    report.set("shim_pss_kb_per_pod", Double(own.proportionalKilobytes) / count)
    report.set("daemon_growth_pss_kb_per_pod", Double(full.proportionalKilobytes - idle.proportionalKilobytes) / count)
    report.set(
      "pss_kb_per_pod",
      Double(own.proportionalKilobytes + full.proportionalKilobytes - idle.proportionalKilobytes) / count)
    report.set("daemon_idle_rss_kb", idle.residentKilobytes)
    report.set("daemon_full_rss_kb", full.residentKilobytes)
  }

  private func together<Input: Sendable, Output: Sendable>(
    _ inputs: [Input], _ body: @escaping @Sendable (Input) async throws -> Output
  ) async throws -> [(Output, Double)] {
    try await withThrowingTaskGroup(of: (Output, Double).self) { group in
      for input in inputs {
        group.addTask {
          let clock = ContinuousClock()
          let begin = clock.now
          let output = try await body(input)
          return (output, begin.duration(to: clock.now).inMilliseconds)
        }
      }
      return try await group.reduce(into: []) { $0.append($1) }
    }
  }
}

/// Memory of processes, from smaps_rollup.
struct ProcessMemory {
  private(set) var proportionalKilobytes = 0
  private(set) var residentKilobytes = 0

  mutating func add(_ other: ProcessMemory) {
    proportionalKilobytes += other.proportionalKilobytes
    residentKilobytes += other.residentKilobytes
  }

  static func of(_ process: Int32) throws -> ProcessMemory {
    var memory = ProcessMemory()
    for line in (try Files.readText("/proc/\(process)/smaps_rollup") ?? "").split(separator: "\n") {
      let fields = line.split(separator: " ")
      guard fields.count >= 2, let value = Int(fields[1]) else { continue }
      if fields[0] == "Pss:" { memory.proportionalKilobytes = value }
      if fields[0] == "Rss:" { memory.residentKilobytes = value }
    }
    return memory
  }

  /// Processes that this one sees whose cgroup's last component is `name`.
  static func processes(inCgroupsNamed name: String) throws -> [Int32] {
    try Directory(path: "/proc").list().compactMap { entry in
      guard let id = Int32(entry.name), let groups = try Files.readText("/proc/\(id)/cgroup") else { return nil }
      let unified = groups.split(separator: "\n").first { $0.hasPrefix("0::") }
      return unified?.hasSuffix("/\(name)") == true ? id : nil
    }
  }
}
