internal import Synchronization

/// Counts and times the calls of a gRPC server under the names that other gRPC servers use. From any thread.
package final class CallBook: Sendable {
  package struct Method: Hashable, Sendable {
    package var service: String
    package var name: String

    package init(service: String, name: String) {
      self.service = service
      self.name = name
    }

    fileprivate var labels: [MetricFamily.Label] { [.init("grpc_service", service), .init("grpc_method", name)] }
    fileprivate var order: String { "\(service)/\(name)" }
  }

  private struct Series {
    var started: UInt64 = 0
    var byCode: [String: UInt64] = [:]
    var seconds = Histogram()
  }

  private let series = Mutex<[Method: Series]>([:])
  /// Methods that are told apart; a client that invents more adds to `other` only.
  package static let methodsMax = 128
  private static let other = Method(service: "other", name: "other")

  package init() {}

  package func started(_ method: Method) {
    series.withLock { $0[Self.key(method, $0), default: Series()].started += 1 }
  }

  /// - Parameter code: gRPC's name of the status, "OK" or "NotFound".
  package func ended(_ method: Method, code: String, seconds: Double) {
    series.withLock { all in
      let key = Self.key(method, all)
      all[key, default: Series()].byCode[code, default: 0] += 1
      all[key]?.seconds.observe(seconds)
    }
  }

  private static func key(_ method: Method, _ all: [Method: Series]) -> Method {
    all.count < methodsMax || all[method] != nil ? method : other
  }

  /// Calls of a method that ended, by code.
  package func ended(_ method: Method) -> [String: UInt64] { series.withLock { $0[method]?.byCode ?? [:] } }

  /// Calls of a method that have not ended.
  package func underWay(_ method: Method) -> UInt64 {
    series.withLock { all in
      guard let series = all[method] else { return 0 }
      return series.started - min(series.started, series.byCode.values.reduce(0, +))
    }
  }

  /// In an order that stays the same.
  package var families: [MetricFamily] {
    let all = series.withLock { $0 }.sorted { $0.key.order < $1.key.order }
    return [
      MetricFamily(
        "grpc_server_started_total", .counter, "Calls that began.",
        all.map { .init($0.key.labels, .number(Double($0.value.started))) }),
      MetricFamily(
        "grpc_server_handled_total", .counter, "Calls that ended, by status.",
        all.flatMap { method, series in
          series.byCode.sorted { $0.key < $1.key }.map { code, count in
            .init(method.labels + [.init("grpc_code", code)], .number(Double(count)))
          }
        }),
      MetricFamily(
        "grpc_server_handling_seconds", .histogram, "From the start of a call to its end.",
        all.filter { $0.value.seconds.count > 0 }.map { .init($0.key.labels, .histogram($0.value.seconds)) }),
    ]
  }
}
