/// Why an expression cannot be read or evaluated.
package struct CELProblem: Error, Hashable, Sendable, CustomStringConvertible {
  package let message: String

  package init(_ message: String) { self.message = message }

  package var description: String { message }
}
