internal import DaemonConfiguration
internal import JSON
internal import Kernel
internal import Logging
internal import Metrics
internal import Synchronization

/// One line a message on standard error: `2026-01-31T12:00:00.123Z info message key=value`, or a JSON object.
struct StderrLog: LogHandler {
  /// How the whole process logs; changed while it runs.
  struct Style: Sendable {
    var level = Logger.Level.info
    var format = DaemonSettings.LogFormat.text
  }

  static let style = Mutex(Style())

  var metadata: Logger.Metadata = [:]
  var metadataProvider: Logger.MetadataProvider?
  /// Of this logger alone, where somebody set it.
  private var ownLevel: Logger.Level?

  var logLevel: Logger.Level {
    get { ownLevel ?? Self.style.withLock { $0.level } }
    set { ownLevel = newValue }
  }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  static func use(_ settings: DaemonSettings) {
    style.withLock { style in
      style.level = Logger.Level(rawValue: settings.logLevel.rawValue) ?? .info
      style.format = settings.logFormat
    }
  }

  func log(event: LogEvent) {
    var fields = metadata.merging(event.metadata ?? [:]) { $1 }.mapValues(\.description)
    if let trace = TraceParent.current {
      fields["trace_id"] = trace.traceID
      fields["span_id"] = trace.spanID
    }
    let time = Self.timestamp(SystemClock.wallNanoseconds)
    let line: String
    switch Self.style.withLock({ $0.format }) {
    case .text:
      line = fields.sorted { $0.key < $1.key }.reduce(
        "\(time) \(event.level) \(Self.quoted(event.message.description))"
      ) {
        "\($0) \($1.key)=\(Self.quoted($1.value))"
      }
    case .json:
      var object: JSONObject = [
        "time": .string(time), "level": .string(event.level.rawValue), "message": .string(event.message.description),
      ]
      for (key, value) in fields.sorted(by: { $0.key < $1.key }) {
        object[object.contains(key) ? "field.\(key)" : key] = .string(value)
      }
      line = JSONValue.object(object).encodedString()
    }
    // A log that cannot be written has nobody to complain to.
    try? StandardStream.write(Array((line + "\n").utf8), to: .errors)
  }

  /// A message stays one line whatever is in it.
  private static func quoted(_ text: String) -> String {
    let plain = text.utf8.allSatisfy { $0 > 0x20 && $0 != UInt8(ascii: "\"") && $0 != UInt8(ascii: "=") && $0 != 0x7f }
    if plain && !text.isEmpty { return text }
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case "\n": result += "\\n"
      case _ where scalar.value < 0x20 || scalar.value == 0x7f: result += "?"
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result + "\""
  }

  /// RFC 3339 with milliseconds, UTC.
  static func timestamp(_ nanoseconds: Int64) -> String {
    let seconds = nanoseconds / 1_000_000_000
    let (days, rest) = seconds.quotientAndRemainder(dividingBy: 86_400)
    // Civil date from days since 1970, by counting from a March in an era of 400 years.
    let shifted = days + 719_468
    let era = shifted / 146_097
    let dayOfEra = shifted - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let monthIndex = (5 * dayOfYear + 2) / 153
    let day = dayOfYear - (153 * monthIndex + 2) / 5 + 1
    let month = monthIndex < 10 ? monthIndex + 3 : monthIndex - 9
    let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
    func padded(_ number: Int64, _ width: Int) -> String {
      let digits = String(number)
      return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }
    let date = "\(padded(year, 4))-\(padded(month, 2))-\(padded(day, 2))"
    let time = "\(padded(rest / 3600, 2)):\(padded(rest / 60 % 60, 2)):\(padded(rest % 60, 2))"
    return "\(date)T\(time).\(padded(nanoseconds / 1_000_000 % 1000, 3))Z"
  }
}
