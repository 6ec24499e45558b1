/// Bounds of a store. Every one has its unit in its name or is a count.
package struct StoreConfiguration: Sendable {
  /// Transactions that may wait for the disk; more are refused with `.overloaded`.
  package var queuedTransactionsMax = 4096
  package var queuedBytesMax = 64 << 20
  /// Transactions that are made durable by one sync.
  package var batchTransactionsMax = 512
  package var batchBytesMax = 8 << 20

  package var keyBytesMax = 1024
  package var valueBytesMax = 4 << 20
  /// Bytes of all current objects; a transaction that would exceed them is refused with `.full`.
  package var objectBytesMax = 1 << 30

  /// Recent events kept in memory, for watches that start in the past.
  package var recentEventsMax = 16_384
  package var recentBytesMax = 32 << 20
  /// Events that may wait for the reader of one watch; more end the watch with `.overflow`.
  package var watchEventsMax = 8192
  package var watchesMax = 20_000
  /// How often an idle watch is told the revision that it has reached.
  package var progressIntervalSeconds = 30.0

  /// Past revisions stay readable for this long, …
  package var historySeconds = 300.0
  /// … but never more than these, …
  package var historyRevisionsMax: Int64 = 20_000
  /// … and never fewer than these.
  package var historyRevisionsMin: Int64 = 1000
  /// Log rows that one slice of compaction looks at while nobody writes; commits go between the slices.
  package var compactionSliceRows = 512
  /// The same under load, where a slice is also never less than twice what was just written, so that it keeps up.
  package var busySliceRows = 64
  /// Lists at past revisions that may wait for the disk.
  package var pastListsMax = 256

  /// 4 KiB pages of the write-ahead log after which it is copied into the database.
  package var checkpointPages = 1000

  /// What values go through on their way to the disk and back; nil: nothing.
  package var sealing: StoreSealing?

  package init() {}
}

/// Encryption at rest: values are sealed on the way to the disk and opened on the way back; memory holds them as they are.
/// The key of an object goes along, so that nobody swaps values unseen. Called on the store's own threads.
package struct StoreSealing: Sendable {
  /// Nil: it cannot be sealed, and is not written.
  package var seal: @Sendable (_ key: String, _ value: [UInt8]) -> [UInt8]?
  /// Nil: it was not sealed by anything known here, or was changed on the disk.
  package var open: @Sendable (_ key: String, _ value: [UInt8]) -> [UInt8]?
  /// What compaction takes away is overwritten on the disk, since it may be from before it was sealed.
  package var erases: Bool

  package init(
    erases: Bool = true, seal: @escaping @Sendable (_ key: String, _ value: [UInt8]) -> [UInt8]?,
    open: @escaping @Sendable (_ key: String, _ value: [UInt8]) -> [UInt8]?
  ) {
    self.erases = erases
    self.seal = seal
    self.open = open
  }
}
