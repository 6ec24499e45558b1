import LinearPattern

/// An expression in the Common Expression Language, read and checked once, evaluated as often as wanted.
///
/// https://github.com/google/cel-spec, with the libraries that Kubernetes adds:
/// https://kubernetes.io/docs/reference/using-api/cel/. Types are checked as far as they are known. Evaluation is pure,
/// and ends: loops are those over lists and maps, and every step is counted.
package struct CELProgram: Sendable {
  package let source: String
  private let root: CELNode
  private let patterns: [String: LinearPattern]
  /// Of the variables that were offered, those that the expression names.
  package let usedVariables: Set<String>
  /// Members of variables that it names: `["variables": ["a"]]` for `variables.a`.
  package let usedMembers: [String: Set<String>]
  /// `dyn` where it is not known.
  package let type: CELType

  /// Steps of one expression, about what Kubernetes allows.
  package static let costMax = 1_000_000

  /// - Parameters:
  ///   - variables: what may be named.
  /// - Throws: a problem with the place in the source.
  package init(_ source: String, variables: [String: CELType]) throws(CELProblem) {
    self.source = source
    var parser = try CELParser(source)
    root = try parser.parse()
    var checker = CELChecker(source, variables)
    type = try checker.type(of: root)
    (usedVariables, usedMembers, patterns) = (checker.used, checker.members, checker.patterns)
  }

  /// - Parameters:
  ///   - variables: those that were declared.
  ///   - budget: steps that are left for several expressions together; what this one takes is subtracted.
  /// - Throws: what it came to instead of a value.
  package func evaluate(_ variables: [String: CELValue], budget: inout Int) throws(CELProblem) -> CELValue {
    let most = min(budget, Self.costMax)
    var run = CELRun(steps: most, patterns: patterns, scope: variables.map { ($0.key, $0.value) })
    defer { budget -= most - max(0, run.steps) }
    let value = try run.value(of: root)
    if case .failed(let problem) = value { throw problem }
    return value
  }
}

/// One evaluation.
struct CELRun {
  /// Left to go.
  private(set) var steps: Int
  private let patterns: [String: LinearPattern]
  private var scope: [(name: String, value: CELValue)]

  init(steps: Int, patterns: [String: LinearPattern], scope: [(String, CELValue)]) {
    (self.steps, self.patterns, self.scope) = (steps, patterns, scope)
  }

  mutating func spend(_ count: Int) throws(CELProblem) {
    steps -= count
    if steps < 0 { throw CELProblem(.cost, "operation cancelled: actual cost limit exceeded") }
  }

  /// A step for every ten scalars or bytes, as looking through text costs.
  mutating func spend(text count: Int) throws(CELProblem) { try spend(1 + count / 10) }

  /// What looking through values costs. Lists may hold the same list many times over, so that what is small in memory is
  /// long to walk: the walk ends with the budget.
  mutating func spend(walking values: [CELValue]) throws(CELProblem) {
    var open = values
    while let next = open.popLast() {
      try spend(1)
      switch next {
      case .string(let text): try spend(text: text.utf8.count)
      case .bytes(let bytes): try spend(text: bytes.count)
      case .list(let items):
        try spend(items.count)
        open += items
      case .map(let map):
        try spend(map.count)
        open += map.values
      case .optional(let inner?): open.append(inner)
      default: break
      }
    }
  }

  /// The expression of a text that is not in the source.
  mutating func pattern(_ text: String) throws(CELProblem) -> LinearPattern {
    if let known = patterns[text] { return known }
    try spend(1 + text.utf8.count * 4)
    do throws(PatternProblem) { return try LinearPattern(text) } catch { throw .evaluation("\(error)") }
  }

  mutating func with<Result>(
    _ names: [(String, CELValue)], _ body: (inout CELRun) throws(CELProblem) -> Result
  ) throws(CELProblem) -> Result {
    let count = scope.count
    scope += names.map { (name: $0.0, value: $0.1) }
    defer { scope.removeLast(scope.count - count) }
    return try body(&self)
  }

  mutating func value(of node: CELNode) throws(CELProblem) -> CELValue {
    switch node.kind {
    case .literal(let value): return value
    case .name(let name):
      try spend(1)
      if let found = scope.last(where: { $0.name == name })?.value { return try Self.whole(found) }
      if let type = CELTypes.named(name) { return .type(type) }
      throw .evaluation("no such attribute(s): \(name)")
    case .select(let target, let field, let isOptional):
      return try member(of: try value(of: target), .string(field), isOptional)
    case .has(let target, let field):
      try spend(1)
      return .bool(try has(try value(of: target), field))
    case .index(let target, let key, let isOptional):
      let owner = try value(of: target)
      return try member(of: owner, try value(of: key), isOptional)
    case .call(let name, let target, let arguments): return try call(name, target, arguments)
    case .list(let items):
      try spend(10)
      var found: [CELValue] = []
      for (item, isOptional) in items {
        let value = try value(of: item)
        guard isOptional else {
          found.append(value)
          continue
        }
        guard case .optional(let inner) = value else { throw .evaluation("no such overload") }
        if let inner { found.append(inner) }
      }
      return .list(found)
    case .map(let members): return try map(members)
    case .and(let left, let right): return try logical(left, right, decides: false)
    case .or(let left, let right): return try logical(left, right, decides: true)
    case .choice(let condition, let yes, let no):
      guard let isTrue = try value(of: condition).bool else { throw .evaluation("no such overload") }
      return try value(of: isTrue ? yes : no)
    case .loop(let loop): return try self.loop(loop)
    case .bind(let name, let bound, let body):
      let value = try value(of: bound)
      return try with([(name, value)]) { run throws(CELProblem) in try run.value(of: body) }
    case .optionalMap(let target, let name, let body, let isFlat):
      guard case .optional(let inner) = try value(of: target) else { throw .evaluation("no such overload") }
      guard let inner else { return .optional(nil) }
      let mapped = try with([(name, inner)]) { run throws(CELProblem) in try run.value(of: body) }
      return isFlat ? mapped : .optional(mapped)
    }
  }

  private static func whole(_ value: CELValue) throws(CELProblem) -> CELValue {
    if case .failed(let problem) = value { throw problem }
    return value
  }

  /// What decides is decided whatever the other side comes to.
  private mutating func logical(_ left: CELNode, _ right: CELNode, decides: Bool) throws(CELProblem) -> CELValue {
    try spend(1)
    var failure: CELProblem?
    for node in [left, right] {
      do throws(CELProblem) {
        guard let isTrue = try value(of: node).bool else { throw .evaluation("no such overload") }
        if isTrue == decides { return .bool(decides) }
      } catch {
        if error.reason == .cost { throw error }
        failure = failure ?? error
      }
    }
    if let failure { throw failure }
    return .bool(!decides)
  }

  private mutating func map(
    _ members: [(key: CELNode, value: CELNode, isOptional: Bool)]
  ) throws(CELProblem) -> CELValue {
    try spend(30)
    var map = CELMap()
    for member in members {
      let key = try value(of: member.key)
      var value = try value(of: member.value)
      if member.isOptional {
        guard case .optional(let inner) = value else { throw .evaluation("no such overload") }
        guard let inner else { continue }
        value = inner
      }
      guard key.isKey else { throw .evaluation("unsupported key type: \(key.typeName)") }
      guard map[key] == nil else { throw .evaluation("Failed with repeated key") }
      map[key] = value
    }
    return .map(map)
  }

  // MARK: members

  private mutating func has(_ target: CELValue, _ field: String) throws(CELProblem) -> Bool {
    switch target {
    case .map(let map): return map[field] != nil
    case .optional(let inner): return try inner.map { value throws(CELProblem) in try has(value, field) } ?? false
    default: throw .evaluation("no such overload")
    }
  }

  private mutating func member(
    of owner: CELValue, _ key: CELValue, _ isOptional: Bool
  ) throws(CELProblem) -> CELValue {
    try spend(1)
    if case .optional(let inner) = owner {
      guard let inner else { return .optional(nil) }
      return try member(of: inner, key, true)
    }
    if let found = try found(in: owner, key) {
      let value = try Self.whole(found)
      return isOptional ? .optional(value) : value
    }
    if isOptional { return .optional(nil) }
    switch owner {
    case .list: throw .evaluation("index out of bounds: \(CELText.shown(key))")
    default: throw .evaluation("no such key: \(CELText.shown(key))")
    }
  }

  private func found(in owner: CELValue, _ key: CELValue) throws(CELProblem) -> CELValue? {
    switch owner {
    case .map(let map):
      guard key.isKey else { throw .evaluation("unsupported key type: \(key.typeName)") }
      return map[key]
    case .list(let items):
      let place: Int? =
        switch key {
        case .int(let value): Int(exactly: value)
        case .uint(let value): Int(exactly: value)
        case .double(let value): Int(exactly: value)
        default: nil
        }
      guard let place else { throw .evaluation("unsupported index type '\(key.typeName)' in list") }
      return items.indices.contains(place) ? items[place] : nil
    default: throw .evaluation("no such overload")
    }
  }

  // MARK: calls

  private mutating func call(
    _ name: String, _ target: CELNode?, _ arguments: [CELNode]
  ) throws(CELProblem) -> CELValue {
    var values: [CELValue] = []
    if let target { values.append(try value(of: target)) }
    // `or` and `orValue` do not look at what they do not need.
    if name == "orValue" || name == "or", case .optional(let inner?)? = values.first {
      return name == "or" ? .optional(inner) : inner
    }
    for node in arguments { values.append(try value(of: node)) }
    try spend(1)
    if case .host(let host)? = values.first {
      guard let found = try host.call(name, Array(values.dropFirst())) else { throw .evaluation("no such overload") }
      return found
    }
    let table = target == nil ? CELFunctions.functions : CELFunctions.methods
    guard let function = table[name] else { throw .evaluation("no such overload: \(name)") }
    guard let result = try function.run(values, &self) else {
      throw .evaluation("no such overload: \(name)(\(values.map(\.typeName).joined(separator: ", ")))")
    }
    return result
  }
}
