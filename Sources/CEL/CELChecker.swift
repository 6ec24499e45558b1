import LinearPattern

/// Checks what is known of an expression before it is evaluated: names, fields, the types of operators.
struct CELChecker {
  private let source: String
  private var scope: [(name: String, type: CELType)]
  /// How many of the scope are variables of the whole expression.
  private let globals: Int
  private(set) var used: Set<String> = []
  private(set) var members: [String: Set<String>] = [:]
  private(set) var patterns: [String: LinearPattern] = [:]

  /// The type of what its host answers for, whose methods give such a value again.
  private static let authorizer = "kubernetes.authorization"

  init(_ source: String, _ variables: [String: CELType]) {
    self.source = source
    scope = variables.map { ($0.key, $0.value) }
    globals = scope.count
  }

  private func fail(_ message: String, _ node: CELNode) -> CELProblem {
    .compilation(message, source, at: node.offset)
  }

  private mutating func with<Result>(
    _ names: [(String, CELType)], _ body: (inout CELChecker) throws(CELProblem) -> Result
  ) throws(CELProblem) -> Result {
    scope += names.map { (name: $0.0, type: $0.1) }
    defer { scope.removeLast(names.count) }
    return try body(&self)
  }

  mutating func type(of node: CELNode) throws(CELProblem) -> CELType {
    switch node.kind {
    case .literal(let value): return CELTypes.of(value)
    case .name(let name): return try variable(name, node)
    case .select(let target, let field, let isOptional):
      noteMember(target, field)
      let type = try member(field, of: try type(of: target), node)
      return isOptional ? .optional(Self.plain(type)) : type
    case .has(let target, let field):
      noteMember(target, field)
      _ = try member(field, of: try type(of: target), node)
      return .bool
    case .index(let target, let key, let isOptional):
      let owner = try type(of: target)
      _ = try type(of: key)
      let item = Self.item(Self.plain(owner))
      if case .optional = owner { return .optional(item) }
      return isOptional ? .optional(item) : item
    case .call(let name, let target, let arguments): return try call(name, target, arguments, node)
    case .list(let items):
      var types: [CELType] = []
      for (item, isOptional) in items {
        let type = try type(of: item)
        types.append(isOptional ? Self.plain(type) : type)
      }
      return .list(Self.common(types))
    case .map(let members):
      var types: [CELType] = []
      for member in members {
        _ = try type(of: member.key)
        types.append(try type(of: member.value))
      }
      return .map(Self.common(types))
    case .and(let left, let right):
      try truths([left, right], "_&&_", node)
      return .bool
    case .or(let left, let right):
      try truths([left, right], "_||_", node)
      return .bool
    case .choice(let condition, let yes, let no):
      try truths([condition], "_?_:_", node)
      return Self.common([try type(of: yes), try type(of: no)])
    case .loop(let loop): return try self.loop(loop, node)
    case .bind(let name, let bound, let body):
      let bound = try type(of: bound)
      return try with([(name, bound)]) { checker throws(CELProblem) in try checker.type(of: body) }
    case .optionalMap(let target, let name, let body, let isFlat):
      let inner = Self.plain(try type(of: target))
      let type = try with([(name, inner)]) { checker throws(CELProblem) in try checker.type(of: body) }
      return isFlat ? type : .optional(type)
    }
  }

  private static func plain(_ type: CELType) -> CELType { if case .optional(let inner) = type { inner } else { type } }

  private static func item(_ type: CELType) -> CELType {
    switch type {
    case .list(let item), .map(let item): item
    default: .dyn
    }
  }

  private static func common(_ types: [CELType]) -> CELType {
    guard let first = types.first else { return .dyn }
    return types.allSatisfy { $0.name == first.name } ? first : .dyn
  }

  private mutating func variable(_ name: String, _ node: CELNode) throws(CELProblem) -> CELType {
    if let place = scope.lastIndex(where: { $0.name == name }) {
      if place < globals { used.insert(name) }
      return scope[place].type
    }
    if CELTypes.named(name) != nil { return .named("type") }
    throw fail("undeclared reference to '\(name)' (in container '')", node)
  }

  private mutating func noteMember(_ target: CELNode, _ field: String) {
    guard case .name(let name) = target.kind, let place = scope.lastIndex(where: { $0.name == name }), place < globals
    else { return }
    members[name, default: []].insert(field)
  }

  private func member(_ field: String, of owner: CELType, _ node: CELNode) throws(CELProblem) -> CELType {
    switch owner {
    case .dyn: return .dyn
    case .map(let value): return value
    case .object(let type):
      guard let found = type.fields[field] else { throw fail("undefined field '\(field)'", node) }
      return found
    case .optional(let inner): return .optional(Self.plain(try member(field, of: inner, node)))
    default: throw fail("type '\(owner.name)' does not support field selection", node)
    }
  }

  private mutating func truths(_ nodes: [CELNode], _ name: String, _ node: CELNode) throws(CELProblem) {
    for part in nodes {
      let type = try type(of: part)
      if !type.isBool {
        throw fail("expected type 'bool' but found '\(type.name)'", part)
      }
    }
  }

  // MARK: calls

  private mutating func call(
    _ name: String, _ target: CELNode?, _ arguments: [CELNode], _ node: CELNode
  ) throws(CELProblem) -> CELType {
    var types: [CELType] = []
    if let target { types.append(try type(of: target)) }
    for argument in arguments { types.append(try type(of: argument)) }
    if case .named(Self.authorizer)? = types.first, target != nil {
      switch name {
      case "allowed", "errored": return .bool
      case "reason", "error": return .string
      default: return .named(Self.authorizer)
      }
    }
    let table = target == nil ? CELFunctions.functions : CELFunctions.methods
    guard let function = table[name] else {
      throw fail("undeclared reference to '\(name)' (in container '')", node)
    }
    guard function.counts.contains(types.count) else {
      throw fail("found no matching overload for '\(name)' applied to '\(Self.shown(types, target != nil))'", node)
    }
    try literalPattern(name, arguments)
    switch CELOperators.verdict(name, types) {
    case .type(let type): return type
    case .refused:
      throw fail("found no matching overload for '\(name)' applied to '\(Self.shown(types, target != nil))'", node)
    case .noOperator: break
    }
    if let receivers = function.receivers, let first = types.first, !first.isDyn, !receivers.contains(first.kindName) {
      throw fail("found no matching overload for '\(name)' applied to '\(Self.shown(types, target != nil))'", node)
    }
    return function.result
  }

  private static func shown(_ types: [CELType], _ isMethod: Bool) -> String {
    let names = types.map(\.name)
    guard isMethod, let first = names.first else { return "(\(names.joined(separator: ", ")))" }
    return "\(first).(\(names.dropFirst().joined(separator: ", ")))"
  }

  /// An expression that stands in the source is read once, and refused before it is used.
  private mutating func literalPattern(_ name: String, _ arguments: [CELNode]) throws(CELProblem) {
    guard ["matches", "find", "findAll"].contains(name) else { return }
    for argument in arguments {
      guard case .literal(.string(let text)) = argument.kind else { continue }
      do throws(PatternProblem) {
        patterns[text] = try LinearPattern(text)
      } catch {
        // The text that is searched may stand there, too, where `matches` is a function.
        if argument.offset == arguments.last?.offset || name != "matches" { throw fail("\(error)", argument) }
      }
    }
  }

  private mutating func loop(_ loop: CELLoop, _ node: CELNode) throws(CELProblem) -> CELType {
    let range = Self.plain(try type(of: loop.range))
    let (key, value): (CELType, CELType)
    switch range {
    case .list(let item): (key, value) = (.int, item)
    case .map(let member): (key, value) = (.string, member)
    case .object: (key, value) = (.string, .dyn)
    case .dyn: (key, value) = (.dyn, .dyn)
    default:
      throw fail(
        "expression of type '\(range.name)' cannot be range of a comprehension (must be list, map, or dynamic)",
        loop.range)
    }
    let isList = if case .list = range { true } else { false }
    let names: [(String, CELType)] =
      loop.names.count == 2
      ? [(loop.names[0], key), (loop.names[1], value)] : [(loop.names[0], isList ? value : key)]
    return try with(names) { checker throws(CELProblem) in
      if let condition = loop.condition { try checker.truths([condition], "", node) }
      switch loop.kind {
      case .all, .exists, .existsOne:
        try checker.truths([loop.body], "", node)
        return .bool
      case .filter:
        try checker.truths([loop.body], "", node)
        return isList ? range : .list(key)
      case .map, .transformList: return .list(try checker.type(of: loop.body))
      case .transformMap: return .map(try checker.type(of: loop.body))
      }
    }
  }
}

enum CELTypes {
  static func named(_ name: String) -> String? {
    switch name {
    case "bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type", "type": name
    default: nil
    }
  }

  static func of(_ value: CELValue) -> CELType {
    switch value {
    case .null: .null
    case .bool: .bool
    case .int: .int
    case .uint: .uint
    case .double: .double
    case .string: .string
    case .bytes: .bytes
    default: .dyn
    }
  }
}

extension CELType {
  /// Without what it is made of.
  var kindName: String {
    switch self {
    case .list: "list"
    case .map, .object: "map"
    case .optional: "optional"
    default: name
    }
  }
}

/// Which types the operators take.
enum CELOperators {
  enum Verdict: Sendable { case type(CELType), refused, noOperator }

  private static func verdict(_ isGood: Bool, _ type: CELType = .bool) -> Verdict { isGood ? .type(type) : .refused }

  static func verdict(_ name: String, _ types: [CELType]) -> Verdict {
    switch name {
    case "!_": return verdict(types[0].isBool)
    case "-_": return verdict(["int", "double", "dyn"].contains(types[0].kindName), types[0])
    case "_==_", "_!=_": return verdict(types[0].fits(types[1]) || areNumbers(types))
    case "_<_", "_<=_", "_>_", "_>=_":
      let ordered: Set<String> = ["string", "bytes", "bool", "timestamp", "duration"]
      return verdict(
        types.contains(where: \.isDyn) || areNumbers(types)
          || (types[0].name == types[1].name && ordered.contains(types[0].name)))
    case "@in":
      switch types[1] {
      case .list(let item): return verdict(types[0].fits(item) || areNumbers([types[0], item]))
      case .map, .object, .dyn: return .type(.bool)
      default: return .refused
      }
    case "_+_": return sum(types)
    case "_-_":
      if types.contains(where: \.isDyn) { return .type(.dyn) }
      switch (types[0].name, types[1].name) {
      case ("timestamp", "timestamp"): return .type(.duration)
      case ("timestamp", "duration"): return .type(.timestamp)
      case ("duration", "duration"): return .type(.duration)
      default: return number(types)
      }
    case "_*_", "_/_": return number(types)
    case "_%_": return types.contains { $0.name == "double" } ? .refused : number(types)
    default: return .noOperator
    }
  }

  private static let numbers: Set<String> = ["int", "uint", "double"]

  private static func areNumbers(_ types: [CELType]) -> Bool { types.allSatisfy { numbers.contains($0.name) } }

  private static func number(_ types: [CELType]) -> Verdict {
    if types.contains(where: \.isDyn) {
      return verdict(types.allSatisfy { $0.isDyn || numbers.contains($0.name) }, .dyn)
    }
    return verdict(types[0].name == types[1].name && numbers.contains(types[0].name), types[0])
  }

  private static func sum(_ types: [CELType]) -> Verdict {
    if types.contains(where: \.isDyn) { return .type(.dyn) }
    switch (types[0], types[1]) {
    case (.string, .string), (.bytes, .bytes): return .type(types[0])
    case (.list, .list): return .type(types[0].fits(types[1]) ? types[0] : .list(.dyn))
    case (.timestamp, .duration), (.duration, .timestamp): return .type(.timestamp)
    case (.duration, .duration): return .type(.duration)
    default: return number(types)
    }
  }
}
