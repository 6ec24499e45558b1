internal import FoundationEssentials
internal import ObjectStore
internal import SwiftProtobuf

/// Raises fences: writes the marker anew, so that what was sent before either has happened by then or never will.
actor EtcdFence {
  private static let pauseMilliseconds = 100

  private let client: EtcdClient
  private let keys: EtcdKeys
  /// Not sent yet: it will do for everybody who asks until it is.
  private var coming: Task<Int64?, Never>?
  private var sent: Task<Int64?, Never>?

  init(_ client: EtcdClient, _ keys: EtcdKeys) {
    self.client = client
    self.keys = keys
  }

  /// - Returns: the revision of a fence that was raised after this call began; nil where etcd did not answer in time.
  func raise(until deadline: ContinuousClock.Instant) async -> Int64? {
    if let coming { return await coming.value }
    let before = sent
    // Shared by all who ask, so it belongs to none of them; it ends with the deadline.
    let task = Task {
      _ = await before?.value
      begin()
      return await write(until: deadline)
    }
    coming = task
    return await task.value
  }

  private func begin() {
    sent = coming
    coming = nil
  }

  private func write(until deadline: ContinuousClock.Instant) async -> Int64? {
    while ContinuousClock.now < deadline {
      do throws(EtcdFailure) {
        // Where the answer is lost it may have been raised: one more does no harm.
        return try await client.transact(Self.request(keys)).header.revision
      } catch {
        try? await Task.sleep(for: .milliseconds(Self.pauseMilliseconds))
        if Task.isCancelled { return nil }
      }
    }
    return nil
  }

  static func request(_ keys: EtcdKeys) -> EtcdTxnRequest {
    .with {
      $0.success = [
        .with {
          $0.requestPut.key = keys.marker
          $0.requestPut.value = Data(EtcdKeys.format.utf8)
        }
      ]
    }
  }
}
