internal import CSQLite

/// A prepared statement; keeps its connection open. Columns and parameters are numbered as SQLite does: columns from 0,
/// parameters from 1.
@safe package struct SQLiteStatement: ~Copyable {
  private let handle: SQLiteHandle
  private let raw: OpaquePointer
  private let sql: String

  init(_ handle: SQLiteHandle, _ sql: String) throws(SQLiteError) {
    var raw: OpaquePointer?
    let code = unsafe sqlite3_prepare_v3(handle.raw, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &raw, nil)
    guard code == SQLITE_OK, let prepared = unsafe raw else { throw handle.error("prepare", sql, code) }
    self.handle = handle
    unsafe self.raw = prepared
    self.sql = sql
  }

  deinit { unsafe sqlite3_finalize(raw) }

  package borrowing func bind(_ index: Int32, _ value: Int64) throws(SQLiteError) {
    try check("bind", unsafe sqlite3_bind_int64(raw, index, value))
  }

  package borrowing func bind(_ index: Int32, _ value: String) throws(SQLiteError) {
    var value = value
    // Safe: SQLite copies the bytes before it returns.
    let code = value.withUTF8 { bytes in
      unsafe bytes.withMemoryRebound(to: CChar.self) {
        unsafe csqlite_bind_text(raw, index, $0.baseAddress, UInt64($0.count))
      }
    }
    try check("bind", code)
  }

  package borrowing func bind(_ index: Int32, _ value: [UInt8]) throws(SQLiteError) {
    // Safe: SQLite copies the bytes before it returns.
    let code = unsafe value.withUnsafeBytes { unsafe csqlite_bind_blob(raw, index, $0.baseAddress, UInt64($0.count)) }
    try check("bind", code)
  }

  /// Goes to the next row; false after the last one.
  package borrowing func step() throws(SQLiteError) -> Bool {
    switch unsafe sqlite3_step(raw) {
    case SQLITE_ROW: return true
    case SQLITE_DONE: return false
    case let code: throw handle.error("step", sql, code)
    }
  }

  /// Steps through to the end and makes the statement ready for the next values.
  package borrowing func run() throws(SQLiteError) {
    do throws(SQLiteError) {
      while try step() {}
    } catch {
      reset()
      throw error
    }
    reset()
  }

  /// Ready for the next values; ends the read that the statement holds.
  package borrowing func reset() { _ = unsafe sqlite3_reset(raw) }

  package borrowing func integer(_ column: Int32) -> Int64 { unsafe sqlite3_column_int64(raw, column) }

  /// Whether the column holds an integer, and not text, bytes or nothing.
  package borrowing func isInteger(_ column: Int32) -> Bool {
    unsafe sqlite3_column_type(raw, column) == SQLITE_INTEGER
  }

  package borrowing func text(_ column: Int32) -> String {
    guard let bytes = unsafe sqlite3_column_text(raw, column) else { return "" }
    // Safe: the bytes stay until the next step; this copies them.
    let count = Int(unsafe sqlite3_column_bytes(raw, column))
    return unsafe String(decoding: UnsafeBufferPointer(start: bytes, count: count), as: UTF8.self)
  }

  package borrowing func bytes(_ column: Int32) -> [UInt8] {
    guard let bytes = unsafe sqlite3_column_blob(raw, column) else { return [] }
    // Safe: the bytes stay until the next step; this copies them.
    let count = Int(unsafe sqlite3_column_bytes(raw, column))
    return unsafe Array(UnsafeRawBufferPointer(start: bytes, count: count))
  }

  private borrowing func check(_ call: String, _ code: Int32) throws(SQLiteError) {
    if code != SQLITE_OK { throw handle.error(call, sql, code) }
  }
}
