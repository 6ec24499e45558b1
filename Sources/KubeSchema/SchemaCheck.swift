package import JSON

extension Schema {
  /// Problems kept for one document; what follows is not looked for.
  package static let problemsMax = 100

  /// Every field that the type does not have, and every value that is not of its field's type, in the order of the
  /// document. An explicit null is an absent field. Required fields and choices are not looked at: that is validation.
  package func check(_ value: JSONValue, as type: SchemaType) -> [SchemaProblem] {
    var checker = SchemaChecker(schema: self)
    checker.check(value, type.valueType, type, goType: "v1.\(type.shortName)")
    return checker.problems
  }
}

private struct SchemaChecker {
  let schema: Schema
  var problems: [SchemaProblem] = []
  /// The type of the object around, for messages; empty at the top.
  private var owner = ""
  private var steps: [Step] = []

  private enum Step {
    case field(String)
    case index(Int)
    case key(String)
  }

  init(schema: Schema) { self.schema = schema }

  private var isFull: Bool { problems.count >= Schema.problemsMax }

  /// With indices, as unknown fields are named.
  private var path: String {
    var text = ""
    for step in steps {
      switch step {
      case .field(let name), .key(let name): text += text.isEmpty ? name : ".\(name)"
      case .index(let index): text += "[\(index)]"
      }
    }
    return text
  }

  /// Without indices and keys, as wrong types are named.
  private var goField: String {
    var names: [String] = []
    for step in steps {
      if case .field(let name) = step { names.append(name) }
    }
    return names.isEmpty ? "" : "\(owner).\(names.joined(separator: "."))"
  }

  private mutating func report(_ kind: SchemaProblem.Kind) {
    if !isFull { problems.append(SchemaProblem(path: path, kind: kind)) }
  }

  private mutating func wrongType(_ value: JSONValue, _ goType: String) {
    let found =
      switch value {
      case .null: "null"
      case .bool: "bool"
      case .integer(let number) where goType.hasPrefix("int"): "number \(number)"
      case .number(let text) where goType.hasPrefix("int"): "number \(text)"
      case .integer, .number: "number"
      case .string: "string"
      case .array: "array"
      case .object: "object"
      }
    report(.wrongType(expected: goType, found: found, goField: goField))
  }

  /// - Parameter leaf: the type of the objects that the value holds.
  mutating func check(
    _ value: JSONValue, _ type: SchemaValueType, _ leaf: SchemaType?, goType: @autoclosure () -> String
  ) {
    if isFull || value.isNull { return }
    switch type {
    case .any, .fieldsV1: return
    case .object:
      guard let object = value.object else { return wrongType(value, goType()) }
      if let leaf { check(object, leaf) }
    case .list(let item):
      guard let items = value.array else { return wrongType(value, goType()) }
      for (index, element) in items.enumerated() {
        steps.append(.index(index))
        check(element, item, leaf, goType: String(goType().dropFirst(2)))
        steps.removeLast()
      }
    case .map(let member):
      guard let object = value.object else { return wrongType(value, goType()) }
      for (key, element) in object.members {
        steps.append(.key(key))
        check(element, member, leaf, goType: Self.member(of: goType()))
        steps.removeLast()
      }
    default: checkScalar(value, type, goType: goType())
    }
  }

  /// `string` of `map[string]string`; types with a name of their own have members of that name's kind.
  private static func member(of goType: String) -> String {
    if goType == "v1.ResourceList" { return "resource.Quantity" }
    return goType.hasPrefix("map[") ? String(goType.drop { $0 != "]" }.dropFirst()) : goType
  }

  private mutating func check(_ object: JSONObject, _ type: SchemaType) {
    let outer = owner
    owner = type.shortName
    defer { owner = outer }
    for (key, member) in object.members {
      steps.append(.field(key))
      if let field = type.fields[key] {
        check(member, field.valueType, schema.leaf(field), goType: field.goType)
      } else {
        report(.unknownField)
      }
      steps.removeLast()
    }
  }

  private mutating func checkScalar(_ value: JSONValue, _ type: SchemaValueType, goType: @autoclosure () -> String) {
    switch (type, value) {
    case (.string, .string), (.bool, .bool), (.int64, .integer), (.double, .integer), (.double, .number),
      (.intOrString, .string):
      return
    case (.int32, .integer(let number)), (.intOrString, .integer(let number)):
      if Int32(exactly: number) == nil { wrongType(value, type == .int32 ? goType() : "int32") }
    case (.intOrString, _): wrongType(value, "int32")
    case (.bytes, .string(let text)):
      if let offset = Base64Check.firstBadByte(text) {
        report(.malformed("illegal base64 data at input byte \(offset)"))
      }
    case (.quantity, .string(let text)), (.quantity, .number(let text)):
      if let why = QuantityCheck.problem(text) { report(.malformed(why)) }
    case (.quantity, .integer): return
    case (.quantity, _): report(.malformed(QuantityCheck.pattern))
    case (.time, .string(let text)), (.microTime, .string(let text)):
      let layout = type == .time ? "2006-01-02T15:04:05Z07:00" : "2006-01-02T15:04:05.000000Z07:00"
      if TimeText.parse(text) == nil {
        report(.malformed("parsing time \"\(text)\" as \"\(layout)\": cannot parse \"\(text)\" as \"2006\""))
      }
    case (.time, _), (.microTime, _): wrongType(value, "string")
    default: wrongType(value, goType())
    }
  }
}

/// Base64 as RFC 4648 §4 has it, padded; line breaks are let through.
enum Base64Check {
  /// Where decoding stops; nil where all of it is good.
  static func firstBadByte(_ text: String) -> Int? {
    var (digits, padding, offset) = (0, 0, 0)
    for byte in text.utf8 {
      switch byte {
      case 0x0A, 0x0D: break
      case UInt8(ascii: "="):
        padding += 1
        if padding > 2 || digits % 4 < 2 || (digits + padding) % 4 > 0 && padding == 2 { return offset }
      case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "+"), UInt8(ascii: "/"):
        if padding > 0 { return offset }
        digits += 1
      default: return offset
      }
      offset += 1
    }
    return (digits + padding).isMultiple(of: 4) ? nil : offset
  }
}

/// The form of quantities; what they amount to is no matter of the schema.
enum QuantityCheck {
  static let pattern =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
  private static let suffixes: Set<String> = [
    "", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei",
  ]

  /// Why the text is no quantity, in Kubernetes' words.
  static func problem(_ text: String) -> String? {
    var rest = text.utf8[...]
    if let sign = rest.first, sign == UInt8(ascii: "-") || sign == UInt8(ascii: "+") { rest = rest.dropFirst() }
    let number = rest.prefix { isDigit($0) || $0 == UInt8(ascii: ".") }
    let points = number.count { $0 == UInt8(ascii: ".") }
    guard number.contains(where: isDigit), points <= 1 else { return pattern }
    let suffix = String(rest.dropFirst(number.count)) ?? ""
    if suffixes.contains(suffix) { return nil }
    guard let mark = suffix.utf8.first, mark | 0x20 == UInt8(ascii: "e"), suffix.utf8.count > 1,
      Int32(suffix.dropFirst()) != nil
    else {
      return suffix.utf8.allSatisfy { "eEinumkKMGTP+-".utf8.contains($0) || isDigit($0) } ? Self.badSuffix : pattern
    }
    return nil
  }

  private static let badSuffix = "unable to parse quantity's suffix"

  private static func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }
}
