/// Objects in the order of their keys, as values: a copy is a snapshot, and a writer copies only the chunk that it
/// changes while a snapshot lives.
struct SortedObjects: Sendable {
  /// Objects of a chunk, beyond which it is split.
  private static let chunkMax = 256

  /// None is empty; sorted, and so is each.
  private var chunks: [[StoredObject]] = []
  private(set) var count = 0

  init() {}

  /// - Parameter objects: in the order of their keys, each key once.
  init(sorted objects: [StoredObject]) {
    count = objects.count
    for start in stride(from: 0, to: objects.count, by: Self.chunkMax / 2) {
      chunks.append(Array(objects[start..<min(start + Self.chunkMax / 2, objects.count)]))
    }
  }

  /// A place between objects: in `chunk` before `offset`.
  private struct Place {
    var chunk: Int
    var offset: Int
  }

  /// The place of the first object whose key is not below `key`; `chunk` is past the last one where there is none.
  private func place(of key: String) -> Place {
    var low = 0
    var high = chunks.count
    while low < high {
      let middle = (low + high) / 2
      if chunks[middle][chunks[middle].count - 1].key < key { low = middle + 1 } else { high = middle }
    }
    guard low < chunks.count else { return Place(chunk: low, offset: 0) }
    let chunk = chunks[low]
    var first = 0
    var end = chunk.count
    while first < end {
      let middle = (first + end) / 2
      if chunk[middle].key < key { first = middle + 1 } else { end = middle }
    }
    return Place(chunk: low, offset: first)
  }

  subscript(key: String) -> StoredObject? {
    let place = place(of: key)
    guard place.chunk < chunks.count else { return nil }
    let object = chunks[place.chunk][place.offset]
    return object.key == key ? object : nil
  }

  /// Puts the object in, in the place of the one with its key; returns that one.
  @discardableResult
  mutating func insert(_ object: StoredObject) -> StoredObject? {
    var place = place(of: object.key)
    if place.chunk < chunks.count, chunks[place.chunk][place.offset].key == object.key {
      let old = chunks[place.chunk][place.offset]
      chunks[place.chunk][place.offset] = object
      return old
    }
    count += 1
    if place.chunk == chunks.count {
      if chunks.isEmpty {
        chunks.append([object])
        return nil
      }
      place = Place(chunk: chunks.count - 1, offset: chunks[chunks.count - 1].count)
    }
    chunks[place.chunk].insert(object, at: place.offset)
    if chunks[place.chunk].count > Self.chunkMax {
      let upper = Array(chunks[place.chunk][(Self.chunkMax / 2)...])
      chunks[place.chunk].removeLast(upper.count)
      chunks.insert(upper, at: place.chunk + 1)
    }
    return nil
  }

  @discardableResult
  mutating func remove(_ key: String) -> StoredObject? {
    let place = place(of: key)
    guard place.chunk < chunks.count, chunks[place.chunk][place.offset].key == key else { return nil }
    count -= 1
    let old = chunks[place.chunk].remove(at: place.offset)
    if chunks[place.chunk].isEmpty {
      chunks.remove(at: place.chunk)
    } else {
      joinSmall(place.chunk)
    }
    return old
  }

  /// Joins a chunk that has become small with the next one, so that many deletes do not leave many chunks.
  private mutating func joinSmall(_ index: Int) {
    guard index + 1 < chunks.count, chunks[index].count + chunks[index + 1].count <= Self.chunkMax / 2 else { return }
    chunks[index] += chunks[index + 1]
    chunks.remove(at: index + 1)
  }

  /// The objects whose keys begin with `prefix` and come after `after`, at most `limit`; and how many follow.
  func page(prefix: String, after: String?, limit: Int?) -> (objects: [StoredObject], remaining: Int) {
    var start = place(of: prefix)
    if let after, after >= prefix {
      start = place(of: after)
      if start.chunk < chunks.count, chunks[start.chunk][start.offset].key == after { start.offset += 1 }
    }
    let end = KeyRange(prefix: prefix).end.map { place(of: $0) } ?? Place(chunk: chunks.count, offset: 0)
    let available = distance(start, end)
    guard available > 0 else { return ([], 0) }
    let wanted = min(limit ?? available, available)
    var objects: [StoredObject] = []
    objects.reserveCapacity(wanted)
    while objects.count < wanted {
      let chunk = chunks[start.chunk]
      objects += chunk[start.offset..<min(chunk.count, start.offset + wanted - objects.count)]
      start = Place(chunk: start.chunk + 1, offset: 0)
    }
    return (objects, available - wanted)
  }

  private func distance(_ start: Place, _ end: Place) -> Int {
    if start.chunk >= end.chunk { return start.chunk == end.chunk ? end.offset - start.offset : 0 }
    var distance = chunks[start.chunk].count - start.offset + end.offset
    for index in (start.chunk + 1)..<end.chunk { distance += chunks[index].count }
    return distance
  }
}

/// The keys that begin with a prefix, as a half-open range. Keys are ASCII, so this order is the order of their bytes.
struct KeyRange {
  let start: String
  /// nil: no upper end.
  let end: String?

  init(prefix: String) {
    start = prefix
    var bytes = Array(prefix.utf8)
    if let last = bytes.popLast() {
      bytes.append(last + 1)
      end = String(decoding: bytes, as: UTF8.self)
    } else {
      end = nil
    }
  }
}
