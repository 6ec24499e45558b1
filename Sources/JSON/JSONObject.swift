/// A JSON object: members, in the order in which they were set.
///
/// Most objects have few members: those are searched one by one. Large ones get an index, so that reading a document
/// of n members takes time in proportion to n whatever their names are.
package struct JSONObject: Hashable, Sendable, ExpressibleByDictionaryLiteral {
  struct Member: Sendable {
    let key: String
    var value: JSONValue
  }

  private(set) var storage: [Member] = []
  /// Where each key stands; only of objects with more than `searchMax` members, and not after every removal.
  private var index: [String: Int]?

  /// Members that are searched without an index.
  private static let searchMax = 16

  package init() {}

  package init(dictionaryLiteral elements: (String, JSONValue)...) {
    reserveCapacity(elements.count)
    for (key, value) in elements { self[key] = value }
  }

  /// Members sorted by key: for maps, whose order means nothing.
  package init(sorted members: [String: JSONValue]) {
    storage = members.map { Member(key: $0.key, value: $0.value) }.sorted { $0.key < $1.key }
  }

  package mutating func reserveCapacity(_ count: Int) { storage.reserveCapacity(count) }

  package var count: Int { storage.count }
  package var isEmpty: Bool { storage.isEmpty }
  package var keys: [String] { storage.map(\.key) }
  /// Members in order.
  package var members: JSONMembers { JSONMembers(storage) }

  private func place(of key: String) -> Int? {
    if let index { return index[key] }
    return storage.firstIndex { $0.key == key }
  }

  package func contains(_ key: String) -> Bool { place(of: key) != nil }

  /// Setting nil removes the member.
  package subscript(key: String) -> JSONValue? {
    get { place(of: key).map { storage[$0].value } }
    set {
      // One removal is not worth an index, which it would spoil.
      if newValue != nil { buildIndexIfLarge() }
      guard let place = place(of: key) else {
        if let newValue { appendNew(key, newValue) }
        return
      }
      if let newValue {
        storage[place].value = newValue
      } else {
        remove(at: place)
      }
    }
    // In place: changing what lies in a member copies nothing else.
    _modify {
      let place = place(of: key)
      var value: JSONValue?
      if let place {
        value = storage[place].value
        storage[place].value = .null
      }
      defer {
        switch (place, value) {
        case (let place?, let value?): storage[place].value = value
        case (let place?, nil): remove(at: place)
        case (nil, let value?): appendNew(key, value)
        case (nil, nil): break
        }
      }
      yield &value
    }
  }

  /// Adds a member; false, and no change, where there is one with this key.
  package mutating func insert(_ key: String, _ value: JSONValue) -> Bool {
    buildIndexIfLarge()
    guard place(of: key) == nil else { return false }
    appendNew(key, value)
    return true
  }

  /// The value that was there.
  @discardableResult
  package mutating func removeValue(forKey key: String) -> JSONValue? {
    guard let place = place(of: key) else { return nil }
    let value = storage[place].value
    remove(at: place)
    return value
  }

  /// Removes members in one pass.
  package mutating func removeAll(where isGone: (_ key: String, _ value: JSONValue) -> Bool) {
    storage.removeAll { isGone($0.key, $0.value) }
    index = nil
  }

  /// Adds a member with a key that is known not to be there.
  mutating func appendUnchecked(_ key: String, _ value: JSONValue) {
    appendNew(key, value)
    if storage.count > Self.searchMax { buildIndexIfLarge() }
  }

  private mutating func appendNew(_ key: String, _ value: JSONValue) {
    index?[key] = storage.count
    storage.append(Member(key: key, value: value))
  }

  private mutating func remove(at place: Int) {
    if place == storage.count - 1 {
      index?[storage[place].key] = nil
    } else {
      // What stood behind it moves.
      index = nil
    }
    storage.remove(at: place)
  }

  private mutating func buildIndexIfLarge() {
    guard index == nil, storage.count > Self.searchMax else { return }
    index = positions
  }

  private var positions: [String: Int] {
    var positions: [String: Int] = [:]
    positions.reserveCapacity(storage.count)
    for (place, member) in storage.enumerated() { positions[member.key] = place }
    return positions
  }

  /// Equal when the same keys have the same values; order does not matter.
  package static func == (left: Self, right: Self) -> Bool {
    guard left.count == right.count else { return false }
    var differs = 0
    while differs < left.count,
      left.storage[differs].key == right.storage[differs].key,
      left.storage[differs].value == right.storage[differs].value
    { differs += 1 }
    if differs == left.count { return true }
    if left.count - differs <= searchMax || right.index != nil {
      return left.storage[differs...].allSatisfy { right[$0.key] == $0.value }
    }
    let positions = right.positions
    return left.storage[differs...].allSatisfy { member in
      positions[member.key].map { right.storage[$0].value == member.value } ?? false
    }
  }

  package func hash(into hasher: inout Hasher) {
    // Order does not matter to equality, so it must not to the hash.
    var sum = 0
    for member in storage {
      var one = Hasher()
      one.combine(member.key)
      one.combine(member.value)
      sum ^= one.finalize()
    }
    hasher.combine(storage.count)
    hasher.combine(sum)
  }
}

extension JSONObject: CustomReflectable {
  package var customMirror: Mirror {
    Mirror(self, children: storage.map { (label: $0.key, value: $0.value) }, displayStyle: .dictionary)
  }
}

/// The members of an object as pairs, in order; made in no time.
package struct JSONMembers: RandomAccessCollection, ExpressibleByArrayLiteral, Sendable {
  package typealias Element = (key: String, value: JSONValue)
  private let storage: [JSONObject.Member]

  init(_ storage: [JSONObject.Member]) { self.storage = storage }

  package init(arrayLiteral elements: Element...) {
    storage = elements.map { JSONObject.Member(key: $0.key, value: $0.value) }
  }

  package var startIndex: Int { 0 }
  package var endIndex: Int { storage.count }

  package subscript(position: Int) -> Element {
    let member = storage[position]
    return (member.key, member.value)
  }
}
