/// What is known of a value before it is there.
package indirect enum CELType: Sendable {
  /// Anything.
  case dyn
  case bool, int, uint, double, string, bytes, null, timestamp, duration
  case list(CELType)
  case map(CELType)
  /// Fields by their names as expressions write them; nothing else may be asked for.
  case object(CELObjectType)
  case optional(CELType)
  /// One of the others that `typeName` names.
  case named(String)

  /// As messages name it.
  var name: String {
    switch self {
    case .dyn: "dyn"
    case .bool: "bool"
    case .int: "int"
    case .uint: "uint"
    case .double: "double"
    case .string: "string"
    case .bytes: "bytes"
    case .null: "null"
    case .timestamp: "timestamp"
    case .duration: "duration"
    case .list(let item): "list(\(item.name))"
    case .map(let value): "map(string, \(value.name))"
    case .object(let type): type.name
    case .optional(let inner): "optional_type(\(inner.name))"
    case .named(let name): name
    }
  }

  var isDyn: Bool { if case .dyn = self { true } else { false } }
  package var isBool: Bool {
    switch self {
    case .bool, .dyn: true
    default: false
    }
  }
  package var isString: Bool {
    switch self {
    case .string, .dyn: true
    default: false
    }
  }

  /// Whether a value could be of both.
  func fits(_ other: CELType) -> Bool {
    switch (self, other) {
    case (.dyn, _), (_, .dyn): true
    case (.list(let one), .list(let two)): one.fits(two)
    case (.map(let one), .map(let two)): one.fits(two)
    case (.object, .map), (.map, .object), (.object, .object): true
    case (.optional(let one), .optional(let two)): one.fits(two)
    // Null stands for what an optional message is not.
    case (.null, .object), (.object, .null), (.null, .map), (.map, .null), (.null, .list), (.list, .null): true
    case (.null, .timestamp), (.timestamp, .null), (.null, .duration), (.duration, .null): true
    default: name == other.name
    }
  }
}

/// The fields of an object: made when its schema is read, and shared.
package final class CELObjectType: Sendable {
  package let name: String
  package let fields: [String: CELType]

  package init(name: String, fields: [String: CELType]) {
    (self.name, self.fields) = (name, fields)
  }
}

/// How names of JSON are written where an expression could not name them.
///
/// https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules
package enum CELNames {
  private static let keywords: Set<String> = CELParser.reserved.union(["true", "false", "null"])

  /// - Returns: nil for what no expression can name.
  package static func escaped(_ name: String) -> String? {
    if keywords.contains(name) { return "__\(name)__" }
    guard let first = name.unicodeScalars.first, CELLexer.isWord(first) else { return nil }
    var text = ""
    var (rest, isWhole) = (name.unicodeScalars[...], true)
    while let scalar = rest.popFirst() {
      switch scalar {
      case "_" where rest.first == "_":
        rest.removeFirst()
        text += "__underscores__"
      case ".": text += "__dot__"
      case "-": text += "__dash__"
      case "/": text += "__slash__"
      default:
        isWhole = isWhole && (CELLexer.isWord(scalar) || CELLexer.isDigit(scalar))
        text.unicodeScalars.append(scalar)
      }
    }
    return isWhole ? text : nil
  }
}
