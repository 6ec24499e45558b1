internal import GRPCCore
internal import ObjectStore

/// Why etcd did not do what was asked.
struct EtcdFailure: Error, CustomStringConvertible {
  enum Kind: Hashable {
    /// The revision asked for is compacted, or has not happened.
    case outOfRange
    /// The request itself is more than this etcd takes.
    case refused
    /// Its disk or its quota is full.
    case full
    case busy
    /// It does not let us.
    case denied
    /// No answer, or one that tells nothing: what was asked may have happened, or may still happen.
    case unanswered
  }

  let kind: Kind
  /// Call, server, reason.
  let description: String

  init(_ kind: Kind, _ description: String) {
    self.kind = kind
    self.description = description
  }

  init(_ error: any Error, call: String, server: String) {
    switch error {
    case let error as EtcdFailure: self = error
    case let error as RPCError:
      let cause = error.cause.map { ": \($0)" } ?? ""
      self.init(Self.kind(error), "\(call) at \(server): \(error.message)\(cause) (\(error.code))")
    default: self.init(.unanswered, "\(call) at \(server): \(error)")
    }
  }

  /// etcd gives one code to several of its errors, and its clients know them by these words.
  private static let wordsOfNoSpace = "database space exceeded"
  private static let wordsOfHaste = "too many requests"

  private static func kind(_ error: RPCError) -> Kind {
    switch error.code {
    case .outOfRange: .outOfRange
    case .invalidArgument, .unimplemented: .refused
    case .permissionDenied, .unauthenticated: .denied
    case .resourceExhausted:
      error.message.contains(wordsOfNoSpace) ? .full : error.message.contains(wordsOfHaste) ? .busy : .refused
    default: .unanswered
    }
  }

  /// For a write that certainly did not happen.
  var refusal: StoreError {
    switch kind {
    case .refused: .invalid("etcd refuses it (\(description)); see its --max-request-bytes and --max-txn-ops")
    case .full: .full(description)
    case .busy: .overloaded(description)
    case .denied: .io("\(description); check the certificate that etcd is shown")
    case .outOfRange, .unanswered: .io(description)
    }
  }
}
