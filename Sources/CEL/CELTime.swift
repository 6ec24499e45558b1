/// Nanoseconds, forth or back.
package struct CELDuration: Hashable, Comparable, Sendable {
  let nanoseconds: Int64

  package static func < (left: CELDuration, right: CELDuration) -> Bool { left.nanoseconds < right.nanoseconds }

  private static let units: [(name: String, nanoseconds: Double)] = [
    ("ns", 1), ("us", 1e3), ("µs", 1e3), ("μs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 6e10), ("h", 3.6e12),
  ]

  init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

  /// `1h30m`, `-1.5s`; nil where it is none.
  package init?(_ text: String) {
    var rest = Substring(text)
    let isNegative = rest.hasPrefix("-")
    if isNegative || rest.hasPrefix("+") { rest.removeFirst() }
    guard !rest.isEmpty else { return nil }
    if rest == "0" {
      self.init(nanoseconds: 0)
      return
    }
    var total: Int128 = 0
    while !rest.isEmpty {
      let digits = rest.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
      guard digits.contains(where: \.isNumber), digits.count(where: { $0 == "." }) <= 1 else { return nil }
      rest = rest[digits.endIndex...]
      let name = rest.prefix { !($0.isASCII && ($0.isNumber || $0 == ".")) }
      guard let unit = Self.units.first(where: { $0.name == name }) else { return nil }
      rest = rest[name.endIndex...]
      let parts = digits.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
      guard let whole = parts[0].isEmpty ? 0 : Int64(parts[0]) else { return nil }
      total += Int128(whole) * Int128(unit.nanoseconds)
      if parts.count > 1, !parts[1].isEmpty {
        guard let fraction = Double("0.\(parts[1])") else { return nil }
        total += Int128((fraction * unit.nanoseconds).rounded(.down))
      }
      guard total <= Int128(Int64.max) else { return nil }
    }
    self.init(nanoseconds: Int64(isNegative ? -total : total))
  }

  /// `5400s`, `1.500s`
  var text: String {
    let (whole, rest) = nanoseconds.quotientAndRemainder(dividingBy: 1_000_000_000)
    guard rest != 0 else { return "\(whole)s" }
    var digits = String(abs(rest))
    digits = String(repeating: "0", count: 9 - digits.count) + digits
    while digits.hasSuffix("0") { digits.removeLast() }
    return "\(nanoseconds < 0 && whole == 0 ? "-" : "")\(whole).\(digits)s"
  }
}

/// A point in time, between the years 1 and 9999.
package struct CELTime: Hashable, Comparable, Sendable {
  /// Since 1970-01-01T00:00:00Z.
  let seconds: Int64
  let nanoseconds: Int32

  static let range: ClosedRange<Int64> = -62_135_596_800...253_402_300_799

  package static func < (left: CELTime, right: CELTime) -> Bool {
    (left.seconds, left.nanoseconds) < (right.seconds, right.nanoseconds)
  }

  package init?(seconds: Int64, nanoseconds: Int32 = 0) {
    guard Self.range.contains(seconds) else { return nil }
    (self.seconds, self.nanoseconds) = (seconds, nanoseconds)
  }

  /// RFC 3339, or a date alone.
  package init?(_ text: String) {
    let bytes = Array(text.utf8)
    func number(_ start: Int, _ count: Int) -> Int? {
      guard start + count <= bytes.count else { return nil }
      var value = 0
      for byte in bytes[start..<(start + count)] {
        guard (0x30...0x39).contains(byte) else { return nil }
        value = value * 10 + Int(byte - 0x30)
      }
      return value
    }
    func sign(_ place: Int, _ characters: String) -> Bool {
      place < bytes.count && characters.utf8.contains(bytes[place])
    }
    guard let year = number(0, 4), sign(4, "-"), let month = number(5, 2), sign(7, "-"), let day = number(8, 2),
      (1...12).contains(month), (1...Self.days(year, month)).contains(day)
    else { return nil }
    let midnight = Self.dayNumber(year, month, day) * 86_400
    if bytes.count == 10 {
      self.init(seconds: midnight)
      return
    }
    guard sign(10, "Tt"), let hour = number(11, 2), sign(13, ":"), let minute = number(14, 2), sign(16, ":"),
      let second = number(17, 2), hour < 24, minute < 60, second < 60
    else { return nil }
    var (place, fraction, scale): (Int, Int32, Int32) = (19, 0, 100_000_000)
    if sign(place, ".") {
      place += 1
      let first = place
      while let digit = number(place, 1) {
        fraction += Int32(digit) * scale
        scale /= 10
        place += 1
      }
      guard place > first else { return nil }
    }
    var offset = 0
    if sign(place, "Zz") {
      place += 1
    } else {
      guard sign(place, "+-"), let hours = number(place + 1, 2), sign(place + 3, ":"),
        let minutes = number(place + 4, 2),
        hours < 24, minutes < 60
      else { return nil }
      offset = (hours * 3600 + minutes * 60) * (bytes[place] == UInt8(ascii: "-") ? -1 : 1)
      place += 6
    }
    guard place == bytes.count else { return nil }
    self.init(seconds: midnight + Int64(hour * 3600 + minute * 60 + second - offset), nanoseconds: fraction)
  }

  /// Days since 1970-01-01.
  private static func dayNumber(_ year: Int, _ month: Int, _ day: Int) -> Int64 {
    let shifted = month <= 2 ? year - 1 : year
    let era = (shifted >= 0 ? shifted : shifted - 399) / 400
    let ofEra = shifted - era * 400
    let ofYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
    return Int64(era * 146_097 + ofEra * 365 + ofEra / 4 - ofEra / 100 + ofYear - 719_468)
  }

  private static func days(_ year: Int, _ month: Int) -> Int {
    switch month {
    case 2: year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
    case 4, 6, 9, 11: 30
    default: 31
    }
  }

  struct Parts {
    var year = 0
    var month = 0
    var day = 0
    var dayOfYear = 0
    var dayOfWeek = 0
    var secondOfDay = 0
  }

  /// - Parameter offset: of the zone, in seconds.
  func parts(offset: Int64 = 0) -> Parts {
    let local = seconds + offset
    var (days, second) = local.quotientAndRemainder(dividingBy: 86_400)
    if second < 0 { (days, second) = (days - 1, second + 86_400) }
    let shifted = Int(days) + 719_468
    let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
    let ofEra = shifted - era * 146_097
    let yearOfEra = (ofEra - ofEra / 1460 + ofEra / 36_524 - ofEra / 146_096) / 365
    let ofYear = ofEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let month = (5 * ofYear + 2) / 153
    var parts = Parts()
    parts.day = ofYear - (153 * month + 2) / 5 + 1
    parts.month = month < 10 ? month + 3 : month - 9
    parts.year = yearOfEra + era * 400 + (parts.month <= 2 ? 1 : 0)
    parts.secondOfDay = Int(second)
    parts.dayOfWeek = ((Int(days) % 7) + 11) % 7
    parts.dayOfYear = Int(days - Self.dayNumber(parts.year, 1, 1))
    return parts
  }

  func adding(_ duration: Int64) -> CELTime? {
    let (whole, rest) = duration.quotientAndRemainder(dividingBy: 1_000_000_000)
    var (second, nano) = (seconds + whole, Int64(nanoseconds) + rest)
    if nano < 0 { (second, nano) = (second - 1, nano + 1_000_000_000) }
    if nano >= 1_000_000_000 { (second, nano) = (second + 1, nano - 1_000_000_000) }
    return CELTime(seconds: second, nanoseconds: Int32(nano))
  }

  func since(_ other: CELTime) -> CELDuration? {
    let nano = Int128(seconds - other.seconds) * 1_000_000_000 + Int128(nanoseconds - other.nanoseconds)
    return Int64(exactly: nano).map { CELDuration(nanoseconds: $0) }
  }

  /// RFC 3339 in UTC, with as many digits of the second as are needed.
  var text: String {
    let parts = parts()
    func padded(_ value: Int, _ count: Int) -> String {
      let digits = String(value)
      return String(repeating: "0", count: max(0, count - digits.count)) + digits
    }
    var fraction = ""
    if nanoseconds != 0 {
      fraction = "." + padded(Int(nanoseconds), 9)
      while fraction.hasSuffix("0") { fraction.removeLast() }
    }
    let (hour, minute, second) = (
      parts.secondOfDay / 3600, parts.secondOfDay / 60 % 60, parts.secondOfDay % 60
    )
    return "\(padded(parts.year, 4))-\(padded(parts.month, 2))-\(padded(parts.day, 2))T\(padded(hour, 2)):"
      + "\(padded(minute, 2)):\(padded(second, 2))\(fraction)Z"
  }
}
