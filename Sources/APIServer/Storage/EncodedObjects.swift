import ObjectStore
import Synchronization

/// The protobuf messages of stored objects, made once a revision for all gets, lists and watches.
///
/// Two generations: what is asked for is kept in the young one; when that has half of the bytes, the old one is forgotten
/// and the young one becomes old. So what is asked for again and again stays, at the cost of a look-up.
final class EncodedObjects: Sendable {
  fileprivate struct Entry {
    let revision: Int64
    let message: [UInt8]
  }

  fileprivate struct State {
    var young: [String: Entry] = [:]
    var old: [String: Entry] = [:]
    var youngBytes = 0
  }

  /// Memory of an entry beside its bytes and its key, roughly.
  fileprivate static let overheadBytes = 96

  private let generationBytesMax: Int
  private let state = Mutex(State())

  /// - Parameter bytesMax: of both generations together.
  init(bytesMax: Int) { generationBytesMax = bytesMax / 2 }

  /// The messages of objects, in their order; `make` is called for those that are not there, outside the lock.
  func messages<Failure: Error>(
    _ objects: [StoredObject], make: (StoredObject) throws(Failure) -> [UInt8]
  ) throws(Failure) -> [[UInt8]] {
    var missing: [Int] = []
    var messages = state.withLock { state in
      objects.indices.map { index -> [UInt8] in
        if let message = state.find(objects[index], bytesMax: generationBytesMax) { return message }
        missing.append(index)
        return []
      }
    }
    if missing.isEmpty { return messages }
    for index in missing { messages[index] = try make(objects[index]) }
    state.withLock { state in
      for index in missing { state.keep(objects[index], messages[index], bytesMax: generationBytesMax) }
    }
    return messages
  }

  func message<Failure: Error>(
    _ object: StoredObject, make: (StoredObject) throws(Failure) -> [UInt8]
  ) throws(Failure) -> [UInt8] {
    try messages([object], make: make).first ?? []
  }

  /// Bytes that are kept, for tests.
  var keptBytes: Int {
    state.withLock { state in
      state.young.reduce(0) { $0 + State.cost($1.key, $1.value.message) }
        + state.old.reduce(0) { $0 + State.cost($1.key, $1.value.message) }
    }
  }
}

extension EncodedObjects.State {
  mutating func find(_ object: StoredObject, bytesMax: Int) -> [UInt8]? {
    if let entry = young[object.key], entry.revision == object.revision { return entry.message }
    guard let entry = old[object.key], entry.revision == object.revision else { return nil }
    keep(object, entry.message, bytesMax: bytesMax)
    return entry.message
  }

  mutating func keep(_ object: StoredObject, _ message: [UInt8], bytesMax: Int) {
    let cost = Self.cost(object.key, message)
    // One that is larger than all else together is not worth its place.
    guard cost <= bytesMax / 4 else { return }
    if let before = young[object.key] {
      // A list of the past must not take the place of the present.
      if before.revision >= object.revision { return }
      youngBytes -= Self.cost(object.key, before.message)
      young[object.key] = nil
    }
    if youngBytes + cost > bytesMax {
      old = young
      young = [:]
      youngBytes = 0
    }
    young[object.key] = EncodedObjects.Entry(revision: object.revision, message: message)
    youngBytes += cost
  }

  static func cost(_ key: String, _ message: [UInt8]) -> Int {
    message.count + key.utf8.count + EncodedObjects.overheadBytes
  }
}
