import JSON
import KubeModel

/// Durations as `kubectl get` shows them: two units at most, coarser the longer they are.
package enum HumanDuration {
  package static func text(seconds: Int64) -> String {
    // Clocks of two machines may differ a little.
    if seconds < -1 { return "<invalid>" }
    if seconds < 0 { return "0s" }
    if seconds < 120 { return "\(seconds)s" }
    let (minutes, hours) = (seconds / 60, seconds / 3600)
    if minutes < 10 { return pair(minutes, "m", seconds % 60, "s") }
    if minutes < 180 { return "\(minutes)m" }
    if hours < 8 { return pair(hours, "h", minutes % 60, "m") }
    if hours < 48 { return "\(hours)h" }
    let (days, years) = (hours / 24, hours / 24 / 365)
    if hours < 192 { return pair(days, "d", hours % 24, "h") }
    if days < 730 { return "\(days)d" }
    if days < 2920 { return pair(years, "y", days % 365, "d") }
    return "\(years)y"
  }

  private static func pair(_ large: Int64, _ largeUnit: String, _ small: Int64, _ smallUnit: String) -> String {
    small == 0 ? "\(large)\(largeUnit)" : "\(large)\(largeUnit)\(small)\(smallUnit)"
  }

  /// Seconds since 1970.
  static func seconds(_ time: JSONValue?) -> Int64? {
    time?.string.flatMap { RFC3339.parse($0)?.seconds }
  }

  /// How long ago a time of an object was.
  static func since(_ time: JSONValue?, now: Int64) -> String {
    guard let text = time?.string, let parsed = RFC3339.parse(text) else { return "<unknown>" }
    return Self.text(seconds: now - parsed.seconds)
  }
}
