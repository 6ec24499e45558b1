/// The methods of lists that Kubernetes adds, and those that strings have, too.
enum CELLists {
  private static func items(_ value: CELValue) -> [CELValue]? {
    if case .list(let items) = value { items } else { nil }
  }

  private static func least(_ wanted: CELValue.Order) -> CELFunction {
    CELFunction(1, .dyn, on: ["list"]) { values, run throws(CELProblem) in
      guard let items = items(values[0]) else { return nil }
      try run.spend(items.count)
      guard var best = items.first else { throw .evaluation("\(wanted == .less ? "min" : "max") called on empty list") }
      for item in items.dropFirst() {
        let order = item.compared(with: best)
        guard order != .none else { return nil }
        if order == wanted { best = item }
      }
      return best
    }
  }

  private static func index(isLast: Bool) -> CELFunction {
    CELFunction(2...3, .int, on: ["list", "string"]) { values, run throws(CELProblem) in
      guard let items = items(values[0]), values.count == 2 else {
        return try CELTexts.index(values, &run, isLast: isLast)
      }
      try run.spend(walking: values)
      let place = isLast ? items.lastIndex(of: values[1]) : items.firstIndex(of: values[1])
      return .int(Int64(place ?? -1))
    }
  }

  static let methods: [String: CELFunction] = [
    "indexOf": index(isLast: false), "lastIndexOf": index(isLast: true), "min": least(.less), "max": least(.more),
    "isSorted": CELFunction(1, .bool, on: ["list"]) { values, run throws(CELProblem) in
      guard let items = items(values[0]) else { return nil }
      try run.spend(items.count)
      for (left, right) in zip(items, items.dropFirst()) {
        switch left.compared(with: right) {
        case .more: return .bool(false)
        case .none: return nil
        case .less, .same: break
        }
      }
      return .bool(true)
    },
    "sum": CELFunction(1, .dyn, on: ["list"]) { values, run throws(CELProblem) in
      guard let items = items(values[0]) else { return nil }
      try run.spend(items.count)
      guard var total = items.first else { return .int(0) }
      for item in items.dropFirst() {
        guard let next = try CELArithmetic.sum(total, item) else { return nil }
        total = next
      }
      return total
    },
    "join": CELFunction(1...2, .string, on: ["list"]) { values, run throws(CELProblem) in
      guard let items = items(values[0]) else { return nil }
      let separator = values.count > 1 ? values[1].string : ""
      let texts = items.compactMap(\.string)
      guard let separator, texts.count == items.count else { return nil }
      try run.spend(walking: [values[0]])
      try run.spend(text: separator.utf8.count * items.count)
      return .string(texts.joined(separator: separator))
    },
    "flatten": CELFunction(1, .list(.dyn), on: ["list"]) { values, run throws(CELProblem) in
      guard let items = items(values[0]) else { return nil }
      try run.spend(items.reduce(items.count) { $0 + (CELLists.items($1)?.count ?? 1) })
      return .list(items.flatMap { CELLists.items($0) ?? [$0] })
    },
    "distinct": CELFunction(1, .list(.dyn), on: ["list"]) { values, run throws(CELProblem) in
      guard let items = items(values[0]) else { return nil }
      try run.spend(walking: [values[0]])
      var seen: Set<CELValue> = []
      return .list(items.filter { seen.insert($0).inserted })
    },
    "sort": CELFunction(1, .list(.dyn), on: ["list"]) { values, run throws(CELProblem) in
      guard let items = items(values[0]) else { return nil }
      for _ in 0..<4 { try run.spend(walking: [values[0]]) }
      guard let first = items.first else { return .list([]) }
      guard items.allSatisfy({ $0.compared(with: first) != .none }) else { return nil }
      return .list(items.sorted { $0.compared(with: $1) == .less })
    },
    "slice": CELFunction(3, .list(.dyn), on: ["list"]) { values, run throws(CELProblem) in
      guard let items = items(values[0]), case .int(let start) = values[1], case .int(let end) = values[2] else {
        return nil
      }
      try run.spend(items.count)
      guard start >= 0, start <= end, end <= items.count else {
        throw .evaluation("cannot slice(\(start), \(end)), list is length \(items.count)")
      }
      return .list(Array(items[Int(start)..<Int(end)]))
    },
  ]
}

/// `sets.contains` and its like.
enum CELSets {
  private static func test(_ check: @escaping @Sendable (Set<CELValue>, Set<CELValue>) -> Bool) -> CELFunction {
    CELFunction(2, .bool) { values, run throws(CELProblem) in
      guard case .list(let one) = values[0], case .list(let two) = values[1] else { return nil }
      try run.spend(walking: values)
      return .bool(check(Set(one), Set(two)))
    }
  }

  static let functions: [String: CELFunction] = [
    "sets.contains": test { $0.isSuperset(of: $1) }, "sets.equivalent": test { $0 == $1 },
    "sets.intersects": test { !$0.isDisjoint(with: $1) },
  ]
}

/// Values that may be missing.
enum CELOptionals {
  static let functions: [String: CELFunction] = [
    "optional.none": CELFunction(0, .optional(.dyn)) { _, _ throws(CELProblem) in .optional(nil) },
    "optional.of": CELFunction(1, .optional(.dyn)) { values, _ throws(CELProblem) in .optional(values[0]) },
    "optional.ofNonZeroValue": CELFunction(1, .optional(.dyn)) { values, _ throws(CELProblem) in
      switch values[0] {
      case .null, .bool(false), .int(0), .uint(0), .double(0), .string(""): return .optional(nil)
      case .list(let items) where items.isEmpty: return .optional(nil)
      case .bytes(let bytes) where bytes.isEmpty: return .optional(nil)
      case .map(let map) where map.count == 0: return .optional(nil)
      default: return .optional(values[0])
      }
    },
  ]

  private static func inner(_ value: CELValue) -> CELValue?? {
    if case .optional(let inner) = value { inner } else { nil }
  }

  static let methods: [String: CELFunction] = [
    "hasValue": CELFunction(1, .bool, on: ["optional"]) { values, _ throws(CELProblem) in
      inner(values[0]).map { .bool($0 != nil) }
    },
    "value": CELFunction(1, .dyn, on: ["optional"]) { values, _ throws(CELProblem) in
      guard let inner = inner(values[0]) else { return nil }
      guard let inner else { throw .evaluation("optional.none() dereference") }
      return inner
    },
    // What there is has been given already.
    "orValue": CELFunction(2, .dyn, on: ["optional"]) { values, _ throws(CELProblem) in
      inner(values[0]) == nil ? nil : values[1]
    },
    "or": CELFunction(2, .optional(.dyn), on: ["optional"]) { values, _ throws(CELProblem) in
      inner(values[0]) == nil ? nil : values[1]
    },
  ]
}
