internal import Kernel
internal import Synchronization

/// The requests behind URLs that were given out and not yet used: bounded, one use each, short-lived.
final class PendingRequests: Sendable {
  private struct Entry {
    var request: StreamRequest
    var expires: ContinuousClock.Instant
  }

  private let entries = Mutex<[String: Entry]>([:])
  private let limit: Int
  private let lifetime: Duration

  init(limit: Int, lifetime: Duration) {
    self.limit = limit
    self.lifetime = lifetime
  }

  /// - Returns: an unguessable token: 128 random bits.
  func add(_ request: StreamRequest, now: ContinuousClock.Instant = .now) throws(StreamingError) -> String {
    let token = randomHex(bytes: 16)
    let added = entries.withLock { entries in
      // Only a full table is worth a sweep: expired entries are harmless, `take` refuses them.
      if entries.count >= limit { entries = entries.filter { $0.value.expires > now } }
      guard entries.count < limit else { return false }
      entries[token] = Entry(request: request, expires: now + lifetime)
      return true
    }
    guard added else { throw .tooManyPending(limit: limit) }
    return token
  }

  /// The request behind a token, once.
  func take(_ token: String, now: ContinuousClock.Instant = .now) -> StreamRequest? {
    let entry = entries.withLock { $0.removeValue(forKey: token) }
    guard let entry, entry.expires > now else { return nil }
    return entry.request
  }

  var count: Int { entries.withLock { $0.count } }
}
