internal import Kernel
internal import Logging
internal import ObjectStore
internal import Synchronization

/// The store's engine on etcd v3: transactions are etcd's, and what readers see comes from its watch alone, whoever wrote.
///
/// A transaction is answered when etcd has it and the watch has brought it here. One whose answer is lost is never repeated
/// on a guess: a fence decides whether it happened (`EtcdKeys`).
final class EtcdEngine: StoreEngine {
  private struct State {
    var isClosing = false
    var transactions = 0
    var bytes = 0
    var pastLists = 0
    /// etcd is not what it was: nothing is written any more.
    var failure: StoreError?
    var tasks: [Task<Void, Never>] = []
    var drained: [CheckedContinuation<Void, Never>] = []
  }

  let options: EtcdOptions
  let keys: EtcdKeys
  let client: EtcdClient
  let replica: StoreReplica
  let marker: EtcdMarker
  let follower: EtcdFollower
  let logger: Logger
  private let fence: EtcdFence
  private let state = Mutex(State())

  init(
    _ options: EtcdOptions, keys: EtcdKeys, client: EtcdClient, replica: StoreReplica, marker: EtcdMarker,
    logger: Logger
  ) {
    self.options = options
    self.keys = keys
    self.client = client
    self.replica = replica
    self.marker = marker
    self.logger = logger
    follower = EtcdFollower(keys: keys, replica: replica, marker: marker)
    fence = EtcdFence(client, keys)
  }

  /// Starts to follow etcd, until `close`. - Parameter connections: what holds them, from now on this engine's.
  func start(connections: Task<Void, Never>) {
    // A store is opened by a call and closed by a call: its tasks are held here and end with it.
    let following = Task { await self.follow() }
    let upkeep = Task { await self.keepUp() }
    state.withLock { $0.tasks = [following, upkeep, connections] }
  }

  // MARK: transactions

  func commit(_ transaction: Transaction) async throws(StoreError) -> Int64 {
    let write = try EtcdWrite(transaction, keys: keys, sealing: replica.configuration.sealing)
    let bytes = transaction.sizeBytes
    try admit(bytes, growth: write.growth { replica.get($0) })
    // Not a child: a caller that is cancelled waits all the same, since the transaction may have been sent.
    let result: Result<Int64, StoreError> = await Task {
      do throws(StoreError) {
        return .success(try await self.perform(write))
      } catch {
        return .failure(error)
      }
    }.value
    leave(bytes)
    return try result.get()
  }

  private func admit(_ bytes: Int, growth: Int) throws(StoreError) {
    let bounds = replica.configuration
    let refusal = state.withLock { state -> StoreError? in
      if state.isClosing { return .closed }
      if let failure = state.failure { return failure }
      if state.transactions >= bounds.queuedTransactionsMax {
        return .overloaded("\(bounds.queuedTransactionsMax) transactions wait for etcd")
      }
      if state.bytes + bytes > bounds.queuedBytesMax {
        return .overloaded("\(bounds.queuedBytesMax) bytes wait for etcd")
      }
      if growth > 0, replica.objectBytes + growth > bounds.objectBytesMax {
        return .full("the objects would exceed \(bounds.objectBytesMax) bytes; delete some")
      }
      state.transactions += 1
      state.bytes += bytes
      return nil
    }
    if let refusal { throw refusal }
  }

  private func leave(_ bytes: Int) {
    let drained = state.withLock { state in
      state.transactions -= 1
      state.bytes -= bytes
      guard state.transactions == 0 else { return [CheckedContinuation<Void, Never>]() }
      defer { state.drained = [] }
      return state.drained
    }
    for one in drained { one.resume() }
  }

  /// Pause before what got no answer is tried again.
  private static let pauseMilliseconds = 50

  private func perform(_ write: EtcdWrite) async throws(StoreError) -> Int64 {
    let deadline = ContinuousClock.now + .seconds(options.commitSeconds)
    var lastWords = "etcd moved the fence again and again"
    while ContinuousClock.now < deadline {
      if let failure = state.withLock({ $0.failure }) { throw failure }
      // First what is known to have happened, then the attempt: if it happens, then after this.
      let before = replica.revision
      let fenceRevision = marker.revision
      let response: EtcdTxnResponse
      do throws(EtcdFailure) {
        response = try await client.transact(write.request(marker: fenceRevision))
      } catch {
        if error.kind != .unanswered { throw error.refusal }
        lastWords = error.description
        try? await Task.sleep(for: .milliseconds(Self.pauseMilliseconds))
        if let revision = try await resolve(write, after: before, lastWords, until: deadline) { return revision }
        continue
      }
      switch write.answer(response) {
      case .done(let revision, changed: true):
        if revision <= before { throw .io(fail("went back from revision \(before) to \(revision)")) }
        // What is durable is done, also where the news of it is late.
        if replica.revision < revision { _ = await follower.wait(for: revision, until: deadline) }
        return revision
      case .done(let revision, changed: false):
        for key in write.transaction.deletes where replica.get(key) != nil {
          _ = await follower.wait(for: revision, goneKey: key, until: deadline)
        }
        return replica.revision
      case .conflict(let key, let actual, let header):
        // Who tries again after a conflict reads from memory what it was in conflict with.
        if actual > 0 {
          _ = await follower.wait(for: actual, until: deadline)
        } else {
          _ = await follower.wait(for: header, goneKey: key, until: deadline)
        }
        throw .conflict(key: key, actual: actual)
      case .fenced(let seen):
        if seen < fenceRevision { throw .io(fail("the marker \(keys.prefix)/ was removed or put back")) }
        _ = await follower.wait(for: seen, until: deadline)
        // It comes with the watch a moment later than what else is known of.
        if marker.revision < seen { try? await Task.sleep(for: .milliseconds(Self.pauseMilliseconds)) }
      }
    }
    throw .overloaded("\(lastWords); nothing was changed")
  }

  /// Whether a transaction whose answer is lost happened: its revision, or nil: it did not and will not.
  /// - Throws: `.io` where that cannot be known.
  private func resolve(
    _ write: EtcdWrite, after before: Int64, _ words: String, until deadline: ContinuousClock.Instant
  ) async throws(StoreError) -> Int64? {
    let unknown = StoreError.io("\(words); whether the change was made is not known")
    guard let fenced = await fence.raise(until: deadline) else { throw unknown }
    if fenced <= before { throw .io(fail("went back from revision \(before) to \(fenced)")) }
    guard await follower.wait(for: fenced, until: deadline), let events = replica.events(after: before) else {
      throw unknown
    }
    return write.revision(in: events.filter { $0.revision <= fenced })
  }

  // MARK: the past

  func list(
    prefix: String, after: String?, limit: Int?, at revision: Int64
  ) async throws(StoreError) -> Listing {
    let max = replica.configuration.pastListsMax
    let refusal = state.withLock { state -> StoreError? in
      if state.isClosing { return .closed }
      if state.pastLists >= max { return .overloaded("\(max) lists of past revisions wait") }
      state.pastLists += 1
      return nil
    }
    if let refusal { throw refusal }
    defer { state.withLock { $0.pastLists -= 1 } }
    let reader = EtcdReader(
      client: client, keys: keys, configuration: replica.configuration, current: { [replica] in replica.get($0) })
    do throws(EtcdReader.Failure) {
      return try await reader.page(prefix: prefix, after: after, limit: limit, revision: revision)
    } catch {
      switch error {
      // Somebody else compacted further than we did.
      case .etcd(let failure) where failure.kind == .outOfRange:
        throw .compacted(oldest: Swift.max(replica.oldest, revision + 1))
      case .etcd(let failure): throw failure.refusal
      case .sealed(let key): throw .io("list revision \(revision): \(key) cannot be decrypted")
      }
    }
  }

  func compact(keeping revisions: Int64) async throws(StoreError) {
    if state.withLock({ $0.isClosing }) { throw .closed }
    let target = Swift.max(0, replica.revision - revisions)
    await follower.forget(below: target, watches: true)
    try await compact(to: target)
  }

  func compact(to target: Int64) async throws(StoreError) {
    guard target > 0 else { return }
    do throws(EtcdFailure) {
      try await client.compact(target)
    } catch {
      // Done by another already.
      if error.kind != .outOfRange { throw error.refusal }
    }
  }

  // MARK: the end

  /// etcd holds something else than before: nothing may be written, and watches end.
  /// - Returns: the reason.
  @discardableResult
  func fail(_ reason: String) -> String {
    let words = "\(options.place): \(reason); start the server again"
    let isFirst = state.withLock { state in
      defer { state.failure = state.failure ?? .io(words) }
      return state.failure == nil
    }
    if isFirst { logger.critical("\(words)") }
    return words
  }

  func close() async {
    let hasWork = state.withLock { state in
      state.isClosing = true
      return state.transactions > 0
    }
    if hasWork {
      await withCheckedContinuation { done in
        let isDrained = state.withLock { state in
          if state.transactions > 0 { state.drained.append(done) }
          return state.transactions == 0
        }
        if isDrained { done.resume() }
      }
    }
    let tasks = state.withLock { $0.tasks }
    for task in tasks { task.cancel() }
    await follower.close()
    for task in tasks { await task.value }
  }

  func requestClose() {
    let (tasks, wasClosing) = state.withLock { state in
      defer { state.isClosing = true }
      return (state.tasks, state.isClosing)
    }
    if wasClosing { return }
    for task in tasks { task.cancel() }
    replica.close()
  }
}
