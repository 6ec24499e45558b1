package import JSON
import KubeSchema

/// A point in time, RFC 3339 in JSON, to the second.
package struct Time: KubeValue, CustomStringConvertible {
  /// Seconds since 1970-01-01T00:00:00Z.
  package var secondsSinceEpoch: Int64

  package init(secondsSinceEpoch: Int64 = 0) { self.secondsSinceEpoch = secondsSinceEpoch }

  package init?(_ text: String) {
    guard let nanoseconds = RFC3339.parse(text) else { return nil }
    secondsSinceEpoch = nanoseconds.seconds
  }

  package init(_ value: JSONValue, _ decoder: inout FieldDecoder) {
    secondsSinceEpoch = 0
    guard let text = value.string else {
      decoder.wrongType(expected: "a time", found: value)
      return
    }
    if let time = Time(text) {
      self = time
    } else {
      decoder.report(.invalid("\"\(text)\" is not a time such as 2026-01-31T12:00:00Z"))
    }
  }

  package var json: JSONValue { .string(description) }
  package var description: String { RFC3339.text(seconds: secondsSinceEpoch) }
}

/// Times as RFC 3339 writes them.
package enum RFC3339 {
  package static func text(seconds: Int64, nanoseconds: Int64? = nil) -> String {
    TimeText.text(seconds: seconds, fraction: nanoseconds.map { TimeText.pad($0, 9) })
  }

  /// Nil where the text is no time.
  package static func parse(_ text: String) -> (seconds: Int64, nanoseconds: Int64)? { TimeText.parse(text) }
}
