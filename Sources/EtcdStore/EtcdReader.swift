internal import FoundationEssentials
internal import ObjectStore
internal import SwiftProtobuf

/// Reads objects as they were at a revision, page by page.
struct EtcdReader: Sendable {
  enum Failure: Error {
    case etcd(EtcdFailure)
    /// Nothing known here sealed the value of this key.
    case sealed(key: String)
  }

  /// Objects asked for at a time: of 100 kB each, as large ones are, they fit in an answer.
  private static let pageObjects = 500

  let client: EtcdClient
  let keys: EtcdKeys
  let configuration: StoreConfiguration
  /// The object as it is now, so that what has not changed since needs no copy.
  let current: @Sendable (String) -> StoredObject?

  func page(
    prefix: String, after: String?, limit: Int?, revision: Int64
  ) async throws(Failure) -> Listing {
    var objects: [StoredObject] = []
    var after = after
    while true {
      let wanted = min(Self.pageObjects, limit.map { $0 - objects.count } ?? .max)
      let range = keys.range(of: prefix, after: after)
      let response: EtcdRangeResponse
      if range.start >= range.end { return Listing(objects: objects, revision: revision, remaining: 0) }
      do throws(EtcdFailure) {
        response = try await client.range(
          .with {
            $0.key = range.start
            $0.rangeEnd = range.end
            $0.revision = revision
            $0.limit = Int64(max(1, wanted))
          })
      } catch {
        throw .etcd(error)
      }
      for pair in response.kvs.prefix(wanted) {
        guard let key = keys.key(pair.key) else { continue }
        objects.append(try object(key, pair))
      }
      let remaining = max(0, Int(response.count) - min(response.kvs.count, max(0, wanted)))
      if remaining == 0 || response.kvs.isEmpty || objects.count >= limit ?? .max {
        return Listing(objects: objects, revision: revision, remaining: remaining)
      }
      guard let last = response.kvs.last.flatMap({ keys.key($0.key) }) else {
        return Listing(objects: objects, revision: revision, remaining: remaining)
      }
      after = last
    }
  }

  private func object(_ key: String, _ pair: EtcdKeyValue) throws(Failure) -> StoredObject {
    if let now = current(key), now.revision == pair.modRevision { return now }
    guard let value = configuration.opened(key, Array(pair.value)) else { throw .sealed(key: key) }
    return StoredObject(key: key, value: value, revision: pair.modRevision, createRevision: pair.createRevision)
  }
}

extension Data {
  /// In the order of their bytes, as etcd's keys are.
  fileprivate static func >= (one: Data, other: Data) -> Bool { !one.lexicographicallyPrecedes(other) }
}
