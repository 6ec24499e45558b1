internal import PodRuntime

/// A request that cannot be done, with the field that says so.
package struct RequestRefusal: Error, Hashable, Sendable, CustomStringConvertible {
  package var field: String
  package var problem: String
  /// Well formed, and not something that Martlet does.
  package var isUnsupported: Bool

  private init(field: String, problem: String, isUnsupported: Bool) {
    self.field = field
    self.problem = problem
    self.isUnsupported = isUnsupported
  }

  package static func invalid(_ field: String, _ problem: String) -> RequestRefusal {
    RequestRefusal(field: field, problem: problem, isUnsupported: false)
  }

  package static func unsupported(_ field: String, _ problem: String = "is not supported") -> RequestRefusal {
    RequestRefusal(field: field, problem: problem, isUnsupported: true)
  }

  package var description: String { "\(field): \(problem)" }

  func asRuntimeError(_ stage: String, _ subject: String) -> RuntimeError {
    RuntimeError(isUnsupported ? .unsupported : .invalidArgument, stage: stage, subject: subject, cause: self)
  }
}
