/// Single scalars and classes of them.
extension PatternParser {
  func literal(_ scalar: Unicode.Scalar) -> PatternNode {
    var set = PatternSet([scalar.value...scalar.value])
    set.foldsCase = flags.foldsCase
    return .set(set.finished())
  }

  mutating func atom() throws(PatternProblem) -> PatternNode {
    let scalar = scalars[place]
    switch scalar {
    case ".":
      place += 1
      return .set((flags.dotMatchesNewline ? PatternSet([0...PatternSet.scalarMax]) : Self.noNewline).finished())
    case "^":
      place += 1
      return .place(flags.isMultiLine ? .lineStart : .textStart)
    case "$":
      place += 1
      return .place(flags.isMultiLine ? .lineEnd : .textEnd)
    case "[": return .set(try bracketed())
    case "\\": return try escaped()
    default:
      place += 1
      return literal(scalar)
    }
  }

  private static let noNewline = PatternSet([0x0A...0x0A], isNegated: true)

  private mutating func escaped() throws(PatternProblem) -> PatternNode {
    guard place + 1 < scalars.count else { throw PatternProblem("trailing backslash at end of expression", "") }
    let places: [Unicode.Scalar: PatternNode.Place] = [
      "A": .textStart, "z": .textEnd, "b": .wordBoundary, "B": .noWordBoundary,
    ]
    if let kind = places[scalars[place + 1]] {
      place += 2
      return .place(kind)
    }
    if var set = try escapedClass() {
      set.foldsCase = flags.foldsCase
      return .set(set.finished())
    }
    return literal(try escapedScalar())
  }

  /// `\d`, `\pL`, `\P{Greek}` and their like; nil where something else follows.
  private mutating func escapedClass() throws(PatternProblem) -> PatternSet? {
    guard next == "\\", place + 1 < scalars.count else { return nil }
    let letter = scalars[place + 1]
    let known: [Unicode.Scalar: PatternSet] = ["d": .digits, "s": .space, "w": .word]
    if var set = known[letter] ?? letter.lowered.flatMap({ known[$0] }) {
      place += 2
      set.isNegated = known[letter] == nil
      return set
    }
    guard letter == "p" || letter == "P" else { return nil }
    return try property()
  }

  private mutating func property() throws(PatternProblem) -> PatternSet {
    let start = place
    var isNegated = scalars[place + 1] == "P"
    place += 2
    guard next != nil else { throw PatternProblem("invalid character class range", text(start)) }
    var name: String
    if take("{") {
      let first = place
      while let scalar = next, scalar != "}" { _ = take(scalar) }
      name = text(first, place)
      guard take("}") else { throw PatternProblem("invalid character class range", text(start)) }
    } else {
      name = text(place, place + 1)
      place += 1
    }
    if name.hasPrefix("^") {
      isNegated.toggle()
      name.removeFirst()
    }
    var set: PatternSet
    if let mask = PatternCategory.masks[name] {
      set = PatternSet()
      set.add(categories: mask)
    } else if let script = PatternScripts.ranges(of: name) {
      set = PatternSet(script)
    } else {
      throw PatternProblem("invalid character class range", text(start, place))
    }
    set.isNegated = isNegated
    return set
  }

  private mutating func escapedScalar() throws(PatternProblem) -> Unicode.Scalar {
    let start = place
    guard place + 1 < scalars.count else { throw PatternProblem("trailing backslash at end of expression", "") }
    let letter = scalars[place + 1]
    place += 2
    switch letter {
    case "a": return "\u{07}"
    case "f": return "\u{0C}"
    case "n": return "\n"
    case "r": return "\r"
    case "t": return "\t"
    case "v": return "\u{0B}"
    case "x": return try hexadecimal(start)
    case "0"..."7":
      // One digit that is not 0 would be a back reference.
      if letter != "0", !(next.flatMap(Self.digit).map { $0 < 8 } ?? false) { break }
      var value = letter.value - 0x30
      for _ in 0..<2 {
        guard let digit = next.flatMap(Self.digit), digit < 8 else { break }
        value = value * 8 + UInt32(digit)
        place += 1
      }
      return Unicode.Scalar(value) ?? "\u{FFFD}"
    default:
      if letter.value < 0x80, !PatternSet.word.finished().contains(letter) { return letter }
      if letter == "_" { return letter }
    }
    throw PatternProblem("invalid escape sequence", text(start, place))
  }

  /// `\x41` and `\x{10FFFF}`
  private mutating func hexadecimal(_ start: Int) throws(PatternProblem) -> Unicode.Scalar {
    var (value, count): (UInt32, Int) = (0, 0)
    let isBraced = take("{")
    while let digit = next.flatMap(Self.digit), isBraced || count < 2, value <= PatternSet.scalarMax {
      value = value * 16 + UInt32(digit)
      count += 1
      place += 1
    }
    let isWhole = isBraced ? count > 0 && take("}") : count == 2
    guard isWhole, let scalar = Unicode.Scalar(value) else {
      throw PatternProblem("invalid escape sequence", text(start, place + (place < scalars.count ? 1 : 0)))
    }
    return scalar
  }

  // MARK: brackets

  private mutating func bracketed() throws(PatternProblem) -> PatternSet {
    let start = place
    place += 1
    var set = PatternSet()
    set.foldsCase = flags.foldsCase
    let isNegated = take("^")
    var isFirst = true
    while let scalar = next, isFirst || scalar != "]" {
      isFirst = false
      if starts(with: "[:"), try namedClass(&set) { continue }
      if let inner = try escapedClass() {
        set.add(inner)
        continue
      }
      try range(&set, start)
    }
    guard take("]") else { throw PatternProblem("missing closing ]", text(start)) }
    set.isNegated = isNegated
    return set.finished()
  }

  private mutating func range(_ set: inout PatternSet, _ start: Int) throws(PatternProblem) {
    let first = place
    let low = try member(start)
    var high = low
    if place + 1 < scalars.count, next == "-", scalars[place + 1] != "]" {
      place += 1
      high = try member(start)
    }
    guard low <= high else { throw PatternProblem("invalid character class range", text(first, place)) }
    set.add(low.value...high.value)
  }

  private mutating func member(_ start: Int) throws(PatternProblem) -> Unicode.Scalar {
    guard let scalar = next else { throw PatternProblem("missing closing ]", text(start)) }
    if scalar == "\\" { return try escapedScalar() }
    place += 1
    return scalar
  }

  /// `[:alpha:]` and `[:^alpha:]`, within brackets.
  private mutating func namedClass(_ set: inout PatternSet) throws(PatternProblem) -> Bool {
    var end = place + 2
    while end + 1 < scalars.count, !(scalars[end] == ":" && scalars[end + 1] == "]") { end += 1 }
    guard end + 1 < scalars.count else { return false }
    var name = text(place + 2, end)
    let isNegated = name.hasPrefix("^")
    if isNegated { name.removeFirst() }
    guard var known = PatternSet.named[name] else {
      throw PatternProblem("invalid character class range", text(place, end + 2))
    }
    known.isNegated = isNegated
    set.add(known)
    place = end + 2
    return true
  }
}

extension Unicode.Scalar {
  fileprivate var lowered: Unicode.Scalar? {
    ("A"..."Z").contains(self) ? Unicode.Scalar(value + 0x20) : nil
  }
}
