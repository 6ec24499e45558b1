internal import FoundationEssentials
internal import ObjectStore
internal import SwiftProtobuf
internal import Synchronization

/// The newest revision of the marker that was seen: what transactions are made under.
final class EtcdMarker: Sendable {
  private let seen = Atomic<Int64>(0)

  var revision: Int64 { seen.load(ordering: .acquiring) }

  func raise(to revision: Int64) { seen.max(revision, ordering: .releasing) }
}

/// Puts what etcd's watch tells into the store's memory, in order, and wakes those who wait to see it there.
actor EtcdFollower {
  private struct Waiter {
    /// This much has happened, …
    let revision: Int64
    /// … or this key is gone.
    let goneKey: String?
    let deadline: ContinuousClock.Instant
    let done: CheckedContinuation<Bool, Never>
  }

  private let keys: EtcdKeys
  private let replica: StoreReplica
  private let marker: EtcdMarker
  /// Of a revision that the next part of the answer may go on with. One revision is one request, which etcd bounds.
  private var partial: [StoreReplica.Event] = []
  private var partialRevision: Int64 = 0
  private var waiters: [Waiter] = []
  private var isClosed = false
  /// Why nothing more can be applied, until something is.
  private(set) var stalled: StoreError?

  init(keys: EtcdKeys, replica: StoreReplica, marker: EtcdMarker) {
    self.keys = keys
    self.replica = replica
    self.marker = marker
  }

  // MARK: what happens

  /// The stream broke; the next one begins after what was applied.
  func beginAnew() {
    partial = []
    partialRevision = 0
  }

  /// Applies what an answer of the watch tells. - Throws: `.corrupt` where a value cannot be read.
  func take(_ response: EtcdWatchResponse) throws(StoreError) {
    if isClosed { return }
    let reached = replica.revision
    if response.events.isEmpty {
      // News of progress: of a watch that has been told everything up to there.
      if !response.created, response.header.revision > reached, partial.isEmpty {
        replica.advance(to: response.header.revision)
        wake()
      }
      return
    }
    var events = partial
    var last = partialRevision
    var markerRevision: Int64 = 0
    for event in response.events where event.kv.modRevision > reached {
      last = event.kv.modRevision
      if event.kv.key == keys.marker { markerRevision = last }
      guard let key = keys.key(event.kv.key) else { continue }
      var value: [UInt8]?
      if event.type == .put {
        value = try open(key, event.kv.value)
      }
      events.append(
        StoreReplica.Event(
          key: key, revision: last, createRevision: event.kv.createRevision, value: value))
    }
    // Whole revisions only: the last one may go on where the answer does.
    var whole = last
    partial = []
    partialRevision = 0
    if response.fragment {
      partial = events.filter { $0.revision == last }
      partialRevision = last
      events.removeAll { $0.revision == last }
      whole = last - 1
    }
    replica.apply(events)
    if whole > replica.revision { replica.advance(to: whole) }
    if markerRevision > 0 { marker.raise(to: markerRevision) }
    stalled = nil
    wake()
  }

  /// What comes next cannot be read: nobody waits for it.
  func stall(_ reason: StoreError) {
    stalled = reason
    for waiter in waiters { waiter.done.resume(returning: false) }
    waiters = []
  }

  private func open(_ key: String, _ bytes: Data) throws(StoreError) -> [UInt8] {
    guard let value = replica.configuration.opened(key, Array(bytes)) else {
      throw .corrupt(
        path: "\(keys.prefix)\(key) of etcd", reason: "cannot be decrypted; give the keys that it was written with")
    }
    return value
  }

  /// Puts everything in anew, as it is at a revision.
  func replace(_ objects: [StoredObject], revision: Int64, markerRevision: Int64) {
    if isClosed { return }
    replica.replace(objects, revision: revision)
    marker.raise(to: markerRevision)
    wake()
  }

  func forget(below oldest: Int64, watches: Bool) { replica.forget(below: oldest, watches: watches) }

  func deliverProgress() { if !isClosed { replica.deliverProgress() } }

  func close() {
    isClosed = true
    replica.close()
    wake()
  }

  // MARK: waiting

  /// Waits until everything up to `revision` is in memory, or until `goneKey` is not.
  /// - Returns: false where time ran out, or where it will not come.
  func wait(for revision: Int64, goneKey: String? = nil, until deadline: ContinuousClock.Instant) async -> Bool {
    await withCheckedContinuation { done in
      let waiter = Waiter(revision: revision, goneKey: goneKey, deadline: deadline, done: done)
      if isOver(waiter) {
        done.resume(returning: !isClosed)
      } else if isClosed || stalled != nil {
        done.resume(returning: false)
      } else {
        // Revisions rise nearly in the order in which their makers come here.
        var place = waiters.count
        while place > 0, waiters[place - 1].revision > revision { place -= 1 }
        waiters.insert(waiter, at: place)
      }
    }
  }

  private func isOver(_ waiter: Waiter) -> Bool {
    replica.revision >= waiter.revision || waiter.goneKey.map { replica.get($0) == nil } ?? false
  }

  private func wake() {
    if waiters.isEmpty { return }
    let reached = replica.revision
    let count = isClosed ? waiters.count : waiters.firstIndex { $0.revision > reached } ?? waiters.count
    for waiter in waiters[..<count] { waiter.done.resume(returning: !isClosed) }
    waiters.removeFirst(count)
    // Few wait for a key.
    waiters.removeAll { waiter in
      guard let key = waiter.goneKey, replica.get(key) == nil else { return false }
      waiter.done.resume(returning: true)
      return true
    }
  }

  /// Lets those go whose time is over.
  func expire(_ now: ContinuousClock.Instant) {
    waiters.removeAll { waiter in
      guard waiter.deadline <= now else { return false }
      waiter.done.resume(returning: false)
      return true
    }
  }
}

extension StoreConfiguration {
  /// The value as it is in memory; nil: nothing known here sealed it.
  func opened(_ key: String, _ value: [UInt8]) -> [UInt8]? { sealing.map { $0.open(key, value) } ?? value }
}
