import CRIClient
import Kernel

/// An error as a person gets it: what happened, what to do, and the exit code.
struct Failure: Error, Equatable {
  static let failureCode: Int32 = 1
  static let usageCode: Int32 = 2
  static let notFoundCode: Int32 = 3
  static let unreachableCode: Int32 = 4

  var message: String
  var hint: String?
  var code: Int32 = failureCode

  init(_ message: String, hint: String? = nil, code: Int32 = failureCode) {
    self.message = message
    self.hint = hint
    self.code = code
  }

  /// The failure that an error of a room below means; nil for what is not ours.
  init?(_ error: any Error) {
    switch error {
    case let failure as Failure: self = failure
    case let error as CRIError: self.init(cri: error)
    case let error as StreamingClientError: self.init("stream: \(error)")
    case let error as SyscallError: self.init("\(error)")
    case is CancellationError: self.init("interrupted", code: 130)
    default: return nil
    }
  }

  private init(cri error: CRIError) {
    switch error.code {
    case .unavailable:
      self = .noDaemon(nil, error.message)
    case .notFound:
      self.init(error.message, hint: "see what is there: martlet ps -a, martlet image ls", code: Self.notFoundCode)
    case .deadlineExceeded:
      self.init("\(error.call): no answer in time: \(error.message)")
    case .unimplemented:
      self.init("\(error.call): this daemon does not know the call", hint: "compare versions: martlet version")
    case .cancelled:
      self.init("interrupted", code: 130)
    default:
      self.init("\(error.call): \(error.message)")
    }
  }

  static func noDaemon(_ socket: String?, _ reason: String) -> Failure {
    let place = socket.map { " at \($0)" } ?? ""
    return Failure(
      "cannot reach martletd\(place): \(reason)",
      hint: """
        start it with: sudo martletd    (as a service: sudo systemctl start martletd)
        it listens elsewhere? name the place: martlet --socket PATH …, or --run DIRECTORY
        """,
      code: unreachableCode)
  }
}
