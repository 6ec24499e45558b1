internal import CSQLite

/// A call to SQLite that failed: which, on what, and how.
///
/// Prints as `step(INSERT INTO log): database or disk is full (13)`.
package struct SQLiteError: Error, Hashable, CustomStringConvertible {
  /// What callers branch on.
  package enum Kind: Hashable, Sendable {
    /// The disk is full, or the database has reached its page limit.
    case full
    case io
    /// The file is damaged.
    case corrupt
    /// The file is no SQLite database.
    case notADatabase
    /// Another connection is in the way.
    case busy
    case cannotOpen
    case other
  }

  package let kind: Kind
  package let call: String
  package let subject: String
  /// SQLite's extended result code.
  package let code: Int32
  package let message: String

  init(call: String, subject: String, code: Int32, message: String? = nil) {
    self.call = call
    self.subject = subject
    self.code = code
    self.message = message ?? Self.text(of: code)
    kind =
      switch code & 0xff {
      case SQLITE_FULL: .full
      case SQLITE_IOERR: .io
      case SQLITE_CORRUPT: .corrupt
      case SQLITE_NOTADB: .notADatabase
      case SQLITE_BUSY, SQLITE_LOCKED: .busy
      case SQLITE_CANTOPEN, SQLITE_READONLY, SQLITE_PERM: .cannotOpen
      default: .other
      }
  }

  private static func text(of code: Int32) -> String {
    guard let text = unsafe sqlite3_errstr(code) else { return "unknown error" }
    return unsafe String(cString: text)
  }

  package var description: String { "\(call)(\(subject)): \(message) (\(code))" }
}
