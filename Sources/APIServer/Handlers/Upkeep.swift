import JSON
import Logging
import ObjectStore

extension APIServer {
  /// Between two looks for Events whose time is over.
  private static let upkeepSeconds = 60.0
  /// Events removed in one transaction.
  private static let expiredPage = 200

  /// The server's own work besides requests, until it is cancelled: removes Events after their time.
  package func run() async throws {
    var expiries = EventExpiries(seconds: configuration.eventSeconds)
    while !Task.isCancelled {
      await removeExpiredEvents(&expiries)
      try await Task.sleep(for: .seconds(Self.upkeepSeconds))
    }
  }

  func removeExpiredEvents(_ expiries: inout EventExpiries) async {
    guard let events = resources.resource(apiVersion: "v1", plural: "events") else { return }
    var expired = expiries.expired(store.list(prefix: events.prefix).objects, now: configuration.now())[...]
    while !expired.isEmpty, !Task.isCancelled {
      let page = expired.prefix(Self.expiredPage)
      expired = expired.dropFirst(page.count)
      for object in page {
        do throws(StoreError) {
          _ = try await store.commit(Transaction(checks: [object.key: object.revision], deletes: [object.key]))
          index.forget(object.key)
        } catch {
          // Changed meanwhile: it lives on. What else fails is tried again with the next look.
          if case .conflict = error { continue }
          logger.warning("delete(\(object.key)): \(error); tried again in \(Self.upkeepSeconds) s")
        }
      }
    }
  }
}

/// When Events go: a time after their last change, reckoned from what they say of themselves.
struct EventExpiries {
  let seconds: Int64
  private var known: [String: (revision: Int64, expires: Int64)] = [:]

  init(seconds: Int64) { self.seconds = seconds }

  mutating func expired(_ objects: [StoredObject], now: Int64) -> [StoredObject] {
    var next: [String: (revision: Int64, expires: Int64)] = [:]
    next.reserveCapacity(objects.count)
    var expired: [StoredObject] = []
    for object in objects {
      let entry: (revision: Int64, expires: Int64)
      if let found = known[object.key], found.revision == object.revision {
        entry = found
      } else {
        entry = (object.revision, Self.lastChange(object, now: now) + seconds)
      }
      if entry.expires <= now { expired.append(object) }
      next[object.key] = entry
    }
    known = next
    return expired
  }

  private static func lastChange(_ object: StoredObject, now: Int64) -> Int64 {
    guard let document = try? JSONValue.parse(object.value) else { return now }
    let times = [
      document["series"]?.text("lastObservedTime"), document.text("lastTimestamp"), document.text("eventTime"),
      document.text("metadata", "creationTimestamp"),
    ]
    // A time in the future, of a clock that was wrong, must not keep an Event for ever.
    return min(now, times.compactMap { $0.flatMap(ObjectNames.seconds) }.max() ?? now)
  }
}
