internal import GRPCCore
internal import ImageStore
internal import Kernel
internal import Logging
internal import OCISpec
package import PodRuntime

/// The one table from our errors to gRPC's statuses, and the wrapper that every call goes through.
package enum RPCStatus {
  static func code(_ code: PodRuntime.RuntimeError.Code) -> RPCError.Code {
    switch code {
    case .invalidArgument: .invalidArgument
    case .notFound: .notFound
    case .alreadyExists: .alreadyExists
    case .failedPrecondition: .failedPrecondition
    case .unsupported: .unimplemented
    case .resourceExhausted: .resourceExhausted
    case .deadlineExceeded: .deadlineExceeded
    case .cancelled: .cancelled
    case .unavailable: .unavailable
    case .denied: .permissionDenied
    case .corrupt: .dataLoss
    case .failed: .internalError
    }
  }

  /// What a room below says, in the runtime's terms.
  package static func runtimeError(_ error: any Error, stage: String, subject: String) -> PodRuntime.RuntimeError {
    switch error {
    case let error as PodRuntime.RuntimeError: error
    case let error as RequestRefusal: error.asRuntimeError(stage, subject)
    case let error as ImageError:
      PodRuntime.RuntimeError(code(of: error), stage: stage, subject: subject, cause: error)
    case let error as ImageSpecError where error.code == .invalid:
      PodRuntime.RuntimeError(.invalidArgument, stage: stage, subject: subject, cause: error)
    default: PodRuntime.RuntimeError.wrap(error, stage: stage, subject: subject)
    }
  }

  private static func code(of error: ImageError) -> PodRuntime.RuntimeError.Code {
    switch error.code {
    case .invalid: .invalidArgument
    case .unsupported: .unsupported
    case .notFound: .notFound
    case .inUse: .failedPrecondition
    case .corrupt: .corrupt
    case .denied: .denied
    case .unavailable: .unavailable
    case .exhausted: .resourceExhausted
    case .cancelled: .cancelled
    case .internalError: .failed
    }
  }
}

/// Runs the body of a call: names and logs what goes wrong, and logs at debug level what took how long.
struct CallLog: Sendable {
  let log: Logger

  /// Characters of a request's own texts that are repeated in the log and in answers: a hostile id is megabytes long.
  static let subjectMax = 256
  static let messageMax = 4096

  func answer<R: Sendable>(
    _ call: String, _ subject: String = "", _ body: () async throws -> R
  ) async throws(RPCError) -> R {
    let start = SystemClock.bootNanoseconds
    let subject = String(subject.prefix(Self.subjectMax))
    do {
      let result = try await body()
      log.debug(
        "\(call)", metadata: ["subject": "\(subject)", "us": "\((SystemClock.bootNanoseconds - start) / 1000)"])
      return result
    } catch {
      if let error = error as? RPCError { throw error }
      let failure = RPCStatus.runtimeError(error, stage: call, subject: subject)
      let level: Logger.Level = failure.code == .notFound || failure.code == .cancelled ? .debug : .warning
      log.log(
        level: level, "\(call) failed",
        metadata: ["subject": "\(subject)", "code": "\(failure.code)", "error": "\(Self.cut(failure.description))"])
      throw RPCError(code: RPCStatus.code(failure.code), message: Self.cut(failure.description))
    }
  }

  static func cut(_ text: String) -> String {
    text.utf8.count <= messageMax ? text : "\(text.prefix(messageMax)) … (cut)"
  }

  static func unimplemented(_ call: String, _ why: String) -> RPCError {
    RPCError(code: .unimplemented, message: "\(call): \(why)")
  }
}
