package import Metrics
internal import Synchronization

/// What the proxy counts, by the names that dashboards of kube-proxy know.
package final class ProxyMetrics: Sendable {
  private struct State {
    /// Seconds of one change in the kernel, and of changes that replaced the whole table.
    var sync = Histogram(bounds: ProxyMetrics.syncSeconds)
    var fullSync = Histogram(bounds: ProxyMetrics.syncSeconds)
    /// From the change of a pod, as its slice tells, to its effect on this node.
    var programming = Histogram(bounds: ProxyMetrics.programmingSeconds)
    var endpointChanges = 0
    var serviceChanges = 0
    var failures = 0
    var lastSync = 0.0
    var lastQueued = 0.0
    var health: [String: [Int: Int]] = [:]
    var services = 0
    var withoutLocal: [String: Set<String>] = [:]
  }
  private let state = Mutex(State())

  static let syncSeconds = [
    0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096,
    8.192, 16.384,
  ]
  static let programmingSeconds =
    [0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5]
    + (1...20).map(Double.init) + [30, 40, 50, 60, 90, 120, 180, 240, 300]

  package init() {}

  func synced(seconds: Double, isFull: Bool, at wall: Double) {
    state.withLock { state in
      state.sync.observe(seconds)
      if isFull { state.fullSync.observe(seconds) }
      state.lastSync = wall
    }
  }

  func failed() { state.withLock { $0.failures += 1 } }
  func queued(at wall: Double) { state.withLock { $0.lastQueued = wall } }
  func programmed(seconds: Double) { state.withLock { $0.programming.observe(seconds) } }
  func changed(services: Int = 0, endpoints: Int = 0) {
    state.withLock { state in
      state.serviceChanges += services
      state.endpointChanges += endpoints
    }
  }

  func holds(entries: Int) { state.withLock { $0.services = entries } }

  /// Services that a policy keeps on a node which has none of their endpoints.
  func withoutLocal(_ policy: String, _ key: String, _ isSo: Bool) {
    state.withLock { state in
      if isSo {
        state.withoutLocal[policy, default: []].insert(key)
      } else {
        state.withoutLocal[policy]?.remove(key)
      }
    }
  }

  /// - Parameter path: `healthz` or `livez`.
  func asked(_ path: String, status: Int) { state.withLock { $0.health[path, default: [:]][status, default: 0] += 1 } }

  /// - Parameter pending: keys that wait to be looked at.
  package func families(pending: Int = 0) -> [MetricFamily] {
    let state = state.withLock { $0 }
    func histogram(_ name: String, _ help: String, _ value: Histogram) -> MetricFamily {
      MetricFamily(name, .histogram, help, [MetricFamily.Sample([], .histogram(value))])
    }
    func number(_ name: String, _ kind: MetricFamily.Kind, _ help: String, _ value: Double) -> MetricFamily {
      MetricFamily(name, kind, help, value)
    }
    let rules = "kubeproxy_sync_proxy_rules"
    var families = [
      histogram("\(rules)_duration_seconds", "SyncProxyRules latency in seconds", state.sync),
      histogram(
        "kubeproxy_sync_full_proxy_rules_duration_seconds", "SyncProxyRules latency in seconds for full resyncs",
        state.fullSync),
      histogram(
        "kubeproxy_network_programming_duration_seconds", "In Cluster Network Programming Latency in seconds",
        state.programming),
      number(
        "\(rules)_endpoint_changes_total", .counter, "Cumulative proxy rules Endpoint changes",
        Double(state.endpointChanges)),
      number(
        "\(rules)_endpoint_changes_pending", .gauge, "Pending proxy rules Endpoint changes", Double(pending)),
      number(
        "\(rules)_service_changes_total", .counter, "Cumulative proxy rules Service changes",
        Double(state.serviceChanges)),
      number("\(rules)_service_changes_pending", .gauge, "Pending proxy rules Service changes", Double(pending)),
      number(
        "\(rules)_nftables_sync_failures_total", .counter, "Cumulative proxy nftables sync failures",
        Double(state.failures)),
      number(
        "\(rules)_last_timestamp_seconds", .gauge, "The last time proxy rules were successfully synced", state.lastSync),
      number(
        "\(rules)_last_queued_timestamp_seconds", .gauge, "The last time a sync of proxy rules was queued",
        state.lastQueued),
      number(
        "martlet_proxy_entries", .gauge, "Addresses and ports of Services that the kernel has", Double(state.services)),
    ]
    families.append(
      MetricFamily(
        "\(rules)_no_local_endpoints_total", .gauge,
        "Number of services with a Local traffic policy and no endpoints",
        ["external", "internal"].map { policy in
          MetricFamily.Sample(
            [.init("traffic_policy", policy)], .number(Double(state.withoutLocal[policy]?.count ?? 0)))
        }))
    for path in state.health.keys.sorted() {
      families.append(
        MetricFamily(
          "kubeproxy_proxy_\(path)_total", .counter, "Cumulative proxy \(path) HTTP status",
          (state.health[path] ?? [:]).sorted { $0.key < $1.key }.map { status, count in
            MetricFamily.Sample([.init("code", "\(status)")], .number(Double(count)))
          }))
    }
    return families
  }
}
