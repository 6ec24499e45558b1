internal import DaemonConfiguration
internal import HTTPServer
internal import Kernel
internal import Logging
internal import Metrics
internal import PodRuntime
internal import Synchronization

/// `/metrics`, `/livez` and `/readyz`.
///
/// By default on a unix socket that only root can open: there is no port that another program could hold or a pod could
/// reach, and several daemons on one machine do not meet.
final class NodeMetrics: Sendable {
  let book = CallBook()
  private let parts = Mutex<Parts?>(nil)

  private struct Parts: Sendable {
    var runtime: Runtime
    var network: NodeNetwork
  }

  /// From now on the daemon is ready, but for what the network says.
  func serve(_ runtime: Runtime, _ network: NodeNetwork) {
    parts.withLock { $0 = Parts(runtime: runtime, network: network) }
  }

  static func bind(_ listener: MetricsListener, _ metrics: NodeMetrics, log: Logger) async throws -> HTTPServer {
    let place: HTTPListener =
      switch listener {
      case .unix(let path): .unix(path: path)
      case .tcp(let host, let port): .tcp(host: host, port: port, tls: nil)
      }
    var limits = HTTPServerLimits()
    limits.connectionsMax = 64
    return try await HTTPServer.bind([place], limits: limits, logger: log) { request in await metrics.answer(request) }
  }

  private func answer(_ request: HTTPRequest) async -> HTTPResponse {
    guard request.method == "GET" || request.method == "HEAD" else {
      return HTTPResponse(status: 405, headers: ["Allow": "GET, HEAD"])
    }
    switch request.path {
    case "/metrics":
      // Reads files of /proc.
      let text = await offLoop { await self.text() }
      return HTTPResponse(headers: ["Content-Type": MetricFamily.contentType], body: .bytes(Array(text.utf8)))
    case "/livez": return .text("ok\n")
    case "/readyz": return await ready()
    default: return .text("404: there are /metrics, /livez and /readyz\n", status: 404)
    }
  }

  private func ready() async -> HTTPResponse {
    guard let parts = parts.withLock({ $0 }) else {
      return .text("[-]recovery under way\nreadyz check failed\n", status: 503)
    }
    if let problem = await parts.network.problem() {
      return .text("[+]runtime ok\n[-]network failed: \(problem)\nreadyz check failed\n", status: 503)
    }
    return .text("ok\n")
  }

  private func text() async -> String {
    var families = book.families + pulls + Self.process
    families.append(
      MetricFamily(
        "martlet_build_info", .gauge, "Always 1.", [.init([.init("version", Daemon.version)], .number(1))]))
    if let parts = parts.withLock({ $0 }) {
      families += Self.counts(parts.runtime)
      let isReady = await parts.network.problem() == nil
      families.append(
        MetricFamily("martlet_network_ready", .gauge, "Whether new pods get a network.", isReady ? 1 : 0))
    }
    return MetricFamily.text(families)
  }

  private var pulls: [MetricFamily] {
    let method = CallBook.Method(service: "runtime.v1.ImageService", name: "PullImage")
    let ended = book.ended(method)
    let failed = ended.filter { $0.key != "OK" }.values.reduce(0, +)
    return [
      MetricFamily(
        "martlet_image_pulls_total", .counter, "Pulls of images that ended.",
        [
          .init([.init("result", "ok")], .number(Double(ended["OK"] ?? 0))),
          .init([.init("result", "failed")], .number(Double(failed))),
        ]),
      MetricFamily(
        "martlet_image_pulls_in_flight", .gauge, "Pulls of images under way.", Double(book.underWay(method))),
    ]
  }

  private static func counts(_ runtime: Runtime) -> [MetricFamily] {
    func family(_ name: String, _ help: String, _ states: [String], _ found: [String]) -> MetricFamily {
      let counts = Dictionary(found.map { ($0, 1) }, uniquingKeysWith: +)
      return MetricFamily(
        name, .gauge, help, states.map { .init([.init("state", $0)], .number(Double(counts[$0] ?? 0))) })
    }
    return [
      family(
        "martlet_pods", "Pod sandboxes by state.", ["ready", "not_ready"],
        runtime.sandboxes.map { $0.isReady ? "ready" : "not_ready" }),
      family(
        "martlet_containers", "Containers by state.", ["created", "running", "exited", "removing"],
        runtime.containers.map { container in
          switch container.phase {
          case .created, .starting: "created"
          case .running: "running"
          case .exited: "exited"
          case .removing, .removed: "removing"
          }
        }),
    ]
  }

  /// The daemon itself, under the names that Prometheus' own clients use.
  private static var process: [MetricFamily] {
    var families: [MetricFamily] = []
    let status = ((try? Files.readText("/proc/self/status")) ?? nil) ?? ""
    if let line = status.split(separator: "\n").first(where: { $0.hasPrefix("VmRSS:") }),
      let kilobytes = line.split(whereSeparator: { $0 == " " || $0 == "\t" }).dropFirst().first.flatMap({ Double($0) })
    {
      families.append(
        MetricFamily("process_resident_memory_bytes", .gauge, "Resident memory size in bytes.", kilobytes * 1024))
    }
    let stat = ((try? Files.readText("/proc/self/stat")) ?? nil) ?? ""
    // Behind the name in parentheses: user and system time are fields 14 and 15, in hundredths of a second.
    let fields = stat.split(separator: ")").last?.split(separator: " ") ?? []
    if fields.count > 12, let user = Double(fields[11]), let system = Double(fields[12]) {
      families.append(
        MetricFamily(
          "process_cpu_seconds_total", .counter, "Total user and system CPU time spent in seconds.",
          (user + system) / 100))
    }
    if let count = try? CurrentProcess.openDescriptors() {
      families.append(MetricFamily("process_open_fds", .gauge, "Number of open file descriptors.", Double(count)))
    }
    return families
  }
}
