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
      With a peer's socket (hack/bench starts containerd with the CNI bridge) both take turns; figures of the peer bear its
      name, and a ratio is our time over the peer's.
      """)

  @OptionGroup var options: BenchOptions
  @Option(name: .long, help: "Pods one after another.")
  var rounds = 50
  @Option(name: .long, help: "Pods that are started at the same time.")
  var parallel = 8
  @Option(name: .long, help: "Pods that run while memory is measured.")
  var pods = 100
  @Option(name: .long, help: "Another runtime's socket with the same image, measured in turns: unix:///…")
  var peerEndpoint: String?
  @Option(name: .long, help: "Pods of the peer that run while its memory is measured.")
  var peerPods = 20

  func run() async throws {
    try options.requireIsolation()
    let work = "\(options.work)/pod"
    defer { try? Files.removeTree(work) }
    let peerPath = try peerEndpoint.map(CRICommand.path)
    // A start and a stop each count as a life: so each of them is on a connection of its turn.
    let lives = 2 * (2 * rounds + parallel + PodBench.warmUp + pods)
    let report = try await Daemon.serving(work: work) { daemon, client in
      try await Requests.importImage(client, from: options.images)
      return try await CRIEndpoint.connected(to: daemon.socket, as: "martlet", lives: lives, logs: "\(work)/logs") {
        ours in
        guard let peerPath else { return try await measure(ours, daemon, peer: nil) }
        return try await CRIEndpoint.connected(to: peerPath, as: nil, lives: lives, logs: "\(work)/peer-logs") { peer in
          try await peer.requireImage()
          var report = try await measure(ours, daemon, peer: peer)
          report.set("\(peer.name)", try await peer.client.version().runtimeVersion)
          return report
        }
      }
    }
    try options.show(report, as: "pod")
  }

  private func measure(_ ours: CRIEndpoint, _ daemon: Daemon, peer: CRIEndpoint?) async throws -> Report {
    var report = Report()
    let bench = PodBench(endpoints: [ours] + (peer.map { [$0] } ?? []))
    try await bench.serial(rounds: rounds, &report)
    try await bench.parallel(parallel, rounds: rounds, &report)
    try await bench.memory(pods: pods, of: ours, daemon: daemon, &report)
    if let peer { try await bench.memory(pods: peerPods, of: peer, &report) }
    return report
  }
}

/// The measurements: ours first, and a peer in turns with it.
struct PodBench {
  let endpoints: [CRIEndpoint]

  /// Rounds whose times are dropped: a server's first pods find its caches empty.
  static let warmUp = 3

  /// Our figures have no prefix, a peer's have its name.
  private func prefix(_ index: Int) -> String { index == 0 ? "" : "\(endpoints[index].name)_" }

  func serial(rounds: Int, _ report: inout Report) async throws {
    var starts = endpoints.map { _ in Series() }
    var stops = endpoints.map { _ in Series() }
    for round in 0..<(rounds + Self.warmUp) {
      for (index, endpoint) in endpoints.enumerated() {
        var sandbox = ""
        let started = try await milliseconds { sandbox = try await endpoint.start() }
        let stopped = try await milliseconds { try await endpoint.stop(sandbox) }
        guard round >= Self.warmUp else { continue }
        starts[index].add(started)
        stops[index].add(stopped)
      }
    }
    for index in endpoints.indices {
      report.set("\(prefix(index))start", starts[index])
      report.set("\(prefix(index))start_p99_ms", starts[index].percentile(0.99))
      report.set("\(prefix(index))stop", stops[index])
      report.set("\(prefix(index))stop_p99_ms", stops[index].percentile(0.99))
    }
    for index in endpoints.indices.dropFirst() {
      report.ratio("\(prefix(index))start", starts[0], to: starts[index])
      report.ratio("\(prefix(index))stop", stops[0], to: stops[index])
    }
  }

  /// `width` pods start together, then stop together, again and again; figures are of one pod and of all in a second.
  func parallel(_ width: Int, rounds: Int, _ report: inout Report) async throws {
    var starts = endpoints.map { _ in Series() }
    var stops = endpoints.map { _ in Series() }
    var elapsed = endpoints.map { _ in 0.0 }
    let turns = max(1, rounds / width)
    for _ in 0..<turns {
      for (index, endpoint) in endpoints.enumerated() {
        var sandboxes: [String] = []
        elapsed[index] += try await milliseconds {
          for (sandbox, time) in try await together(Array(0..<width), { _ in try await endpoint.start() }) {
            sandboxes.append(sandbox)
            starts[index].add(time)
          }
          for (_, time) in try await together(sandboxes, { try await endpoint.stop($0) }) { stops[index].add(time) }
        }
      }
    }
    report.set("parallel", width)
    for index in endpoints.indices {
      report.set("\(prefix(index))parallel_start", starts[index])
      report.set("\(prefix(index))parallel_stop", stops[index])
      report.set("\(prefix(index))parallel_pods_per_s", Double(turns * width) / elapsed[index] * 1000)
    }
    for index in endpoints.indices.dropFirst() {
      report.ratio("\(prefix(index))parallel_start", starts[0], to: starts[index])
      report.ratio("\(prefix(index))parallel_stop", stops[0], to: stops[index])
    }
  }

  func memory(pods: Int, of ours: CRIEndpoint, daemon: Daemon, _ report: inout Report) async throws {
    let idle = try ProcessMemory.of(daemon.processID)
    let (own, processes, full) = try await running(pods, of: ours) {
      let shims = try ProcessMemory.processes(inCgroupsNamed: "shim")
      return (try ProcessMemory.of(shims), shims.count, try ProcessMemory.of(daemon.processID))
    }
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

  /// The same of a peer: its shims and pause processes, and what its daemon grew by.
  func memory(pods: Int, of peer: CRIEndpoint, _ report: inout Report) async throws {
    let daemons = try ProcessMemory.processes(ofPrograms: [peer.name])
    let idle = try ProcessMemory.of(daemons)
    let (own, full) = try await running(pods, of: peer) {
      let helpers = try ProcessMemory.processes(ofPrograms: ["\(peer.name)-shim-runc-v2", "pause"])
      return (try ProcessMemory.of(helpers), try ProcessMemory.of(daemons))
    }
    report.set("\(peer.name)_memory_pods", pods)
    report.set(
      "\(peer.name)_pss_kb_per_pod",
      Double(own.proportionalKilobytes + full.proportionalKilobytes - idle.proportionalKilobytes) / Double(pods))
    report.set("\(peer.name)_daemon_full_rss_kb", full.residentKilobytes)
  }

  /// Runs `body` while that many pods run.
  private func running<Result>(
    _ pods: Int, of endpoint: CRIEndpoint, _ body: () throws -> Result
  ) async throws -> Result {
    var sandboxes: [String] = []
    for _ in 0..<pods { sandboxes.append(try await endpoint.start()) }
    let result = try body()
    for sandbox in sandboxes { try await endpoint.stop(sandbox) }
    return result
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

  static func of(_ processes: [Int32]) throws -> ProcessMemory {
    try processes.reduce(into: ProcessMemory()) { $0.add(try of($1)) }
  }

  /// Processes that this one sees whose program has one of these names, wherever it lies.
  static func processes(ofPrograms names: [String]) throws -> [Int32] {
    try ProcessUse.all().filter { names.contains(Files.name(of: $0.arguments.first ?? "")) }.map(\.id)
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
