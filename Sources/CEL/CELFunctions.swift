/// A function, or a method whose first argument is the value before the dot.
struct CELFunction: Sendable {
  typealias Body = @Sendable ([CELValue], inout CELRun) throws(CELProblem) -> CELValue?

  /// Of arguments, with the value before the dot.
  let counts: ClosedRange<Int>
  let result: CELType
  /// The kinds of values that have the method; nil: not told.
  let receivers: Set<String>?
  /// - Returns: nil where there is none for these values.
  let run: Body

  init(_ counts: ClosedRange<Int>, _ result: CELType, on receivers: Set<String>? = nil, _ run: @escaping Body) {
    (self.counts, self.result, self.receivers, self.run) = (counts, result, receivers, run)
  }

  init(_ count: Int, _ result: CELType, on receivers: Set<String>? = nil, _ run: @escaping Body) {
    self.init(count...count, result, on: receivers, run)
  }
}

/// All that expressions may call. Macros and `has` are no functions.
enum CELFunctions {
  static let functions: [String: CELFunction] = [
    operators, conversions, CELSets.functions, CELOptionals.functions, CELNetFunctions.functions,
    CELQuantities.functions,
    [
      "size": size, "matches": CELTexts.matches,
      "type": CELFunction(1, .named("type")) { values, _ throws(CELProblem) in .type(values[0].typeName) },
      "dyn": CELFunction(1, .dyn) { values, _ throws(CELProblem) in values[0] },
    ],
  ].reduce(into: [:]) { all, part in all.merge(part) { one, _ in one } }

  static let methods: [String: CELFunction] = [
    CELTexts.methods, CELLists.methods, CELTimes.methods, CELOptionals.methods, CELNetFunctions.methods,
    CELQuantities.methods, ["size": size],
  ].reduce(into: [:]) { all, part in all.merge(part) { one, _ in one } }

  private static let size = CELFunction(1, .int, on: ["string", "bytes", "list", "map"]) {
    values, run throws(CELProblem) in
    switch values[0] {
    case .string(let text): return .int(Int64(text.unicodeScalars.count))
    case .bytes(let bytes): return .int(Int64(bytes.count))
    case .list(let items): return .int(Int64(items.count))
    case .map(let map): return .int(Int64(map.count))
    default: return nil
    }
  }

  // MARK: operators

  private static func compared(_ test: @escaping @Sendable (CELValue.Order) -> Bool) -> CELFunction {
    CELFunction(2, .bool) { values, run throws(CELProblem) in
      try run.spend(walking: [values[0]])
      let (left, right) = (values[0], values[1])
      let order = left.compared(with: right)
      let isNaN = left.isNumber && right.isNumber
      guard order != .none || isNaN else { return nil }
      return .bool(test(order))
    }
  }

  private static let operators: [String: CELFunction] = [
    "_==_": CELFunction(2, .bool) { values, run throws(CELProblem) in
      try run.spend(walking: [values[0]])
      return .bool(values[0] == values[1])
    },
    "_!=_": CELFunction(2, .bool) { values, run throws(CELProblem) in
      try run.spend(walking: [values[0]])
      return .bool(values[0] != values[1])
    },
    "_<_": compared { $0 == .less }, "_<=_": compared { $0 == .less || $0 == .same },
    "_>_": compared { $0 == .more }, "_>=_": compared { $0 == .more || $0 == .same },
    "@in": CELFunction(2, .bool) { values, run throws(CELProblem) in
      switch values[1] {
      case .list(let items):
        try run.spend(walking: [.list(items), values[0]])
        return .bool(items.contains(values[0]))
      case .map(let map): return .bool(values[0].isKey && map[values[0]] != nil)
      default: return nil
      }
    },
    "!_": CELFunction(1, .bool) { values, _ throws(CELProblem) in values[0].bool.map { .bool(!$0) } },
    "-_": CELFunction(1, .dyn) { values, _ throws(CELProblem) in
      switch values[0] {
      case .int(let value):
        return try CELArithmetic.whole(Int64(0).subtractingReportingOverflow(value)).map { .int($0) }
      case .double(let value): return .double(-value)
      default: return nil
      }
    },
    "_+_": CELFunction(2, .dyn) { values, run throws(CELProblem) in
      try run.spend(walking: values)
      return try CELArithmetic.sum(values[0], values[1])
    },
    "_-_": CELFunction(2, .dyn) { values, _ throws(CELProblem) in
      try CELArithmetic.difference(values[0], values[1])
    },
    "_*_": CELFunction(2, .dyn) { values, _ throws(CELProblem) in
      switch (values[0], values[1]) {
      case (.int(let one), .int(let two)):
        return try CELArithmetic.whole(one.multipliedReportingOverflow(by: two)).map { .int($0) }
      case (.uint(let one), .uint(let two)):
        return try CELArithmetic.whole(one.multipliedReportingOverflow(by: two)).map { .uint($0) }
      case (.double(let one), .double(let two)): return .double(one * two)
      default: return nil
      }
    },
    "_/_": CELFunction(2, .dyn) { values, _ throws(CELProblem) in
      switch (values[0], values[1]) {
      case (.int, .int(0)), (.uint, .uint(0)): throw .evaluation("division by zero")
      case (.int(let one), .int(let two)):
        return try CELArithmetic.whole(one.dividedReportingOverflow(by: two)).map { .int($0) }
      case (.uint(let one), .uint(let two)): return .uint(one / two)
      case (.double(let one), .double(let two)): return .double(one / two)
      default: return nil
      }
    },
    "_%_": CELFunction(2, .dyn) { values, _ throws(CELProblem) in
      switch (values[0], values[1]) {
      case (.int, .int(0)), (.uint, .uint(0)): throw .evaluation("modulus by zero")
      case (.int(let one), .int(let two)):
        return try CELArithmetic.whole(one.remainderReportingOverflow(dividingBy: two)).map { .int($0) }
      case (.uint(let one), .uint(let two)): return .uint(one % two)
      default: return nil
      }
    },
  ]

  // MARK: conversions

  private static let conversions: [String: CELFunction] = [
    "bool": CELFunction(1, .bool) { values, _ throws(CELProblem) in
      switch values[0] {
      case .bool: return values[0]
      case .string(let text):
        if ["1", "t", "T", "true", "TRUE", "True"].contains(text) { return .bool(true) }
        if ["0", "f", "F", "false", "FALSE", "False"].contains(text) { return .bool(false) }
        throw .evaluation("type conversion error from 'string' to 'bool'")
      default: return nil
      }
    },
    "int": CELFunction(1, .int) { values, _ throws(CELProblem) in
      switch values[0] {
      case .int: return values[0]
      case .uint(let value): return try CELArithmetic.ranged(Int64(exactly: value)).map { .int($0) }
      case .double(let value):
        guard value > -0x1p63, value < 0x1p63 else { throw .evaluation("integer overflow") }
        return .int(Int64(value))
      case .string(let text):
        guard let value = Int64(text) else { throw .evaluation("type conversion error from 'string' to 'int'") }
        return .int(value)
      case .timestamp(let time): return .int(time.seconds)
      default: return nil
      }
    },
    "uint": CELFunction(1, .uint) { values, _ throws(CELProblem) in
      switch values[0] {
      case .uint: return values[0]
      case .int(let value): return try CELArithmetic.ranged(UInt64(exactly: value)).map { .uint($0) }
      case .double(let value):
        guard value >= 0, value < 0x1p64 else { throw .evaluation("unsigned integer overflow") }
        return .uint(UInt64(value))
      case .string(let text):
        guard let value = UInt64(text) else { throw .evaluation("type conversion error from 'string' to 'uint'") }
        return .uint(value)
      default: return nil
      }
    },
    "double": CELFunction(1, .double) { values, _ throws(CELProblem) in
      switch values[0] {
      case .double: return values[0]
      case .int(let value): return .double(Double(value))
      case .uint(let value): return .double(Double(value))
      case .string(let text):
        guard let value = Double(text) else { throw .evaluation("type conversion error from 'string' to 'double'") }
        return .double(value)
      default: return nil
      }
    },
    "string": CELFunction(1, .string) { values, run throws(CELProblem) in
      try run.spend(walking: [values[0]])
      return try CELText.converted(values[0]).map { .string($0) }
    },
    "bytes": CELFunction(1, .bytes) { values, run throws(CELProblem) in
      switch values[0] {
      case .bytes: return values[0]
      case .string(let text):
        try run.spend(text: text.utf8.count)
        return .bytes(Array(text.utf8))
      default: return nil
      }
    },
    "timestamp": CELFunction(1, .timestamp) { values, _ throws(CELProblem) in
      switch values[0] {
      case .timestamp: return values[0]
      case .int(let seconds): return try CELArithmetic.time(CELTime(seconds: seconds))
      case .string(let text):
        // A date alone is none here.
        guard text.utf8.count > 10, let time = CELTime(text) else {
          throw .evaluation("type conversion error from 'string' to 'google.protobuf.Timestamp'")
        }
        return .timestamp(time)
      default: return nil
      }
    },
    "duration": CELFunction(1, .duration) { values, _ throws(CELProblem) in
      switch values[0] {
      case .duration: return values[0]
      case .string(let text):
        guard let duration = CELDuration(text) else {
          throw .evaluation("type conversion error from 'string' to 'google.protobuf.Duration'")
        }
        return .duration(duration)
      default: return nil
      }
    },
  ]
}

/// What overflows is a mistake, never a wrong number.
enum CELArithmetic {
  static func whole<Number: FixedWidthInteger>(
    _ result: (partialValue: Number, overflow: Bool)
  ) throws(CELProblem) -> Number? {
    if result.overflow { throw .evaluation(Number.isSigned ? "integer overflow" : "unsigned integer overflow") }
    return result.partialValue
  }

  static func ranged<Number: FixedWidthInteger>(_ value: Number?) throws(CELProblem) -> Number? {
    guard let value else { throw .evaluation(Number.isSigned ? "integer overflow" : "unsigned integer overflow") }
    return value
  }

  static func time(_ time: CELTime?) throws(CELProblem) -> CELValue {
    guard let time else { throw .evaluation("timestamp overflow") }
    return .timestamp(time)
  }

  static func duration(_ result: (partialValue: Int64, overflow: Bool)) throws(CELProblem) -> CELValue {
    if result.overflow { throw .evaluation("duration overflow") }
    return .duration(CELDuration(nanoseconds: result.partialValue))
  }

  static func sum(_ left: CELValue, _ right: CELValue) throws(CELProblem) -> CELValue? {
    switch (left, right) {
    case (.int(let one), .int(let two)): return try whole(one.addingReportingOverflow(two)).map { .int($0) }
    case (.uint(let one), .uint(let two)): return try whole(one.addingReportingOverflow(two)).map { .uint($0) }
    case (.double(let one), .double(let two)): return .double(one + two)
    case (.string(let one), .string(let two)): return .string(one + two)
    case (.bytes(let one), .bytes(let two)): return .bytes(one + two)
    case (.list(let one), .list(let two)): return .list(one + two)
    case (.timestamp(let time), .duration(let length)), (.duration(let length), .timestamp(let time)):
      return try self.time(time.adding(length.nanoseconds))
    case (.duration(let one), .duration(let two)):
      return try duration(one.nanoseconds.addingReportingOverflow(two.nanoseconds))
    default: return nil
    }
  }

  static func difference(_ left: CELValue, _ right: CELValue) throws(CELProblem) -> CELValue? {
    switch (left, right) {
    case (.int(let one), .int(let two)): return try whole(one.subtractingReportingOverflow(two)).map { .int($0) }
    case (.uint(let one), .uint(let two)): return try whole(one.subtractingReportingOverflow(two)).map { .uint($0) }
    case (.double(let one), .double(let two)): return .double(one - two)
    case (.timestamp(let time), .duration(let length)):
      guard length.nanoseconds != .min else { throw .evaluation("duration overflow") }
      return try self.time(time.adding(-length.nanoseconds))
    case (.timestamp(let one), .timestamp(let two)):
      guard let length = one.since(two) else { throw .evaluation("duration overflow") }
      return .duration(length)
    case (.duration(let one), .duration(let two)):
      return try duration(one.nanoseconds.subtractingReportingOverflow(two.nanoseconds))
    default: return nil
    }
  }
}
