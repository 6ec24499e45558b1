internal import FoundationEssentials
internal import Kernel
internal import Logging
internal import ObjectStore
internal import SwiftProtobuf
internal import Synchronization

/// What the engine does all the time: it follows etcd's watch, and looks after the past.
extension EtcdEngine {
  /// The watch begins where etcd has forgotten what happened.
  private struct Compacted: Error {}

  private static let pauseMillisecondsMin = 50
  private static let pauseMillisecondsMax = 2000
  private static let tickSeconds = 1.0

  // MARK: following

  func follow() async {
    var pause = Self.pauseMillisecondsMin
    let isAway = Atomic<Bool>(false)
    while !Task.isCancelled {
      let before = replica.revision
      do {
        try await checkGround()
        try await watchOnce {
          if isAway.exchange(false, ordering: .relaxed) {
            self.logger.info("\(self.options.place): followed again, after revision \(before)")
          }
        }
      } catch is Compacted {
        await reload()
      } catch {
        if Task.isCancelled { return }
        if let error = error as? StoreError, case .corrupt = error { await follower.stall(error) }
        if !isAway.exchange(true, ordering: .relaxed) {
          logger.warning("\(options.place): \(error); what others change is seen when it is back")
        }
      }
      await follower.beginAnew()
      pause = replica.revision > before ? Self.pauseMillisecondsMin : min(pause * 2, Self.pauseMillisecondsMax)
      try? await Task.sleep(for: .milliseconds(pause))
    }
  }

  /// Sees to it that this is the etcd that we followed: one restored from a copy would give revisions a second time.
  private func checkGround() async throws {
    let response = try await client.range(.with { $0.key = keys.marker })
    let reached = replica.revision
    if response.header.revision < reached {
      throw StoreError.io(fail("went back from revision \(reached) to \(response.header.revision)"))
    }
    guard let found = response.kvs.first else { throw StoreError.io(fail("the marker \(keys.prefix)/ is gone")) }
    if found.modRevision < marker.revision { throw StoreError.io(fail("the marker \(keys.prefix)/ was put back")) }
  }

  private func watchOnce(_ begun: @Sendable @escaping () -> Void) async throws {
    let create = EtcdWatchCreateRequest.with {
      $0.key = keys.everything.start
      $0.rangeEnd = keys.everything.end
      $0.startRevision = replica.revision + 1
      $0.progressNotify = true
      $0.fragment = true
    }
    try await client.watch(create) { response in
      if response.canceled {
        if response.compactRevision > 0 { throw Compacted() }
        throw EtcdFailure(.unanswered, "Watch: ended by etcd: \(response.cancelReason)")
      }
      if response.created { begun() }
      try await self.follower.take(response)
      return true
    }
  }

  /// Reads everything anew, where what happened meanwhile is compacted away.
  private func reload() async {
    do {
      let now = try await client.range(.with { $0.key = keys.marker })
      let revision = now.header.revision
      let reader = EtcdReader(
        client: client, keys: keys, configuration: replica.configuration, current: { [replica] in replica.get($0) })
      let listing = try await reader.page(prefix: "", after: nil, limit: nil, revision: revision)
      logger.warning("\(options.place): compacted beyond revision \(replica.revision); all read anew at \(revision)")
      await follower.replace(
        listing.objects, revision: revision, markerRevision: now.kvs.first?.modRevision ?? 0)
    } catch {
      logger.warning("\(options.place): read anew: \(error)")
    }
  }

  // MARK: upkeep

  /// Until cancelled: lets those go who waited too long, tells idle watches how far they are, compacts.
  func keepUp() async {
    let configuration = replica.configuration
    var history = HistoryPolicy(
      configuration, oldest: replica.oldest, revision: replica.revision, nowNanoseconds: SystemClock.bootNanoseconds)
    var nextProgress = ContinuousClock.now + .seconds(configuration.progressIntervalSeconds)
    let tick = min(Self.tickSeconds, configuration.progressIntervalSeconds)
    while !Task.isCancelled {
      try? await Task.sleep(for: .seconds(tick))
      let now = ContinuousClock.now
      await follower.expire(now)
      if now >= nextProgress {
        await follower.deliverProgress()
        nextProgress = now + .seconds(configuration.progressIntervalSeconds)
      }
      guard
        let target = history.target(revision: replica.revision, nowNanoseconds: SystemClock.bootNanoseconds)
      else { continue }
      await follower.forget(below: target, watches: false)
      do throws(StoreError) {
        try await compact(to: target)
      } catch {
        logger.warning("\(options.place): compact to revision \(target): \(error)")
      }
    }
  }
}
