/// One change to the kernel's tables: a record of a program, a message of the batch.
package enum Message: Sendable, Hashable, CustomStringConvertible {
  case addTable(String)
  case deleteTable(String)
  /// A large one with room for so many elements, which is then a bound; nil: it grows, and has none.
  case addSet(table: String, SetDeclaration, id: UInt32, room: UInt32? = nil)
  /// Moves the bound of a set that was made with room. Takes effect when the transaction has ended; a kernel before 6.6
  /// leaves the bound where it was.
  case boundSet(table: String, SetDeclaration, room: UInt32)
  case deleteSet(table: String, String)
  case addChain(table: String, String, Chain.Base?)
  /// Its rules must be gone.
  case deleteChain(table: String, String)
  case addRule(table: String, chain: String, Rule)
  case deleteRules(table: String, chain: String)
  /// All new: an element that is there already is an error.
  case addElements(table: String, SetDeclaration, [Element])
  case deleteElements(table: String, SetDeclaration, [Element])

  /// In nft's language, elements cut short.
  package var description: String {
    switch self {
    case .addTable(let name): "add table inet \(name)"
    case .deleteTable(let name): "delete table inet \(name)"
    case .addSet(let table, let set, _, _), .boundSet(let table, let set, _):
      "add \(set.keyword) inet \(table) \(set.name) { \(set.typeText) }"
    case .deleteSet(let table, let name): "delete set inet \(table) \(name)"
    case .addChain(let table, let name, _): "add chain inet \(table) \(name)"
    case .deleteChain(let table, let name): "delete chain inet \(table) \(name)"
    case .addRule(let table, let chain, let rule): "add rule inet \(table) \(chain) \(rule.text)"
    case .deleteRules(let table, let chain): "flush chain inet \(table) \(chain)"
    case .addElements(let table, let set, let elements): "add element inet \(table) \(set.name) \(set.list(elements))"
    case .deleteElements(let table, let set, let elements):
      "delete element inet \(table) \(set.name) \(set.list(elements))"
    }
  }

  /// The description with only the element in question, where the kernel named one.
  package func description(element: Int?) -> String {
    switch self {
    case .addElements(let table, let set, let elements):
      guard let element, elements.indices.contains(element) else { return description }
      return "add element inet \(table) \(set.name) { \(set.text(elements[element])) }"
    case .deleteElements(let table, let set, let elements):
      guard let element, elements.indices.contains(element) else { return description }
      return "delete element inet \(table) \(set.name) { \(set.text(elements[element])) }"
    default: return description
    }
  }
}

extension SetDeclaration {
  /// Elements that a description shows before it only counts.
  private static let shownMax = 2

  func list(_ elements: [Element]) -> String {
    let shown = elements.prefix(Self.shownMax).map(text).joined(separator: ", ")
    let more = elements.count - Self.shownMax
    return "{ \(shown)\(more > 0 ? ", \(more) more" : "") }"
  }
}

extension SetDeclaration {
  /// The message that makes the set for `count` elements of the same transaction.
  package func creation(table: String, id: UInt32, elements count: Int) -> Message {
    .addSet(table: table, self, id: id, room: behaviour == .large ? Self.room(for: count) : nil)
  }

  /// A hash table with room cannot grow: so much is left that its chains stay short.
  package static func room(for count: Int) -> UInt32? {
    count < roomyMin ? nil : UInt32(clamping: 2 * count)
  }

  /// Fewer than so many elements cost nothing to move to a larger table.
  private static let roomyMin = 1000
}

/// A difference between the elements of two states of one set.
package struct ElementDifference: Sendable, Hashable {
  package var removed: [Element] = []
  package var added: [Element] = []

  package init(removed: [Element] = [], added: [Element] = []) {
    self.removed = removed
    self.added = added
  }

  package var isEmpty: Bool { removed.isEmpty && added.isEmpty }
}

extension Table {
  /// Makes the table from nothing, replacing whatever has its name, in one transaction without a gap.
  /// - Parameter expecting: elements that other messages of the transaction will add, by name of the set.
  package func replacing(expecting: [String: Int] = [:]) -> [Message] {
    // Adding first makes the deletion succeed where there is none.
    var messages: [Message] = [.addTable(name), .deleteTable(name), .addTable(name)]
    for (index, set) in sets.enumerated() {
      let count = set.elements.count + (expecting[set.declaration.name] ?? 0)
      messages.append(set.declaration.creation(table: name, id: UInt32(index + 1), elements: count))
    }
    messages += chains.map { .addChain(table: name, $0.name, $0.base) }
    for chain in chains { messages += chain.rules.map { .addRule(table: name, chain: chain.name, $0) } }
    for set in sets { messages += Self.split(name, set.declaration, adding: set.sortedElements) }
    return messages
  }

  package static func deleting(_ name: String) -> [Message] { [.addTable(name), .deleteTable(name)] }

  /// What turns `old`, as it stands in the kernel, into `new`: nothing for what is equal. Where names or the way packets
  /// enter differ too deeply to be changed in place, the whole table is replaced, in the same one transaction.
  package static func difference(from old: Table, to new: Table) -> [Message] {
    let oldSets = Dictionary(old.sets.map { ($0.declaration.name, $0) }) { $1 }
    let oldChains = Dictionary(old.chains.map { ($0.name, $0) }) { $1 }
    let newSets = Dictionary(new.sets.map { ($0.declaration.name, $0) }) { $1 }
    let newChains = Dictionary(new.chains.map { ($0.name, $0) }) { $1 }
    let redeclared = new.sets.contains {
      oldSets[$0.declaration.name].map(\.declaration) ?? $0.declaration != $0.declaration
    }
    let rehooked = new.chains.contains { chain in oldChains[chain.name].map { $0.base != chain.base } ?? false }
    if old.name != new.name || redeclared || rehooked { return new.replacing() }
    let name = new.name
    var messages: [Message] = []
    for (index, set) in new.sets.enumerated() where oldSets[set.declaration.name] == nil {
      messages.append(
        set.declaration.creation(table: name, id: UInt32(index + 1), elements: set.elements.count))
    }
    for chain in new.chains where oldChains[chain.name] == nil {
      messages.append(.addChain(table: name, chain.name, chain.base))
    }
    for chain in new.chains where oldChains[chain.name]?.rules ?? [] != chain.rules {
      if oldChains[chain.name]?.rules.isEmpty == false { messages.append(.deleteRules(table: name, chain: chain.name)) }
      messages += chain.rules.map { .addRule(table: name, chain: chain.name, $0) }
    }
    // Elements that lead to a chain go before it; those that need a new one come after it.
    for set in new.sets {
      guard let before = oldSets[set.declaration.name] else {
        messages += split(name, set.declaration, adding: set.sortedElements)
        continue
      }
      let difference = set.difference(from: before)
      messages += Self.messages(table: name, set.declaration, difference)
    }
    let goneChains = old.chains.filter { newChains[$0.name] == nil }
    messages += goneChains.filter { !$0.rules.isEmpty }.map { .deleteRules(table: name, chain: $0.name) }
    let goneSets = old.sets.filter { newSets[$0.declaration.name] == nil }
    messages += goneSets.map { .deleteSet(table: name, $0.declaration.name) }
    messages += goneChains.map { .deleteChain(table: name, $0.name) }
    return messages
  }

  /// The messages that carry one set's difference: removals first, so that a key may get another value.
  package static func messages(
    table: String, _ set: SetDeclaration, _ difference: ElementDifference
  ) -> [Message] {
    split(set, difference.removed).map { .deleteElements(table: table, set, $0) }
      + split(table, set, adding: difference.added)
  }

  private static func split(_ table: String, _ set: SetDeclaration, adding elements: [Element]) -> [Message] {
    split(set, elements).map { .addElements(table: table, set, $0) }
  }

  /// The kernel's attribute for a list of elements has 16 bits for its length.
  private static let elementListBytesMax = 40_000

  private static func split(_ set: SetDeclaration, _ elements: [Element]) -> [[Element]] {
    var pieces: [[Element]] = []
    var piece: [Element] = []
    var bytes = 0
    for element in elements {
      let size = element.wireBytesMax
      if bytes + size > elementListBytesMax && !piece.isEmpty {
        pieces.append(piece)
        piece = []
        bytes = 0
      }
      piece.append(element)
      bytes += size
    }
    return piece.isEmpty ? pieces : pieces + [piece]
  }
}

extension Element {
  /// An upper bound: headers of the nested attributes, key, value.
  fileprivate var wireBytesMax: Int {
    let header = 12 + padded(key.bytes.count)
    switch value {
    case .none: return header
    case .data(let words), .upTo(let words): return header + 8 + words.bytes.count
    case .verdict: return header + 32 + 256
    }
  }
}

extension Element {
  /// What a removal names: the key, and an interval's end.
  var identity: Element {
    if case .upTo = value { self } else { Element(key) }
  }
}

extension NamedSet {
  package func difference(from old: NamedSet) -> ElementDifference {
    var difference = ElementDifference()
    if declaration.isDynamic { return difference }
    for element in old.sortedElements where elements[element.key] != element.value {
      difference.removed.append(element)
    }
    for element in sortedElements where old.elements[element.key] != element.value { difference.added.append(element) }
    return difference
  }
}
