package import CEL
package import JSON

/// A rule of `x-kubernetes-validations`, read and checked.
package struct ExpressionRule: Sendable {
  let program: CELProgram
  let message: String
  let messageProgram: CELProgram?
  let reason: StructuralFinding.Reason
  let fieldPath: String
  /// Compares with what was there: evaluated where something was, or always, with an optional.
  let usesOld: Bool
  let isOldOptional: Bool

  /// What is wrong with a rule: the member of it, and why.
  package struct Problem: Error, Hashable, Sendable {
    package let field: String
    package let value: JSONValue?
    /// nil: it is missing, or not one of those there are.
    package let detail: String
    package let supported: [String]

    init(_ field: String, _ value: JSONValue?, _ detail: String, supported: [String] = []) {
      (self.field, self.value, self.detail, self.supported) = (field, value, detail, supported)
    }
  }

  private static let reasons: [String: StructuralFinding.Reason] = [
    "FieldValueInvalid": .invalid, "FieldValueForbidden": .forbidden, "FieldValueRequired": .required,
    "FieldValueDuplicate": .duplicate,
  ]

  /// - Parameters:
  ///   - type: of the value that the rule is of.
  ///   - isCorrelatable: whether it is known what the value was before.
  package init(_ json: JSONValue, type: CELType, isCorrelatable: Bool = true) throws(Problem) {
    let rule = json["rule"]?.string ?? ""
    guard rule.contains(where: { !$0.isWhitespace }) else { throw Problem("rule", nil, "rule is not specified") }
    isOldOptional = json["optionalOldSelf"]?.bool ?? false
    let variables: [String: CELType] = ["self": type, "oldSelf": isOldOptional ? .optional(type) : type]
    program = try Self.program(rule, variables, "rule", json["rule"])
    guard program.type.isBool else {
      throw Problem("rule", json["rule"], "cel expression must evaluate to a bool")
    }
    usesOld = program.usedVariables.contains("oldSelf")
    if usesOld, !isCorrelatable {
      throw Problem(
        "rule", json["rule"], "oldSelf cannot be used on the uncorrelatable portion of the schema")
    }
    if isOldOptional, !usesOld {
      throw Problem("optionalOldSelf", true, "may not be set if oldSelf is not used in rule")
    }
    let message = json["message"]?.string ?? ""
    let trimmed = Self.trimmed(message)
    if !message.isEmpty, trimmed.isEmpty {
      throw Problem("message", json["message"], "message must be non-empty if specified")
    }
    if trimmed.contains(where: \.isNewline) {
      throw Problem("message", json["message"], "message must not contain line breaks")
    }
    if rule.contains("\n"), trimmed.isEmpty {
      throw Problem("message", nil, "message must be specified if rule contains line breaks")
    }
    self.message = trimmed
    if let text = json["messageExpression"]?.string, !text.isEmpty {
      let program = try Self.program(text, variables, "messageExpression", json["messageExpression"])
      guard program.type.isString else {
        throw Problem("messageExpression", json["messageExpression"], "must evaluate to a string")
      }
      messageProgram = program
    } else {
      messageProgram = nil
    }
    let name = json["reason"]?.string ?? "FieldValueInvalid"
    guard let reason = Self.reasons[name] else {
      throw Problem("reason", json["reason"], "", supported: Self.reasons.keys.sorted())
    }
    self.reason = reason
    fieldPath = Self.trimmed(json["fieldPath"]?.string ?? "")
    if !fieldPath.isEmpty, !fieldPath.hasPrefix("."), !fieldPath.hasPrefix("[") {
      throw Problem("fieldPath", json["fieldPath"], "fieldPath must be a valid path")
    }
  }

  private static func program(
    _ source: String, _ variables: [String: CELType], _ field: String, _ value: JSONValue?
  ) throws(Problem) -> CELProgram {
    do throws(CELProblem) {
      return try CELProgram(trimmed(source), variables: variables)
    } catch {
      throw Problem(
        field, value, field == "rule" ? "compilation failed: \(error)" : "\(field) compilation failed: \(error)")
    }
  }

  private static func trimmed(_ text: String) -> String {
    var rest = Substring(text)
    while rest.first?.isWhitespace ?? false { rest.removeFirst() }
    while rest.last?.isWhitespace ?? false { rest.removeLast() }
    return String(rest)
  }

  /// The rules of a schema.
  static func rules(of json: JSONValue, type: @autoclosure () -> CELType) throws(StructuralProblem) -> [ExpressionRule]
  {
    guard let list = json["x-kubernetes-validations"]?.array, !list.isEmpty else { return [] }
    let type = type()
    var rules: [ExpressionRule] = []
    for item in list {
      do throws(Problem) {
        rules.append(try ExpressionRule(item, type: type))
      } catch {
        throw StructuralProblem("x-kubernetes-validations: \(error.field): \(error.detail)")
      }
    }
    return rules
  }
}

extension StructuralSchema {
  /// Steps of all the rules of one object, as many as Kubernetes allows.
  package static let expressionBudget = 10_000_000
  /// Findings of the rules of one object.
  private static let expressionFindingsMax = 100

  /// What the rules of a whole object say.
  /// - Parameter old: what the object was; nil where it is new.
  package func expressionFindings(in value: JSONValue, old: JSONValue?) -> [StructuralFinding] {
    guard hasExpressions else { return [] }
    var check = ExpressionCheck(budget: Self.expressionBudget)
    check.walk(self, value, old, "", isRoot: true)
    return Array(check.found.prefix(Self.expressionFindingsMax))
  }

  /// Told besides what is missing or of the wrong type: with that, rules make no sense.
  package static let unchecked = StructuralFinding(
    path: "<nil>", reason: .invalid, value: .null,
    detail: "some validation rules were not checked because the object was invalid; correct the existing errors to "
      + "complete validation")
}

/// Walks a value with its schema, and with what it was.
private struct ExpressionCheck {
  var budget: Int
  var found: [StructuralFinding] = []

  mutating func walk(
    _ schema: StructuralSchema, _ value: JSONValue, _ old: JSONValue?, _ path: String, isRoot: Bool = false
  ) {
    guard schema.hasExpressions, budget > 0, !(value.isNull && schema.isNullable) else { return }
    evaluate(schema, value, old, path, isRoot)
    switch value {
    case .object(let object):
      for (key, member) in object.members {
        guard let inner = schema.properties[key] ?? schema.additional else { continue }
        let place =
          schema.properties[key] == nil ? "\(path)[\(key)]" : path.isEmpty ? key : "\(path).\(key)"
        walk(inner, member, old?[key], place)
      }
    case .array(let array):
      guard let items = schema.items else { return }
      for (index, item) in array.enumerated() {
        walk(items, item, schema.correlated(item, in: old), "\(path)[\(index)]")
      }
    default: return
    }
  }

  private mutating func evaluate(
    _ schema: StructuralSchema, _ value: JSONValue, _ old: JSONValue?, _ path: String, _ isRoot: Bool
  ) {
    guard !schema.expressions.isEmpty else { return }
    var variables = ["self": schema.expressionValue(value, isRoot: isRoot)]
    let before = old.map { schema.expressionValue($0, isRoot: isRoot) }
    for rule in schema.expressions {
      if rule.isOldOptional {
        variables["oldSelf"] = .optional(before)
      } else if rule.usesOld {
        guard let before else { continue }
        variables["oldSelf"] = before
      }
      guard budget > 0 else { return }
      if let finding = finding(of: rule, schema, variables, value, path) { found.append(finding) }
    }
  }

  private mutating func finding(
    of rule: ExpressionRule, _ schema: StructuralSchema, _ variables: [String: CELValue], _ value: JSONValue,
    _ path: String
  ) -> StructuralFinding? {
    let shown: JSONValue = ["object", "array"].contains(schema.type) ? .string(schema.type) : value
    func made(_ path: String, _ reason: StructuralFinding.Reason, _ detail: String) -> StructuralFinding {
      StructuralFinding(path: path.isEmpty ? "<nil>" : path, reason: reason, value: shown, detail: detail)
    }
    let words = rule.message.isEmpty ? rule.program.source : rule.message
    do throws(CELProblem) {
      if try rule.program.evaluate(variables, budget: &budget).bool == true { return nil }
    } catch {
      guard error.reason == .cost else { return made(path, .invalid, "\(error) evaluating rule: \(words)") }
      let isLast = budget <= 0
      budget = 0
      return made(
        path, .invalid,
        isLast
          ? "validation failed due to running out of cost budget, no further validation rules will be run"
          : "no further validation rules will be run due to call cost exceeds limit for rule: \(words)")
    }
    let message =
      self.message(of: rule, variables) ?? (rule.message.isEmpty ? "failed rule: \(words)" : rule.message)
    return made(path + (path.isEmpty ? String(rule.fieldPath.dropFirst()) : rule.fieldPath), rule.reason, message)
  }

  /// What the rule's own expression says; nil where there is none, or it says nothing that can be shown.
  private mutating func message(of rule: ExpressionRule, _ variables: [String: CELValue]) -> String? {
    guard let program = rule.messageProgram,
      let text = try? program.evaluate(variables, budget: &budget).string,
      text.contains(where: { !$0.isWhitespace }), !text.contains(where: \.isNewline),
      text.utf8.count <= Self.messageMax
    else { return nil }
    return text
  }

  /// Bytes of a message that an expression makes.
  private static let messageMax = 5 << 10
}

extension StructuralSchema {
  /// What an item of a list was: known where items have keys.
  fileprivate func correlated(_ item: JSONValue, in old: JSONValue?) -> JSONValue? {
    guard listType == "map", let before = old?.array else { return nil }
    func key(_ value: JSONValue) -> [JSONValue?] {
      listMapKeys.map { value[$0] ?? items?.properties[$0]?.default }
    }
    let wanted = key(item)
    return before.first { key($0) == wanted }
  }
}
