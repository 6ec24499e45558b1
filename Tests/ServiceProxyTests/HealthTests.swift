import HTTPServer
import JSON
import KubeClient
import KubeModel
import Logging
import Metrics
import Testing

@testable import ServiceProxy

private let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

@Suite struct ProxyMetricsTests {
  @Test func dashboardsOfKubeProxyFindTheirNames() {
    let metrics = ProxyMetrics()
    metrics.synced(seconds: 0.003, isFull: true, at: 100)
    metrics.programmed(seconds: 0.2)
    metrics.changed(services: 2, endpoints: 3)
    metrics.asked("healthz", status: 200)
    metrics.withoutLocal("external", "default/a", true)
    metrics.withoutLocal("external", "default/b", true)
    metrics.withoutLocal("external", "default/b", false)
    let text = MetricFamily.text(metrics.families(pending: 4))
    for line in [
      "kubeproxy_sync_proxy_rules_duration_seconds_count 1", "kubeproxy_sync_full_proxy_rules_duration_seconds_count 1",
      "kubeproxy_network_programming_duration_seconds_bucket{le=\"0.25\"} 1",
      "kubeproxy_sync_proxy_rules_endpoint_changes_total 3", "kubeproxy_sync_proxy_rules_service_changes_total 2",
      "kubeproxy_sync_proxy_rules_endpoint_changes_pending 4", "kubeproxy_sync_proxy_rules_last_timestamp_seconds 100",
      "kubeproxy_proxy_healthz_total{code=\"200\"} 1",
      "kubeproxy_sync_proxy_rules_no_local_endpoints_total{traffic_policy=\"external\"} 1",
    ] { #expect(text.split(separator: "\n").contains(Substring(line)), "\(line) is not in\n\(text)") }
  }
}

@Suite struct ServiceReportTests {
  private let now = Time(secondsSinceEpoch: 1_000)

  @Test func aTroubleIsAConditionUntilItIsGone() throws {
    var service = Service()
    service.metadata.generation = 3
    let taken = ServiceTrouble(.nodePortTaken, "node port 30080 (tcp) is taken by service default/a")
    #expect(ServiceReports.revise(&service, [taken, ServiceTrouble(.notAllowed, "x")], now: now))
    let condition = try #require(service.status.conditions.first)
    #expect(condition.type == "martlet.dev/Served" && condition.status == "False")
    #expect(condition.reason == "NodePortTaken" && condition.observedGeneration == 3)
    #expect(condition.message == "node port 30080 (tcp) is taken by service default/a; x")
    #expect(condition.lastTransitionTime == now)
    #expect(!ServiceReports.revise(&service, [taken, ServiceTrouble(.notAllowed, "x")], now: Time()), "nothing is new")
    #expect(ServiceReports.revise(&service, [taken], now: Time(secondsSinceEpoch: 2_000)))
    #expect(service.status.conditions.first?.lastTransitionTime == now, "it was in trouble before")
    #expect(ServiceReports.revise(&service, [], now: now))
    #expect(service.status.conditions.isEmpty)
    #expect(!ServiceReports.revise(&service, [], now: now))
  }

  @Test func conditionsOfOthersStay() {
    var service = Service()
    var other = Condition()
    other.type = "example.com/Ready"
    service.status.conditions = [other]
    #expect(!ServiceReports.revise(&service, [], now: now))
    #expect(ServiceReports.revise(&service, [ServiceTrouble(.refused, "x")], now: now))
    #expect(ServiceReports.revise(&service, [], now: now))
    #expect(service.status.conditions == [other])
  }
}

@Suite struct HealthPortTests {
  private let web = ObjectKey(namespace: "default", name: "web")
  private let api = ObjectKey(namespace: "default", name: "api")

  /// Runs the ports while `body` runs.
  private func serving(_ body: @escaping @Sendable (HealthPorts) async throws -> Void) async throws {
    let ports = HealthPorts(logger: quiet)
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { await ports.run() }
      try await body(ports)
      group.cancelAll()
    }
  }

  @Test func onePortIsOneServices() async throws {
    let (web, api) = (web, api)
    try await serving { ports in
      let health = ServedService.Health(port: 39_471, localEndpoints: 2)
      #expect(await ports.set(web, health) == nil)
      #expect(await ports.set(web, .init(port: 39_471, localEndpoints: 0)) == nil)
      #expect(await ports.set(api, health)?.reason == .healthPortTaken)
      #expect(await ports.set(web, nil) == nil)
      #expect(await ports.set(api, health) == nil, "let go, it is another's")
    }
  }

  @Test(arguments: [(2, true, 200), (0, true, 503), (2, false, 503)])
  func loadBalancersHearHowManyEndpointsAreHere(_ count: Int, _ isHealthy: Bool, _ status: Int) {
    let known = HealthPorts.response(web, localEndpoints: count, isProxyHealthy: isHealthy)
    #expect(known.status == status)
    #expect(known.headers["X-Load-Balancing-Endpoint-Weight"] == "\(count)")
    guard case .bytes(let bytes) = known.body, let body = try? JSONValue.parse(bytes) else {
      Issue.record("the answer is no JSON")
      return
    }
    #expect(
      body == [
        "service": ["namespace": "default", "name": "web"], "localEndpoints": .integer(Int64(count)),
        "serviceProxyHealthy": .bool(isHealthy),
      ])
  }
}
