import JSON

/// The figures by number of services, as an object, as a table and as a plot.
struct DataplaneReport {
  let counts: [Int]
  let endpoints: Int
  let ours: [Int: DataplaneFigures]
  let peers: [Int: DataplaneFigures]

  private static let names = [
    "first_sync_ms", "first_sync_kernel_ms", "first_sync_messages", "first_sync_bytes", "add_service_ms",
    "add_service_p99_ms", "add_service_kernel_ms", "change_endpoint_ms", "change_endpoint_p99_ms",
    "change_endpoint_kernel_ms", "messages", "bytes", "cpu_percent_at_100_per_second", "rss_mb", "rss_peak_mb",
    "connect_p50_us", "connect_p99_us", "direct_connect_p50_us", "direct_connect_p99_us", "throughput_mb_per_s",
    "direct_throughput_mb_per_s", "udp_requests_per_s", "direct_udp_requests_per_s",
  ]
  private static let peerNames = [
    "first_sync_ms", "add_service_ms", "change_endpoint_ms", "connect_p50_us", "connect_p99_us", "udp_requests_per_s",
    gaveUp,
  ]

  /// Seconds after which a chain a service was given up.
  static let gaveUp = "gave_up_after_s"

  private static func rounded(_ value: Double) -> JSONValue { JSONValue((value * 10_000).rounded() / 10_000) }

  var json: JSONValue {
    var rows: [JSONValue] = []
    for count in counts {
      var row = JSONObject()
      row["services"] = .integer(Int64(count))
      row["endpoints"] = .integer(Int64(endpoints))
      for name in Self.names { if let value = ours[count]?[name] { row[name] = Self.rounded(value) } }
      if let figures = peers[count] {
        var peer = JSONObject()
        for name in Self.peerNames { if let value = figures[name] { peer[name] = Self.rounded(value) } }
        row["kube_proxy_shape"] = .object(peer)
      }
      rows.append(.object(row))
    }
    var object = JSONObject()
    object["dataplane"] = .array(rows)
    return .object(object)
  }

  var text: String {
    var text = "dataplane, \(endpoints) endpoints a service\n"
    func line(_ name: String, _ values: [Double?]) {
      func padded(_ text: String, _ width: Int) -> String {
        String(repeating: " ", count: max(0, width - text.count)) + text
      }
      let cells = values.map { padded($0.map { "\(($0 * 1000).rounded() / 1000)" } ?? "–", 14) }
      text += "  \(name)\(String(repeating: " ", count: max(1, 40 - name.count)))\(cells.joined())\n"
    }
    line("services", counts.map { Double($0) })
    for name in Self.names { line(name, counts.map { ours[$0]?[name] }) }
    for name in Self.peerNames where name != Self.gaveUp || peers.values.contains(where: { $0[name] != nil }) {
      line("a chain a service: \(name)", counts.map { peers[$0]?[name] })
    }
    return text
  }

  // MARK: plot

  private static let curves = [
    ("first_sync_ms", "first sync", "#1f77b4"), ("add_service_ms", "one service added", "#2ca02c"),
    ("change_endpoint_ms", "one endpoint changed", "#d62728"),
  ]
  private static let width = 720.0
  private static let height = 420.0
  private static let margin = 60.0

  /// Milliseconds against services, both logarithmic; dashed: a chain a service.
  var svg: String {
    var lines: [String] = []
    var values: [Double] = []
    for count in counts {
      for curve in Self.curves {
        for figures in [ours, peers] {
          if let value = figures[count]?[curve.0], value > 0 { values.append(value) }
        }
      }
    }
    let low = Self.decade(values.min() ?? 0.01)
    let high = max(Self.decade(values.max() ?? 1) + 1, low + 1)
    let left = Self.decade(Double(counts.min() ?? 1))
    let right = max(Self.decade(Double(counts.max() ?? 10)) + 1, left + 1)
    func x(_ value: Double) -> Double {
      Self.margin + (Self.log10(value) - Double(left)) / Double(right - left) * (Self.width - 2 * Self.margin)
    }
    func y(_ value: Double) -> Double {
      Self.height - Self.margin - (Self.log10(value) - Double(low)) / Double(high - low)
        * (Self.height - 2 * Self.margin)
    }
    for decade in low...high {
      let value = Self.power(decade)
      lines.append(
        "<line x1=\"\(Self.margin)\" x2=\"\(Self.width - Self.margin)\" y1=\"\(y(value))\" y2=\"\(y(value))\" stroke=\"#ddd\"/>"
          + "<text x=\"\(Self.margin - 6)\" y=\"\(y(value) + 4)\" text-anchor=\"end\">\(Self.label(value)) ms</text>")
    }
    for decade in left...right {
      let value = Self.power(decade)
      lines.append(
        "<line y1=\"\(Self.margin)\" y2=\"\(Self.height - Self.margin)\" x1=\"\(x(value))\" x2=\"\(x(value))\" stroke=\"#ddd\"/>"
          + "<text x=\"\(x(value))\" y=\"\(Self.height - Self.margin + 18)\" text-anchor=\"middle\">\(Self.label(value))</text>"
      )
    }
    for (index, curve) in Self.curves.enumerated() {
      for (figures, dash) in [(ours, ""), (peers, " stroke-dasharray=\"6 4\"")] {
        let points = counts.compactMap { count in
          figures[count]?[curve.0].map { "\(x(Double(count))),\(y(max($0, Self.power(low))))" }
        }
        lines.append(
          "<polyline fill=\"none\" stroke=\"\(curve.2)\" stroke-width=\"2\"\(dash) points=\"\(points.joined(separator: " "))\"/>"
        )
      }
      lines.append(
        "<text x=\"\(Self.margin + 10)\" y=\"\(Self.margin - 30 + Double(index) * 14)\" fill=\"\(curve.2)\">\(curve.1)</text>"
      )
    }
    lines.append(
      "<text x=\"\(Self.width / 2)\" y=\"\(Self.height - 14)\" text-anchor=\"middle\">services; dashed: a chain a service, nft -f</text>"
    )
    return
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"\(Int(Self.width))\" height=\"\(Int(Self.height))\" font-family=\"sans-serif\" font-size=\"12\">\n"
      + "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n" + lines.joined(separator: "\n") + "\n</svg>\n"
  }

  /// By division and a short series: the plot needs two digits, not a mathematics library.
  private static func log10(_ value: Double) -> Double {
    var rest = max(value, 1e-9)
    var exponent = 0.0
    while rest >= 10 { (rest, exponent) = (rest / 10, exponent + 1) }
    while rest < 1 { (rest, exponent) = (rest * 10, exponent - 1) }
    // ln m = 2 artanh((m-1)/(m+1)).
    let ratio = (rest - 1) / (rest + 1)
    var term = ratio
    var sum = 0.0
    for index in 0..<40 {
      sum += term / Double(2 * index + 1)
      term *= ratio * ratio
    }
    return exponent + 2 * sum / 2.302585092994046
  }

  private static func decade(_ value: Double) -> Int { Int(log10(value).rounded(.down)) }

  private static func power(_ exponent: Int) -> Double {
    var value = 1.0
    for _ in 0..<abs(exponent) { value *= 10 }
    return exponent < 0 ? 1 / value : value
  }

  private static func label(_ value: Double) -> String { value >= 1 ? "\(Int(value))" : "\(value)" }
}
