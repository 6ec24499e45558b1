import ArgumentParser
import JSON
import Kernel

struct DataplaneCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "dataplane",
    abstract: "The Service dataplane: what changes cost the kernel, and what connections pay, by number of services.",
    discussion: """
      Each number of services is measured in a process and a network namespace of its own, in turn with the others and,
      up to --peer-services, with rules of the shape that kube-proxy's nftables mode writes, a chain a service, loaded
      with nft -f: its times hold the start of nft, as they do there. Every figure is the median of the rounds.
      first_sync_ms is from the services to the kernel's yes, first_sync_kernel_ms the processor time of the kernel in
      it. messages and bytes are those of one changed endpoint. Connections go from this process to itself, over
      loopback, by a service's address and straight. Rules that are not done within --peer-seconds are given up, and the
      report says so.
      """)

  @Option(name: .long, help: "text or json: one object, units in the names.")
  var output = BenchOptions.Format.text
  @Option(name: .long, help: "Numbers of services, with commas.")
  var services = "10,1000,10000,50000"
  @Option(name: .long, help: "Endpoints of each service.")
  var endpoints = 3
  @Option(name: .long, help: "How often everything is measured.")
  var rounds = 3
  @Option(name: .long, help: "Rules of kube-proxy's shape are measured up to so many services; 0: not at all.")
  var peerServices = 10_000
  @Option(name: .long, help: "Directory for rule files.")
  var work = "/tmp"
  @Option(name: .long, help: "How long such rules may take with one number of services, all they are asked for.")
  var peerSeconds = 120
  @Option(
    name: [.customLong("plot"), .customLong("svg")],
    help: ArgumentHelp("Where a plot of cost against the number of services is written, SVG.", valueName: "file"))
  var plot: String?
  @Option(name: .long, help: ArgumentHelp("What a process of the benchmark measures.", visibility: .hidden))
  var part: String?

  private var counts: [Int] { services.split(separator: ",").compactMap { Int($0) } }

  func validate() throws {
    guard !counts.isEmpty, counts.allSatisfy({ (1...250_000).contains($0) }) else {
      throw ValidationError("--services: numbers from 1 to 250000, with commas")
    }
    guard (1...1000).contains(endpoints), rounds > 0, peerSeconds > 0 else {
      throw ValidationError("--endpoints: 1 to 1000; --rounds, --peer-seconds: above 0")
    }
  }

  func run() async throws {
    if let part {
      let figures: [(String, Double)]
      if part == "peer" {
        figures = try await PeerRules(services: counts[0], endpoints: endpoints, work: work).measure()
      } else {
        figures = try await DataplaneLoad(services: counts[0], endpoints: endpoints).measure()
      }
      var object = JSONObject()
      for (name, value) in figures { object[name] = JSONValue(value) }
      try StandardStream.write(Array((JSONValue.object(object).encodedString() + "\n").utf8), to: .output)
      return
    }
    var ours: [Int: DataplaneFigures] = [:]
    var peers: [Int: DataplaneFigures] = [:]
    for _ in 0..<rounds {
      for count in counts {
        ours[count, default: DataplaneFigures()].add(try await child("ours", count))
        if count <= peerServices, peers[count]?[DataplaneReport.gaveUp] == nil {
          peers[count, default: DataplaneFigures()].add(try await child("peer", count))
        }
      }
    }
    let report = DataplaneReport(counts: counts, endpoints: endpoints, ours: ours, peers: peers)
    try StandardStream.write(
      Array((output == .json ? report.json.encodedString() + "\n" : report.text).utf8), to: .output)
    if let plot { try Files.writeAtomically(plot, Array(report.svg.utf8), mode: 0o644) }
  }

  /// A bound, in seconds, for our own part: it ends in a tenth of it.
  private static let secondsMax = 600

  /// In a namespace of its own, whose loopback has the endpoints' addresses and a way to the services'.
  private func child(_ part: String, _ count: Int) async throws -> [String: Double] {
    let program = try Files.readLink("/proc/self/exe")
    let addresses = (1...endpoints).map { "ip address add \(DataplaneLoad.endpoint($0 - 1))/32 dev lo" }
    let script =
      (["ip link set lo up"] + addresses + [
        "ip route add 10.96.0.0/12 dev lo",
        "exec timeout --signal KILL \(part == "peer" ? peerSeconds : Self.secondsMax) \"$0\" dataplane --part \(part) --services \(count) --endpoints \(endpoints) --work \"$1\"",
      ]).joined(separator: " && ")
    let outcome = try await ChildProcess.run(
      "/usr/bin/unshare", arguments: ["unshare", "--net", "/bin/sh", "-c", script, program, work],
      environment: ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"], input: [])
    // As a shell sees a program that timeout killed, and timeout itself.
    if part == "peer", [124, 137].contains(outcome.status.code) {
      return [DataplaneReport.gaveUp: Double(peerSeconds)]
    }
    guard outcome.status.code == 0,
      let object = try? JSONValue.parse(outcome.output).object
    else {
      throw BenchError(
        "\(part) with \(count) services: \(String(decoding: outcome.errorOutput + outcome.output, as: UTF8.self))")
    }
    var figures: [String: Double] = [:]
    for (name, value) in object.members { figures[name] = value.double }
    return figures
  }
}

/// One figure's values over the rounds, by name.
struct DataplaneFigures {
  private var series: [String: Series] = [:]

  mutating func add(_ figures: [String: Double]) {
    for (name, value) in figures { series[name, default: Series()].add(value) }
  }

  subscript(_ name: String) -> Double? { series[name]?.median }
}
