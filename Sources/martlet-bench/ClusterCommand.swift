import ArgumentParser
import CRIClient
import Kernel
import KubeClient

struct ClusterCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "cluster",
    abstract: "A whole node: from nothing to ready, pods of a Deployment by kubectl, idle memory, and back to nothing.",
    discussion: """
      Each round starts `martlet up` in new directories, imports an image, applies a Deployment of one pod and one of many
      with kubectl, deletes them, resets the node and looks for anything that is left. Ready is counted from the start of
      kubectl until a watch tells of the last pod's Ready; deletion until it tells of the last pod's end, and, as removed,
      until the runtime has no pod any more. Pods share their process namespace, so that the program ends when it is
      asked to. Idle memory is of the first round, without pods; MB are 10^6 bytes.
      """)

  @OptionGroup var options: BenchOptions
  @Option(name: .long, help: ArgumentHelp("The kubectl to drive it with.", valueName: "file"))
  var kubectl: String
  @Option(name: .long, help: "How often all of it is measured.")
  var rounds = 3
  @Option(name: .long, help: "Pods of the large Deployment; a node takes 110.")
  var pods = 100
  @Option(name: .long, help: "Seconds without work before idle memory is read.")
  var idleSeconds = 10.0

  func validate() throws {
    guard rounds > 0, (1...110).contains(pods), idleSeconds >= 0 else {
      throw ValidationError("--rounds: above 0; --pods: 1 to 110; --idle-seconds: at least 0")
    }
  }

  func run() async throws {
    try options.requireIsolation()
    guard Files.exists(kubectl) else { throw BenchError("--kubectl \(kubectl) is not there; run hack/clients") }
    let work = "\(options.work)/cluster"
    defer { try? Files.removeTree(work) }
    var times = ClusterTimes()
    for round in 1...rounds {
      do {
        times = try await measure(times, isFirst: round == 1, work: "\(work)/\(round)")
      } catch {
        throw BenchError("round \(round): \(error)")
      }
    }
    var report = Report(recorded: PeerFigures.cluster)
    times.show(in: &report, pods: pods)
    try options.show(report, as: "cluster")
  }

  private func measure(_ before: ClusterTimes, isFirst: Bool, work: String) async throws -> ClusterTimes {
    var times = before
    let node = try BenchNode(work: work)
    let kubectl = Kubectl(program: kubectl, kubeconfig: node.kubeconfig, home: work)
    times.ups.add(try await node.start())
    do {
      try await CRIClient.connected(to: node.runtimeSocket) { try await Requests.importImage($0, from: options.images) }
      if isFirst {
        try await Task.sleep(for: .seconds(idleSeconds))
        times.idle = try node.memory()
      }
      let deployment = BenchDeployment(kubectl: kubectl, serverSocket: node.serverSocket)
      for count in [1, pods] {
        let ready = try await deployment.apply(count)
        if count == pods && isFirst { times.full = try node.memory() }
        let gone = try await deployment.delete(count)
        let removed = try await milliseconds { try await node.waitUntilRuntimeIsEmpty() }
        times.add(count: count, ready: ready, gone: gone, removed: gone + removed)
      }
    } catch {
      _ = try? await node.end()
      throw BenchError("\(error)\nThe ends of the node's logs:\n\(node.logEnds())")
    }
    times.resets.add(try await node.end())
    try node.requireNothingLeft()
    try Files.removeTree(work)
    return times
  }
}

/// All rounds' figures.
struct ClusterTimes: Sendable {
  var ups = Series()
  var resets = Series()
  var idle: [NodeMemory] = []
  var full: [NodeMemory] = []
  private var ready: [Int: Series] = [:]
  private var gone: [Int: Series] = [:]
  private var removed: [Int: Series] = [:]

  mutating func add(count: Int, ready: Double, gone: Double, removed: Double) {
    self.ready[count, default: Series()].add(ready)
    self.gone[count, default: Series()].add(gone)
    self.removed[count, default: Series()].add(removed)
  }

  func show(in report: inout Report, pods: Int) {
    report.set("up", ups)
    for count in pods == 1 ? [1] : [1, pods] {
      report.set("apply\(count)_ready", ready[count] ?? Series())
      report.set("delete\(count)", gone[count] ?? Series())
      report.set("delete\(count)_removed", removed[count] ?? Series())
    }
    report.set("reset", resets)
    for (name, memory) in [("idle", idle), ("pods\(pods)", full)] {
      report.set("\(name)_rss_mb", memory.map { ($0.name, megabytes(kilobytes: $0.memory.residentKilobytes)) })
      report.set("\(name)_pss_mb", memory.map { ($0.name, megabytes(kilobytes: $0.memory.proportionalKilobytes)) })
      report.set(
        "\(name)_rss_sum_mb", megabytes(kilobytes: memory.reduce(0) { $0 + $1.memory.residentKilobytes }))
      report.set(
        "\(name)_pss_sum_mb", megabytes(kilobytes: memory.reduce(0) { $0 + $1.memory.proportionalKilobytes }))
    }
  }
}
