package import HTTPServer
package import KubeClient
package import KubeModel
internal import Kernel
internal import Metrics

/// Answers those who ask whether the proxy works: load balancers, probes, and Prometheus, in kube-proxy's words.
package struct ProxyHealth: Sendable {
  private let proxy: ServiceProxy
  private let nodes: Informer<Node>?
  private let nodeName: String
  private let pending: @Sendable () -> Int

  /// A node that an autoscaler is about to take away.
  static let deletionTaint = "ToBeDeletedByClusterAutoscaler"

  /// - Parameters:
  ///   - nodes: this node at least; nil: it stays.
  ///   - pending: Services that wait to be looked at.
  package init(
    proxy: ServiceProxy, nodes: Informer<Node>? = nil, nodeName: String,
    pending: @escaping @Sendable () -> Int = { 0 }
  ) {
    (self.proxy, self.nodes, self.nodeName, self.pending) = (proxy, nodes, nodeName, pending)
  }

  /// Whether load balancers may send new connections here.
  var isEligible: Bool {
    guard let node = nodes?.get(name: nodeName) else { return true }
    return node.metadata.deletionTimestamp == nil && !node.spec.taints.contains { $0.key == Self.deletionTaint }
  }

  /// `/healthz` for load balancers, which also says no where the node is about to go; `/livez` for probes, which does
  /// not.
  package func answerHealth(_ request: HTTPRequest) async -> HTTPResponse {
    let path = String(request.path.drop { $0 == "/" })
    guard path == "healthz" || path == "livez" else { return .text("404 page not found\n", status: 404) }
    let state = await proxy.health
    let eligible = isEligible
    let isWell = state.isHealthy && (path == "livez" || eligible)
    proxy.metrics.asked(path, status: isWell ? 200 : 503)
    let now = Self.time(SystemClock.wallNanoseconds)
    let updated = Self.time(state.isHealthy ? SystemClock.wallNanoseconds : state.lastUpdated)
    var body = #"{"lastUpdated": "\#(updated)","currentTime": "\#(now)""#
    if path == "healthz" { body += #", "nodeEligible": \#(eligible)"# }
    return HTTPResponse(
      status: isWell ? 200 : 503,
      headers: ["Content-Type": "application/json", "X-Content-Type-Options": "nosniff"],
      body: .bytes(Array((body + "}").utf8)))
  }

  package func answerMetrics(_ request: HTTPRequest) async -> HTTPResponse {
    switch request.path {
    case "/metrics":
      return HTTPResponse(
        headers: ["Content-Type": MetricFamily.contentType],
        body: .bytes(Array(MetricFamily.text(proxy.metrics.families(pending: pending())).utf8)))
    case "/healthz": return .text("ok")
    case "/proxyMode": return .text("nftables")
    default: return .text("404 page not found\n", status: 404)
    }
  }

  /// As kube-proxy writes it.
  private static func time(_ nanoseconds: Int64) -> String {
    let text = RFC3339.text(seconds: nanoseconds / 1_000_000_000, nanoseconds: nanoseconds % 1_000_000_000)
    return text.replacing("T", with: " ").replacing("Z", with: " +0000 UTC")
  }
}
