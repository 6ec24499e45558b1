package import JSON

/// A point in time, RFC 3339 in JSON, to the microsecond: of leases and events.
package struct MicroTime: KubeValue, CustomStringConvertible {
  /// Microseconds since 1970-01-01T00:00:00Z.
  package var microsecondsSinceEpoch: Int64

  package init(microsecondsSinceEpoch: Int64 = 0) { self.microsecondsSinceEpoch = microsecondsSinceEpoch }

  package init?(_ text: String) {
    guard let (seconds, nanoseconds) = RFC3339.parse(text) else { return nil }
    microsecondsSinceEpoch = seconds * 1_000_000 + nanoseconds / 1_000
  }

  package init(_ value: JSONValue, _ decoder: inout FieldDecoder) {
    microsecondsSinceEpoch = 0
    guard let text = value.string else {
      decoder.wrongType(expected: "a time", found: value)
      return
    }
    if let time = MicroTime(text) {
      self = time
    } else {
      decoder.report(.invalid("\"\(text)\" is not a time such as 2026-01-31T12:00:00.000000Z"))
    }
  }

  package var json: JSONValue { .string(description) }

  /// Always six digits of a second, as clients write and compare it.
  package var description: String {
    let second = (microsecondsSinceEpoch - (microsecondsSinceEpoch % 1_000_000 + 1_000_000) % 1_000_000) / 1_000_000
    let fraction = String(1_000_000 + microsecondsSinceEpoch - second * 1_000_000).dropFirst()
    return RFC3339.text(seconds: second).dropLast() + ".\(fraction)Z"
  }
}
