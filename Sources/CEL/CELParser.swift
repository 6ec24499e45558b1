/// Reads an expression: https://github.com/google/cel-spec/blob/master/doc/langdef.md#syntax
struct CELParser {
  /// Expressions within expressions.
  static let depthMax = 120
  /// Operators of one chain, which the evaluation walks one within the other.
  static let chainMax = 1_000

  private let source: String
  private var tokens: [(CELToken, Int)]
  private var place = 0
  private var depth = 0

  static let reserved: Set<String> = [
    "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package",
    "namespace", "return", "var", "void", "while", "in",
  ]

  init(_ source: String) throws(CELProblem) {
    self.source = source
    var lexer = try CELLexer(source)
    tokens = try lexer.tokens()
  }

  private var next: CELToken { tokens[place].0 }
  private var offset: Int { tokens[place].1 }

  func fail(_ message: String, at offset: Int? = nil) -> CELProblem {
    .compilation(message, source, at: offset ?? self.offset)
  }

  private func unexpected() -> CELProblem {
    let shown =
      switch next {
      case .end: "<EOF>"
      case .sign(let sign): "'\(sign)'"
      case .name(let name): "'\(name)'"
      default: "literal"
      }
    return fail("Syntax error: mismatched input \(shown)")
  }

  private mutating func take(_ sign: String) -> Bool {
    guard next == .sign(sign) else { return false }
    place += 1
    return true
  }

  private mutating func expect(_ sign: String) throws(CELProblem) {
    if !take(sign) { throw unexpected() }
  }

  mutating func parse() throws(CELProblem) -> CELNode {
    let node = try expression()
    guard next == .end else { throw unexpected() }
    return node
  }

  private mutating func expression() throws(CELProblem) -> CELNode {
    depth += 1
    defer { depth -= 1 }
    guard depth <= Self.depthMax else { throw fail("expression recursion limit exceeded: \(Self.depthMax)") }
    let condition = try disjunction()
    let start = offset
    guard take("?") else { return condition }
    let yes = try disjunction()
    try expect(":")
    return CELNode(kind: .choice(condition, yes, try expression()), offset: start)
  }

  /// Left to right; the chain is short enough to be walked.
  private mutating func chain(
    _ signs: [String], _ part: (inout CELParser) throws(CELProblem) -> CELNode,
    _ join: (String, CELNode, CELNode) -> CELNode.Kind
  ) throws(CELProblem) -> CELNode {
    var (node, count) = (try part(&self), 0)
    while true {
      let start = offset
      guard let sign = signs.first(where: { next == ($0 == "in" ? .name("in") : .sign($0)) }) else { return node }
      place += 1
      count += 1
      guard count <= Self.chainMax else { throw fail("more than \(Self.chainMax) operators in a row", at: start) }
      node = CELNode(kind: join(sign, node, try part(&self)), offset: start)
    }
  }

  /// `||` and `&&` are joined as a balanced tree, so that long chains of them are no deep ones.
  private mutating func balanced(
    _ sign: String, _ part: (inout CELParser) throws(CELProblem) -> CELNode,
    _ join: (CELNode, CELNode) -> CELNode.Kind
  ) throws(CELProblem) -> CELNode {
    var parts = [try part(&self)]
    while take(sign) { parts.append(try part(&self)) }
    func tree(_ range: Range<Int>) -> CELNode {
      if range.count == 1 { return parts[range.lowerBound] }
      let middle = (range.lowerBound + range.upperBound + 1) / 2
      let (left, right) = (tree(range.lowerBound..<middle), tree(middle..<range.upperBound))
      return CELNode(kind: join(left, right), offset: left.offset)
    }
    return tree(0..<parts.count)
  }

  private mutating func disjunction() throws(CELProblem) -> CELNode {
    try balanced("||", { parser throws(CELProblem) in try parser.conjunction() }) { .or($0, $1) }
  }
  private mutating func conjunction() throws(CELProblem) -> CELNode {
    try balanced("&&", { parser throws(CELProblem) in try parser.relation() }) { .and($0, $1) }
  }
  private mutating func relation() throws(CELProblem) -> CELNode {
    try chain(["==", "!=", "<=", ">=", "<", ">", "in"], { parser throws(CELProblem) in try parser.sum() }) {
      .call($0 == "in" ? "@in" : "_\($0)_", target: nil, [$1, $2])
    }
  }
  private mutating func sum() throws(CELProblem) -> CELNode {
    try chain(["+", "-"], { parser throws(CELProblem) in try parser.product() }) {
      .call("_\($0)_", target: nil, [$1, $2])
    }
  }
  private mutating func product() throws(CELProblem) -> CELNode {
    try chain(["*", "/", "%"], { parser throws(CELProblem) in try parser.unary() }) {
      .call("_\($0)_", target: nil, [$1, $2])
    }
  }

  private mutating func unary() throws(CELProblem) -> CELNode {
    let start = offset
    var (nots, minuses) = (0, 0)
    while take("!") { nots += 1 }
    if nots > 0 {
      let inner = try member()
      return nots % 2 == 1 ? CELNode(kind: .call("!_", target: nil, [inner]), offset: start) : inner
    }
    while take("-") {
      minuses += 1
      if minuses % 2 == 1, case .integer(let value) = next {
        place += 1
        guard value <= UInt64(Int64.max) + 1 else { throw fail("invalid int literal", at: start) }
        let literal = value > UInt64(Int64.max) ? Int64.min : -Int64(value)
        return try members(of: CELNode(kind: .literal(.int(literal)), offset: start))
      }
    }
    let inner = try member()
    return minuses % 2 == 1 ? CELNode(kind: .call("-_", target: nil, [inner]), offset: start) : inner
  }

  private mutating func member() throws(CELProblem) -> CELNode { try members(of: try primary()) }

  private mutating func members(of first: CELNode) throws(CELProblem) -> CELNode {
    var (node, count) = (first, 0)
    while true {
      let start = offset
      count += 1
      guard count <= Self.chainMax else { throw fail("more than \(Self.chainMax) members in a row", at: start) }
      if take(".") {
        let isOptional = take("?")
        let name = try fieldName()
        if !isOptional, take("(") {
          node = try method(name, of: node, try arguments(")"), start)
        } else {
          node = CELNode(kind: .select(node, name, isOptional: isOptional), offset: start)
        }
      } else if take("[") {
        let isOptional = take("?")
        let key = try expression()
        try expect("]")
        node = CELNode(kind: .index(node, key, isOptional: isOptional), offset: start)
      } else {
        return node
      }
    }
  }

  private mutating func fieldName() throws(CELProblem) -> String {
    switch next {
    case .name(let name) where !["true", "false", "null", "in"].contains(name):
      place += 1
      return name
    case .quotedName(let name):
      place += 1
      return name
    default: throw unexpected()
    }
  }

  private mutating func arguments(_ end: String) throws(CELProblem) -> [CELNode] {
    var found: [CELNode] = []
    if take(end) { return found }
    repeat { found.append(try expression()) } while take(",")
    try expect(end)
    return found
  }

  private mutating func primary() throws(CELProblem) -> CELNode {
    let start = offset
    func literal(_ value: CELValue) -> CELNode { CELNode(kind: .literal(value), offset: start) }
    let token = next
    if token != .end { place += 1 }
    switch token {
    case .integer(let value):
      guard let small = Int64(exactly: value) else { throw fail("invalid int literal", at: start) }
      return literal(.int(small))
    case .unsigned(let value): return literal(.uint(value))
    case .double(let value): return literal(.double(value))
    case .text(let text): return literal(.string(text))
    case .bytes(let bytes): return literal(.bytes(bytes))
    case .name("true"): return literal(.bool(true))
    case .name("false"): return literal(.bool(false))
    case .name("null"): return literal(.null)
    case .name(let name): return try named(name, start)
    case .sign("."):
      guard case .name(let name) = next else { throw unexpected() }
      place += 1
      return try named(name, start)
    case .sign("("):
      let inner = try expression()
      try expect(")")
      return inner
    case .sign("["): return try list(start)
    case .sign("{"): return try map(start)
    default:
      if token != .end { place -= 1 }
      throw unexpected()
    }
  }

  private mutating func named(_ name: String, _ start: Int) throws(CELProblem) -> CELNode {
    if take("(") {
      let arguments = try arguments(")")
      if name == "has" { return try has(arguments, start) }
      return CELNode(kind: .call(name, target: nil, arguments), offset: start)
    }
    if Self.reserved.contains(name) { throw fail("reserved identifier: \(name)", at: start) }
    if next == .sign("{") { throw fail("undeclared reference to '\(name)' (in container '')", at: start) }
    return CELNode(kind: .name(name), offset: start)
  }

  private mutating func list(_ start: Int) throws(CELProblem) -> CELNode {
    var items: [(CELNode, isOptional: Bool)] = []
    while !take("]") {
      if !items.isEmpty {
        try expect(",")
        if take("]") { break }
      }
      let isOptional = take("?")
      items.append((try expression(), isOptional))
    }
    return CELNode(kind: .list(items), offset: start)
  }

  private mutating func map(_ start: Int) throws(CELProblem) -> CELNode {
    var members: [(key: CELNode, value: CELNode, isOptional: Bool)] = []
    while !take("}") {
      if !members.isEmpty {
        try expect(",")
        if take("}") { break }
      }
      let isOptional = take("?")
      let key = try expression()
      try expect(":")
      members.append((key, try expression(), isOptional))
    }
    return CELNode(kind: .map(members), offset: start)
  }

  // MARK: macros

  private func has(_ arguments: [CELNode], _ start: Int) throws(CELProblem) -> CELNode {
    guard arguments.count == 1, case .select(let target, let field, false) = arguments[0].kind else {
      throw fail("invalid argument to has() macro", at: start)
    }
    return CELNode(kind: .has(target, field), offset: start)
  }

  private func variable(_ node: CELNode, _ start: Int) throws(CELProblem) -> String {
    guard case .name(let name) = node.kind else {
      throw fail("argument must be a simple name", at: node.offset)
    }
    return name
  }

  private func method(
    _ name: String, of target: CELNode, _ arguments: [CELNode], _ start: Int
  ) throws(CELProblem) -> CELNode {
    if case .name("cel") = target.kind, name == "bind", arguments.count == 3 {
      return CELNode(
        kind: .bind(try variable(arguments[0], start), arguments[1], arguments[2]), offset: start)
    }
    if name == "optMap" || name == "optFlatMap", arguments.count == 2 {
      return CELNode(
        kind: .optionalMap(
          target, try variable(arguments[0], start), arguments[1], isFlat: name == "optFlatMap"), offset: start)
    }
    if case .name(let space) = target.kind, CELFunctions.functions["\(space).\(name)"] != nil {
      return CELNode(kind: .call("\(space).\(name)", target: nil, arguments), offset: start)
    }
    if let loop = try loop(name, target, arguments, start) { return CELNode(kind: .loop(loop), offset: start) }
    return CELNode(kind: .call(name, target: target, arguments), offset: start)
  }

  private static let loops: [String: CELLoop.Kind] = [
    "all": .all, "exists": .exists, "exists_one": .existsOne, "existsOne": .existsOne, "filter": .filter, "map": .map,
    "transformList": .transformList, "transformMap": .transformMap,
  ]

  private func loop(
    _ name: String, _ range: CELNode, _ arguments: [CELNode], _ start: Int
  ) throws(CELProblem) -> CELLoop? {
    guard let kind = Self.loops[name] else { return nil }
    func made(_ names: Int, _ condition: CELNode?) throws(CELProblem) -> CELLoop {
      var found: [String] = []
      for node in arguments.prefix(names) { found.append(try variable(node, start)) }
      return CELLoop(
        kind: kind, range: range, names: found, condition: condition, body: arguments[arguments.count - 1])
    }
    switch (kind, arguments.count) {
    case (.transformList, 3), (.transformMap, 3): return try made(2, nil)
    case (.transformList, 4), (.transformMap, 4): return try made(2, arguments[2])
    case (.transformList, _), (.transformMap, _): return nil
    case (.map, 3): return try made(1, arguments[1])
    case (_, 2): return try made(1, nil)
    case (.all, 3), (.exists, 3), (.existsOne, 3): return try made(2, nil)
    default: return nil
    }
  }
}
