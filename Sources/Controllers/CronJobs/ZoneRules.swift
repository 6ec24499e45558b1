/// How far a place's clocks are from UTC, at any time.
/// - SeeAlso: RFC 9636 (the files of zones), POSIX.1 (the rule that ends them)
package struct ZoneRules: Hashable, Sendable {
  /// Times of changes, in seconds since 1970, and the offset from then on.
  private var changes: [(at: Int64, offset: Int32)] = []
  private var before: Int32 = 0
  private var rule: PosixZone?

  package static let utc = ZoneRules()

  private init() {}

  package static func == (left: Self, right: Self) -> Bool {
    left.before == right.before && left.rule == right.rule && left.changes.elementsEqual(right.changes) { $0 == $1 }
  }

  package func hash(into hasher: inout Hasher) {
    hasher.combine(before)
    hasher.combine(changes.count)
  }

  /// Seconds east of UTC.
  package func offset(at second: Int64) -> Int32 {
    guard let last = changes.last else { return rule?.offset(at: second) ?? before }
    if second >= last.at { return rule?.offset(at: second) ?? last.offset }
    var (low, high) = (0, changes.count)
    while low < high {
      let middle = (low + high) / 2
      if changes[middle].at <= second { low = middle + 1 } else { high = middle }
    }
    return low == 0 ? before : changes[low - 1].offset
  }

  // MARK: reading

  /// Bytes of a zone's file that are read.
  package static let fileBytesMax = 1 << 20

  /// Nil where the bytes are no file of a zone.
  package init?(file: [UInt8]) {
    guard let first = Header(file, at: 0) else { return nil }
    if first.version < UInt8(ascii: "2") {
      guard read(file, first, at: Header.size, wide: false) != nil else { return nil }
      return
    }
    let second = Header.size + first.length(wide: false)
    guard let header = Header(file, at: second), let end = read(file, header, at: second + Header.size, wide: true)
    else { return nil }
    let footer = file[end...].drop { $0 == 0x0A }.prefix { $0 != 0x0A }
    rule = PosixZone(String(decoding: footer, as: UTF8.self))
  }

  private struct Header {
    static let size = 44
    let version: UInt8
    let counts: [Int]

    init?(_ file: [UInt8], at start: Int) {
      guard file.count >= start + Self.size, Array(file[start..<start + 4]) == Array("TZif".utf8) else { return nil }
      version = file[start + 4]
      counts = (0..<6).map { Int(ZoneRules.number(file, start + 20 + $0 * 4, 4)) }
      guard counts.allSatisfy({ (0...1 << 20).contains($0) }) else { return nil }
    }

    /// isutcnt, isstdcnt, leapcnt, timecnt, typecnt, charcnt
    func length(wide: Bool) -> Int {
      let time = wide ? 8 : 4
      return counts[3] * (time + 1) + counts[4] * 6 + counts[5] + counts[2] * (time + 4) + counts[1] + counts[0]
    }
  }

  private static func number(_ bytes: [UInt8], _ start: Int, _ size: Int) -> Int64 {
    var value: Int64 = bytes[start] >= 128 ? -1 : 0
    for place in start..<start + size { value = value << 8 | Int64(bytes[place]) }
    return value
  }

  /// - Returns: where the block ends; nil where it is cut short.
  private mutating func read(_ file: [UInt8], _ header: Header, at start: Int, wide: Bool) -> Int? {
    let end = start + header.length(wide: wide)
    guard end <= file.count, header.counts[4] > 0 else { return nil }
    let (size, times, types) = (wide ? 8 : 4, header.counts[3], header.counts[4])
    let kinds = start + times * size
    let offsets = (0..<types).map { Int32(truncatingIfNeeded: Self.number(file, kinds + times + $0 * 6, 4)) }
    before = offsets[0]
    for place in 0..<times {
      let kind = Int(file[kinds + place])
      guard kind < types else { return nil }
      changes.append((Self.number(file, start + place * size, size), offsets[kind]))
    }
    return end
  }
}

/// A rule such as `CET-1CEST,M3.5.0,M10.5.0/3`.
struct PosixZone: Hashable, Sendable {
  private struct Change: Hashable, Sendable {
    enum Day: Hashable, Sendable {
      case weekday(month: Int64, week: Int64, day: Int64)
      /// From 1, without February 29.
      case julian(Int64)
      /// From 0.
      case ordinal(Int64)
    }
    var day: Day
    var second: Int64 = 7200
  }
  private var standard: Int32
  private var summer: Int32?
  private var begin: Change?
  private var end: Change?

  init?(_ text: String) {
    var rest = Array(text.utf8)[...]
    guard Self.name(&rest), let west = Self.clock(&rest) else { return nil }
    standard = Int32(-west)
    guard !rest.isEmpty else { return }
    guard Self.name(&rest) else { return nil }
    summer = standard + 3600
    if let first = rest.first, first != UInt8(ascii: ",") {
      guard let west = Self.clock(&rest) else { return nil }
      summer = Int32(-west)
    }
    guard let begin = Self.change(&rest), let end = Self.change(&rest), rest.isEmpty else { return nil }
    (self.begin, self.end) = (begin, end)
  }

  func offset(at second: Int64) -> Int32 {
    guard let summer, let begin, let end else { return standard }
    let local = second + Int64(standard)
    let days = local >= 0 ? local / 86_400 : (local - 86_399) / 86_400
    let year = CivilDate(daysSinceEpoch: days).year
    let from = Self.second(begin, year) - Int64(standard)
    let until = Self.second(end, year) - Int64(summer)
    let isSummer = from < until ? second >= from && second < until : second >= from || second < until
    return isSummer ? summer : standard
  }

  private static func second(_ change: Change, _ year: Int64) -> Int64 {
    let first = CivilDate.days(year, 1, 1)
    let days: Int64
    switch change.day {
    case .julian(let day):
      let isLeap = CivilDate.days(year + 1, 1, 1) - first == 366
      days = first + day - 1 + (isLeap && day >= 60 ? 1 : 0)
    case .ordinal(let day): days = first + day
    case .weekday(let month, let week, let weekday):
      let start = CivilDate.days(year, month, 1)
      var day = start + (weekday - CivilDate(daysSinceEpoch: start).weekday + 7) % 7 + (week - 1) * 7
      let next = month == 12 ? CivilDate.days(year + 1, 1, 1) : CivilDate.days(year, month + 1, 1)
      // The fifth means the last.
      while day >= next { day -= 7 }
      days = day
    }
    return days * 86_400 + change.second
  }

  // MARK: reading

  private static func name(_ rest: inout ArraySlice<UInt8>) -> Bool {
    if rest.first == UInt8(ascii: "<") {
      guard let close = rest.firstIndex(of: UInt8(ascii: ">")) else { return false }
      rest = rest[(close + 1)...]
      return true
    }
    let letters = rest.prefix { ($0 | 32) >= UInt8(ascii: "a") && ($0 | 32) <= UInt8(ascii: "z") }
    rest = rest.dropFirst(letters.count)
    return letters.count >= 3
  }

  private static func whole(_ rest: inout ArraySlice<UInt8>) -> Int64? {
    let digits = rest.prefix { $0 >= 48 && $0 <= 57 }.prefix(6)
    guard !digits.isEmpty else { return nil }
    rest = rest.dropFirst(digits.count)
    return digits.reduce(0) { $0 * 10 + Int64($1 - 48) }
  }

  private static func take(_ character: Character, _ rest: inout ArraySlice<UInt8>) -> Bool {
    guard let first = rest.first, first == character.asciiValue else { return false }
    rest = rest.dropFirst()
    return true
  }

  /// `[+-]hh[:mm[:ss]]` in seconds.
  private static func clock(_ rest: inout ArraySlice<UInt8>) -> Int64? {
    let isNegative = take("-", &rest)
    if !isNegative { _ = take("+", &rest) }
    guard let hours = whole(&rest) else { return nil }
    var seconds = hours * 3600
    if take(":", &rest) {
      guard let minutes = whole(&rest) else { return nil }
      seconds += minutes * 60
      if take(":", &rest) {
        guard let more = whole(&rest) else { return nil }
        seconds += more
      }
    }
    return isNegative ? -seconds : seconds
  }

  private static func change(_ rest: inout ArraySlice<UInt8>) -> Change? {
    guard take(",", &rest) else { return nil }
    let day: Change.Day
    if take("M", &rest) {
      guard let month = whole(&rest), take(".", &rest), let week = whole(&rest), take(".", &rest),
        let weekday = whole(&rest), (1...12).contains(month), (1...5).contains(week), (0...6).contains(weekday)
      else { return nil }
      day = .weekday(month: month, week: week, day: weekday)
    } else if take("J", &rest) {
      guard let number = whole(&rest), (1...365).contains(number) else { return nil }
      day = .julian(number)
    } else {
      guard let number = whole(&rest), (0...365).contains(number) else { return nil }
      day = .ordinal(number)
    }
    var change = Change(day: day)
    if take("/", &rest) {
      guard let second = clock(&rest) else { return nil }
      change.second = second
    }
    return change
  }
}
