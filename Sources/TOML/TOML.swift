package import JSON

/// Why a text is no TOML document.
package struct TOMLError: Error, Hashable, Sendable, CustomStringConvertible {
  /// Counted from 1.
  package let line: Int
  package let problem: String

  package var description: String { "line \(line): \(problem)" }
}

/// TOML 1.0 (toml.io) as values of JSON: tables keep the order in which they are written, dates are strings.
///
/// Not taken: `inf` and `nan`, which no setting means and JSON cannot say.
package enum TOML {
  /// Bytes of one document.
  package static let bytesMax = 1 << 20
  /// Arrays and inline tables within each other, and keys in one dotted key.
  package static let depthMax = 64

  /// - Throws: `TOMLError` with the line; the first mistake.
  package static func parse(_ text: String) throws(TOMLError) -> JSONObject {
    let bytes = Array(text.utf8)
    guard bytes.count <= bytesMax else {
      throw TOMLError(line: 1, problem: "a document of \(bytes.count) bytes; at most \(bytesMax) are read")
    }
    var parser = TOMLParser(bytes)
    return try parser.document().json
  }
}

/// A table while it is read. A class, because headers come back to tables that were begun elsewhere; it never leaves
/// the parser.
final class TOMLTable {
  enum Origin {
    /// Stands in a header of its own.
    case header
    /// Only part of the way to another header: may still get its own.
    case way
    /// Begun by a dotted key: more dotted keys may add to it, no header may.
    case dotted
    /// Written in braces: complete.
    case inline
  }
  enum Value {
    case plain(JSONValue)
    case table(TOMLTable)
    case tables([TOMLTable])
  }
  var origin: Origin
  private var keys: [String] = []
  private var values: [String: Value] = [:]

  init(_ origin: Origin) { self.origin = origin }

  subscript(key: String) -> Value? { values[key] }

  func set(_ key: String, _ value: Value) {
    if values.updateValue(value, forKey: key) == nil { keys.append(key) }
  }

  var json: JSONObject {
    var object = JSONObject()
    for key in keys {
      switch values[key] {
      case .plain(let value): object[key] = value
      case .table(let table): object[key] = .object(table.json)
      case .tables(let tables): object[key] = .array(tables.map { .object($0.json) })
      case nil: break
      }
    }
    return object
  }
}
