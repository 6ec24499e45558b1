/// The selector of fields in a request's query: `metadata.name=web,status.phase!=Running`.
///
/// https://kubernetes.io/docs/concepts/overview/working-with-objects/field-selectors/
package struct FieldSelector: Hashable, Sendable {
  package struct Term: Hashable, Sendable {
    package var field: String
    package var value: String
    package var isEqual: Bool
  }

  package var terms: [Term]

  package init(terms: [Term] = []) { self.terms = terms }

  package var isEmpty: Bool { terms.isEmpty }

  /// The one name that can match, where the selector says so.
  package var onlyName: String? { only("metadata.name") }
  /// The one namespace that can match, where the selector says so.
  package var onlyNamespace: String? { only("metadata.namespace") }
  /// The one value that a field can have in what matches, where the selector says so.
  package func only(_ field: String) -> String? { terms.first { $0.field == field && $0.isEqual }?.value }

  /// - Parameter fields: every field that `check` lets through; an absent one is empty.
  package func matches(_ fields: [String: String]) -> Bool {
    terms.allSatisfy { (fields[$0.field] ?? "" == $0.value) == $0.isEqual }
  }

  /// - Throws: `BadRequest` in Kubernetes' words.
  package init(_ text: String) throws(APIStatus) {
    terms = []
    for part in Self.parts(text) where !part.isEmpty {
      terms.append(try Self.term(part))
    }
  }

  /// Cut at the commas that no backslash precedes.
  private static func parts(_ text: String) -> [String] {
    var found: [String] = []
    var part = ""
    var isEscaped = false
    for character in text {
      if isEscaped {
        part += "\\\(character)"
        isEscaped = false
      } else if character == "\\" {
        isEscaped = true
      } else if character == "," {
        found.append(part)
        part = ""
      } else {
        part.append(character)
      }
    }
    if isEscaped { part.append("\\") }
    return found + [part]
  }

  private static func term(_ part: String) throws(APIStatus) -> Term {
    guard let index = part.firstIndex(where: { $0 == "=" || $0 == "!" }),
      let sign = ["!=", "==", "="].first(where: { part[index...].hasPrefix($0) })
    else { throw .badRequest("invalid selector: '\(part)'; can't understand '\(part)'") }
    let raw = part[index...].dropFirst(sign.count)
    return Term(
      field: String(part[..<index]), value: try unescaped(String(raw)), isEqual: sign != "!=")
  }

  private static func unescaped(_ text: String) throws(APIStatus) -> String {
    var value = ""
    var isEscaped = false
    for character in text {
      if isEscaped {
        guard "\\,=".contains(character) else {
          throw .badRequest("invalid field selector: invalid escape sequence: \\\(character)")
        }
        value.append(character)
        isEscaped = false
      } else if character == "\\" {
        isEscaped = true
      } else if character == "=" || character == "," {
        throw .badRequest("invalid field selector: unescaped character in value: \(character)")
      } else {
        value.append(character)
      }
    }
    guard !isEscaped else { throw .badRequest("invalid field selector: invalid escape sequence: \\") }
    return value
  }
}
