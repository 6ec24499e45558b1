import ArgumentParser
import CRIClient
import CRIModel
import JSON
import Kernel

struct CRICommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "cri",
    abstract: "The calls of a pod's life on any CRI socket, beside a second one where it is named.",
    discussion: """
      Each pod lives through RunPodSandbox, CreateContainer, StartContainer, ExecSync, StopContainer, RemoveContainer,
      StopPodSandbox and RemovePodSandbox; pod_start is the sum of the first three, pod_stop of the last four. First one
      pod after another, then --parallel at a time. With a second socket the two take turns, and the ratios are the first
      socket's time over the second's. The sockets' servers are left running; the pods are removed.
      """)

  @Option(name: .long, help: "The socket to measure: unix:///run/martlet/martlet.sock.")
  var endpoint: String
  @Option(name: .long, help: "A second socket, measured in turns with the first.")
  var peerEndpoint: String?
  @Option(name: .long, help: "text or json: one object, units in the names.")
  var output = BenchOptions.Format.text
  @Option(name: .long, help: "Image of the containers, there on both sockets or to be pulled.")
  var image = Requests.image
  @Option(name: .long, help: "What a container runs until it is killed, words split at spaces.")
  var command = "/bin/true wait"
  @Option(name: .long, help: "What ExecSync runs, words split at spaces.")
  var execCommand = "/bin/true"
  @Option(name: .long, help: "Directory for the pods' logs; it is made, and stays.")
  var logs = "/tmp/martlet-bench-logs"
  @Option(name: .long, help: "Above the cgroups of the pods; without it, where the server puts them.")
  var cgroupParent = ""
  @Option(name: .long, help: "Pods one after another, on each socket.")
  var rounds = 30
  @Option(name: .long, help: "Pods that live at the same time, in the second part.")
  var parallel = 8

  /// Rounds whose times are dropped: a server's first pods find its caches empty.
  private static let warmUp = 2

  func validate() throws {
    if rounds < 1 || parallel < 1 { throw ValidationError("--rounds and --parallel must be at least 1") }
    if command.isEmpty || execCommand.isEmpty { throw ValidationError("--command and --exec-command need a word") }
  }

  func run() async throws {
    let first = try Self.path(endpoint)
    let second = try peerEndpoint.map(Self.path)
    let lives = 2 * (rounds + parallel + Self.warmUp)
    let report = try await CRIEndpoint.connected(to: first, as: "endpoint", lives: lives, logs: "\(logs)/endpoint") {
      endpoint in
      guard let second else { return try await measure([try await prepared(endpoint)]) }
      return try await CRIEndpoint.connected(to: second, as: "peer", lives: lives, logs: "\(logs)/peer") { peer in
        try await measure([try await prepared(endpoint), try await prepared(peer)])
      }
    }
    try report.show(as: "cri", output)
  }

  /// The path that a socket's address names.
  static func path(_ endpoint: String) throws -> String {
    let prefix = "unix://"
    let path = endpoint.hasPrefix(prefix) ? String(endpoint.dropFirst(prefix.count)) : endpoint
    guard path.hasPrefix("/") else {
      throw BenchError("\(endpoint): not a unix socket; it is named as unix:///run/martlet/martlet.sock")
    }
    guard Files.exists(path) else { throw BenchError("\(path): there is no such socket; is its server running?") }
    return path
  }

  private func prepared(_ connected: CRIEndpoint) async throws -> CRIEndpoint {
    var endpoint = connected
    endpoint.image = image
    endpoint.command = command.split(separator: " ").map(String.init)
    endpoint.execCommand = execCommand.split(separator: " ").map(String.init)
    endpoint.cgroupParent = cgroupParent
    try await endpoint.requireImage()
    return endpoint
  }

  private func measure(_ endpoints: [CRIEndpoint]) async throws -> Report {
    var report = Report()
    for endpoint in endpoints {
      let version = try await endpoint.client.version()
      report.set(
        endpoint.name == "peer" ? "peer" : "runtime", "\(version.runtimeName) \(version.runtimeVersion)")
    }
    report.set("rounds", rounds)
    report.add(try await serial(endpoints), prefix: "")
    report.set("parallel", parallel)
    let (together, perSecond) = try await atATime(endpoints)
    report.add(together, prefix: "parallel_")
    for (index, rate) in perSecond.enumerated() {
      report.set(index == 0 ? "parallel_pods_per_s" : "peer_parallel_pods_per_s", rate)
    }
    return report
  }

  private func serial(_ endpoints: [CRIEndpoint]) async throws -> [LifeSeries] {
    var series = endpoints.map { _ in LifeSeries() }
    for round in 0..<(rounds + Self.warmUp) {
      for (index, endpoint) in endpoints.enumerated() {
        let life = try await endpoint.live()
        if round >= Self.warmUp { series[index].add(life) }
      }
    }
    return series
  }

  /// Turns of `parallel` pods that live together; each call's times, and pods that lived in a second.
  private func atATime(_ endpoints: [CRIEndpoint]) async throws -> ([LifeSeries], [Double]) {
    var series = endpoints.map { _ in LifeSeries() }
    var elapsed = endpoints.map { _ in 0.0 }
    let turns = max(1, rounds / parallel)
    for _ in 0..<turns {
      for (index, endpoint) in endpoints.enumerated() {
        elapsed[index] += try await milliseconds {
          let lives = try await withThrowingTaskGroup(of: [CRICall: Double].self) { group in
            for _ in 0..<parallel { group.addTask { try await endpoint.live() } }
            return try await group.reduce(into: []) { $0.append($1) }
          }
          for life in lives { series[index].add(life) }
        }
      }
    }
    return (series, elapsed.map { Double(turns * parallel) / $0 * 1000 })
  }
}

extension Report {
  /// Prints it in the asked form, as the value of `name`.
  func show(as name: String, _ format: BenchOptions.Format) throws {
    let text =
      switch format {
      case .json: JSONValue.object([name: json]).encodedString() + "\n"
      case .text: table(title: name)
      }
    try StandardStream.write(Array(text.utf8), to: .output)
  }

  /// The first socket's figures, the second's with `peer_`, and the ratios.
  mutating func add(_ series: [LifeSeries], prefix: String) {
    guard let ours = series.first else { return }
    for figure in ours.figures { set(prefix + figure.name, figure.series) }
    guard series.count > 1 else { return }
    for figure in series[1].figures { set("peer_\(prefix)\(figure.name)", figure.series) }
    for (our, their) in zip(ours.figures, series[1].figures) {
      ratio(prefix + our.name, our.series, to: their.series)
    }
  }
}
