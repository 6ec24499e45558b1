import ArgumentParser
import KubeClient
import Kernel

struct APICommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "api",
    abstract: "The API server over TLS: reads, lists, writes and watches, and what they cost it.",
    discussion: """
      A martlet server of the benchmark's own, with scheduler and controllers in it, or with --kubeconfig any other, and
      a client on the same machine that has the administrator's certificate and speaks HTTP/2 with as little effort as
      it can. Pods are of 2.5 kB and nobody's to schedule; ConfigMaps hold 100 bytes, in the namespace default. CPU is the server's, of all its threads, a request or a delivered event; of a delivery it is what watched
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
  @Option(name: .long, help: "ConfigMaps that are made at the end and kept, for the memory that they take.")
  var keptObjects = 10_000
  @Flag(name: .long, help: "Measure only what the kept objects take, 1,000 watches beside them, and the time to stop.")
  var onlyKept = false
  @Flag(name: .long, help: "Leave the scheduler and the controllers out of the server.")
  var onlyAPI = false
  @Option(name: .long, help: "Measure the server of this kubeconfig instead, without what it takes of its machine.")
  var kubeconfig: String?
  @Option(name: .long, help: "Another address of that server: https://HOST:PORT.")
  var url: String?

  func validate() throws {
    guard rounds > 0, objects > 0, keptObjects > 0, seconds > 0, watchSeconds > 0 else {
      throw ValidationError("--rounds, --objects, --kept-objects, --seconds and --watch-seconds: above 0")
    }
  }

  func run() async throws {
    if let kubeconfig {
      var target = APITarget(kubeconfig: try Kubeconfig.load(path: kubeconfig), processID: nil)
      if let url { target.kubeconfig.server = url }
      let load = APILoad(target: target)
      let report = try await report(target, load)
      try await load.cleanUp()
      return try options.show(report, as: "api")
    }
    guard url == nil else { throw ValidationError("--url: with --kubeconfig, which says who one is") }
    try options.requireIsolation()
    let work = "\(options.work)/api"
    defer { try? Files.removeTree(work) }
    try Files.makeDirectories(work)
    let (measured, stop) = try await BenchServer.serving(work: work, onlyAPI: onlyAPI) { server in
      let target = APITarget(
        kubeconfig: try Kubeconfig.load(path: server.kubeconfig), processID: server.processID)
      var report = try await self.report(target, APILoad(target: target))
      if onlyKept { try await watches(target, 1000, 20, &report) }
      report.set("rss_kept_mb", megabytes(kilobytes: try ProcessMemory.of(server.processID).residentKilobytes))
      // Open when the server is asked to end: it does not wait for their clients.
      let held = try await WatchLoad(target: target, watchers: 1000, eventsPerSecond: 1).hold()
      return (report, held)
    }
    var report = measured.0
    withExtendedLifetime(measured.1) {}
    report.set("stop_with_1000_watches_ms", stop.inMilliseconds)
    try options.show(report, as: "api")
  }

  private func report(_ target: APITarget, _ load: APILoad) async throws -> Report {
    var report = Report(recorded: PeerFigures.api)
    if !onlyKept {
      let start = try target.processID.map { try ProcessMemory.of($0).residentKilobytes }
      try await load.prepare()
      for _ in 0..<rounds { try await load.round(.seconds(seconds), objects: objects) }
      load.show(in: &report)
      for (watchers, rate) in [(1, 50.0), (100, 50.0), (1000, 20.0)] {
        try await watches(target, watchers, rate, &report)
      }
      if let process = target.processID, let start {
        report.set("rss_start_mb", megabytes(kilobytes: start))
        report.set("rss_load_mb", megabytes(kilobytes: try ProcessUse.peakResidentKilobytes(process)))
        report.set("rss_after_mb", megabytes(kilobytes: try ProcessMemory.of(process).residentKilobytes))
      }
    }
    try await load.keep(keptObjects, &report)
    return report
  }

  private func watches(_ target: APITarget, _ watchers: Int, _ rate: Double, _ report: inout Report) async throws {
    try await WatchLoad(target: target, watchers: watchers, eventsPerSecond: rate).measure(
      seconds: watchSeconds, &report)
  }
}

/// A `martlet server` of the benchmark's own.
struct BenchServer: Sendable {
  let processID: Int32
  let kubeconfig: String

  private static let startTimeout: Duration = .seconds(30)

  /// - Returns: what `body` returns, and how long the server then took to end.
  static func serving<Result>(
    work: String, onlyAPI: Bool, _ body: (BenchServer) async throws -> Result
  ) async throws -> (Result, stop: Duration) {
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
    let asked = ContinuousClock.now
    try await process.stop()
    return (result, ContinuousClock.now - asked)
  }
}
