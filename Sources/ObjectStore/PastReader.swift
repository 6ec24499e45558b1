internal import Kernel
internal import SQLite
internal import Synchronization

/// Lists at past revisions, from the file, one after another on a thread of their own.
final class PastReader: Sendable {
  struct Request: Sendable {
    var prefix: String
    var after: String?
    var limit: Int?
    var revision: Int64
  }

  private struct Waiting: Sendable {
    let request: Request
    let done: CheckedContinuation<Result<Listing, StoreError>, Never>
  }

  private struct Queue {
    var waiting: [Waiting] = []
    var isClosed = false
    var hasEnded = false
    var closers: [CheckedContinuation<Void, Never>] = []
  }

  private static let busyMilliseconds: Int32 = 2000

  private let queue = Mutex(Queue())
  private let wakeup = Wakeup()
  private let waitingMax: Int
  private let sealing: StoreSealing?
  private let current: @Sendable (String) -> StoredObject?

  /// - Parameter current: the object as it is now, so that what has not changed since needs no copy.
  init(
    path: String, waitingMax: Int, sealing: StoreSealing? = nil,
    current: @escaping @Sendable (String) -> StoredObject?
  ) throws(StoreError) {
    self.waitingMax = waitingMax
    self.sealing = sealing
    self.current = current
    do throws(SyscallError) {
      try WorkerThread.start("lists of the past of \(path)") {
        self.run(path)
        self.tellClosers()
      }
    } catch {
      throw .io("open \(path): \(error)")
    }
  }

  func list(_ request: Request) async throws(StoreError) -> Listing {
    let result: Result<Listing, StoreError> = await withCheckedContinuation { done in
      let refusal = queue.withLock { queue -> StoreError? in
        if queue.isClosed { return .closed }
        if queue.waiting.count >= waitingMax { return .overloaded("\(waitingMax) lists of past revisions wait") }
        queue.waiting.append(Waiting(request: request, done: done))
        return nil
      }
      if let refusal { done.resume(returning: .failure(refusal)) } else { wakeup.signal() }
    }
    return try result.get()
  }

  /// What waits is still answered. Returns when the file is closed.
  func close() async {
    await withCheckedContinuation { done in
      let hasEnded = queue.withLock { queue in
        queue.isClosed = true
        if !queue.hasEnded { queue.closers.append(done) }
        return queue.hasEnded
      }
      if hasEnded { done.resume() } else { wakeup.signal() }
    }
  }

  /// The same without waiting.
  func requestClose() {
    queue.withLock { $0.isClosed = true }
    wakeup.signal()
  }

  private func tellClosers() {
    let closers = queue.withLock { queue in
      queue.hasEnded = true
      defer { queue.closers = [] }
      return queue.closers
    }
    for closer in closers { closer.resume() }
  }

  private func run(_ path: String) {
    // Opened with the first request: most stores never need it.
    var opened: Result<PastQueries, StoreError>?
    while true {
      let (waiting, isClosed) = queue.withLock { queue in
        defer { queue.waiting = [] }
        return (queue.waiting, queue.isClosed)
      }
      for one in waiting {
        let queries: Result<PastQueries, StoreError>
        if case .success = opened, let opened { queries = opened } else { queries = open(path) }
        opened = queries
        one.done.resume(returning: Self.answer(one.request, queries, current))
      }
      if isClosed { return }
      if waiting.isEmpty { _ = wakeup.wait(nanoseconds: 3_600_000_000_000) }
    }
  }

  private func open(_ path: String) -> Result<PastQueries, StoreError> {
    do throws(SQLiteError) {
      return .success(try PastQueries(path: path, busyMilliseconds: Self.busyMilliseconds, sealing: sealing))
    } catch {
      return .failure(StoreError("list a past revision", error))
    }
  }

  private static func answer(
    _ request: Request, _ queries: Result<PastQueries, StoreError>, _ current: (String) -> StoredObject?
  ) -> Result<Listing, StoreError> {
    do throws(StoreError) {
      return .success(try queries.get().list(request, current))
    } catch {
      return .failure(error)
    }
  }
}

/// The reader's own connection and its statements.
private final class PastQueries {
  private let connection: SQLiteConnection
  private let keys: SQLiteStatement
  private let row: SQLiteStatement
  private let sealing: StoreSealing?

  init(path: String, busyMilliseconds: Int32, sealing: StoreSealing?) throws(SQLiteError) {
    self.sealing = sealing
    // Not opened read-only: readers of a write-ahead log write to its index.
    connection = try SQLiteConnection(path: path, access: .readWrite, busyMilliseconds: busyMilliseconds)
    try connection.execute("PRAGMA query_only = ON; PRAGMA cell_size_check = ON; PRAGMA cache_size = -2048")
    // Answered from the index alone; `deleted` is that of the row with the highest id.
    keys = try connection.prepare(
      """
      SELECT key, max(id), deleted FROM log INDEXED BY log_key
      WHERE key >= ? AND key < ? AND id < ? GROUP BY key ORDER BY key
      """)
    row = try connection.prepare("SELECT created, value FROM log WHERE id = ?")
  }

  func list(_ request: PastReader.Request, _ current: (String) -> StoredObject?) throws(StoreError) -> Listing {
    let result: Result<Listing, StoreError>
    do throws(SQLiteError) {
      // One view of the file: compaction takes nothing away until this ends.
      try connection.execute("BEGIN")
      result = try read(request, current)
    } catch {
      result = .failure(StoreError("list revision \(request.revision)", error))
    }
    keys.reset()
    row.reset()
    if connection.isInTransaction { try? connection.execute("COMMIT") }
    return try result.get()
  }

  private func read(
    _ request: PastReader.Request, _ current: (String) -> StoredObject?
  ) throws(SQLiteError) -> Result<Listing, StoreError> {
    let oldest = try connection.integer("SELECT value FROM numbers WHERE name = 'oldest'") ?? 0
    if request.revision < oldest { return .failure(.compacted(oldest: oldest)) }
    let range = KeyRange(prefix: request.prefix)
    let after = request.after.flatMap { $0 >= request.prefix ? $0 : nil }
    // The key after a key is the same with the lowest character behind it.
    try keys.bind(1, after.map { $0 + "\u{1}" } ?? range.start)
    try keys.bind(2, range.end ?? "\u{7f}")
    try keys.bind(3, LogPosition(revision: request.revision + 1, place: 0).rawValue)
    var objects: [StoredObject] = []
    var remaining = 0
    let limit = request.limit ?? .max
    while try keys.step() {
      if keys.integer(2) != 0 { continue }
      if objects.count >= limit {
        remaining += 1
        continue
      }
      let key = keys.text(0)
      guard let found = try object(key, LogPosition(rawValue: keys.integer(1)), current) else {
        return .failure(.io("list revision \(request.revision): \(key) cannot be decrypted"))
      }
      objects.append(found)
    }
    return .success(Listing(objects: objects, revision: request.revision, remaining: remaining))
  }

  private func object(
    _ key: String, _ position: LogPosition, _ current: (String) -> StoredObject?
  ) throws(SQLiteError) -> StoredObject? {
    if let now = current(key), now.position == position { return now }
    try row.bind(1, position.rawValue)
    _ = try row.step()
    defer { row.reset() }
    guard let value = sealing.map({ $0.open(key, row.bytes(1)) }) ?? row.bytes(1) else { return nil }
    return StoredObject(key: key, value: value, position: position, createRevision: row.integer(0))
  }
}
