import JSON

/// Times of one contender, in milliseconds.
struct Series: Sendable {
  private(set) var milliseconds: [Double] = []

  mutating func add(_ value: Double) { milliseconds.append(value) }

  var minimum: Double { milliseconds.min() ?? .nan }

  var median: Double { percentile(0.5) }

  func percentile(_ share: Double) -> Double {
    guard !milliseconds.isEmpty else { return .nan }
    let sorted = milliseconds.sorted()
    let position = share * Double(sorted.count - 1)
    let lower = Int(position)
    let upper = min(lower + 1, sorted.count - 1)
    return sorted[lower] + (sorted[upper] - sorted[lower]) * (position - Double(lower))
  }
}

/// Figures in the order in which they are shown, each with its unit in its name.
struct Report: Sendable {
  private(set) var figures: [(name: String, value: JSONValue)] = []

  mutating func set(_ name: String, _ value: Double) {
    // Four digits after the point: ratios and microseconds of a millisecond.
    figures.append((name, value.isFinite ? JSONValue((value * 10_000).rounded() / 10_000) : .null))
  }

  mutating func set(_ name: String, _ value: Int) { figures.append((name, .integer(Int64(value)))) }

  mutating func set(_ name: String, _ value: String) { figures.append((name, .string(value))) }

  /// `<name>_<unit>` is the median and `<name>_min_<unit>` the minimum.
  mutating func set(_ name: String, _ series: Series, unit: String = "ms", scale: Double = 1) {
    set("\(name)_\(unit)", series.median * scale)
    set("\(name)_min_\(unit)", series.minimum * scale)
  }

  mutating func add(_ series: [String: Series], of contenders: [Contender]) {
    for contender in contenders { set(contender.name, series[contender.name] ?? Series()) }
  }

  /// Ours over theirs, by medians and by minima.
  mutating func ratio(_ name: String, _ ours: Series, to theirs: Series) {
    set("\(name)_ratio", ours.median / theirs.median)
    set("\(name)_min_ratio", ours.minimum / theirs.minimum)
  }

  var json: JSONValue {
    var object = JSONObject()
    for figure in figures { object[figure.name] = figure.value }
    return .object(object)
  }

  func table(title: String) -> String {
    let width = figures.map(\.name.count).max() ?? 0
    return figures.reduce(into: title + "\n") { text, figure in
      let padding = String(repeating: " ", count: width - figure.name.count)
      let value = figure.value.string ?? figure.value.encodedString()
      text += "  \(figure.name)\(padding)  \(value)\n"
    }
  }
}

/// One of those that are measured in turn.
struct Contender {
  let name: String
  /// Does the work once; milliseconds.
  let once: () async throws -> Double
}

/// Runs every contender once a round, so that a busy moment of the machine hits all of them.
/// - Parameter warmUp: rounds whose times are dropped.
func interleaved(_ contenders: [Contender], rounds: Int, warmUp: Int) async throws -> [String: Series] {
  var series: [String: Series] = [:]
  for round in 0..<(rounds + warmUp) {
    for contender in contenders {
      let milliseconds: Double
      do {
        milliseconds = try await contender.once()
      } catch {
        throw BenchError("\(contender.name), round \(round + 1): \(error)")
      }
      if round >= warmUp { series[contender.name, default: Series()].add(milliseconds) }
    }
  }
  return series
}

/// Milliseconds that `body` takes.
func milliseconds(_ body: () async throws -> Void) async rethrows -> Double {
  let clock = ContinuousClock()
  let begin = clock.now
  try await body()
  return begin.duration(to: clock.now).inMilliseconds
}

extension Duration {
  var inMilliseconds: Double {
    Double(components.seconds) * 1e3 + Double(components.attoseconds) / 1e15
  }
}
