import HTTPServer
import ObjectStore
import Synchronization

/// Counts of requests for `/metrics`, under the names that dashboards of Kubernetes know.
final class RequestMetrics: Sendable {
  struct Key: Hashable {
    var verb: String
    var group: String
    var version: String
    var resource: String
    var subresource: String
    var code: Int
  }

  private struct Durations {
    var counts = [Int](repeating: 0, count: RequestMetrics.bounds.count)
    var sum = 0.0
    var count = 0
  }

  private struct State {
    var requests: [Key: Int] = [:]
    var durations: [Key: Durations] = [:]
  }

  /// Upper bounds in seconds.
  static let bounds = [0.001, 0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2, 5, 10, 30, 60]
  /// Rows kept, so that nobody can fill the memory with names.
  private static let rowsMax = 5000

  private let state = Mutex(State())

  func record(_ info: RequestInfo, code: Int, nanoseconds: Int64, hasResource: Bool) {
    let isKnown = info.isResourceRequest && hasResource
    var key = Key(
      verb: isKnown ? info.verb.uppercased() : "GET", group: isKnown ? info.group : "",
      version: isKnown ? info.version : "", resource: isKnown ? info.resource : "",
      subresource: isKnown ? info.subresource : "", code: code)
    state.withLock { state in
      if state.requests[key] != nil || state.requests.count < Self.rowsMax { state.requests[key, default: 0] += 1 }
      guard !info.isLongRunning else { return }
      key.code = 0
      guard state.durations[key] != nil || state.durations.count < Self.rowsMax else { return }
      let seconds = Double(nanoseconds) / 1e9
      if let bucket = Self.bounds.firstIndex(where: { seconds <= $0 }) {
        state.durations[key, default: Durations()].counts[bucket] += 1
      }
      state.durations[key, default: Durations()].sum += seconds
      state.durations[key, default: Durations()].count += 1
    }
  }

  /// In Prometheus' text format.
  func text() -> String {
    let (requests, durations) = state.withLock { ($0.requests, $0.durations) }
    var text = "# HELP apiserver_request_total Requests by verb, resource and HTTP status.\n"
    text += "# TYPE apiserver_request_total counter\n"
    for (labels, count) in requests.map({ (Self.labels($0.key) + ",code=\"\($0.key.code)\"", $0.value) }).sorted(by: <)
    {
      text += "apiserver_request_total{\(labels)} \(count)\n"
    }
    text += "# HELP apiserver_request_duration_seconds Time from a request to its answer, without watches.\n"
    text += "# TYPE apiserver_request_duration_seconds histogram\n"
    for (labels, duration) in durations.map({ (Self.labels($0.key), $0.value) }).sorted(by: { $0.0 < $1.0 }) {
      var total = 0
      for (index, bound) in Self.bounds.enumerated() {
        total += duration.counts[index]
        text += "apiserver_request_duration_seconds_bucket{\(labels),le=\"\(bound)\"} \(total)\n"
      }
      text += "apiserver_request_duration_seconds_bucket{\(labels),le=\"+Inf\"} \(duration.count)\n"
      text += "apiserver_request_duration_seconds_sum{\(labels)} \(duration.sum)\n"
      text += "apiserver_request_duration_seconds_count{\(labels)} \(duration.count)\n"
    }
    return text
  }

  private static func labels(_ key: Key) -> String {
    "verb=\"\(key.verb)\",group=\"\(key.group)\",version=\"\(key.version)\",resource=\"\(key.resource)\","
      + "subresource=\"\(key.subresource)\""
  }
}

extension APIServer {
  func metricsResponse() -> HTTPResponse {
    var text = metrics.text()
    let counts = inFlight.current
    text += "# TYPE apiserver_current_inflight_requests gauge\n"
    text += "apiserver_current_inflight_requests{request_kind=\"readOnly\"} \(counts.reads)\n"
    text += "apiserver_current_inflight_requests{request_kind=\"mutating\"} \(counts.writes)\n"
    text += "# TYPE apiserver_longrunning_requests gauge\n"
    text += "apiserver_longrunning_requests{verb=\"WATCH\"} \(counts.watches)\n"
    text += "# TYPE apiserver_storage_objects gauge\n"
    for resource in resources.stored {
      let listing = store.list(prefix: resource.prefix, limit: 1)
      text +=
        "apiserver_storage_objects{resource=\"\(resource.qualified)\"} \(listing.objects.count + listing.remaining)\n"
    }
    text += ProcessMetrics.text()
    return HTTPResponse(
      status: 200, headers: ["Content-Type": "text/plain; version=0.0.4; charset=utf-8"], body: .bytes(Array(text.utf8))
    )
  }
}
