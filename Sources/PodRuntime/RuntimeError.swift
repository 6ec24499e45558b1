/// What a request to the runtime failed with.
///
/// `code` is what callers branch on, and the one table in CRIServer that names gRPC statuses reads nothing else.
/// `stage` is the step ("create pod cgroup"), `subject` the thing it was about, `cause` the typed error below it.
package struct RuntimeError: Error, Sendable, CustomStringConvertible {
  package enum Code: String, Sendable, CaseIterable {
    /// The request can never succeed as it is.
    case invalidArgument
    /// No object of that id.
    case notFound
    /// The name is taken by an object of another configuration.
    case alreadyExists
    /// The object is in a state that does not allow this.
    case failedPrecondition
    /// Asked for something that Martlet does not do.
    case unsupported
    /// The node lacks what was asked: a controller, memory, a free address.
    case resourceExhausted
    /// A bounded wait ran out.
    case deadlineExceeded
    /// The request was abandoned by its caller.
    case cancelled
    /// The runtime is starting or stopping; the same request can succeed later.
    case unavailable
    /// Somebody else (a registry) refuses the caller.
    case denied
    /// Bytes are not what their digest or format says.
    case corrupt
    /// A step failed that should not have.
    case failed
  }

  package var code: Code
  package var stage: String
  package var subject: String
  package var cause: any Error

  package init(_ code: Code, stage: String, subject: String, cause: any Error) {
    self.code = code
    self.stage = stage
    self.subject = subject
    self.cause = cause
  }

  /// For what no lower error says.
  package init(_ code: Code, stage: String, subject: String, reason: String) {
    self.init(code, stage: stage, subject: subject, cause: Reason(reason))
  }

  package var description: String {
    subject.isEmpty ? "\(stage): \(cause)" : "\(stage) (\(subject)): \(cause)"
  }

  /// A cause that is a fact of ours and not an error from below.
  package struct Reason: Error, Sendable, CustomStringConvertible {
    package var description: String
    package init(_ description: String) { self.description = description }
  }

  /// `error` as it is where it already is one, else wrapped with the step that met it.
  package static func wrap(_ error: any Error, stage: String, subject: String, code: Code = .failed) -> RuntimeError {
    if let own = error as? RuntimeError { return own }
    if error is CancellationError { return RuntimeError(.cancelled, stage: stage, subject: subject, cause: error) }
    return RuntimeError(code, stage: stage, subject: subject, cause: error)
  }
}
