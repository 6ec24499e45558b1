internal import CSQLite

/// The database and the place where SQLite's commit hook counts; closed when the connection and all its statements are
/// gone.
@safe final class SQLiteHandle {
  let raw: OpaquePointer
  let path: String
  /// Written by the hook, during calls of this connection only.
  let logPages: UnsafeMutablePointer<CInt>

  init(adopting raw: OpaquePointer, path: String) {
    unsafe self.raw = raw
    self.path = path
    unsafe logPages = .allocate(capacity: 1)
    unsafe logPages.initialize(to: 0)
    // Safe: the counter is freed after the connection is closed.
    unsafe csqlite_count_log_pages(raw, logPages)
  }

  deinit {
    // Every statement holds this object, so none is left and the close cannot be refused.
    unsafe sqlite3_close(raw)
    unsafe logPages.deallocate()
  }

  func error(_ call: String, _ subject: String, _ code: Int32) -> SQLiteError {
    let message = unsafe sqlite3_errmsg(raw).map { unsafe String(cString: $0) }
    return SQLiteError(call: call, subject: subject, code: code, message: message)
  }
}

/// A connection to one database file. Used by one thread at a time; every call blocks on the disk.
package struct SQLiteConnection: ~Copyable {
  package enum Access: Hashable, Sendable { case readOnly, readWrite }

  private let handle: SQLiteHandle

  /// Opens an existing file; an empty one becomes a database with the first write.
  /// - Parameter busyMilliseconds: how long a call waits for other connections.
  package init(path: String, access: Access, busyMilliseconds: Int32) throws(SQLiteError) {
    let mode = access == .readOnly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE
    let flags = mode | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE | SQLITE_OPEN_NOFOLLOW
    var raw: OpaquePointer?
    let code = unsafe sqlite3_open_v2(path, &raw, flags, nil)
    guard code == SQLITE_OK, let opened = unsafe raw else {
      // SQLite hands out a connection even where it fails.
      unsafe sqlite3_close(raw)
      throw SQLiteError(call: "open", subject: path, code: code)
    }
    unsafe handle = SQLiteHandle(adopting: opened, path: path)
    _ = unsafe sqlite3_busy_timeout(opened, busyMilliseconds)
  }

  /// Runs statements that give no rows, or whose rows do not matter.
  package borrowing func execute(_ sql: String) throws(SQLiteError) {
    let code = unsafe sqlite3_exec(handle.raw, sql, nil, nil, nil)
    if code != SQLITE_OK { throw handle.error("execute", sql, code) }
  }

  package borrowing func prepare(_ sql: String) throws(SQLiteError) -> SQLiteStatement {
    try SQLiteStatement(handle, sql)
  }

  /// The first column of the first row, as an integer; nil where there is no row.
  package borrowing func integer(_ sql: String) throws(SQLiteError) -> Int64? {
    let statement = try prepare(sql)
    return try statement.step() ? statement.integer(0) : nil
  }

  /// The first column of the first row, as text; nil where there is no row.
  package borrowing func text(_ sql: String) throws(SQLiteError) -> String? {
    let statement = try prepare(sql)
    return try statement.step() ? statement.text(0) : nil
  }

  /// Whether a transaction is open. SQLite ends it by itself on some errors.
  package var isInTransaction: Bool { unsafe sqlite3_get_autocommit(handle.raw) == 0 }

  /// Pages in the write-ahead log that wait to be copied, as of this connection's last commit.
  package var logPages: Int { Int(unsafe handle.logPages.pointee) }

  package enum Checkpoint: Hashable, Sendable {
    /// Copies what no reader is in the way of.
    case passive
    /// Waits for readers, copies everything and empties the log file.
    case truncate
  }

  /// Copies the write-ahead log into the database file, and syncs both.
  /// - Returns: whether all of the log was copied.
  package borrowing func checkpoint(_ mode: Checkpoint) throws(SQLiteError) -> Bool {
    var pages: CInt = 0
    var copied: CInt = 0
    let raw = mode == .passive ? SQLITE_CHECKPOINT_PASSIVE : SQLITE_CHECKPOINT_TRUNCATE
    let code = unsafe sqlite3_wal_checkpoint_v2(handle.raw, nil, raw, &pages, &copied)
    if code & 0xff == SQLITE_BUSY { return false }
    if code != SQLITE_OK { throw handle.error("checkpoint", handle.path, code) }
    // What was copied whole is begun anew by the next commit.
    if pages == copied { unsafe handle.logPages.pointee = 0 }
    return pages == copied
  }
}
