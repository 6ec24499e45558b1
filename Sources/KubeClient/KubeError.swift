package import JSON
package import KubeModel

/// Why a call to the API did not do what was asked.
///
/// Either the server answered with a Status, whose words are kept, or the exchange itself failed and `failure` says how.
package struct KubeError: Error, Hashable, Sendable, CustomStringConvertible {
  package enum Failure: Hashable, Sendable {
    /// The server answered; `code`, `reason`, `message` and `details` are its own.
    case status
    /// No connection, or it broke. `wasSent` is false where the server cannot have seen the request.
    case connection(wasSent: Bool)
    case timeout
    case cancelled
    /// An answer that cannot be understood.
    case answer
    /// More bytes than this client takes.
    case tooLarge
    /// Credentials or addresses of this client that cannot be used.
    case configuration
  }

  package let failure: Failure
  /// The HTTP status; 0 where there was no answer.
  package let code: Int
  /// Kubernetes' word for it, such as `NotFound`; empty where the server gave none.
  package let reason: String
  package let message: String
  package let details: StatusDetails?
  /// What was being done: `GET /api/v1/pods`.
  package var call: String

  package init(
    _ failure: Failure, code: Int = 0, reason: String = "", message: String, details: StatusDetails? = nil,
    call: String = ""
  ) {
    self.failure = failure
    self.code = code
    self.reason = reason
    self.message = message
    self.details = details
    self.call = call
  }

  package var description: String {
    let what = message.isEmpty ? (reason.isEmpty ? "answered \(code)" : reason) : message
    return call.isEmpty ? what : "\(call): \(what)"
  }

  package var isNotFound: Bool { failure == .status && code == 404 }
  package var isAlreadyExists: Bool { failure == .status && code == 409 && reason == "AlreadyExists" }
  /// The object has changed since it was read; read it again.
  package var isConflict: Bool { failure == .status && code == 409 && reason != "AlreadyExists" }
  /// The revision or the continue token is no longer kept; list again.
  package var isGone: Bool { failure == .status && (code == 410 || reason == "Expired" || reason == "Gone") }
  package var isForbidden: Bool { failure == .status && code == 403 }
  package var isInvalid: Bool { failure == .status && code == 422 }
  package var isCancelled: Bool { failure == .cancelled }

  package var retryAfterSeconds: Int? { details?.retryAfterSeconds.map { Int($0) } }

  static func cancelled(_ call: String) -> KubeError { KubeError(.cancelled, message: "cancelled", call: call) }
}

extension KubeError {
  /// What a Status document says, of an answer or of an ERROR event; other documents are quoted shortly.
  package init(status document: JSONValue?, code: Int, retryAfter: String? = nil, text: String = "", call: String) {
    guard let document, document["kind"]?.string == "Status" else {
      let said = text.isEmpty ? "" : ": \(String(text.prefix(300)))"
      self.init(
        .status, code: code, message: "the server answered \(code)\(said)", details: Self.details(retryAfter),
        call: call)
      return
    }
    // What cannot be read of it is left out: the refusal itself must come through.
    var decoder = FieldDecoder()
    let status = Status(document, &decoder)
    var details = status.details
    if details?.retryAfterSeconds == nil, let after = Self.details(retryAfter)?.retryAfterSeconds {
      details = details ?? StatusDetails()
      details?.retryAfterSeconds = after
    }
    self.init(
      .status, code: status.code.map { Int($0) } ?? code, reason: status.reason ?? "", message: status.message ?? "",
      details: details, call: call)
  }

  private static func details(_ retryAfter: String?) -> StatusDetails? {
    guard let seconds = retryAfter.flatMap({ Int32($0) }), seconds >= 0 else { return nil }
    var details = StatusDetails()
    details.retryAfterSeconds = seconds
    return details
  }
}
