internal import Kernel
internal import SQLite

/// The log in its file, on the writer's side. Every call blocks on the disk.
///
/// One row a change, never altered: rows are added at the end, and compaction takes away those that no readable revision
/// needs. The row's number is its `LogPosition`; `previous` is the number of the row that it replaces, 0 where there was
/// none, which is how compaction finds what is superseded without looking for it.
final class LogDatabase {
  /// Of the file's header: "MART".
  private static let applicationID: Int64 = 0x4D41_5254
  private static let schemaVersion: Int64 = 1
  /// Bytes that the write-ahead log keeps of its file after it was copied away.
  private static let logBytesKept = 16 << 20
  private static let busyMilliseconds: Int32 = 2000

  let path: String
  /// Held as long as the file is open.
  private let lock: OwnedFD
  private let connection: SQLiteConnection
  private let insert: SQLiteStatement
  private let setNumber: SQLiteStatement
  private let compactable: SQLiteStatement
  private let remove: SQLiteStatement
  let sealing: StoreSealing?
  /// Past revisions from this one on are whole.
  private(set) var oldest: Int64
  /// Rows up to this one have been looked at by compaction.
  private var compactedThrough: LogPosition
  /// Log pages at the last checkpoint that a reader cut short.
  private var pagesAtBlockedCheckpoint = 0

  /// Opens or makes the store's files in `directory`.
  init(directory: String, sealing: StoreSealing? = nil) throws(StoreError) {
    self.sealing = sealing
    path = "\(directory)/store.db"
    do throws(SyscallError) {
      lock = try Self.prepare(directory, path)
    } catch {
      if error.errno == Errno.again { throw .locked(path: directory) }
      throw .io("open \(path): \(error)")
    }
    do throws(SQLiteError) {
      connection = try SQLiteConnection(path: path, access: .readWrite, busyMilliseconds: Self.busyMilliseconds)
    } catch {
      throw StoreError(opening: path, error)
    }
    try Self.check(connection, path)
    do throws(SQLiteError) {
      // What was readable before it was sealed leaves no trace in free pages.
      if sealing?.erases == true { try connection.execute("PRAGMA secure_delete = ON") }
      insert = try connection.prepare(
        "INSERT INTO log (id, key, created, previous, deleted, value) VALUES (?, ?, ?, ?, ?, ?)")
      setNumber = try connection.prepare("UPDATE numbers SET value = ? WHERE name = ?")
      compactable = try connection.prepare(
        "SELECT id, previous, deleted FROM log WHERE id > ? AND id < ? ORDER BY id LIMIT ?")
      remove = try connection.prepare("DELETE FROM log WHERE id = ?")
      oldest = try connection.integer("SELECT value FROM numbers WHERE name = 'oldest'") ?? 0
      compactedThrough = LogPosition(
        rawValue: try connection.integer("SELECT value FROM numbers WHERE name = 'compacted'") ?? 0)
    } catch {
      throw StoreError(opening: path, error)
    }
  }

  /// Makes directory and file where they are missing, for the owner's eyes only, and takes the lock.
  private static func prepare(_ directory: String, _ path: String) throws(SyscallError) -> OwnedFD {
    let isNew = !Files.exists(directory)
    try Files.makeDirectories(directory)
    if isNew { try Files.syncDirectory(Files.parent(of: directory)) }
    if let status = try Files.status(directory, follow: true), status.mode & 0o077 != 0 {
      try Files.chmod(directory, mode: 0o700)
    }
    let lockPath = "\(directory)/store.lock"
    let lock = try Files.open(
      lockPath, flags: OpenFlags.readWrite | OpenFlags.create | OpenFlags.noFollow, mode: 0o600)
    try lock.lockExclusively(lockPath)
    // SQLite gives its other files the mode of this one.
    _ = try Files.open(path, flags: OpenFlags.readWrite | OpenFlags.create | OpenFlags.noFollow, mode: 0o600)
    if let status = try Files.status(path), status.mode & 0o077 != 0 { try Files.chmod(path, mode: 0o600) }
    try Files.syncDirectory(directory)
    return lock
  }

  /// Sees to it that the file is ours, that we can read it, and that a commit is on the disk when it returns.
  private static func check(_ connection: borrowing SQLiteConnection, _ path: String) throws(StoreError) {
    do {
      let application = try connection.integer("PRAGMA application_id") ?? 0
      let tables = try connection.integer("SELECT count(*) FROM sqlite_schema") ?? 0
      let isNew = application == 0 && tables == 0
      if !isNew {
        if application != applicationID {
          throw StoreError.foreign(path: path, reason: "a database of another program")
        }
        let version = try connection.integer("PRAGMA user_version") ?? 0
        if version > schemaVersion {
          throw StoreError.newer(path: path, version: version, supported: schemaVersion)
        }
      }
      // Pages given back by compaction can leave the file; to be set before the first page is written.
      if isNew { try connection.execute("PRAGMA auto_vacuum = INCREMENTAL") }
      let mode = try connection.text("PRAGMA journal_mode = WAL")
      try connection.execute(
        """
        PRAGMA synchronous = FULL; PRAGMA cell_size_check = ON; PRAGMA trusted_schema = OFF;
        PRAGMA temp_store = MEMORY; PRAGMA cache_size = -4096; PRAGMA journal_size_limit = \(logBytesKept)
        """)
      let synchronous = try connection.integer("PRAGMA synchronous")
      let vacuum = try connection.integer("PRAGMA auto_vacuum")
      guard mode == "wal", synchronous == 2, vacuum == 2 else {
        throw StoreError.io(
          "open \(path): no durable commits (journal_mode \(mode ?? "none"), synchronous \(synchronous ?? -1), "
            + "auto_vacuum \(vacuum ?? -1)); use a local file system")
      }
      if isNew { try create(connection) }
    } catch let error as SQLiteError {
      throw StoreError(opening: path, error)
    } catch let error as StoreError {
      throw error
    } catch {
      throw .io("open \(path): \(error)")
    }
  }

  private static func create(_ connection: borrowing SQLiteConnection) throws(SQLiteError) {
    // `value` comes last, so that its long ones need not be read for what is before it.
    try connection.execute(
      """
      BEGIN IMMEDIATE;
      CREATE TABLE log (id INTEGER PRIMARY KEY, key TEXT NOT NULL, created INTEGER NOT NULL,
        previous INTEGER NOT NULL, deleted INTEGER NOT NULL, value BLOB NOT NULL);
      CREATE INDEX log_key ON log (key, id, deleted);
      CREATE TABLE numbers (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
      INSERT INTO numbers VALUES ('oldest', 0), ('compacted', 0);
      PRAGMA application_id = \(applicationID);
      PRAGMA user_version = \(schemaVersion);
      COMMIT;
      """)
  }

  // MARK: Changes

  /// Adds changes to the end of the log, all or none; they are on the disk when it returns.
  func append(_ changes: [Change]) throws(StoreError) {
    var values: [[UInt8]] = []
    for change in changes {
      let object = change.object
      guard let value = change.isDelete ? [] : sealing.map({ $0.seal(object.key, object.value) }) ?? object.value else {
        throw .io("append revision \(object.revision): \(object.key) cannot be encrypted")
      }
      values.append(value)
    }
    try transaction("append revision \(changes.last?.object.revision ?? 0)") { () throws(SQLiteError) in
      for (change, value) in zip(changes, values) {
        let object = change.object
        try insert.bind(1, object.position.rawValue)
        try insert.bind(2, object.key)
        try insert.bind(3, object.createRevision)
        try insert.bind(4, change.previous?.position.rawValue ?? 0)
        try insert.bind(5, change.isDelete ? 1 : 0)
        try insert.bind(6, value)
        try insert.run()
      }
    }
  }

  private func transaction(_ stage: String, _ body: () throws(SQLiteError) -> Void) throws(StoreError) {
    do throws(SQLiteError) {
      try connection.execute("BEGIN IMMEDIATE")
      try body()
      try connection.execute("COMMIT")
    } catch {
      // SQLite may have rolled back by itself; if this fails too, nothing was committed all the same.
      if connection.isInTransaction { try? connection.execute("ROLLBACK") }
      throw StoreError(stage, error)
    }
  }

  // MARK: Compaction

  /// Forgets that revisions before `revision` can be read; the slices then take away what only they needed.
  func raiseOldest(to revision: Int64) throws(StoreError) {
    guard revision > oldest else { return }
    try transaction("compact to revision \(revision)") { () throws(SQLiteError) in
      try set("oldest", revision)
    }
    oldest = revision
  }

  /// Looks at no more than `rows` rows; whether there are more to look at.
  func compactSlice(rows: Int) throws(StoreError) -> Bool {
    let end = LogPosition(revision: oldest + 1, place: 0)
    if compactedThrough.rawValue >= end.rawValue - 1 { return false }
    var looked = 0
    var last = compactedThrough
    try transaction("compact after \(compactedThrough.revision)") { () throws(SQLiteError) in
      var superseded: [Int64] = []
      do throws(SQLiteError) {
        try compactable.bind(1, compactedThrough.rawValue)
        try compactable.bind(2, end.rawValue)
        try compactable.bind(3, Int64(rows))
        while try compactable.step() {
          looked += 1
          last = LogPosition(rawValue: compactable.integer(0))
          if compactable.integer(1) != 0 { superseded.append(compactable.integer(1)) }
          if compactable.integer(2) != 0 { superseded.append(last.rawValue) }
        }
        compactable.reset()
      } catch {
        compactable.reset()
        throw error
      }
      if looked < rows { last = LogPosition(rawValue: end.rawValue - 1) }
      for id in superseded {
        try remove.bind(1, id)
        try remove.run()
      }
      try set("compacted", last.rawValue)
    }
    compactedThrough = last
    // The write-ahead log still holds the pages as they were.
    if looked < rows, sealing?.erases == true { finish() }
    return looked == rows
  }

  private func set(_ name: String, _ value: Int64) throws(SQLiteError) {
    try setNumber.bind(1, value)
    try setNumber.bind(2, name)
    try setNumber.run()
  }

  /// Gives up to `pages` free pages back to the file system where a good part of the file is free; whether there are more.
  func vacuumSlice(pages: Int) throws(StoreError) -> Bool {
    do throws(SQLiteError) {
      let free = try connection.integer("PRAGMA freelist_count") ?? 0
      let all = try connection.integer("PRAGMA page_count") ?? 0
      // Churn needs free pages again at once; only what is left of a larger past goes.
      let surplus = free - all / 4 - 256
      if surplus <= 0 { return false }
      try connection.execute("PRAGMA incremental_vacuum(\(min(Int64(pages), surplus)))")
      return surplus > Int64(pages)
    } catch {
      throw StoreError("vacuum", error)
    }
  }

  /// Copies the write-ahead log into the database where it has grown beyond `pages`.
  func checkpoint(pages: Int) throws(StoreError) {
    let waiting = connection.logPages
    if waiting < pages {
      pagesAtBlockedCheckpoint = 0
      return
    }
    // A list of the past was in the way a moment ago: not at every commit again, and in the end by waiting for it.
    if pagesAtBlockedCheckpoint > 0 && waiting < pagesAtBlockedCheckpoint + pages / 4 { return }
    do throws(SQLiteError) {
      let isWhole = try connection.checkpoint(waiting > 8 * pages ? .truncate : .passive)
      pagesAtBlockedCheckpoint = isWhole ? 0 : waiting
    } catch {
      pagesAtBlockedCheckpoint = waiting
      throw StoreError("checkpoint", error)
    }
  }

  /// Leaves everything in the database file. Not needed for durability: a failure is not told.
  func finish() { _ = try? connection.checkpoint(.truncate) }

  /// For reading what is in the file; shares the writer's view.
  func withConnection<R>(_ body: (borrowing SQLiteConnection) throws(StoreError) -> R) throws(StoreError) -> R {
    try body(connection)
  }
}

extension StoreError {
  /// While the store is open: disk full apart from all else.
  init(_ stage: String, _ error: SQLiteError) {
    self = error.kind == .full ? .full("\(stage): \(error)") : .io("\(stage): \(error)")
  }

  init(opening path: String, _ error: SQLiteError) {
    switch error.kind {
    case .notADatabase: self = .foreign(path: path, reason: "not an SQLite database")
    case .corrupt: self = .corrupt(path: path, reason: "\(error)")
    case .other where error.code == 1: self = .corrupt(path: path, reason: "\(error)")  // tables that are not ours
    case .full: self = .full("open \(path): \(error)")
    default: self = .io("open \(path): \(error)")
    }
  }
}
