/// One metric with all its series, as the text format of Prometheus (exposition format 0.0.4) groups them.
package struct MetricFamily: Sendable, Hashable {
  package enum Kind: String, Sendable { case counter, gauge, histogram }

  package struct Sample: Sendable, Hashable {
    /// In the order in which they are written.
    package var labels: [Label]
    package var value: Value

    package init(_ labels: [Label] = [], _ value: Value) {
      self.labels = labels
      self.value = value
    }
  }

  package struct Label: Sendable, Hashable {
    package var name: String
    package var value: String

    package init(_ name: String, _ value: String) {
      self.name = name
      self.value = value
    }
  }

  package enum Value: Sendable, Hashable {
    case number(Double)
    case histogram(Histogram)
  }

  package var name: String
  package var help: String
  package var kind: Kind
  package var samples: [Sample]

  package init(_ name: String, _ kind: Kind, _ help: String, _ samples: [Sample]) {
    self.name = name
    self.kind = kind
    self.help = help
    self.samples = samples
  }

  /// A family of one series without labels.
  package init(_ name: String, _ kind: Kind, _ help: String, _ value: Double) {
    self.init(name, kind, help, [Sample([], .number(value))])
  }

  /// The text of all families, as it is sent. Families without series are left out.
  package static func text(_ families: [MetricFamily]) -> String {
    var text = ""
    for family in families where !family.samples.isEmpty { family.write(into: &text) }
    return text
  }

  /// What the text is in a Content-Type.
  package static let contentType = "text/plain; version=0.0.4; charset=utf-8"

  private func write(into text: inout String) {
    text += "# HELP \(name) \(Self.escaped(help, quotes: false))\n# TYPE \(name) \(kind.rawValue)\n"
    for sample in samples {
      switch sample.value {
      case .number(let value): Self.line(name, sample.labels, value, &text)
      case .histogram(let histogram):
        for (bound, count) in histogram.cumulative {
          Self.line("\(name)_bucket", sample.labels + [Label("le", bound)], Double(count), &text)
        }
        Self.line("\(name)_sum", sample.labels, histogram.sum, &text)
        Self.line("\(name)_count", sample.labels, Double(histogram.count), &text)
      }
    }
  }

  private static func line(_ name: String, _ labels: [Label], _ value: Double, _ text: inout String) {
    text += name
    if !labels.isEmpty {
      text += "{"
      text += labels.map { "\($0.name)=\"\(escaped($0.value, quotes: true))\"" }.joined(separator: ",")
      text += "}"
    }
    text += " \(number(value))\n"
  }

  private static func escaped(_ text: String, quotes: Bool) -> String {
    var result = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\\": result += "\\\\"
      case "\n": result += "\\n"
      case "\"" where quotes: result += "\\\""
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }

  /// Whole numbers without a point: the format takes any float.
  static func number(_ value: Double) -> String {
    if value.isNaN { return "NaN" }
    if value.isInfinite { return value > 0 ? "+Inf" : "-Inf" }
    return Int64(exactly: value).map(String.init) ?? value.description
  }
}

/// Observations sorted into buckets.
package struct Histogram: Sendable, Hashable {
  /// Upper ends of the buckets, ascending; a last one without end follows.
  package let bounds: [Double]
  private var counts: [UInt64]
  package private(set) var sum = 0.0
  package private(set) var count: UInt64 = 0

  /// Seconds that calls take: from a quarter of a millisecond to two minutes.
  package static let callSeconds = [
    0.00025, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120,
  ]

  package init(bounds: [Double] = Histogram.callSeconds) {
    self.bounds = bounds
    counts = [UInt64](repeating: 0, count: bounds.count + 1)
  }

  package mutating func observe(_ value: Double) {
    counts[bounds.firstIndex { value <= $0 } ?? bounds.count] += 1
    sum += value
    count += 1
  }

  /// How many observations are at most each bound; "+Inf" is last.
  package var cumulative: [(bound: String, count: UInt64)] {
    var total: UInt64 = 0
    return counts.indices.map { index in
      total += counts[index]
      return (index < bounds.count ? MetricFamily.number(bounds[index]) : "+Inf", total)
    }
  }
}
