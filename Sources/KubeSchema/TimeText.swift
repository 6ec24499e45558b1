/// Times as RFC 3339 writes them, in the proleptic Gregorian calendar.
package enum TimeText {
  /// What four digits of a year can say, in seconds since 1970.
  package static let range: ClosedRange<Int64> = -62_167_219_200...253_402_300_799

  /// - Parameter fraction: digits of the second as they are, such as `000123` for microseconds.
  /// - Precondition: `range` holds the seconds; others are moved to its end.
  package static func text(seconds unbound: Int64, fraction: String? = nil) -> String {
    let seconds = min(max(unbound, range.lowerBound), range.upperBound)
    let day = seconds / 86_400 - (seconds % 86_400 < 0 ? 1 : 0)
    let second = seconds - day * 86_400
    // Days to civil date, counting years from March so that the leap day comes last.
    let shifted = day + 719_468
    let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
    let dayOfEra = shifted - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let monthFromMarch = (5 * dayOfYear + 2) / 153
    let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
    let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
    let date = "\(pad(year, 4))-\(pad(month, 2))-\(pad(dayOfYear - (153 * monthFromMarch + 2) / 5 + 1, 2))"
    let clock = "\(pad(second / 3600, 2)):\(pad(second / 60 % 60, 2)):\(pad(second % 60, 2))"
    return "\(date)T\(clock)\(fraction.map { ".\($0)" } ?? "")Z"
  }

  /// Nil where the text is no time.
  package static func parse(_ text: String) -> (seconds: Int64, nanoseconds: Int64)? {
    let bytes = Array(text.utf8)
    guard bytes.count >= 20, bytes[4] == UInt8(ascii: "-"), bytes[7] == UInt8(ascii: "-"),
      bytes[10] | 0x20 == UInt8(ascii: "t"), bytes[13] == UInt8(ascii: ":"), bytes[16] == UInt8(ascii: ":"),
      let year = number(bytes[0..<4]), let month = number(bytes[5..<7]), let day = number(bytes[8..<10]),
      let hour = number(bytes[11..<13]), let minute = number(bytes[14..<16]), let second = number(bytes[17..<19]),
      (1...12).contains(month), (1...31).contains(day), hour < 24, minute < 60, second <= 60
    else { return nil }
    var rest = bytes[19...]
    var nanoseconds: Int64 = 0
    if rest.first == UInt8(ascii: ".") {
      let digits = rest.dropFirst().prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
      guard !digits.isEmpty else { return nil }
      rest = rest.dropFirst(1 + digits.count)
      let nine = digits.prefix(9)
      nanoseconds = (0..<(9 - nine.count)).reduce(number(nine) ?? 0) { value, _ in value * 10 }
    }
    guard let offset = offsetSeconds(rest) else { return nil }
    let march = month > 2 ? month - 3 : month + 9
    let civilYear = month > 2 ? year : year - 1
    let era = (civilYear >= 0 ? civilYear : civilYear - 399) / 400
    let yearOfEra = civilYear - era * 400
    let dayOfYear = (153 * march + 2) / 5 + day - 1
    let days = era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
    return (days * 86_400 + hour * 3600 + minute * 60 + second - offset, nanoseconds)
  }

  private static func offsetSeconds(_ zone: ArraySlice<UInt8>) -> Int64? {
    if zone.count == 1, zone.first.map({ $0 | 0x20 }) == UInt8(ascii: "z") { return 0 }
    guard zone.count == 6, let sign = zone.first, sign == UInt8(ascii: "+") || sign == UInt8(ascii: "-"),
      zone[zone.startIndex + 3] == UInt8(ascii: ":"), let hours = number(zone.dropFirst().prefix(2)),
      let minutes = number(zone.suffix(2)), hours < 24, minutes < 60
    else { return nil }
    return (sign == UInt8(ascii: "-") ? -1 : 1) * (hours * 3600 + minutes * 60)
  }

  private static func number(_ digits: some Sequence<UInt8>) -> Int64? {
    var value: Int64 = 0
    for digit in digits {
      guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit) else { return nil }
      value = value * 10 + Int64(digit - UInt8(ascii: "0"))
    }
    return value
  }

  package static func pad(_ value: Int64, _ width: Int) -> String {
    let text = String(value)
    return String(repeating: "0", count: max(0, width - text.utf8.count)) + text
  }
}
