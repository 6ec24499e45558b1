internal import Kernel
internal import Logging
internal import Synchronization

/// The one who writes: a thread that takes all waiting transactions, makes them durable with one sync, shows them to
/// readers, answers their callers, and between batches looks after history and files.
final class StoreWriter: Sendable {
  private struct Waiting {
    let transaction: Transaction
    let bytes: Int
    let done: CheckedContinuation<Result<Int64, StoreError>, Never>
  }

  private struct Compaction {
    let keeping: Int64
    let done: CheckedContinuation<Result<Void, StoreError>, Never>
  }

  private struct Queue {
    var waiting: [Waiting] = []
    var first = 0
    var bytes = 0
    var compactions: [Compaction] = []
    var isClosing = false
    var hasEnded = false
    var closers: [CheckedContinuation<Void, Never>] = []

    var count: Int { waiting.count - first }
  }

  /// What the thread knows between its turns.
  private struct Progress {
    var revision: Int64
    var objectBytes: Int
    var history: HistoryPolicy
    /// At first, because a process before this one may have been stopped in the middle.
    var isCompacting = true
    var nextProgressNanoseconds: Int64
    /// Since the last look at the files.
    var rowsWritten = 0
    /// Somebody writes, or did a moment ago and may be about to again.
    var busyUntilNanoseconds: Int64 = 0
    /// After an error the files are left alone until then.
    var quietUntilNanoseconds: Int64 = 0
  }

  /// Explicit compactions that may wait at a time.
  private static let compactionsMax = 64
  private static let vacuumPages = 64
  /// Watches that are told of a change before who asked for it is: a tenth of a millisecond for all of them.
  private static let toldFirstMax = 128
  private static let busyNanoseconds: Int64 = 50_000_000
  private static let pauseAfterErrorNanoseconds: Int64 = 5_000_000_000

  private let memory: StoreMemory
  private let configuration: StoreConfiguration
  private let logger: Logger
  private let queue = Mutex(Queue())
  private let wakeup = Wakeup()

  init(memory: StoreMemory, configuration: StoreConfiguration, logger: Logger) {
    self.memory = memory
    self.configuration = configuration
    self.logger = logger
  }

  /// Starts the thread, which keeps the database until `close`.
  func start(_ database: consuming sending LogDatabase, objectBytes: Int) throws(StoreError) {
    let path = database.path
    let held = Mutex<LogDatabase?>(database)
    let holder = Holder(held)
    do throws(SyscallError) {
      try WorkerThread.start("writer of \(path)") {
        holder.take { self.run($0, objectBytes: objectBytes) }
        // Only now is the lock free for whoever opens next.
        self.tellClosers()
      }
    } catch {
      throw .io("open \(path): \(error)")
    }
  }

  /// Carries the database over to the thread.
  private final class Holder: Sendable {
    private let database: Mutex<LogDatabase?>

    init(_ database: consuming sending Mutex<LogDatabase?>) { self.database = database }

    func take(_ body: (LogDatabase) -> Void) {
      // Held for the thread's whole life: nobody else ever asks for it.
      database.withLock { database in
        if let database { body(database) }
        database = nil
      }
    }
  }

  // MARK: Callers

  func commit(_ transaction: Transaction) async throws(StoreError) -> Int64 {
    let bytes = transaction.sizeBytes
    let result: Result<Int64, StoreError> = await withCheckedContinuation { done in
      let refusal = queue.withLock { queue -> StoreError? in
        if queue.isClosing { return .closed }
        if queue.count >= configuration.queuedTransactionsMax {
          return .overloaded("\(configuration.queuedTransactionsMax) transactions wait for the disk")
        }
        if queue.bytes + bytes > configuration.queuedBytesMax {
          return .overloaded("\(configuration.queuedBytesMax) bytes wait for the disk")
        }
        queue.waiting.append(Waiting(transaction: transaction, bytes: bytes, done: done))
        queue.bytes += bytes
        return nil
      }
      if let refusal { done.resume(returning: .failure(refusal)) } else { wakeup.signal() }
    }
    return try result.get()
  }

  func compact(keeping: Int64) async throws(StoreError) {
    let result: Result<Void, StoreError> = await withCheckedContinuation { done in
      let refusal = queue.withLock { queue -> StoreError? in
        if queue.isClosing { return .closed }
        if queue.compactions.count >= Self.compactionsMax {
          return .overloaded("\(Self.compactionsMax) compactions wait")
        }
        queue.compactions.append(Compaction(keeping: keeping, done: done))
        return nil
      }
      if let refusal { done.resume(returning: .failure(refusal)) } else { wakeup.signal() }
    }
    try result.get()
  }

  /// What waits is still written. Returns when the files are closed.
  func close() async {
    await withCheckedContinuation { done in
      let hasEnded = queue.withLock { queue in
        queue.isClosing = true
        if !queue.hasEnded { queue.closers.append(done) }
        return queue.hasEnded
      }
      if hasEnded { done.resume() } else { wakeup.signal() }
    }
  }

  /// The same without waiting, for who drops the store.
  func requestClose() {
    queue.withLock { $0.isClosing = true }
    wakeup.signal()
  }

  // MARK: The thread

  private func run(_ database: LogDatabase, objectBytes: Int) {
    let now = SystemClock.bootNanoseconds
    var progress = Progress(
      revision: memory.revision, objectBytes: objectBytes,
      history: HistoryPolicy(configuration, oldest: database.oldest, revision: memory.revision, nowNanoseconds: now),
      nextProgressNanoseconds: now + progressNanoseconds)
    while true {
      let batch = takeBatch()
      if !batch.isEmpty { write(batch, database, &progress) }
      let hasMore = lookAfterFiles(database, &progress)
      if !batch.isEmpty { continue }
      if queue.withLock({ $0.isClosing && $0.count == 0 }) { break }
      if !hasMore { sleep(progress) }
    }
    end(database)
  }

  private var progressNanoseconds: Int64 { Int64(configuration.progressIntervalSeconds * 1e9) }

  private func sleep(_ progress: Progress) {
    var until = min(progress.nextProgressNanoseconds, progress.history.nextLookNanoseconds)
    if progress.isCompacting { until = min(until, max(progress.busyUntilNanoseconds, progress.quietUntilNanoseconds)) }
    _ = wakeup.wait(nanoseconds: until - SystemClock.bootNanoseconds)
  }

  private func takeBatch() -> [Waiting] {
    queue.withLock { queue in
      var batch: [Waiting] = []
      var bytes = 0
      while queue.first < queue.waiting.count, batch.count < configuration.batchTransactionsMax {
        let next = queue.waiting[queue.first]
        if !batch.isEmpty, bytes + next.bytes > configuration.batchBytesMax { break }
        bytes += next.bytes
        batch.append(next)
        queue.first += 1
      }
      queue.bytes -= bytes
      if queue.first == queue.waiting.count || queue.first > 1024 {
        queue.waiting.removeFirst(queue.first)
        queue.first = 0
      }
      return batch
    }
  }

  private func write(_ batch: [Waiting], _ database: LogDatabase, _ progress: inout Progress) {
    let memory = memory
    var plan = BatchPlan(
      revision: progress.revision, objectBytes: progress.objectBytes, objectBytesMax: configuration.objectBytesMax,
      current: { memory.get($0) })
    for waiting in batch { plan.add(waiting.transaction) }
    if !plan.changes.isEmpty {
      do throws(StoreError) {
        try database.append(plan.changes)
      } catch {
        // Where the disk is full, one that frees room must not fail because of one beside it that needs some.
        if case .full = error, batch.count > 1 {
          for waiting in batch { write([waiting], database, &progress) }
          return
        }
        logger.error("commit failed", metadata: ["error": "\(error)", "transactions": "\(batch.count)"])
        for waiting in batch { waiting.done.resume(returning: .failure(error)) }
        return
      }
    }
    progress.rowsWritten += plan.changes.count
    progress.busyUntilNanoseconds = SystemClock.bootNanoseconds + Self.busyNanoseconds
    progress.revision = plan.revision
    progress.objectBytes = plan.objectBytes
    let deliveries = plan.changes.isEmpty ? [] : memory.publish(plan.changes, revision: plan.revision)
    // The callers wait as long as it takes to tell the watches: not for many.
    let deliversFirst = deliveries.reduce(0) { $0 + $1.watchers.count } <= Self.toldFirstMax
    if deliversFirst, !plan.changes.isEmpty { memory.deliver(deliveries, revision: plan.revision) }
    for (waiting, outcome) in zip(batch, plan.outcomes) {
      switch outcome {
      case .commits(let revision), .isEmpty(let revision): waiting.done.resume(returning: .success(revision))
      case .fails(let error): waiting.done.resume(returning: .failure(error))
      }
    }
    if !deliversFirst { memory.deliver(deliveries, revision: plan.revision) }
  }

  /// One slice of what is to be done for history and files; whether there is more to do at once.
  private func lookAfterFiles(_ database: LogDatabase, _ progress: inout Progress) -> Bool {
    let now = SystemClock.bootNanoseconds
    let isBusy = now < progress.busyUntilNanoseconds
    defer { progress.rowsWritten = 0 }
    if now >= progress.nextProgressNanoseconds {
      memory.deliverProgress()
      progress.nextProgressNanoseconds = now + progressNanoseconds
    }
    compactAsAsked(database, &progress)
    if now < progress.quietUntilNanoseconds { return false }
    var hasMore = false
    do throws(StoreError) {
      if let target = progress.history.target(revision: progress.revision, nowNanoseconds: now) {
        // First for readers, then on the disk: nobody may begin to read what is about to go.
        memory.forget(below: target, watches: false)
        try database.raiseOldest(to: target)
        progress.isCompacting = true
      }
      if progress.isCompacting {
        let rows =
          isBusy ? max(configuration.busySliceRows, 2 * progress.rowsWritten) : configuration.compactionSliceRows
        hasMore = try database.compactSlice(rows: rows)
        // Moving pages can wait for a quiet moment: until then the free ones are used again.
        if !hasMore && !isBusy { hasMore = try database.vacuumSlice(pages: Self.vacuumPages) }
        progress.isCompacting = hasMore || isBusy
        // The file itself shrinks with a checkpoint only.
        if !progress.isCompacting { try database.checkpoint(pages: 1) }
      }
      try database.checkpoint(pages: configuration.checkpointPages)
    } catch {
      logger.error("upkeep of the object store failed", metadata: ["error": "\(error)"])
      progress.quietUntilNanoseconds = now + Self.pauseAfterErrorNanoseconds
      return false
    }
    return hasMore
  }

  private func compactAsAsked(_ database: LogDatabase, _ progress: inout Progress) {
    let asked = queue.withLock { queue in
      defer { queue.compactions = [] }
      return queue.compactions
    }
    for compaction in asked {
      do throws(StoreError) {
        let target = max(0, progress.revision - compaction.keeping)
        memory.forget(below: target, watches: true)
        try database.raiseOldest(to: target)
        while try database.compactSlice(rows: configuration.compactionSliceRows) {
          // Commits go between the slices.
          let batch = takeBatch()
          if !batch.isEmpty { write(batch, database, &progress) }
        }
        try database.checkpoint(pages: configuration.checkpointPages)
        // For what is free now.
        progress.isCompacting = true
        compaction.done.resume(returning: .success(()))
      } catch {
        compaction.done.resume(returning: .failure(error))
      }
    }
  }

  private func end(_ database: LogDatabase) {
    memory.close()
    let compactions = queue.withLock { queue in
      defer { queue.compactions = [] }
      return queue.compactions
    }
    for compaction in compactions { compaction.done.resume(returning: .failure(.closed)) }
    database.finish()
  }

  private func tellClosers() {
    let closers = queue.withLock { queue in
      queue.hasEnded = true
      defer { queue.closers = [] }
      return queue.closers
    }
    for closer in closers { closer.resume() }
  }
}
