internal import FoundationEssentials
package import Logging
package import ObjectStore
internal import SwiftProtobuf
internal import Synchronization

/// Opens the object store on etcd v3.
///
/// etcd holds the objects below a prefix, each under its key, as the bytes that the store is given; revisions are etcd's own.
/// Several servers may share them: everybody sees what the others write.
package enum EtcdStore {
  /// Times that the past is compacted away while it is being read.
  private static let loadAttemptsMax = 5
  private static let pauseMilliseconds = 200

  /// Reads every object into memory and goes on following. Waits up to `openSeconds` for an etcd that does not answer.
  /// - Throws: `.foreign` where the prefix holds another program's keys, `.newer`, `.corrupt`, `.io`.
  package static func open(
    _ options: EtcdOptions, configuration: StoreConfiguration = StoreConfiguration(),
    logger: Logger = Logger(label: "store")
  ) async throws(StoreError) -> ObjectStore {
    let client = try EtcdClient(options)
    // Handed over to the engine, which ends it.
    let connections = Task { await client.run() }
    do throws(StoreError) {
      let opening = Opening(
        options: options, configuration: configuration, client: client, keys: EtcdKeys(prefix: options.prefix),
        logger: logger)
      return try await opening.open(connections)
    } catch {
      connections.cancel()
      await connections.value
      throw error
    }
  }

  private struct Opening: Sendable {
    let options: EtcdOptions
    let configuration: StoreConfiguration
    let client: EtcdClient
    let keys: EtcdKeys
    let logger: Logger

    func open(_ connections: Task<Void, Never>) async throws(StoreError) -> ObjectStore {
      let deadline = ContinuousClock.now + .seconds(options.openSeconds)
      let fenced = try await claim(until: deadline)
      let (replica, engine) = try await load(through: fenced)
      engine.start(connections: connections)
      // From here on closing the engine ends the connections, too.
      guard await engine.follower.wait(for: fenced, until: ContinuousClock.now + .seconds(options.openSeconds)) else {
        let stalled = await engine.follower.stalled
        await engine.close()
        if let stalled { throw stalled }
        throw .io("open \(options.place): the watch did not bring revision \(fenced) in \(options.openSeconds) s")
      }
      return ObjectStore(replica, engine: engine)
    }

    /// Sees to it that the keys are ours, and raises a fence: when the watch brings it, everything before is here.
    /// - Returns: its revision.
    private func claim(until deadline: ContinuousClock.Instant) async throws(StoreError) -> Int64 {
      var hasWarned = false
      while true {
        let failure: EtcdFailure
        do {
          let found = try await client.transact(look)
          try check(found)
          return try await client.transact(EtcdFence.request(keys)).header.revision
        } catch let error as EtcdFailure {
          failure = error
        } catch let error as StoreError {
          throw error
        } catch {
          throw .io("open \(options.place): \(error)")
        }
        if failure.kind != .unanswered { throw failure.refusal }
        guard ContinuousClock.now < deadline, !Task.isCancelled else {
          throw .io("open \(options.place): \(failure); is it there?")
        }
        if !hasWarned { logger.warning("\(options.place): \(failure); waiting up to \(options.openSeconds) s") }
        hasWarned = true
        try? await Task.sleep(for: .milliseconds(EtcdStore.pauseMilliseconds))
      }
    }

    /// The marker, and whether there is any other key.
    private var look: EtcdTxnRequest {
      .with {
        $0.success = [
          .with { $0.requestRange.key = keys.marker },
          .with {
            $0.requestRange.key = keys.marker + [0]
            $0.requestRange.rangeEnd = keys.everything.end
            $0.requestRange.limit = 1
            $0.requestRange.keysOnly = true
          },
        ]
      }
    }

    private func check(_ found: EtcdTxnResponse) throws(StoreError) {
      guard found.responses.count == 2 else { throw .io("open \(options.place): not an answer of etcd") }
      let marker = found.responses[0].responseRange.kvs.first
      if let marker {
        let text = String(decoding: marker.value, as: UTF8.self)
        if text == EtcdKeys.format { return }
        let words = text.split(separator: " ")
        if words.count == 3, words[0] == "martlet", words[1] == "objects", let version = Int64(words[2]) {
          throw .newer(path: options.place, version: version, supported: 1)
        }
        throw .foreign(
          path: options.place, reason: "its key \(keys.prefix)/ is another program's; choose another prefix")
      }
      if let other = found.responses[1].responseRange.kvs.first {
        let key = String(decoding: other.key, as: UTF8.self)
        throw .foreign(
          path: options.place, reason: "it holds another program's keys, such as \(key); choose another prefix")
      }
    }

    /// Reads the objects as they were some revisions ago, so that the watch brings the recent changes after them, and
    /// clients' watches go on over a restart.
    private func load(through fenced: Int64) async throws(StoreError) -> (StoreReplica, EtcdEngine) {
      for _ in 0..<EtcdStore.loadAttemptsMax {
        do {
          let oldest = try await oldestRevision()
          let begin = min(max(oldest, fenced - Int64(configuration.recentEventsMax)), fenced - 1)
          let reader = EtcdReader(client: client, keys: keys, configuration: configuration, current: { _ in nil })
          let listing = try await reader.page(prefix: "", after: nil, limit: nil, revision: begin)
          let replica = StoreReplica(configuration, objects: listing.objects, revision: begin, oldest: oldest)
          let engine = EtcdEngine(
            options, keys: keys, client: client, replica: replica, marker: EtcdMarker(), logger: logger)
          return (replica, engine)
        } catch EtcdReader.Failure.sealed(let key) {
          throw .corrupt(
            path: options.place, reason: "\(key) cannot be decrypted; give the keys that it was written with")
        } catch EtcdReader.Failure.etcd(let failure) {
          if failure.kind == .outOfRange { continue }
          throw .io("open \(options.place): \(failure)")
        } catch let failure as EtcdFailure {
          throw .io("open \(options.place): \(failure)")
        } catch let error as StoreError {
          throw error
        } catch {
          throw .io("open \(options.place): \(error)")
        }
      }
      throw .io("open \(options.place): compacted again and again while it was read; try again")
    }

    /// The first revision that etcd still has.
    private func oldestRevision() async throws -> Int64 {
      do throws(EtcdFailure) {
        // Revision 1 is that of an etcd in which nothing was ever written.
        _ = try await client.range(
          .with {
            $0.key = keys.marker
            $0.revision = 1
            $0.countOnly = true
          })
        return 1
      } catch {
        if error.kind != .outOfRange { throw error }
      }
      // Only a watch that cannot begin is told from where it could.
      let found = Atomic<Int64>(0)
      try await client.watch(
        .with {
          $0.key = keys.marker
          $0.startRevision = 1
        }
      ) { response in
        if response.canceled { found.store(response.compactRevision, ordering: .releasing) }
        return !response.canceled && response.events.isEmpty
      }
      let oldest = found.load(ordering: .acquiring)
      guard oldest > 0 else { throw StoreError.io("open \(options.place): it does not tell what it has compacted") }
      return oldest
    }
  }
}
