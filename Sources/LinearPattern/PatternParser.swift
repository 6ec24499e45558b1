/// What an expression says, read.
indirect enum PatternNode: Sendable {
  enum Place: Int32, Sendable { case textStart, textEnd, lineStart, lineEnd, wordBoundary, noWordBoundary }

  case empty
  case set(PatternSet)
  case place(Place)
  case sequence([PatternNode])
  case choice([PatternNode])
  case repeated(PatternNode, least: Int, most: Int?, isLazy: Bool)

  /// Whether it matches without a scalar.
  var isNullable: Bool {
    switch self {
    case .empty, .place: true
    case .set: false
    case .sequence(let nodes): nodes.allSatisfy(\.isNullable)
    case .choice(let nodes): nodes.contains(where: \.isNullable)
    case .repeated(let inner, let least, _, _): least == 0 || inner.isNullable
    }
  }
}

/// Reads RE2's syntax, with the flags that Go's `regexp.Compile` sets.
struct PatternParser {
  /// Groups within groups.
  static let depthMax = 250
  /// Of a counted repetition, and of the product of those within each other.
  static let countMax = 1_000
  /// Scalars of an expression.
  static let lengthMax = 65_536

  struct Flags {
    var foldsCase = false
    var isMultiLine = false
    var dotMatchesNewline = false
    var isUngreedy = false
  }

  let scalars: [Unicode.Scalar]
  var place = 0
  var flags = Flags()
  private var depth = 0

  init(_ source: String) throws(PatternProblem) {
    scalars = Array(source.unicodeScalars)
    guard scalars.count <= Self.lengthMax else { throw PatternProblem("expression too large") }
  }

  var next: Unicode.Scalar? { place < scalars.count ? scalars[place] : nil }

  mutating func take(_ scalar: Unicode.Scalar) -> Bool {
    guard next == scalar else { return false }
    place += 1
    return true
  }

  func starts(with text: String) -> Bool { scalars[place...].starts(with: text.unicodeScalars) }

  func text(_ start: Int, _ end: Int? = nil) -> String {
    var view = String.UnicodeScalarView()
    view.append(contentsOf: scalars[start..<min(end ?? scalars.count, scalars.count)])
    return String(view)
  }

  mutating func parse() throws(PatternProblem) -> PatternNode {
    let node = try choice()
    guard place == scalars.count else { throw PatternProblem("unexpected )", text(0)) }
    return node
  }

  private mutating func choice() throws(PatternProblem) -> PatternNode {
    depth += 1
    defer { depth -= 1 }
    guard depth <= Self.depthMax else { throw PatternProblem("expression nests too deeply", text(0)) }
    var choices = [try sequence()]
    while take("|") { choices.append(try sequence()) }
    return choices.count == 1 ? choices[0] : .choice(choices)
  }

  private mutating func sequence() throws(PatternProblem) -> PatternNode {
    var nodes: [PatternNode] = []
    while let scalar = next, scalar != "|", scalar != ")" {
      if scalar == "(" {
        guard let group = try group() else { continue }
        nodes.append(try repetitions(of: group))
      } else if scalar == "\\", starts(with: "\\Q") {
        try quoted(&nodes)
      } else {
        if try isRepetition() {
          // Behind flags only, which leave what is repeated where it is.
          guard let last = nodes.popLast() else { throw try missingArgument() }
          nodes.append(try repetitions(of: last))
          continue
        }
        nodes.append(try repetitions(of: try atom()))
      }
    }
    return nodes.count == 1 ? nodes[0] : nodes.isEmpty ? .empty : .sequence(nodes)
  }

  /// `\Q…\E`
  private mutating func quoted(_ nodes: inout [PatternNode]) throws(PatternProblem) {
    place += 2
    while place < scalars.count, !starts(with: "\\E") {
      nodes.append(literal(scalars[place]))
      place += 1
    }
    if place < scalars.count { place += 2 }
    if let last = nodes.popLast() { nodes.append(try repetitions(of: last)) }
  }

  // MARK: groups

  /// - Returns: nil for flags that hold from here on.
  private mutating func group() throws(PatternProblem) -> PatternNode? {
    let start = place
    let outer = flags
    place += 1
    if take("?") {
      if starts(with: "P<") || (starts(with: "<") && !starts(with: "<=") && !starts(with: "<!")) {
        try groupName(start)
      } else if try !groupFlags(start) {
        return nil
      }
    }
    let node = try choice()
    guard take(")") else { throw PatternProblem("missing closing )", text(0)) }
    flags = outer
    return node
  }

  private mutating func groupName(_ start: Int) throws(PatternProblem) {
    _ = take("P")
    place += 1
    let first = place
    while let scalar = next, scalar != ">" {
      guard PatternSet.word.holdsWord(scalar) else {
        while let other = next, other != ">" { _ = take(other) }
        throw PatternProblem("invalid named capture", text(start, place + 1))
      }
      place += 1
    }
    guard place > first, take(">") else { throw PatternProblem("invalid named capture", text(start, place + 1)) }
  }

  /// - Returns: whether a group follows, with `:`.
  private mutating func groupFlags(_ start: Int) throws(PatternProblem) -> Bool {
    var (isOn, hasFlag) = (true, false)
    while let scalar = next {
      place += 1
      switch scalar {
      case "i": flags.foldsCase = isOn
      case "m": flags.isMultiLine = isOn
      case "s": flags.dotMatchesNewline = isOn
      case "U": flags.isUngreedy = isOn
      case "-" where isOn:
        (isOn, hasFlag) = (false, false)
        continue
      case ":" where isOn || hasFlag: return true
      case ")" where hasFlag || isOn: return false
      default: throw PatternProblem("invalid or unsupported Perl syntax", text(start, place))
      }
      hasFlag = true
    }
    throw PatternProblem("invalid or unsupported Perl syntax", text(start))
  }

  // MARK: repetition

  private mutating func repetitions(of node: PatternNode) throws(PatternProblem) -> PatternNode {
    let start = place
    guard let (least, most) = try repetition() else { return node }
    var isLazy = flags.isUngreedy
    if take("?") { isLazy.toggle() }
    if try repetition() != nil {
      _ = take("?")
      throw PatternProblem("invalid nested repetition operator", text(start, place))
    }
    let result = PatternNode.repeated(node, least: least, most: most, isLazy: isLazy)
    guard Self.isCountable(result, within: Self.countMax) else {
      throw PatternProblem("invalid repeat count", text(start, place))
    }
    return result
  }

  private func isRepetition() throws(PatternProblem) -> Bool {
    var copy = self
    return try copy.repetition() != nil
  }

  private mutating func missingArgument() throws(PatternProblem) -> PatternProblem {
    let start = place
    _ = try repetition()
    _ = take("?")
    return PatternProblem("missing argument to repetition operator", text(start, place))
  }

  private mutating func repetition() throws(PatternProblem) -> (Int, Int?)? {
    let start = place
    switch next {
    case "*": place += 1
    case "+":
      place += 1
      return (1, nil)
    case "?":
      place += 1
      return (0, 1)
    case "{":
      guard let (least, most) = readCount() else { return nil }
      let tooMany = least > Self.countMax || (most ?? 0) > Self.countMax || most.map { $0 < least } ?? false
      if tooMany { throw PatternProblem("invalid repeat count", text(start, place)) }
      return (least, most)
    default: return nil
    }
    return (0, nil)
  }

  /// `{n}`, `{n,}`, `{n,m}`; nil where it is none and stands for itself.
  private mutating func readCount() -> (Int, Int?)? {
    let start = place
    defer { if place != start, scalars[place - 1] != "}" { place = start } }
    guard take("{"), let least = number() else { return nil }
    if take("}") { return (least, least) }
    guard take(",") else { return nil }
    if take("}") { return (least, nil) }
    guard let most = number(), take("}") else { return nil }
    return (least, most)
  }

  private mutating func number() -> Int? {
    let start = place
    var value = 0
    while let scalar = next, let digit = PatternParser.digit(scalar), digit < 10 {
      value = min(value * 10 + digit, Self.countMax + 1)
      place += 1
    }
    // A number does not begin with 0.
    guard place > start, place - start == 1 || scalars[start] != "0" else { return nil }
    return value
  }

  static func digit(_ scalar: Unicode.Scalar) -> Int? {
    switch scalar {
    case "0"..."9": Int(scalar.value) - 0x30
    case "a"..."f": Int(scalar.value) - 0x61 + 10
    case "A"..."F": Int(scalar.value) - 0x41 + 10
    default: nil
    }
  }

  /// Whether the counts of repetitions within each other multiply to no more than `limit`.
  private static func isCountable(_ node: PatternNode, within limit: Int) -> Bool {
    switch node {
    case .repeated(let inner, let least, let most, _):
      let count = max(most ?? least, least)
      if count > limit { return false }
      return isCountable(inner, within: count > 0 ? limit / count : limit)
    case .sequence(let nodes), .choice(let nodes): return nodes.allSatisfy { isCountable($0, within: limit) }
    case .empty, .set, .place: return true
    }
  }
}

extension PatternSet {
  fileprivate func holdsWord(_ scalar: Unicode.Scalar) -> Bool { ranges.contains { $0.contains(scalar.value) } }
}
