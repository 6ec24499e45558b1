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
  /// A peer's figures by name, measured elsewhere: shown beside ours in the table.
  private let recorded: [String: String]

  init(recorded: [String: String] = [:]) { self.recorded = recorded }

  mutating func set(_ name: String, _ value: Double) { figures.append((name, Self.number(value))) }

  /// One figure of several parts.
  mutating func set(_ name: String, _ parts: [(name: String, value: Double)]) {
    var object = JSONObject()
    for part in parts { object[part.name] = Self.number(part.value) }
    figures.append((name, .object(object)))
  }

  /// Four digits after the point: ratios and microseconds of a millisecond.
  private static func number(_ value: Double) -> JSONValue {
    value.isFinite ? JSONValue((value * 10_000).rounded() / 10_000) : .null
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
    let names = figures.map(\.name)
    let values = figures.map { $0.value.string ?? $0.value.encodedString() }
    let width = names.map(\.count).max() ?? 0
    let valueWidth = min(24, values.map(\.count).max() ?? 0)
    func padded(_ text: String, _ width: Int) -> String {
      text + String(repeating: " ", count: max(0, width - text.count))
    }
    var text = title + "\n"
    if !recorded.isEmpty { text += "  \(padded("", width))  \(padded("here", valueWidth))  a peer, elsewhere\n" }
    for (name, value) in zip(names, values) {
      guard let peer = recorded[name] else {
        text += "  \(padded(name, width))  \(value)\n"
        continue
      }
      text += "  \(padded(name, width))  \(padded(value, valueWidth))  \(peer)\n"
    }
    return text
  }
}

/// One of those that are measured in turn.
struct Contender {
  let name: String
  /// Does the work once; milliseconds.
  let once: () async throws -> Double
}

/// Runs every contender once a round, so that a busy moment of the machine hits all of them, in another order each
/// round, so that none always follows the same one: what a large process leaves behind (cold caches, memory that the
/// kernel still gives back) costs the next one several tenths of a millisecond.
/// - Parameter warmUp: rounds whose times are dropped.
func interleaved(_ contenders: [Contender], rounds: Int, warmUp: Int) async throws -> [String: Series] {
  var series: [String: Series] = [:]
  var order = SeededOrder()
  for round in 0..<(rounds + warmUp) {
    for contender in contenders.shuffled(using: &order) {
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

/// The same numbers in every run (SplitMix64).
private struct SeededOrder: RandomNumberGenerator {
  private var state: UInt64 = 1

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }
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
