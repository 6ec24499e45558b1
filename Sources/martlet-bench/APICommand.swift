import ArgumentParser
import Kernel

struct APICommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "api",
    abstract: "The API server over TLS: reads, lists, writes and watches, and what they cost it.",
    discussion: """
      A martlet server of the benchmark's own, with scheduler and controllers in it, and a client on the same machine
      that has the administrator's certificate and HTTP/2. Pods are of 2 kB and nobody's to schedule; ConfigMaps hold 100
      bytes. CPU is the server's, of all its threads, a request or a delivered event; of a delivery it is what watched
      writes cost more than the same writes at the same pace without a watch, which write_cpu tells. A delivery takes from
      before the write is sent until the event is read. MB are 10^6 bytes.
      The text table has figures of kube-apiserver 1.36 with etcd beside it that were recorded on another such machine:
      they say how far there is to go, not who is faster.
      """)

  @OptionGroup var options: BenchOptions
  @Option(name: .long, help: "How often reads, lists and writes are measured, in turn.")
  var rounds = 3
  @Option(name: .long, help: "Seconds of one measurement, in each round.")
  var seconds = 2.0
  @Option(name: .long, help: "ConfigMaps that are made, changed and deleted in each round.")
  var objects = 2000
  @Option(name: .long, help: "Seconds of events for each number of watchers.")
  var watchSeconds = 5.0
  @Flag(name: .long, help: "Leave the scheduler and the controllers out of the server.")
  var onlyAPI = false

  func validate() throws {
    guard rounds > 0, objects > 0, seconds > 0, watchSeconds > 0 else {
      throw ValidationError("--rounds, --objects, --seconds and --watch-seconds: above 0")
    }
  }

  func run() async throws {
    try options.requireIsolation()
    let work = "\(options.work)/api"
    defer { try? Files.removeTree(work) }
    try Files.makeDirectories(work)
    let report = try await BenchServer.serving(work: work, onlyAPI: onlyAPI) { server in
      var report = Report(recorded: PeerFigures.api)
      let start = try ProcessMemory.of(server.processID).residentKilobytes
      let load = APILoad(server: server)
      try await load.prepare()
      for _ in 0..<rounds { try await load.round(.seconds(seconds), objects: objects) }
      load.show(in: &report)
      for (watchers, rate) in [(1, 50.0), (100, 50.0), (1000, 20.0)] {
        try await WatchLoad(server: server, watchers: watchers, eventsPerSecond: rate)
          .measure(seconds: watchSeconds, &report)
      }
      report.set("rss_start_mb", megabytes(kilobytes: start))
      report.set("rss_load_mb", megabytes(kilobytes: try ProcessUse.peakResidentKilobytes(server.processID)))
      report.set("rss_after_mb", megabytes(kilobytes: try ProcessMemory.of(server.processID).residentKilobytes))
      return report
    }
    try options.show(report, as: "api")
  }
}

/// A `martlet server` of the benchmark's own.
struct BenchServer: Sendable {
  let processID: Int32
  let kubeconfig: String

  private static let startTimeout: Duration = .seconds(30)

  static func serving<Result>(
    work: String, onlyAPI: Bool, _ body: (BenchServer) async throws -> Result
  ) async throws -> Result {
    let arguments = ["server", "--root", "\(work)/root", "--run", "\(work)/run"]
    let process = try Background(
      program: "martlet", arguments + (onlyAPI ? ["--no-scheduler", "--no-controllers"] : []), name: "server",
      work: work)
    let result: Result
    do {
      try await process.wait(for: "The API is served at", timeout: startTimeout)
      result = try await body(
        BenchServer(processID: process.processID, kubeconfig: "\(work)/root/server/admin.kubeconfig"))
    } catch {
      try? await process.stop()
      throw BenchError("\(error)\nThe end of the server's log:\n\(process.logEnd())")
    }
    try await process.stop()
    return result
  }
}
