/// Why a patch was not applied, in the words that users of kubectl know.
package struct PatchError: Error, Hashable, Sendable, CustomStringConvertible {
  package enum Code: Hashable, Sendable {
    /// The patch itself is wrong: 400.
    case malformed
    /// The patch does not fit the object, such as a test that failed or a path that is not there: 422.
    case notApplicable
  }
  package let code: Code
  package let message: String

  package init(_ code: Code, _ message: String) { (self.code, self.message) = (code, message) }

  package var description: String { message }
}
