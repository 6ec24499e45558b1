/// Why an expression cannot be read, or what it came to instead of a value.
package struct CELProblem: Error, Hashable, Sendable, CustomStringConvertible {
  package enum Reason: Hashable, Sendable {
    /// The expression is none, or names what there is not.
    case compilation
    /// A value is missing, or of the wrong kind.
    case evaluation
    /// It takes more than it may.
    case cost
  }

  package let reason: Reason
  package let message: String

  package init(_ reason: Reason, _ message: String) { (self.reason, self.message) = (reason, message) }

  static func evaluation(_ message: String) -> CELProblem { CELProblem(.evaluation, message) }

  /// A mistake in an expression, with the line it stands in and a mark under its place.
  static func compilation(_ message: String, _ source: String, at offset: Int) -> CELProblem {
    var (line, column, number) = ("", 0, 1)
    for (place, character) in source.unicodeScalars.enumerated() {
      if character == "\n" {
        if place >= offset { break }
        (line, column, number) = ("", 0, number + 1)
        continue
      }
      if place < offset { column += 1 }
      line.unicodeScalars.append(character)
    }
    return CELProblem(
      .compilation,
      "ERROR: <input>:\(number):\(column + 1): \(message)\n | \(line)\n | \(String(repeating: ".", count: column))^")
  }

  package var description: String { message }
}
