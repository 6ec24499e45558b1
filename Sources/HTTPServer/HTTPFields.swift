internal import NIOHTTP1

/// Header fields in the order in which they came: names compare without regard to case.
package struct HTTPFields: Sendable, Equatable, ExpressibleByDictionaryLiteral, CustomStringConvertible {
  var nio: HTTPHeaders

  package init() { nio = HTTPHeaders() }
  init(_ headers: HTTPHeaders) { nio = headers }
  package init(_ fields: [(name: String, value: String)]) { nio = HTTPHeaders(fields.map { ($0.name, $0.value) }) }
  package init(dictionaryLiteral elements: (String, String)...) { nio = HTTPHeaders(elements) }

  /// The first field of this name. Setting replaces all of them; setting nil removes them.
  package subscript(name: String) -> String? {
    get { nio.first(name: name) }
    set {
      if let newValue { nio.replaceOrAdd(name: name, value: newValue) } else { nio.remove(name: name) }
    }
  }

  /// Every field of this name, as it came.
  package func all(_ name: String) -> [String] { nio[name] }
  package mutating func add(_ name: String, _ value: String) { nio.add(name: name, value: value) }
  package func contains(_ name: String) -> Bool { nio.contains(name: name) }
  package var fields: [(name: String, value: String)] { nio.map { ($0.name, $0.value) } }
  package var description: String { nio.description }

  /// The words of a field that is a list: split at commas, without spaces, empty ones dropped.
  package func tokens(_ name: String) -> [String] {
    nio[name].flatMap { $0.split(separator: ",") }.compactMap { part in
      let word = part.trimmingSpaces
      return word.isEmpty ? nil : String(word)
    }
  }

  /// Whether a list field holds `token`, in any case.
  package func holds(_ name: String, token: String) -> Bool {
    tokens(name).contains { $0.lowercased() == token.lowercased() }
  }
}

extension Substring {
  var trimmingSpaces: Substring {
    var rest = drop { $0 == " " || $0 == "\t" }
    while let last = rest.last, last == " " || last == "\t" { rest.removeLast() }
    return rest
  }
}
