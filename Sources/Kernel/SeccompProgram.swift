internal import CSecurity
internal import Glibc

// The kernel checks, converts and compiles a filter for each process that takes it, and runs it once for every number of
// a call: what a container's start pays grows with the program. libseccomp has an instruction for every call of every
// architecture, a thousand for the default profile; calls lie side by side in the numbering, so that a search among
// ranges needs a fifth of that. Names and numbers are libseccomp's; a test compares what both programs decide.

/// What one architecture does about each number of a call.
struct SeccompTable {
  /// A rule that looks at arguments: all must hold.
  struct Condition: Hashable {
    var arguments: [SeccompFilter.Argument]
    var action: UInt32
  }

  enum Decision: Hashable {
    case action(UInt32)
    /// The first condition that holds; otherwise the last action.
    case conditions([Condition], otherwise: UInt32)
  }

  /// AUDIT_ARCH_*.
  let audit: UInt32
  private let otherwise: UInt32
  private var decisions: [UInt32: Decision] = [:]
  /// Of a rule without arguments, which stands for every call of that number.
  private var settled: Set<UInt32> = []

  init(audit: UInt32, otherwise: UInt32) {
    self.audit = audit
    self.otherwise = otherwise
  }

  mutating func add(_ number: UInt32, _ action: UInt32, _ arguments: [SeccompFilter.Argument]) {
    var conditions: [Condition] = []
    var last = otherwise
    switch decisions[number] {
    case .none: break
    case .action(let action): last = action
    case .conditions(let known, let action): (conditions, last) = (known, action)
    }
    if arguments.isEmpty {
      // The first rule that stands for the whole call is the one.
      if settled.insert(number).inserted { last = action }
    } else {
      conditions.append(Condition(arguments: arguments, action: action))
    }
    // What would come out the same anyway needs no look.
    conditions.removeAll { $0.action == last }
    decisions[number] = conditions.isEmpty ? .action(last) : .conditions(conditions, otherwise: last)
  }

  /// Numbers from `first` on, up to the next range's.
  struct Range {
    var first: UInt32
    var decision: Decision
  }

  /// - Parameters:
  ///   - highest: calls above it did not exist when this was written; a program that gets ENOSYS for one uses an older.
  ///   - alien: numbers from here on are another kind of call (x32), and none that we do.
  func ranges(highest: UInt32, alien: UInt32?, unknown: UInt32) -> [Range] {
    var ranges: [Range] = []
    func append(_ first: UInt32, _ decision: Decision) {
      if ranges.last?.decision != decision { ranges.append(Range(first: first, decision: decision)) }
    }
    append(0, decisions[0] ?? .action(otherwise))
    for number in decisions.keys.sorted() where number > 0 {
      append(number, decisions[number] ?? .action(otherwise))
      if decisions[number + 1] == nil { append(number + 1, .action(otherwise)) }
    }
    let top = max(highest, (decisions.keys.max() ?? 0)) + 1
    if decisions[top] == nil, otherwise != csecurity_action_allow() { append(top, .action(unknown)) }
    if let alien { append(alien, .action(unknown)) }
    return ranges
  }
}

/// Writes instructions of classic BPF from the last to the first, so that each jump knows how far its end is, and all
/// ways that come to the same answer share one instruction.
struct SeccompWriter {
  private struct Instruction {
    var code: UInt16
    var whenTrue: UInt8 = 0
    var whenFalse: UInt8 = 0
    var value: UInt32
  }

  /// Instructions behind a place: 0 is the end of the program.
  private typealias Place = Int

  /// The last one of the program first.
  private var reversed: [Instruction] = []
  /// The nearest instruction that gives an answer.
  private var answers: [UInt32: Place] = [:]

  private enum Code {
    static let load: UInt16 = 0x20
    static let and: UInt16 = 0x54
    static let jump: UInt16 = 0x05
    static let jumpEqual: UInt16 = 0x15
    static let jumpGreater: UInt16 = 0x25
    static let jumpAtLeast: UInt16 = 0x35
    static let answer: UInt16 = 0x06
  }
  private static let numberOffset: UInt32 = 0
  private static let architectureOffset: UInt32 = 4
  private static let argumentsOffset: UInt32 = 16
  /// Instructions that a conditional jump goes over at most.
  private static let reachMax = 255

  /// The instructions, 8 bytes each.
  var program: [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(reversed.count * 8)
    for instruction in reversed.reversed() {
      bytes += [UInt8(truncatingIfNeeded: instruction.code), UInt8(instruction.code >> 8)]
      bytes += [instruction.whenTrue, instruction.whenFalse]
      for shift in stride(from: 0, to: 32, by: 8) {
        bytes.append(UInt8(truncatingIfNeeded: instruction.value >> UInt32(shift)))
      }
    }
    return bytes
  }

  private mutating func emit(_ code: UInt16, _ value: UInt32) {
    reversed.append(Instruction(code: code, value: value))
  }

  /// A place that a conditional jump reaches, also when another long jump is put in before it.
  private mutating func near(_ place: Place) -> Place {
    if reversed.count - place + 1 < Self.reachMax { return place }
    emit(Code.jump, UInt32(reversed.count - place))
    return reversed.count
  }

  private mutating func branch(_ code: UInt16, _ value: UInt32, whenTrue: Place, whenFalse: Place) {
    let (yes, no) = (near(whenTrue), near(whenFalse))
    reversed.append(
      Instruction(
        code: code, whenTrue: UInt8(reversed.count - yes), whenFalse: UInt8(reversed.count - no), value: value))
  }

  private mutating func answer(_ action: UInt32) -> Place {
    if let known = answers[action], reversed.count - known + 1 < Self.reachMax { return known }
    emit(Code.answer, action)
    answers[action] = reversed.count
    return reversed.count
  }

  /// One part an architecture; what is none of them gets `alien`.
  mutating func write(_ parts: [(audit: UInt32, ranges: [SeccompTable.Range])], alien: UInt32) {
    var next = answer(alien)
    for part in parts.reversed() {
      let start = search(part.ranges[...])
      if start != reversed.count { emit(Code.jump, UInt32(reversed.count - start)) }
      emit(Code.load, Self.numberOffset)
      branch(Code.jumpEqual, part.audit, whenTrue: reversed.count, whenFalse: next)
      next = reversed.count
    }
    emit(Code.load, Self.architectureOffset)
  }

  /// A binary search: every way through it ends in an answer.
  /// - Returns: where it begins.
  private mutating func search(_ ranges: ArraySlice<SeccompTable.Range>) -> Place {
    guard ranges.count > 1 else { return decide(ranges.first?.decision) }
    let middle = ranges.startIndex + ranges.count / 2
    let high = search(ranges[middle...])
    let low = search(ranges[..<middle])
    branch(Code.jumpAtLeast, ranges[middle].first, whenTrue: high, whenFalse: low)
    return reversed.count
  }

  private mutating func decide(_ decision: SeccompTable.Decision?) -> Place {
    switch decision {
    case .none: return 0
    case .action(let action): return answer(action)
    case .conditions(let conditions, let otherwise):
      var next = answer(otherwise)
      for condition in conditions.reversed() {
        var then = answer(condition.action)
        for argument in condition.arguments.reversed() {
          then = test(
            argument, isAllowing: condition.action == csecurity_action_allow(), holds: then, fails: next)
        }
        next = then
      }
      return next
    }
  }

  /// Goes to `holds` where the argument compares as asked, and to `fails` where not.
  private mutating func test(
    _ argument: SeccompFilter.Argument, isAllowing: Bool, holds: Place, fails: Place
  ) -> Place {
    let low = Self.argumentsOffset + 8 * argument.index
    let high = low + 4
    let value = argument.comparison == .maskedEqual ? argument.valueTwo : argument.value
    let (valueLow, valueHigh) = (UInt32(truncatingIfNeeded: value), UInt32(value >> 32))
    switch argument.comparison {
    case .equal:
      equal(low, valueLow, holds, fails)
      equal(high, valueHigh, reversed.count, fails)
    case .notEqual where isAllowing && valueHigh == 0:
      // The kernel looks at the low half of what it takes for an int: a high half that is set must not get around this.
      equal(low, valueLow, fails, holds)
    case .notEqual:
      equal(low, valueLow, fails, holds)
      equal(high, valueHigh, reversed.count, holds)
    case .maskedEqual:
      equal(low, valueLow, holds, fails, mask: UInt32(truncatingIfNeeded: argument.value))
      equal(high, valueHigh, reversed.count, fails, mask: UInt32(argument.value >> 32))
    case .greater, .greaterOrEqual:
      let code = argument.comparison == .greater ? Code.jumpGreater : Code.jumpAtLeast
      ordered(low, code, valueLow, valueHigh, above: holds, below: fails)
    case .less, .lessOrEqual:
      let code = argument.comparison == .less ? Code.jumpAtLeast : Code.jumpGreater
      ordered(low, code, valueLow, valueHigh, above: fails, below: holds)
    }
    return reversed.count
  }

  private mutating func equal(
    _ offset: UInt32, _ value: UInt32, _ same: Place, _ other: Place, mask: UInt32 = .max
  ) {
    branch(Code.jumpEqual, value, whenTrue: same, whenFalse: other)
    if mask != .max { emit(Code.and, mask) }
    emit(Code.load, offset)
  }

  /// The high half decides where it differs, otherwise the low one by `code`.
  private mutating func ordered(
    _ offset: UInt32, _ code: UInt16, _ low: UInt32, _ high: UInt32, above: Place, below: Place
  ) {
    branch(code, low, whenTrue: above, whenFalse: below)
    emit(Code.load, offset)
    branch(Code.jumpEqual, high, whenTrue: reversed.count, whenFalse: below)
    branch(Code.jumpGreater, high, whenTrue: above, whenFalse: reversed.count)
    emit(Code.load, offset + 4)
  }
}
