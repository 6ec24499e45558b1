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

/// Writes instructions of classic BPF.
struct SeccompWriter {
  private(set) var program: [UInt8] = []

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

  private var count: Int { program.count / 8 }

  private mutating func emit(_ code: UInt16, _ value: UInt32, whenTrue: Int = 0, whenFalse: Int = 0) {
    precondition(whenTrue < 256 && whenFalse < 256, "a conditional jump reaches 255 instructions")
    program += [UInt8(truncatingIfNeeded: code), UInt8(code >> 8), UInt8(whenTrue), UInt8(whenFalse)]
    for shift in stride(from: 0, to: 32, by: 8) { program.append(UInt8(truncatingIfNeeded: value >> UInt32(shift))) }
  }

  private mutating func append(_ other: SeccompWriter) { program += other.program }

  /// One part an architecture; what is none of them gets `alien`.
  mutating func write(_ parts: [(audit: UInt32, ranges: [SeccompTable.Range])], alien: UInt32) {
    emit(Code.load, Self.architectureOffset)
    for part in parts {
      var body = SeccompWriter()
      body.emit(Code.load, Self.numberOffset)
      body.search(part.ranges[...])
      // Over the part, which may be longer than a conditional jump reaches.
      emit(Code.jumpEqual, part.audit, whenTrue: 1)
      emit(Code.jump, UInt32(body.count))
      append(body)
    }
    emit(Code.answer, alien)
  }

  /// A binary search: every way through it ends in an answer.
  private mutating func search(_ ranges: ArraySlice<SeccompTable.Range>) {
    guard ranges.count > 1 else {
      if let only = ranges.first { decide(only.decision) }
      return
    }
    let middle = ranges.startIndex + ranges.count / 2
    var low = SeccompWriter()
    low.search(ranges[..<middle])
    if low.count < 256 {
      emit(Code.jumpAtLeast, ranges[middle].first, whenTrue: low.count)
    } else {
      emit(Code.jumpAtLeast, ranges[middle].first, whenFalse: 1)
      emit(Code.jump, UInt32(low.count))
    }
    append(low)
    search(ranges[middle...])
  }

  private mutating func decide(_ decision: SeccompTable.Decision) {
    switch decision {
    case .action(let action): emit(Code.answer, action)
    case .conditions(let conditions, let otherwise):
      for condition in conditions {
        var rest = SeccompWriter()
        rest.emit(Code.answer, condition.action)
        // From the last test to the first, so that each knows how far it is to the end.
        for argument in condition.arguments.reversed() {
          var test = SeccompWriter()
          test.test(argument, isAllowing: condition.action == csecurity_action_allow(), over: rest.count)
          test.append(rest)
          rest = test
        }
        append(rest)
      }
      emit(Code.answer, otherwise)
    }
  }

  /// Goes on where the argument compares as asked, or over `rest` instructions after the test.
  private mutating func test(_ argument: SeccompFilter.Argument, isAllowing: Bool, over rest: Int) {
    let low = Self.argumentsOffset + 8 * argument.index
    let high = low + 4
    let value = argument.comparison == .maskedEqual ? argument.valueTwo : argument.value
    let (valueLow, valueHigh) = (UInt32(truncatingIfNeeded: value), UInt32(value >> 32))
    switch argument.comparison {
    case .equal:
      emit(Code.load, high)
      emit(Code.jumpEqual, valueHigh, whenFalse: 2 + rest)
      emit(Code.load, low)
      emit(Code.jumpEqual, valueLow, whenFalse: rest)
    case .notEqual where isAllowing && valueHigh == 0:
      // The kernel looks at the low half of what it takes for an int: a high half that is set must not get around this.
      emit(Code.load, low)
      emit(Code.jumpEqual, valueLow, whenTrue: rest)
    case .notEqual:
      emit(Code.load, high)
      emit(Code.jumpEqual, valueHigh, whenFalse: 2)
      emit(Code.load, low)
      emit(Code.jumpEqual, valueLow, whenTrue: rest)
    case .maskedEqual:
      emit(Code.load, high)
      emit(Code.and, UInt32(argument.value >> 32))
      emit(Code.jumpEqual, valueHigh, whenFalse: 3 + rest)
      emit(Code.load, low)
      emit(Code.and, UInt32(truncatingIfNeeded: argument.value))
      emit(Code.jumpEqual, valueLow, whenFalse: rest)
    case .greater, .greaterOrEqual:
      emit(Code.load, high)
      emit(Code.jumpGreater, valueHigh, whenTrue: 3)
      emit(Code.jumpEqual, valueHigh, whenFalse: 2 + rest)
      emit(Code.load, low)
      let code = argument.comparison == .greater ? Code.jumpGreater : Code.jumpAtLeast
      emit(code, valueLow, whenFalse: rest)
    case .less, .lessOrEqual:
      // Turned around: over the rest where it is at least, or greater.
      emit(Code.load, high)
      emit(Code.jumpGreater, valueHigh, whenTrue: 3 + rest)
      emit(Code.jumpEqual, valueHigh, whenFalse: 2)
      emit(Code.load, low)
      let code = argument.comparison == .less ? Code.jumpAtLeast : Code.jumpGreater
      emit(code, valueLow, whenTrue: rest)
    }
  }
}
