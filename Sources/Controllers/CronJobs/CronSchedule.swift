package import KubeModel

/// When something recurs: five fields (minute, hour, day of month, month, day of week), or one of the macros.
package struct CronSchedule: Hashable, Sendable {
  package struct Problem: Error, Hashable, CustomStringConvertible {
    package let description: String
  }

  private enum Kind: Hashable, Sendable {
    case fields(minutes: UInt64, hours: UInt64, days: UInt64, months: UInt64, weekdays: UInt64, eitherDay: Bool)
    case every(seconds: Int64)
  }
  private let kind: Kind

  private static let macros = [
    "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
  ]
  private static let monthNames = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
  private static let dayNames = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]

  package init(_ text: String) throws(Problem) {
    if text.hasPrefix("@every ") {
      guard let seconds = Self.seconds(String(text.dropFirst(7))), seconds > 0 else {
        throw Problem(description: "failed to parse duration \(text)")
      }
      kind = .every(seconds: seconds)
      return
    }
    if text.hasPrefix("@"), Self.macros[text] == nil {
      throw Problem(description: "unrecognized descriptor: \(text)")
    }
    let fields = (Self.macros[text] ?? text).split(whereSeparator: \.isWhitespace).map(String.init)
    guard fields.count == 5 else {
      throw Problem(description: "expected exactly 5 fields, found \(fields.count): [\(fields.joined(separator: " "))]")
    }
    let days = try Self.field(fields[2], 1...31)
    let weekdays = try Self.field(fields[4], 0...6, names: Self.dayNames, firstName: 0)
    kind = .fields(
      minutes: try Self.field(fields[0], 0...59).bits, hours: try Self.field(fields[1], 0...23).bits, days: days.bits,
      months: try Self.field(fields[3], 1...12, names: Self.monthNames, firstName: 1).bits, weekdays: weekdays.bits,
      // Both days given: either will do.
      eitherDay: !days.isStar && !weekdays.isStar)
  }

  // MARK: reading

  private static func field(
    _ text: String, _ bounds: ClosedRange<Int>, names: [String] = [], firstName: Int = 0
  ) throws(Problem) -> (bits: UInt64, isStar: Bool) {
    var bits: UInt64 = 0
    var isStar = false
    for part in text.split(separator: ",", omittingEmptySubsequences: false) {
      let (range, step) = try Self.range(String(part), bounds, names, firstName)
      if (part == "*" || part == "?" || part == "*/1") { isStar = true }
      for number in stride(from: range.lowerBound, through: range.upperBound, by: step) { bits |= 1 << UInt64(number) }
    }
    return (bits, isStar)
  }

  private static func range(
    _ text: String, _ bounds: ClosedRange<Int>, _ names: [String], _ firstName: Int
  ) throws(Problem) -> (ClosedRange<Int>, step: Int) {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
    guard parts.count <= 2 else { throw Problem(description: "too many slashes: \(text)") }
    var step = 1
    if parts.count == 2 {
      guard let given = Int(parts[1]), given > 0 else {
        throw Problem(description: "step of range should be a positive number: \(text)")
      }
      step = given
    }
    if parts[0] == "*" || parts[0] == "?" { return (bounds, step) }
    let ends = parts[0].split(separator: "-", omittingEmptySubsequences: false).map(String.init)
    guard ends.count <= 2 else { throw Problem(description: "too many hyphens: \(text)") }
    var numbers: [Int] = []
    for end in ends {
      if let place = names.firstIndex(of: end.lowercased()) {
        numbers.append(place + firstName)
      } else if let number = Int(end), number >= 0 {
        numbers.append(number)
      } else {
        throw Problem(description: "failed to parse int from \(end)")
      }
    }
    let first = numbers[0]
    let last = numbers.count == 2 ? numbers[1] : (parts.count == 2 ? bounds.upperBound : first)
    if first < bounds.lowerBound {
      throw Problem(description: "beginning of range (\(first)) below minimum (\(bounds.lowerBound)): \(text)")
    }
    if last > bounds.upperBound {
      throw Problem(description: "end of range (\(last)) above maximum (\(bounds.upperBound)): \(text)")
    }
    if first > last {
      throw Problem(description: "beginning of range (\(first)) beyond end of range (\(last)): \(text)")
    }
    return (first...last, step)
  }

  /// `1h30m10s`: whole numbers of hours, minutes and seconds.
  private static func seconds(_ text: String) -> Int64? {
    var (total, number): (Int64, Int64?) = (0, nil)
    let units: [Character: Int64] = ["h": 3600, "m": 60, "s": 1]
    for character in text {
      if let digit = character.wholeNumberValue, character.isASCII {
        guard (number ?? 0) < 1 << 40 else { return nil }
        number = (number ?? 0) * 10 + Int64(digit)
      } else if let unit = units[character], let count = number {
        total += count * unit
        number = nil
      } else {
        return nil
      }
    }
    return number == nil && total > 0 ? total : nil
  }

  // MARK: when

  /// Years after which a schedule that has not matched is taken for one that never does.
  private static let yearsMax = 5

  /// The first time after this one; nil where there is none. Hours that a zone leaves out do not come, those that it
  /// has twice come twice.
  package func next(after time: Time, in zone: ZoneRules) -> Time? {
    switch kind {
    case .every(let seconds): return Time(secondsSinceEpoch: time.secondsSinceEpoch + seconds)
    case .fields(let minutes, let hours, let days, let months, let weekdays, let eitherDay):
      var second = time.secondsSinceEpoch - Self.remainder(time.secondsSinceEpoch, 60) + 60
      let limit = second + Int64(Self.yearsMax) * 366 * 86_400
      while second < limit {
        let local = second + Int64(zone.offset(at: second))
        let date = CivilDate(daysSinceEpoch: Self.quotient(local, 86_400))
        let (hour, minute) = (Self.remainder(local, 86_400) / 3600, Self.remainder(local, 3600) / 60)
        let dayFits = days >> UInt64(date.day) & 1 == 1
        let weekdayFits = weekdays >> UInt64(date.weekday) & 1 == 1
        let fits = eitherDay ? dayFits || weekdayFits : dayFits && weekdayFits
        guard months >> UInt64(date.month) & 1 == 1, fits, hours >> UInt64(hour) & 1 == 1 else {
          second += (60 - minute) * 60
          continue
        }
        if minutes >> UInt64(minute) & 1 == 1 { return Time(secondsSinceEpoch: second) }
        second += 60
      }
      return nil
    }
  }

  /// Looks back in windows of growing length, so that a long absence costs no more than a short one.
  private static let windows: [Int64] = [3600, 86_400, 32 * 86_400, 367 * 86_400, 5 * 366 * 86_400]

  /// The last time that is later than `earliest` and not later than `now`; nil where there is none.
  package func last(after earliest: Time, until now: Time, in zone: ZoneRules) -> Time? {
    if case .every(let seconds) = kind {
      let count = (now.secondsSinceEpoch - earliest.secondsSinceEpoch) / seconds
      return count > 0 ? Time(secondsSinceEpoch: earliest.secondsSinceEpoch + count * seconds) : nil
    }
    for window in Self.windows {
      let begin = max(earliest.secondsSinceEpoch, now.secondsSinceEpoch - window)
      var found: Time?
      var time = Time(secondsSinceEpoch: begin)
      while let next = next(after: time, in: zone), next.secondsSinceEpoch <= now.secondsSinceEpoch {
        (found, time) = (next, next)
      }
      if let found { return found }
      if begin == earliest.secondsSinceEpoch { return nil }
    }
    return nil
  }

  private static func quotient(_ number: Int64, _ divisor: Int64) -> Int64 {
    number >= 0 ? number / divisor : -((-number + divisor - 1) / divisor)
  }
  private static func remainder(_ number: Int64, _ divisor: Int64) -> Int64 {
    number - quotient(number, divisor) * divisor
  }
}

/// A day of the Gregorian calendar.
struct CivilDate: Hashable, Sendable {
  let year: Int64
  let month: Int64
  let day: Int64
  /// Sunday is 0.
  let weekday: Int64

  init(daysSinceEpoch days: Int64) {
    let shifted = days + 719_468
    let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
    let dayOfEra = shifted - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let shiftedMonth = (5 * dayOfYear + 2) / 153
    day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
    month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
    year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
    weekday = ((days % 7) + 11) % 7
  }

  static func days(_ year: Int64, _ month: Int64, _ day: Int64) -> Int64 {
    let shifted = month <= 2 ? year - 1 : year
    let era = (shifted >= 0 ? shifted : shifted - 399) / 400
    let yearOfEra = shifted - era * 400
    let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
    return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
  }
}
