/// The methods of points in time and of durations.
enum CELTimes {
  /// Seconds east of UTC. Zones by name have a history, which is not kept here.
  private static func offset(_ values: [CELValue]) throws(CELProblem) -> Int64? {
    guard values.count > 1 else { return 0 }
    guard let zone = values[1].string else { return nil }
    if zone == "UTC" || zone == "Z" || zone.isEmpty { return 0 }
    var digits = Substring(zone)
    let isWest = digits.hasPrefix("-")
    if isWest || digits.hasPrefix("+") { digits.removeFirst() }
    let parts = digits.split(separator: ":", omittingEmptySubsequences: false)
    guard parts.count == 2, let hours = Int64(parts[0]), let minutes = Int64(parts[1]), hours < 24, minutes < 60,
      hours >= 0, minutes >= 0
    else { throw .evaluation("unknown time zone \(zone); name it by its offset, such as +01:00") }
    return (hours * 3600 + minutes * 60) * (isWest ? -1 : 1)
  }

  private static func part(_ get: @escaping @Sendable (CELTime.Parts) -> Int) -> CELFunction {
    CELFunction(1...2, .int, on: ["timestamp"]) { values, _ throws(CELProblem) in
      guard case .timestamp(let time) = values[0], let offset = try offset(values) else { return nil }
      return .int(Int64(get(time.parts(offset: offset))))
    }
  }

  /// Of a point in time, a part of its day; of a duration, all of it.
  private static func part(
    _ get: @escaping @Sendable (CELTime.Parts) -> Int, nanoseconds: Int64
  ) -> CELFunction {
    CELFunction(1...2, .int, on: ["timestamp", "duration"]) { values, _ throws(CELProblem) in
      if case .duration(let duration) = values[0], values.count == 1 { return .int(duration.nanoseconds / nanoseconds) }
      guard case .timestamp(let time) = values[0], let offset = try offset(values) else { return nil }
      return .int(Int64(get(time.parts(offset: offset))))
    }
  }

  static let methods: [String: CELFunction] = [
    "getFullYear": part { $0.year }, "getMonth": part { $0.month - 1 }, "getDate": part { $0.day },
    "getDayOfMonth": part { $0.day - 1 }, "getDayOfWeek": part { $0.dayOfWeek }, "getDayOfYear": part { $0.dayOfYear },
    "getHours": part({ $0.secondOfDay / 3600 }, nanoseconds: 3_600_000_000_000),
    "getMinutes": part({ $0.secondOfDay / 60 % 60 }, nanoseconds: 60_000_000_000),
    "getSeconds": part({ $0.secondOfDay % 60 }, nanoseconds: 1_000_000_000),
    "getMilliseconds": CELFunction(1...2, .int, on: ["timestamp", "duration"]) { values, _ throws(CELProblem) in
      switch values[0] {
      case .duration(let duration): return .int(duration.nanoseconds / 1_000_000)
      case .timestamp(let time): return .int(Int64(time.nanoseconds / 1_000_000))
      default: return nil
      }
    },
  ]
}
