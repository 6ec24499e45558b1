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
  }

  private struct Row {
    var codes: [(code: Int, count: Int)] = []
    var buckets = [Int](repeating: 0, count: RequestMetrics.bounds.count)
    var seconds = 0.0
    var timed = 0

    mutating func count(_ code: Int) {
      if let index = codes.firstIndex(where: { $0.code == code }) {
        codes[index].count += 1
      } else {
        codes.append((code, 1))
      }
    }

    mutating func time(_ duration: Double) {
      if let bucket = RequestMetrics.bounds.firstIndex(where: { duration <= $0 }) { buckets[bucket] += 1 }
      seconds += duration
      timed += 1
    }
  }

  /// Upper bounds in seconds.
  static let bounds = [0.001, 0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2, 5, 10, 30, 60]
  /// Rows kept, so that nobody can fill the memory with names.
  private static let rowsMax = 5000

  private let rows = Mutex<[Key: Row]>([:])

  /// - Parameter isKnown: the request names a resource that is served; others are counted together.
  func record(_ info: RequestInfo, code: Int, nanoseconds: Int64, isKnown: Bool) {
    let key =
      isKnown
      ? Key(
        verb: info.verb.uppercased(), group: info.group, version: info.version, resource: info.resource,
        subresource: info.subresource)
      : Key(verb: "GET", group: "", version: "", resource: "", subresource: "")
    rows.withLock { rows in
      guard let index = rows.index(forKey: key) else {
        guard rows.count < Self.rowsMax else { return }
        var row = Row()
        row.count(code)
        if !info.isLongRunning { row.time(Double(nanoseconds) / 1e9) }
        rows[key] = row
        return
      }
      rows.values[index].count(code)
      if !info.isLongRunning { rows.values[index].time(Double(nanoseconds) / 1e9) }
    }
  }

  /// In Prometheus' text format.
  func text() -> String {
    let rows = rows.withLock { $0 }.map { (labels: Self.labels($0.key), row: $0.value) }
      .sorted { $0.labels < $1.labels }
    var text = "# HELP apiserver_request_total Requests by verb, resource and HTTP status.\n"
    text += "# TYPE apiserver_request_total counter\n"
    for (labels, row) in rows {
      for (code, count) in row.codes { text += "apiserver_request_total{\(labels),code=\"\(code)\"} \(count)\n" }
    }
    text += "# HELP apiserver_request_duration_seconds Time from a request to its answer, without watches.\n"
    text += "# TYPE apiserver_request_duration_seconds histogram\n"
    for (labels, row) in rows where row.timed > 0 {
      var total = 0
      for (index, bound) in Self.bounds.enumerated() {
        total += row.buckets[index]
        text += "apiserver_request_duration_seconds_bucket{\(labels),le=\"\(bound)\"} \(total)\n"
      }
      text += "apiserver_request_duration_seconds_bucket{\(labels),le=\"+Inf\"} \(row.timed)\n"
      text += "apiserver_request_duration_seconds_sum{\(labels)} \(row.seconds)\n"
      text += "apiserver_request_duration_seconds_count{\(labels)} \(row.timed)\n"
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
