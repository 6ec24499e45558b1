internal import HTTPServer
internal import Kernel
internal import KubeClient
internal import Logging

/// The health-check node ports of Services whose external traffic stays on the node: a load balancer asks each node
/// there whether it has endpoints, and gets kube-proxy's answer.
actor HealthPorts {
  private struct Open {
    var owner: ObjectKey
    var localEndpoints: Int
    var server: Task<Void, any Error>?
  }
  private var open: [UInt16: Open] = [:]
  private var owned: [ObjectKey: UInt16] = [:]
  private var isProxyHealthy: @Sendable () async -> Bool = { true }
  private let logger: Logger
  private var isStopping = false

  init(logger: Logger) { self.logger = logger }

  func setProxyHealthy(_ isHealthy: @escaping @Sendable () async -> Bool) { isProxyHealthy = isHealthy }

  /// - Returns: why the port of this Service is not served.
  func set(_ key: ObjectKey, _ health: ServedService.Health?) async -> ServiceTrouble? {
    if let port = owned[key], port != health?.port {
      owned[key] = nil
      await close(port)
    }
    guard let health, !isStopping else { return nil }
    if owned[key] == health.port {
      open[health.port]?.localEndpoints = health.localEndpoints
      return nil
    }
    if let other = open[health.port] {
      return ServiceTrouble(
        .healthPortTaken, "spec.healthCheckNodePort: \(health.port) is taken by service \(other.owner)")
    }
    // Taken before the first wait, so that no other takes it meanwhile.
    open[health.port] = Open(owner: key, localEndpoints: health.localEndpoints)
    owned[key] = health.port
    do throws(HTTPServerError) {
      let port = health.port
      let server = try await HTTPServer.bind(Self.listeners(port), logger: logger) { [self] _ in await answer(port) }
      guard !isStopping, owned[key] == port else {
        // Let go while it was made.
        let stopping = Task { try await server.run() }
        stopping.cancel()
        return nil
      }
      open[port]?.server = Task { try await server.run() }
      return nil
    } catch {
      open[health.port] = nil
      owned[key] = nil
      return ServiceTrouble(.healthPortTaken, "spec.healthCheckNodePort: \(error)")
    }
  }

  /// Where the node has IPv6, `::` takes IPv4 as well.
  private static func listeners(_ port: UInt16) -> [HTTPListener] {
    let hasIPv6 = Files.exists("/proc/net/if_inet6")
    return [.tcp(host: hasIPv6 ? "::" : "0.0.0.0", port: Int(port), tls: nil)]
  }

  private func close(_ port: UInt16) async {
    guard let gone = open.removeValue(forKey: port) else { return }
    gone.server?.cancel()
    _ = try? await gone.server?.value
  }

  /// Keeps the ports until cancelled, then closes them.
  func run() async {
    let never = AsyncStream<Never> { _ in }
    for await _ in never {}
    isStopping = true
    for port in open.keys.sorted() { await close(port) }
    owned = [:]
  }

  private func answer(_ port: UInt16) async -> HTTPResponse {
    guard let known = open[port] else { return .text("no such service\n", status: 404) }
    return Self.response(
      known.owner, localEndpoints: known.localEndpoints, isProxyHealthy: await isProxyHealthy())
  }

  static func response(_ owner: ObjectKey, localEndpoints: Int, isProxyHealthy: Bool) -> HTTPResponse {
    let body = """
      {
      \t"service": {
      \t\t"namespace": "\(owner.namespace)",
      \t\t"name": "\(owner.name)"
      \t},
      \t"localEndpoints": \(localEndpoints),
      \t"serviceProxyHealthy": \(isProxyHealthy)
      }
      """
    return HTTPResponse(
      status: localEndpoints > 0 && isProxyHealthy ? 200 : 503,
      headers: [
        "Content-Type": "application/json", "X-Content-Type-Options": "nosniff",
        "X-Load-Balancing-Endpoint-Weight": "\(localEndpoints)",
      ], body: .bytes(Array(body.utf8)))
  }
}
