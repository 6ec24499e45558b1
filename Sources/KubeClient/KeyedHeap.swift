/// Values with the keys that order them, the least first: timers by deadline, work by its turn.
///
/// An entry is not taken out when it no longer counts; who reads it knows, and passes over it.
package struct KeyedHeap<Key: Comparable & Sendable, Value: Sendable>: Sendable {
  private var items: [(key: Key, value: Value)] = []

  package init() {}

  package var count: Int { items.count }
  package var first: (key: Key, value: Value)? { items.first }

  package mutating func push(_ key: Key, _ value: Value) {
    items.append((key, value))
    var child = items.count - 1
    while child > 0, items[child].key < items[(child - 1) / 2].key {
      items.swapAt(child, (child - 1) / 2)
      child = (child - 1) / 2
    }
  }

  @discardableResult
  package mutating func pop() -> (key: Key, value: Value)? {
    guard let first = items.first, let last = items.popLast() else { return nil }
    guard !items.isEmpty else { return first }
    items[0] = last
    var parent = 0
    while true {
      let left = parent * 2 + 1
      guard left < items.count else { return first }
      let least = left + 1 < items.count && items[left + 1].key < items[left].key ? left + 1 : left
      guard items[least].key < items[parent].key else { return first }
      items.swapAt(least, parent)
      parent = least
    }
  }
}
