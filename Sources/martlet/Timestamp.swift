/// RFC 3339 times and nanoseconds since 1970.
enum Timestamp {
  /// Nanoseconds of "2024-05-01T10:00:00.123456789+02:00", or nil where the text is none. Digits beyond the ninth
  /// of a second are dropped.
  static func nanoseconds(_ text: some StringProtocol) -> Int64? {
    var rest = text.utf8[...]
    guard let year = number(&rest, 4), skip(&rest, "-"), let month = number(&rest, 2), skip(&rest, "-"),
      let day = number(&rest, 2), (1...12).contains(month), (1...31).contains(day)
    else { return nil }
    guard skip(&rest, "T") || skip(&rest, "t") || skip(&rest, " "), let hour = number(&rest, 2), skip(&rest, ":"),
      let minute = number(&rest, 2), skip(&rest, ":"), let second = number(&rest, 2),
      hour < 24, minute < 60, second <= 60
    else { return nil }
    var fraction: Int64 = 0
    if skip(&rest, ".") {
      var scale: Int64 = 100_000_000
      var any = false
      while let digit = digit(&rest) {
        fraction += digit * scale
        scale /= 10
        any = true
      }
      guard any else { return nil }
    }
    guard let offset = offset(&rest), rest.isEmpty else { return nil }
    let seconds = daysSinceEpoch(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset
    let (scaled, over) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
    return over ? nil : scaled + fraction
  }

  /// As "2024-05-01T08:00:00Z".
  static func text(nanoseconds: Int64) -> String {
    let seconds = Int64((Double(nanoseconds) / 1e9).rounded(.down))
    let day = seconds >= 0 ? seconds / 86_400 : (seconds - 86_399) / 86_400
    let (year, month, date) = civil(day)
    let time = seconds - day * 86_400
    func two(_ value: Int64) -> String { value < 10 ? "0\(value)" : "\(value)" }
    return "\(year)-\(two(month))-\(two(date))T\(two(time / 3600)):\(two(time % 3600 / 60)):\(two(time % 60))Z"
  }

  private static func offset<View: Collection>(_ rest: inout View) -> Int64?
  where View.Element == UInt8, View.SubSequence == View {
    if skip(&rest, "Z") || skip(&rest, "z") { return 0 }
    let west = skip(&rest, "-")
    guard west || skip(&rest, "+"), let hour = number(&rest, 2), skip(&rest, ":"), let minute = number(&rest, 2)
    else { return nil }
    return (hour * 3600 + minute * 60) * (west ? -1 : 1)
  }

  private static func skip<View: Collection>(_ rest: inout View, _ character: Unicode.Scalar) -> Bool
  where View.Element == UInt8, View.SubSequence == View {
    guard rest.first == UInt8(ascii: character) else { return false }
    rest = rest.dropFirst()
    return true
  }

  private static func digit<View: Collection>(_ rest: inout View) -> Int64?
  where View.Element == UInt8, View.SubSequence == View {
    guard let byte = rest.first, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) else { return nil }
    rest = rest.dropFirst()
    return Int64(byte - UInt8(ascii: "0"))
  }

  private static func number<View: Collection>(_ rest: inout View, _ count: Int) -> Int64?
  where View.Element == UInt8, View.SubSequence == View {
    var value: Int64 = 0
    for _ in 0..<count {
      guard let digit = digit(&rest) else { return nil }
      value = value * 10 + digit
    }
    return value
  }

  /// Days from 1970-01-01 in the proleptic Gregorian calendar: years are counted from March, so that the leap day is
  /// the last of its year.
  private static func daysSinceEpoch(_ year: Int64, _ month: Int64, _ day: Int64) -> Int64 {
    let shifted = month <= 2 ? year - 1 : year
    let era = (shifted >= 0 ? shifted : shifted - 399) / 400
    let yearOfEra = shifted - era * 400
    let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
    return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
  }

  private static func civil(_ days: Int64) -> (year: Int64, month: Int64, day: Int64) {
    let shifted = days + 719_468
    let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
    let dayOfEra = shifted - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let shiftedMonth = (5 * dayOfYear + 2) / 153
    let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
    return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * shiftedMonth + 2) / 5 + 1)
  }
}
