import LinearPattern

/// The methods of strings: those of the standard, and the libraries `strings` and `regex`.
enum CELTexts {
  typealias Scalars = [Unicode.Scalar]

  private static func text(_ scalars: some Sequence<Unicode.Scalar>) -> CELValue {
    var view = String.UnicodeScalarView()
    view.append(contentsOf: scalars)
    return .string(String(view))
  }

  static let matches = CELFunction(2, .bool, on: ["string"]) { values, run throws(CELProblem) in
    guard let text = values[0].string, let source = values[1].string else { return nil }
    let pattern = try run.pattern(source)
    var steps = 0
    guard let isMatch = pattern.matches(text, steps: &steps) else {
      throw CELProblem(.cost, "matches: \(source) takes too long")
    }
    try run.spend(text: steps)
    return .bool(isMatch)
  }

  private static func finds(_ values: [CELValue], _ run: inout CELRun, limit: Int?) throws(CELProblem) -> [String]? {
    guard let text = values[0].string, let source = values[1].string else { return nil }
    try run.spend(text: text.utf8.count * (1 + source.utf8.count))
    guard let found = try run.pattern(source).finds(in: text, limit: limit) else {
      throw CELProblem(.cost, "find: \(source) takes too long")
    }
    return found
  }

  private static func test(_ check: @escaping @Sendable (Scalars, Scalars) -> Bool) -> CELFunction {
    CELFunction(2, .bool, on: ["string"]) { values, run throws(CELProblem) in
      guard let text = values[0].string, let other = values[1].string else { return nil }
      try run.spend(text: text.utf8.count)
      return .bool(check(Array(text.unicodeScalars), Array(other.unicodeScalars)))
    }
  }

  private static func changed(_ change: @escaping @Sendable (Scalars) -> Scalars) -> CELFunction {
    CELFunction(1, .string, on: ["string"]) { values, run throws(CELProblem) in
      guard let text = values[0].string else { return nil }
      try run.spend(text: text.utf8.count)
      return self.text(change(Array(text.unicodeScalars)))
    }
  }

  /// The first place at or behind `start`; nil: none.
  static func place(of needle: Scalars, in text: Scalars, from start: Int = 0) -> Int? {
    guard needle.count <= text.count else { return nil }
    var place = max(0, start)
    while place + needle.count <= text.count {
      if text[place..<(place + needle.count)].elementsEqual(needle) { return place }
      place += 1
    }
    return nil
  }

  private static func lastPlace(of needle: Scalars, in text: Scalars, from start: Int) -> Int? {
    var place = min(start, text.count - needle.count)
    while place >= 0 {
      if text[place..<(place + needle.count)].elementsEqual(needle) { return place }
      place -= 1
    }
    return nil
  }

  /// Looking for every needle of a text costs the product of both at worst.
  private static func spend(_ text: Scalars, _ needle: Scalars, _ run: inout CELRun) throws(CELProblem) {
    try run.spend(text: text.count + text.count * needle.count / 16)
  }

  private static func scalars(_ value: CELValue) -> Scalars? { value.string.map { Array($0.unicodeScalars) } }

  private static func whole(_ values: [CELValue], _ place: Int) -> Int? {
    guard place < values.count, case .int(let value) = values[place] else { return nil }
    return Int(value)
  }

  private static func range(_ place: Int, _ count: Int) throws(CELProblem) {
    if place < 0 || place > count { throw .evaluation("index out of range: \(place)") }
  }

  static let methods: [String: CELFunction] = [
    "matches": matches,
    "contains": test { place(of: $1, in: $0) != nil },
    "startsWith": test { $0.starts(with: $1) },
    "endsWith": test { $0.suffix($1.count).elementsEqual($1) },
    "lowerAscii": changed { $0.map { ("A"..."Z").contains($0) ? Unicode.Scalar(UInt8($0.value + 32)) : $0 } },
    "upperAscii": changed { $0.map { ("a"..."z").contains($0) ? Unicode.Scalar(UInt8($0.value - 32)) : $0 } },
    "reverse": changed { $0.reversed() },
    "trim": changed { scalars in
      let isSpace = { (scalar: Unicode.Scalar) in scalar.properties.isWhitespace }
      guard let first = scalars.firstIndex(where: { !isSpace($0) }),
        let last = scalars.lastIndex(where: { !isSpace($0) })
      else { return [] }
      return Array(scalars[first...last])
    },
    "charAt": CELFunction(2, .string, on: ["string"]) { values, _ throws(CELProblem) in
      guard let scalars = scalars(values[0]), let place = whole(values, 1) else { return nil }
      try range(place, scalars.count)
      return place == scalars.count ? .string("") : text([scalars[place]])
    },
    "substring": CELFunction(2...3, .string, on: ["string"]) { values, run throws(CELProblem) in
      guard let scalars = scalars(values[0]), let start = whole(values, 1) else { return nil }
      try run.spend(text: scalars.count)
      try range(start, scalars.count)
      guard values.count == 3 else { return text(scalars[start...]) }
      guard let end = whole(values, 2) else { return nil }
      try range(end, scalars.count)
      guard start <= end else { throw .evaluation("invalid substring range. start: \(start), end: \(end)") }
      return text(scalars[start..<end])
    },
    "replace": CELFunction(3...4, .string, on: ["string"]) { values, run throws(CELProblem) in
      guard let all = scalars(values[0]), let old = scalars(values[1]), let new = scalars(values[2]) else { return nil }
      guard values.count == 3 || whole(values, 3) != nil else { return nil }
      try spend(all, old, &run)
      let limit = whole(values, 3) ?? -1
      // What it will be long is paid before it is made.
      let count = occurrences(of: old, in: all, limit: limit)
      try run.spend(text: all.count + count * new.count)
      return text(replaced(all, old, new, limit: limit))
    },
    "split": CELFunction(2...3, .list(.string), on: ["string"]) { values, run throws(CELProblem) in
      guard let all = scalars(values[0]), let separator = scalars(values[1]) else { return nil }
      guard values.count == 2 || whole(values, 2) != nil else { return nil }
      try spend(all, separator, &run)
      return .list(split(all, separator, limit: whole(values, 2) ?? -1).map { text($0) })
    },
    "quote": CELFunction(1, .string, on: ["string"]) { values, run throws(CELProblem) in
      guard let all = values[0].string else { return nil }
      try run.spend(text: all.utf8.count)
      return .string(quoted(all))
    },
    "find": CELFunction(2, .string, on: ["string"]) { values, run throws(CELProblem) in
      try finds(values, &run, limit: 1).map { .string($0.first ?? "") }
    },
    "findAll": CELFunction(2...3, .list(.string), on: ["string"]) { values, run throws(CELProblem) in
      let limit = whole(values, 2).flatMap { $0 < 0 ? nil : $0 }
      return try finds(values, &run, limit: limit).map { .list($0.map { .string($0) }) }
    },
    "format": CELFunction(2, .string, on: ["string"]) { values, run throws(CELProblem) in
      guard let format = values[0].string, case .list(let arguments) = values[1] else { return nil }
      try run.spend(walking: values)
      return .string(try CELFormat.formatted(format, arguments))
    },
  ]

  /// `indexOf` and `lastIndexOf` of strings; lists have them, too.
  static func index(_ values: [CELValue], _ run: inout CELRun, isLast: Bool) throws(CELProblem) -> CELValue? {
    guard let all = scalars(values[0]), let needle = scalars(values[1]) else { return nil }
    try spend(all, needle, &run)
    var start = isLast ? all.count : 0
    if values.count == 3 {
      guard let given = whole(values, 2) else { return nil }
      try range(given, all.count)
      start = given
    }
    let found = isLast ? lastPlace(of: needle, in: all, from: start) : place(of: needle, in: all, from: start)
    return .int(Int64(found ?? -1))
  }

  private static func occurrences(of old: Scalars, in all: Scalars, limit: Int) -> Int {
    if old.isEmpty { return limit < 0 ? all.count + 1 : min(limit, all.count + 1) }
    var (count, place) = (0, 0)
    while limit < 0 || count < limit, let found = self.place(of: old, in: all, from: place) {
      (count, place) = (count + 1, found + old.count)
    }
    return count
  }

  private static func replaced(_ all: Scalars, _ old: Scalars, _ new: Scalars, limit: Int) -> Scalars {
    var (made, place, count): (Scalars, Int, Int) = ([], 0, 0)
    if old.isEmpty {
      for scalar in all {
        if limit < 0 || count < limit { made += new }
        count += 1
        made.append(scalar)
      }
      return limit < 0 || count < limit ? made + new : made
    }
    while limit < 0 || count < limit, let found = self.place(of: old, in: all, from: place) {
      made += all[place..<found] + new
      place = found + old.count
      count += 1
    }
    return made + all[place...]
  }

  private static func split(_ all: Scalars, _ separator: Scalars, limit: Int) -> [ArraySlice<Unicode.Scalar>] {
    if limit == 0 { return [] }
    var (parts, place): ([ArraySlice<Unicode.Scalar>], Int) = ([], 0)
    if separator.isEmpty {
      while place < all.count {
        let isLast = limit > 0 && parts.count == limit - 1
        parts.append(isLast ? all[place...] : all[place...place])
        place = isLast ? all.count : place + 1
      }
      return parts
    }
    while limit < 0 || parts.count < limit - 1, let found = self.place(of: separator, in: all, from: place) {
      parts.append(all[place..<found])
      place = found + separator.count
    }
    return parts + [all[place...]]
  }

  private static func quoted(_ text: String) -> String {
    var made = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\u{07}": made += "\\a"
      case "\u{08}": made += "\\b"
      case "\u{0C}": made += "\\f"
      case "\n": made += "\\n"
      case "\r": made += "\\r"
      case "\t": made += "\\t"
      case "\u{0B}": made += "\\v"
      case "\\": made += "\\\\"
      case "\"": made += "\\\""
      default: made.unicodeScalars.append(scalar)
      }
    }
    return made + "\""
  }
}

/// `"%s is %d".format([…])`
enum CELFormat {
  private static let precisionMax = 100

  static func formatted(_ format: String, _ arguments: [CELValue]) throws(CELProblem) -> String {
    var (made, rest, next) = ("", format.unicodeScalars[...], 0)
    while let scalar = rest.popFirst() {
      guard scalar == "%" else {
        made.unicodeScalars.append(scalar)
        continue
      }
      var precision: Int?
      if rest.first == "." {
        rest.removeFirst()
        var digits = ""
        while let digit = rest.first, CELLexer.isDigit(digit) {
          digits.unicodeScalars.append(digit)
          rest.removeFirst()
        }
        guard let value = Int(digits), value <= precisionMax else {
          throw .evaluation("could not parse formatting clause: invalid precision")
        }
        precision = value
      }
      guard let verb = rest.popFirst() else { throw .evaluation("could not parse formatting clause: unexpected end") }
      if verb == "%" {
        made += "%"
        continue
      }
      guard arguments.indices.contains(next) else { throw .evaluation("index \(next) out of range") }
      made += try shown(arguments[next], verb, precision)
      next += 1
    }
    return made
  }

  private static func shown(
    _ value: CELValue, _ verb: Unicode.Scalar, _ precision: Int?
  ) throws(CELProblem) -> String {
    func whole(_ radix: Int, uppercase: Bool = false) throws(CELProblem) -> String {
      switch value {
      case .int(let number): return String(number, radix: radix, uppercase: uppercase)
      case .uint(let number): return String(number, radix: radix, uppercase: uppercase)
      case .bool(let isTrue) where radix == 2: return isTrue ? "1" : "0"
      default:
        throw .evaluation(
          "error during formatting: \(verb) clause can only be used on integers, was given \(value.typeName)")
      }
    }
    switch verb {
    case "s": return CELText.shown(value)
    case "d": return try whole(10)
    case "b": return try whole(2)
    case "o": return try whole(8)
    case "x", "X":
      let bytes: [UInt8]? =
        switch value {
        case .string(let text): Array(text.utf8)
        case .bytes(let bytes): bytes
        default: nil
        }
      guard let bytes else { return try whole(16, uppercase: verb == "X") }
      return bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16, uppercase: verb == "X") }.joined()
    case "f", "e":
      let number: Double
      switch value {
      case .double(let double): number = double
      case .int(let integer): number = Double(integer)
      case .uint(let integer): number = Double(integer)
      default:
        throw .evaluation(
          "error during formatting: \(verb) clause can only be used on doubles, was given \(value.typeName)")
      }
      return verb == "f" ? fixed(number, precision ?? 6) : scientific(number, precision ?? 6)
    default: throw .evaluation("could not parse formatting clause: unrecognized formatting clause \"\(verb)\"")
    }
  }

  /// - Parameter digits: behind the point.
  private static func fixed(_ number: Double, _ digits: Int) -> String {
    guard number.isFinite else { return CELText.number(number) }
    var scaled = abs(number)
    // Beyond what an integer holds there is nothing behind the point.
    guard scaled < 1e15 else { return CELText.number(number) }
    let shown = min(digits, 15)
    var power = 1.0
    for _ in 0..<shown { power *= 10 }
    let whole = scaled.rounded(.down)
    scaled = ((scaled - whole) * power).rounded(.toNearestOrEven)
    let carry = scaled >= power
    let fraction = String(Int64(carry ? 0 : scaled))
    let head = "\(number < 0 ? "-" : "")\(Int64(whole) + (carry ? 1 : 0))"
    guard digits > 0 else { return scaled >= 0.5 && shown == 0 && !carry ? head : head }
    return head + "." + String(repeating: "0", count: max(0, shown - fraction.count)) + fraction
      + String(repeating: "0", count: digits - shown)
  }

  private static func scientific(_ number: Double, _ digits: Int) -> String {
    guard number.isFinite, number != 0 else { return number == 0 ? "\(fixed(0, digits))e+00" : CELText.number(number) }
    var (mantissa, exponent) = (number, 0)
    while abs(mantissa) >= 10 { (mantissa, exponent) = (mantissa / 10, exponent + 1) }
    while abs(mantissa) < 1 { (mantissa, exponent) = (mantissa * 10, exponent - 1) }
    let power = String(abs(exponent))
    return "\(fixed(mantissa, digits))e\(exponent < 0 ? "-" : "+")\(power.count < 2 ? "0" : "")\(power)"
  }
}
