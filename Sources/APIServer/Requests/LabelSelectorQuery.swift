import KubeValidation

/// The selector of labels in a request's query:
/// https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors
package struct LabelQuery: Hashable, Sendable {
  package enum Requirement: Hashable, Sendable {
    case exists(String)
    case absent(String)
    case isOne(String, Set<String>)
    /// An object without the label matches, too.
    case isNone(String, Set<String>)
    case greater(String, Int64)
    case less(String, Int64)
  }

  package var requirements: [Requirement]

  package init(requirements: [Requirement] = []) { self.requirements = requirements }

  package var isEmpty: Bool { requirements.isEmpty }

  package func matches(_ labels: [String: String]) -> Bool {
    requirements.allSatisfy { requirement in
      switch requirement {
      case .exists(let key): labels[key] != nil
      case .absent(let key): labels[key] == nil
      case .isOne(let key, let values): labels[key].map(values.contains) ?? false
      case .isNone(let key, let values): labels[key].map { !values.contains($0) } ?? true
      case .greater(let key, let bound): labels[key].flatMap { Int64($0) }.map { $0 > bound } ?? false
      case .less(let key, let bound): labels[key].flatMap { Int64($0) }.map { $0 < bound } ?? false
      }
    }
  }

  /// - Throws: `BadRequest` in Kubernetes' words.
  package init(_ text: String) throws(APIStatus) {
    var parser = LabelQueryParser(text)
    do { requirements = try parser.parse() } catch {
      throw .badRequest("unable to parse requirement: \(error.why)")
    }
  }
}

private struct SelectorError: Error {
  let why: String
}

private struct LabelQueryParser {
  enum Token: Equatable {
    case word(String)
    case symbol(String)
    case end

    var shown: String {
      switch self {
      case .word(let text), .symbol(let text): text
      case .end: ""
      }
    }
  }

  private var tokens: [Token] = []
  private var position = 0

  init(_ text: String) {
    var rest = Substring(text)
    while let first = rest.first {
      if first.isWhitespace {
        rest.removeFirst()
      } else if let symbol = ["==", "!=", "=", "!", ",", "(", ")", ">", "<"].first(where: { rest.hasPrefix($0) }) {
        tokens.append(.symbol(symbol))
        rest.removeFirst(symbol.count)
      } else {
        let word = rest.prefix { !$0.isWhitespace && !"=!,()<>".contains($0) }
        tokens.append(.word(String(word)))
        rest.removeFirst(word.count)
      }
    }
  }

  private var current: Token { position < tokens.count ? tokens[position] : .end }
  private mutating func take() -> Token {
    defer { position += 1 }
    return current
  }

  mutating func parse() throws(SelectorError) -> [LabelQuery.Requirement] {
    var found: [LabelQuery.Requirement] = []
    while current != .end {
      found.append(try requirement())
      switch take() {
      case .end: return found
      case .symbol(","):
        guard current != .end, current != .symbol(",") else {
          throw SelectorError(why: "found '\(current.shown)', expected: identifier after ','")
        }
      case let other: throw SelectorError(why: "found '\(other.shown)', expected: ',' or 'end of string'")
      }
    }
    return found
  }

  private mutating func requirement() throws(SelectorError) -> LabelQuery.Requirement {
    if current == .symbol("!") {
      position += 1
      return .absent(try key())
    }
    let key = try key()
    switch current {
    case .end, .symbol(","): return .exists(key)
    case .symbol("="), .symbol("=="):
      position += 1
      return .isOne(key, [try value(key)])
    case .symbol("!="):
      position += 1
      return .isNone(key, [try value(key)])
    case .symbol(">"), .symbol("<"):
      let isGreater = take() == .symbol(">")
      let text = try value(key)
      guard let bound = Int64(text) else {
        throw SelectorError(
          why: "values[0][\(key)]: Invalid value: \"\(text)\": for 'Gt', 'Lt' operators, the value must be an integer")
      }
      return isGreater ? .greater(key, bound) : .less(key, bound)
    case .word("in"):
      position += 1
      return .isOne(key, try values(key))
    case .word("notin"):
      position += 1
      return .isNone(key, try values(key))
    case let other:
      throw SelectorError(why: "found '\(other.shown)', expected: in, notin, =, ==, !=, gt, lt")
    }
  }

  private mutating func key() throws(SelectorError) -> String {
    guard case .word(let key) = take() else {
      throw SelectorError(
        why: "found '\(tokens[max(0, min(position - 1, tokens.count - 1))].shown)', expected: identifier")
    }
    if let problem = NameRules.qualifiedName(key).first {
      throw SelectorError(why: "key: Invalid value: \"\(key)\": \(problem)")
    }
    return key
  }

  /// One value; it may be empty.
  private mutating func value(_ key: String) throws(SelectorError) -> String {
    guard case .word(let text) = current else {
      if current == .end || current == .symbol(",") { return "" }
      throw SelectorError(why: "found '\(current.shown)', expected: identifier")
    }
    position += 1
    return try checked(text, key)
  }

  private func checked(_ value: String, _ key: String) throws(SelectorError) -> String {
    if let problem = NameRules.labelValue(value).first {
      throw SelectorError(why: "values[0][\(key)]: Invalid value: \"\(value)\": \(problem)")
    }
    return value
  }

  private mutating func values(_ key: String) throws(SelectorError) -> Set<String> {
    guard take() == .symbol("(") else { throw SelectorError(why: "found '\(current.shown)', expected: '('") }
    var found: Set<String> = []
    while true {
      switch take() {
      case .word(let text): found.insert(try checked(text, key))
      case .symbol(","):
        // Between two commas, and beside a parenthesis, stands the empty value.
        found.insert("")
        continue
      case .symbol(")"):
        found.insert("")
        return found
      case let other: throw SelectorError(why: "found '\(other.shown)', expected: ',', ')' or identifier")
      }
      switch take() {
      case .symbol(","): if current == .symbol(")") { found.insert("") }
      case .symbol(")"): return found
      case let other: throw SelectorError(why: "found '\(other.shown)', expected: ',' or ')'")
      }
      if current == .symbol(")") {
        position += 1
        return found
      }
    }
  }
}
