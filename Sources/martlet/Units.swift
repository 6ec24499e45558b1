/// Figures as people read them.
enum Units {
  /// "5s", "3m", "2h", "4d": the largest unit, two of them while the first is small.
  static func age(nanoseconds: Int64) -> String {
    let seconds = max(0, nanoseconds / 1_000_000_000)
    switch seconds {
    case ..<120: return "\(seconds)s"
    case ..<600: return join(seconds / 60, "m", seconds % 60, "s")
    case ..<7200: return "\(seconds / 60)m"
    case ..<36_000: return join(seconds / 3600, "h", seconds % 3600 / 60, "m")
    case ..<172_800: return "\(seconds / 3600)h"
    default: return "\(seconds / 86_400)d"
    }
  }

  private static func join(_ first: Int64, _ firstUnit: String, _ second: Int64, _ secondUnit: String) -> String {
    second == 0 ? "\(first)\(firstUnit)" : "\(first)\(firstUnit)\(second)\(secondUnit)"
  }

  /// "0B", "512B", "1.5KiB", "23MiB": powers of 1024, three digits at most.
  static func bytes(_ count: UInt64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
    var value = Double(count)
    var unit = 0
    while value >= 1024, unit < units.count - 1 {
      value /= 1024
      unit += 1
    }
    return unit == 0 ? "\(count)B" : "\(fixed(value, value < 10 ? 1 : 0))\(units[unit])"
  }

  /// A number with so many digits behind the point, rounded half up; no ".0".
  static func fixed(_ value: Double, _ digits: Int) -> String {
    var scale = 1.0
    for _ in 0..<digits { scale *= 10 }
    let scaled = (value * scale).rounded()
    guard scaled.isFinite, scaled.magnitude < 1e15 else { return "\(value)" }
    let whole = Int64(scaled)
    guard digits > 0, whole % Int64(scale) != 0 else { return "\(whole / Int64(scale))" }
    var fraction = "\((whole % Int64(scale)).magnitude)"
    while fraction.count < digits { fraction = "0" + fraction }
    return "\(whole < 0 ? "-" : "")\((whole / Int64(scale)).magnitude).\(fraction)"
  }

  /// An id's first 12 characters, which is what tables show and every command takes.
  static func shortID(_ id: String) -> String {
    let bare = id.hasPrefix("sha256:") ? id.dropFirst(7) : id[...]
    return String(bare.prefix(12))
  }

  /// "90", "90s", "10m", "2h30m", "1d" in nanoseconds; nil for anything else.
  static func duration(_ text: String) -> Int64? {
    let units: [Character: Int64] = ["s": 1, "m": 60, "h": 3600, "d": 86_400]
    var total: Int64 = 0
    var number: Int64?
    for character in text {
      if let digit = character.wholeNumberValue, character.isASCII {
        let (value, over) = (number ?? 0).multipliedReportingOverflow(by: 10)
        guard !over, value < 1_000_000_000 else { return nil }
        number = value + Int64(digit)
      } else if let unit = units[character], let value = number {
        total += value * unit
        number = nil
      } else {
        return nil
      }
    }
    if let number { total += number } else if text.isEmpty { return nil }
    let (nanoseconds, over) = total.multipliedReportingOverflow(by: 1_000_000_000)
    return over ? nil : nanoseconds
  }
}
