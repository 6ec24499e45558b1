import JSON
import KubeModel
import Synchronization

/// What admission wants the client to be told besides the answer.
final class AdmissionNotes: Sendable {
  /// Warnings told of one request.
  private static let warningsMax = 20

  private let list = Mutex<[String]>([])

  var warnings: [String] { list.withLock { $0 } }

  func warn(_ text: String) {
    list.withLock { if $0.count < Self.warningsMax, !$0.contains(text) { $0.append(text) } }
  }

  /// For the audit log, where there is one.
  /// - Parameter appends: to a list that is there already.
  func annotate(_ key: String, _ value: String, appends: Bool = false) {
    AuditAnnotations.current?.set(key, value, appends: appends)
  }
}

/// What admission adds to the event of a request in the audit log.
final class AuditAnnotations: Sendable {
  /// Of the request that is being answered; nil where nothing is written down.
  @TaskLocal static var current: AuditAnnotations?

  /// Annotations of one event.
  private static let annotationsMax = 100

  private let values = Mutex<[String: String]>([:])

  var all: [String: String] { values.withLock { $0 } }

  func set(_ key: String, _ value: String, appends: Bool) {
    values.withLock { values in
      guard let known = values[key] else {
        if values.count < Self.annotationsMax { values[key] = value }
        return
      }
      // Lists in JSON: what one found stands beside what another did.
      if appends, known.hasSuffix("]"), value.hasPrefix("[") {
        values[key] = known.dropLast() + "," + value.dropFirst()
      }
    }
  }
}

/// What has been admitted against quotas and is not in the store yet, and what the pods of namespaces with quotas use.
///
/// Counting and admitting is one step under its lock, so that objects made at the same time cannot exceed a quota
/// together.
final class QuotaLedger: Sendable {
  /// Seconds after which an object that was admitted and never appeared counts no more.
  static let pendingSeconds: Int64 = 5
  /// Objects that are admitted and not stored yet.
  static let pendingMax = 10_000

  struct Pending {
    let key: String
    let amounts: [String: QuotaUsage.Amounts]
    let until: Int64
  }

  struct State {
    /// By namespace.
    var pending: [String: [Pending]] = [:]
    /// By the key of a quota: what each pod counts for, by its key and revision. What is not counted is empty.
    var pods: [String: [String: (revision: Int64, amounts: QuotaUsage.Amounts)]] = [:]
  }

  private let state = Mutex<State>(State())

  func withLock<Result>(_ body: (inout State) throws(APIStatus) -> Result) throws(APIStatus) -> Result {
    try state.withLock { (state) throws(APIStatus) in try body(&state) }
  }
}
