/// The watches, by prefix, so that a change costs what watches it, not what watches there are.
struct WatchGroups: Sendable {
  /// A batch and those who get it.
  struct Delivery {
    let watchers: [Watcher]
    let batch: StoreBatch
  }

  /// Prefixes that end in a slash, or are empty: found by cutting a key at its slashes.
  private var folders: [String: [Watcher]] = [:]
  /// All others, looked through one by one. Nobody in the house uses these in number.
  private var loose: [String: [Watcher]] = [:]
  private(set) var count = 0

  private static func isFolder(_ prefix: String) -> Bool { prefix.isEmpty || prefix.utf8.last == UInt8(ascii: "/") }

  mutating func insert(_ watcher: Watcher) {
    count += 1
    if Self.isFolder(watcher.prefix) {
      folders[watcher.prefix, default: []].append(watcher)
    } else {
      loose[watcher.prefix, default: []].append(watcher)
    }
  }

  mutating func remove(_ watcher: Watcher) {
    let removed =
      Self.isFolder(watcher.prefix)
      ? Self.remove(watcher, from: &folders) : Self.remove(watcher, from: &loose)
    if removed { count -= 1 }
  }

  private static func remove(_ watcher: Watcher, from groups: inout [String: [Watcher]]) -> Bool {
    guard let index = groups[watcher.prefix]?.firstIndex(where: { $0 === watcher }) else { return false }
    // Order within a group means nothing.
    let last = (groups[watcher.prefix]?.count ?? 1) - 1
    groups[watcher.prefix]?.swapAt(index, last)
    groups[watcher.prefix]?.removeLast()
    if groups[watcher.prefix]?.isEmpty == true { groups[watcher.prefix] = nil }
    return true
  }

  var all: [Watcher] { folders.values.flatMap(\.self) + loose.values.flatMap(\.self) }

  /// Who gets which of the changes; `revision` is that of the last one.
  func deliveries(of changes: [Change], revision: Int64) -> [Delivery] {
    if count == 0 { return [] }
    var events: [String: [StoreEvent]] = [:]
    for change in changes {
      var event: StoreEvent?
      for prefix in prefixes(of: change.object.key) {
        let made = event ?? StoreEvent(change)
        event = made
        events[prefix, default: []].append(made)
      }
    }
    return events.map { prefix, events in
      Delivery(
        watchers: (folders[prefix] ?? []) + (loose[prefix] ?? []), batch: StoreBatch(events: events, revision: revision)
      )
    }
  }

  /// The watched prefixes that the key begins with.
  private func prefixes(of key: String) -> [String] {
    var found = loose.keys.filter { key.hasPrefix($0) }
    if folders.isEmpty { return found }
    if folders[""] != nil { found.append("") }
    var rest = key.utf8[...]
    while let slash = rest.firstIndex(of: UInt8(ascii: "/")) {
      let prefix = String(key[...slash])
      if folders[prefix] != nil { found.append(prefix) }
      rest = key.utf8[key.utf8.index(after: slash)...]
    }
    return found
  }
}
