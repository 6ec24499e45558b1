internal import GRPCCore

/// A call over the CRI socket that did not succeed.
///
/// Machines branch on `code`; people read `description`, which names the call, the code and the server's reason.
package struct CRIError: Error, Equatable, Sendable, CustomStringConvertible {
  /// The gRPC status codes, by name.
  package enum Code: String, Sendable {
    case cancelled, unknown, invalidArgument, deadlineExceeded, notFound, alreadyExists, permissionDenied
    case resourceExhausted, failedPrecondition, aborted, outOfRange, unimplemented, internalError, unavailable
    case dataLoss, unauthenticated
  }

  package var code: Code
  /// What the server said; where there is no server, which socket was tried.
  package var message: String
  /// As "RunPodSandbox".
  package var call: String

  package init(code: Code, message: String, call: String) {
    self.code = code
    self.message = message
    self.call = call
  }

  package var description: String { "\(call): \(message) (\(code.rawValue))" }
}

extension CRIError {
  /// Names what a gRPC client throws: `RPCError`, `RuntimeError` of the transport, cancellation.
  init(_ error: any Error, call: String, socketPath: String) {
    switch error {
    case let error as CRIError:
      self = error
    case let error as RPCError:
      let code = Code(error.code)
      // The reason of a failed connection sits in the cause; the message alone says only that no channel is ready. What
      // the server says has no cause, also where it calls something else unavailable: a registry, say.
      guard let cause = error.cause else {
        self.init(code: code, message: error.message, call: call)
        return
      }
      let reason = "\(error.message): \(cause)"
      self.init(
        code: code, message: code == .unavailable ? "no answer at \(socketPath): \(reason)" : reason, call: call)
    case is CancellationError:
      self.init(code: .cancelled, message: "cancelled by this client", call: call)
    default:
      self.init(code: .unavailable, message: "no answer at \(socketPath): \(error)", call: call)
    }
  }
}

extension CRIError.Code {
  init(_ code: RPCError.Code) {
    switch code {
    case .cancelled: self = .cancelled
    case .invalidArgument: self = .invalidArgument
    case .deadlineExceeded: self = .deadlineExceeded
    case .notFound: self = .notFound
    case .alreadyExists: self = .alreadyExists
    case .permissionDenied: self = .permissionDenied
    case .resourceExhausted: self = .resourceExhausted
    case .failedPrecondition: self = .failedPrecondition
    case .aborted: self = .aborted
    case .outOfRange: self = .outOfRange
    case .unimplemented: self = .unimplemented
    case .internalError: self = .internalError
    case .unavailable: self = .unavailable
    case .dataLoss: self = .dataLoss
    case .unauthenticated: self = .unauthenticated
    default: self = .unknown
    }
  }
}
