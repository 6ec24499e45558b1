/// What lies below an `ObjectStore`: makes transactions durable, gives each a revision in one order, and shows what happened
/// in the store's memory, from where everybody reads.
///
/// Every call suspends and never blocks the thread.
package protocol StoreEngine: Sendable {
  /// Does the transaction, whose form has been checked. Returns when it is durable and readers see it. A cancelled task
  /// waits all the same.
  /// - Returns: its revision, or the current one where it changes nothing.
  func commit(_ transaction: Transaction) async throws(StoreError) -> Int64

  /// The objects as they were at a revision that is neither the current one nor known to be forgotten.
  func list(prefix: String, after: String?, limit: Int?, at revision: Int64) async throws(StoreError) -> Listing

  /// Forgets revisions but the newest `revisions`; returns when nothing of them is kept.
  func compact(keeping revisions: Int64) async throws(StoreError)

  /// Finishes what waits, ends every watch with `.closed`. Later commits are `.closed`.
  func close() async

  /// The same without waiting, for who drops the store.
  func requestClose()
}

/// The log in a file of this machine: a thread that writes, and one that reads the past.
struct SQLiteEngine: StoreEngine {
  private let writer: StoreWriter
  private let past: PastReader

  /// Takes the database over. Blocks on the disk.
  init(
    _ database: consuming sending LogDatabase, memory: StoreMemory, objectBytes: Int, writer: StoreWriter,
    configuration: StoreConfiguration
  ) throws(StoreError) {
    self.writer = writer
    past = try PastReader(
      path: database.path, waitingMax: configuration.pastListsMax, sealing: configuration.sealing,
      current: { memory.get($0) })
    do throws(StoreError) {
      try writer.start(database, objectBytes: objectBytes)
    } catch {
      past.requestClose()
      throw error
    }
  }

  func commit(_ transaction: Transaction) async throws(StoreError) -> Int64 { try await writer.commit(transaction) }

  func list(
    prefix: String, after: String?, limit: Int?, at revision: Int64
  ) async throws(StoreError) -> Listing {
    try await past.list(PastReader.Request(prefix: prefix, after: after, limit: limit, revision: revision))
  }

  func compact(keeping revisions: Int64) async throws(StoreError) { try await writer.compact(keeping: revisions) }

  func close() async {
    // Reads first: the one that closes the file last tidies it up.
    await past.close()
    await writer.close()
  }

  func requestClose() {
    writer.requestClose()
    past.requestClose()
  }
}
