package import JSON
import LinearPattern

/// What a schema of a custom resource says of values besides their type.
struct StructuralRules: Sendable {
  let enumValues: [JSONValue]
  let pattern: LinearPattern?
  let format: String
  let minimum: Double?
  let maximum: Double?
  let isMinimumExclusive: Bool
  let isMaximumExclusive: Bool
  let multipleOf: Double?
  let minLength: Int?
  let maxLength: Int?
  let minItems: Int?
  let maxItems: Int?
  let hasUniqueItems: Bool
  let minProperties: Int?
  let maxProperties: Int?
  let allOf: [StructuralSchema]
  let anyOf: [StructuralSchema]
  let oneOf: [StructuralSchema]
  let not: StructuralSchema?

  init(_ json: JSONValue, depth: Int) throws(StructuralProblem) {
    func whole(_ key: String) -> Int? { json[key]?.integer.flatMap { Int(exactly: $0) } }
    func schemas(_ key: String) throws(StructuralProblem) -> [StructuralSchema] {
      var found: [StructuralSchema] = []
      for value in json[key]?.array ?? [] { found.append(try StructuralSchema(value, depth: depth + 1)) }
      return found
    }
    enumValues = json["enum"]?.array ?? []
    do throws(PatternProblem) {
      pattern = try json["pattern"]?.string.map { text throws(PatternProblem) in try LinearPattern(text) }
    } catch {
      throw StructuralProblem("pattern: \(error)")
    }
    format = json["format"]?.string ?? ""
    minimum = json["minimum"]?.double
    maximum = json["maximum"]?.double
    isMinimumExclusive = json["exclusiveMinimum"]?.bool ?? false
    isMaximumExclusive = json["exclusiveMaximum"]?.bool ?? false
    multipleOf = json["multipleOf"]?.double
    minLength = whole("minLength")
    maxLength = whole("maxLength")
    minItems = whole("minItems")
    maxItems = whole("maxItems")
    hasUniqueItems = json["uniqueItems"]?.bool ?? false
    minProperties = whole("minProperties")
    maxProperties = whole("maxProperties")
    allOf = try schemas("allOf")
    anyOf = try schemas("anyOf")
    oneOf = try schemas("oneOf")
    not = try json["not"].map { value throws(StructuralProblem) in try StructuralSchema(value, depth: depth + 1) }
  }
}

/// What is wrong with a custom resource.
package struct StructuralFinding: Hashable, Sendable {
  package enum Reason: Hashable, Sendable {
    case required, invalid, forbidden, type, unsupported(values: [String]), tooLong, tooMany, duplicate
  }
  package var path: String
  package var reason: Reason
  package var value: JSONValue?
  package var detail: String
}

extension StructuralSchema {
  /// Findings of one document at most.
  private static let findingsMax = 100

  package func findings(in value: JSONValue, at path: String = "") -> [StructuralFinding] {
    var found: [StructuralFinding] = []
    check(value, path, &found)
    return Array(found.prefix(Self.findingsMax))
  }

  private func isValid(_ value: JSONValue) -> Bool { findings(in: value).isEmpty }

  private func check(_ value: JSONValue, _ path: String, _ found: inout [StructuralFinding]) {
    guard found.count < Self.findingsMax else { return }
    if value.isNull, isNullable { return }
    guard hasType(value) else {
      found.append(
        .init(
          path: path, reason: .type, value: .string(Self.typeName(value)),
          detail: "\(path.isEmpty ? "" : path) in body must be of type \(wantedType): \"\(Self.typeName(value))\""))
      return
    }
    checkRules(value, path, &found)
    switch value {
    case .object(let object):
      for key in required where object[key] == nil {
        found.append(.init(path: path.isEmpty ? key : "\(path).\(key)", reason: .required, value: nil, detail: ""))
      }
      for (key, member) in object.members {
        let place = path.isEmpty ? key : "\(path).\(key)"
        if let schema = properties[key] ?? additional { schema.check(member, place, &found) }
      }
    case .array(let array):
      for (place, item) in array.enumerated() { items?.check(item, "\(path)[\(place)]", &found) }
      checkKeys(array, path, &found)
    default: return
    }
  }

  private var wantedType: String { isIntOrString ? "integer,string" : type }

  private static func typeName(_ value: JSONValue) -> String {
    switch value {
    case .integer: "integer"
    default: value.kindName
    }
  }

  private func hasType(_ value: JSONValue) -> Bool {
    if isIntOrString {
      switch value {
      case .integer, .string: return true
      default: return false
      }
    }
    switch type {
    case "object": return value.object != nil
    case "array": return value.array != nil
    case "string": return value.string != nil
    case "boolean": return value.bool != nil
    case "integer": return value.integer != nil
    case "number": return value.double != nil
    default: return true
    }
  }

  /// Items of a set, or with the same keys, may stand once.
  private func checkKeys(_ array: [JSONValue], _ path: String, _ found: inout [StructuralFinding]) {
    guard listType == "set" || listType == "map" || rules.hasUniqueItems else { return }
    var seen: Set<JSONValue> = []
    for (place, item) in array.enumerated() {
      var key = item
      if listType == "map" {
        var keys = JSONObject()
        for name in listMapKeys { keys[name] = item[name] ?? items?.properties[name]?.default }
        key = .object(keys)
      }
      if !seen.insert(key).inserted {
        found.append(.init(path: "\(path)[\(place)]", reason: .duplicate, value: key, detail: ""))
      }
    }
  }

  private func checkRules(_ value: JSONValue, _ path: String, _ found: inout [StructuralFinding]) {
    func add(_ reason: StructuralFinding.Reason, _ what: String) {
      found.append(.init(path: path, reason: reason, value: value, detail: "\(path) in body \(what)"))
    }
    if !rules.enumValues.isEmpty, !rules.enumValues.contains(value) {
      let values = rules.enumValues.map { $0.string ?? $0.encodedText }
      found.append(.init(path: path, reason: .unsupported(values: values), value: value, detail: ""))
    }
    switch value {
    case .string(let text):
      let length = text.unicodeScalars.count
      if let most = rules.maxLength, length > most { add(.tooLong, "should be at most \(most) chars long") }
      if let least = rules.minLength, length < least { add(.invalid, "should be at least \(least) chars long") }
      if let pattern = rules.pattern {
        switch pattern.matches(text) {
        case true?: break
        case false?: add(.invalid, "should match '\(pattern.source)'")
        case nil: add(.tooLong, "is too long to be matched with '\(pattern.source)'")
        }
      }
      if rules.format == "date-time", TimeText.parse(text) == nil {
        add(.invalid, "must be of type date-time: \"\(text)\"")
      }
    case .integer, .number:
      let number = value.double ?? 0
      if let least = rules.minimum, rules.isMinimumExclusive ? number <= least : number < least {
        add(.invalid, "should be greater than \(rules.isMinimumExclusive ? "" : "or equal to ")\(Self.shown(least))")
      }
      if let most = rules.maximum, rules.isMaximumExclusive ? number >= most : number > most {
        add(.invalid, "should be less than \(rules.isMaximumExclusive ? "" : "or equal to ")\(Self.shown(most))")
      }
      if let factor = rules.multipleOf, factor > 0, number.remainder(dividingBy: factor) != 0 {
        add(.invalid, "should be a multiple of \(Self.shown(factor))")
      }
    case .array(let array):
      if let most = rules.maxItems, array.count > most { add(.tooMany, "should have at most \(most) items") }
      if let least = rules.minItems, array.count < least { add(.invalid, "should have at least \(least) items") }
    case .object(let object):
      if let most = rules.maxProperties, object.count > most { add(.tooMany, "should have at most \(most) properties") }
      if let least = rules.minProperties, object.count < least {
        add(.invalid, "should have at least \(least) properties")
      }
    default: break
    }
    for schema in rules.allOf { schema.check(value, path, &found) }
    if !rules.anyOf.isEmpty, !rules.anyOf.contains(where: { $0.isValid(value) }) {
      add(.invalid, "must validate at least one schema (anyOf)")
    }
    if !rules.oneOf.isEmpty, rules.oneOf.count(where: { $0.isValid(value) }) != 1 {
      add(.invalid, "must validate one and only one schema (oneOf)")
    }
    if let not = rules.not, not.isValid(value) { add(.invalid, "must not validate the schema (not)") }
  }

  private static func shown(_ number: Double) -> String {
    Int64(exactly: number).map(String.init) ?? number.description
  }
}
