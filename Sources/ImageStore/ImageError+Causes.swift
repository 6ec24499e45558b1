internal import Kernel
import OCISpec

extension ImageError {
  /// What went wrong below, in the store's terms; the cause is kept.
  init(_ cause: any Error, stage: String, subject: String) {
    let (code, detail) = Self.reading(cause)
    self.init(code, stage: stage, subject: subject, detail, cause: cause)
  }

  /// Passes the store's own errors on as they are.
  static func wrap(_ cause: any Error, stage: String, subject: String) -> ImageError {
    cause as? ImageError ?? ImageError(cause, stage: stage, subject: subject)
  }

  private static func reading(_ cause: any Error) -> (Code, String) {
    switch cause {
    case let error as any ImageSourceFailure: return (code(error.failureKind), "\(error)")
    case let error as ImageSpecError:
      let code: Code =
        switch error.code {
        case .invalid, .tooLarge: .invalid
        case .unsupported, .noMatch: .unsupported
        }
      return (code, "\(error)")
    case let error as ArchiveError:
      let code: Code =
        switch error.code {
        case .corrupt: .corrupt
        case .refused: .invalid
        case .tooLarge, .noSpace: .exhausted
        case .stopped: .cancelled
        case .system: .internalError
        }
      return (code, "\(error)")
    case let error as SyscallError where error.errno == Errno.noSpace:
      return (.exhausted, "\(error); free space or inodes, then try again")
    case let error as SyscallError where error.errno == Errno.noEntry: return (.notFound, "\(error)")
    case is CancellationError: return (.cancelled, "was cancelled")
    default: return (.internalError, "\(cause)")
    }
  }

  private static func code(_ kind: ImageSourceFailureKind) -> Code {
    switch kind {
    case .notFound: .notFound
    case .denied: .denied
    case .unavailable: .unavailable
    case .invalid: .invalid
    case .unsupported: .unsupported
    case .corrupt: .corrupt
    case .tooLarge: .exhausted
    case .cancelled: .cancelled
    }
  }
}
