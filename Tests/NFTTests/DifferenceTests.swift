import NFT
import TestSupport
import Testing

/// A table as the kernel would hold it, changed by messages; it refuses what the kernel refuses.
struct FakeKernel {
  struct Refusal: Error { let message: String }
  var tables: [String: Table] = [:]

  mutating func run(_ messages: [Message]) throws {
    var next = tables
    for message in messages { try Self.apply(message, &next) }
    tables = next
  }

  private static func apply(_ message: Message, _ tables: inout [String: Table]) throws {
    func refuse() -> Refusal { Refusal(message: message.description) }
    switch message {
    case .addTable(let name): if tables[name] == nil { tables[name] = Table(name: name, sets: [], chains: []) }
    case .deleteTable(let name): if tables.removeValue(forKey: name) == nil { throw refuse() }
    case .boundSet(let table, let set, _):
      if !(tables[table]?.sets.contains { $0.declaration == set } ?? false) { throw refuse() }
    case .addSet(let table, let set, _, _):
      if tables[table]?.sets.contains(where: { $0.declaration.name == set.name }) ?? true { throw refuse() }
      tables[table]?.sets.append(NamedSet(set))
    case .deleteSet(let table, let name):
      guard let index = tables[table]?.sets.firstIndex(where: { $0.declaration.name == name }) else { throw refuse() }
      if tables[table]!.chains.contains(where: {
        $0.rules.contains { $0.text.contains("@\(name) ") || $0.text.hasSuffix("@\(name)") }
      }) {
        throw refuse()
      }
      tables[table]?.sets.remove(at: index)
    case .addChain(let table, let name, let base):
      if tables[table]?.chains.contains(where: { $0.name == name }) ?? true { throw refuse() }
      tables[table]?.chains.append(Chain(name: name, base: base, rules: []))
    case .deleteChain(let table, let name):
      guard let index = tables[table]?.chains.firstIndex(where: { $0.name == name }),
        tables[table]!.chains[index].rules.isEmpty, !targets(tables[table]!).contains(name)
      else { throw refuse() }
      tables[table]?.chains.remove(at: index)
    case .addRule(let table, let chain, let rule):
      guard let index = tables[table]?.chains.firstIndex(where: { $0.name == chain }) else { throw refuse() }
      tables[table]?.chains[index].rules.append(rule)
      if !targets(tables[table]!).isSubset(of: tables[table]!.chains.map(\.name)) { throw refuse() }
    case .deleteRules(let table, let chain):
      guard let index = tables[table]?.chains.firstIndex(where: { $0.name == chain }) else { throw refuse() }
      tables[table]?.chains[index].rules = []
    case .addElements(let table, let set, let elements):
      guard let index = tables[table]?.sets.firstIndex(where: { $0.declaration == set }) else { throw refuse() }
      for element in elements {
        if tables[table]?.sets[index].elements.updateValue(element.value, forKey: element.key) != nil { throw refuse() }
      }
      if !targets(tables[table]!).isSubset(of: tables[table]!.chains.map(\.name)) { throw refuse() }
    case .deleteElements(let table, let set, let elements):
      guard let index = tables[table]?.sets.firstIndex(where: { $0.declaration == set }) else { throw refuse() }
      for element in elements where tables[table]?.sets[index].elements.removeValue(forKey: element.key) == nil {
        throw refuse()
      }
    }
  }

  /// Chains that something jumps to.
  private static func targets(_ table: Table) -> Set<String> {
    var found: Set<String> = []
    func note(_ verdict: Verdict) {
      switch verdict {
      case .jump(let chain), .goto(let chain): found.insert(chain)
      case .accept, .drop: return
      }
    }
    for statement in table.chains.flatMap(\.rules).flatMap(\.statements) {
      if case .verdict(let verdict) = statement { note(verdict) }
    }
    for value in table.sets.flatMap(\.elements.values) { if case .verdict(let verdict) = value { note(verdict) } }
    return found
  }
}

/// SplitMix64.
struct Random: RandomNumberGenerator {
  private var state: UInt64
  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }
}

@Suite struct DifferenceTests {
  /// A random table whose jumps and lookups all lead somewhere.
  static func table(_ random: inout Random) -> Table {
    let chains = (0..<4).filter { _ in Bool.random(using: &random) }.map { "c\($0)" }
    var sets: [NamedSet] = []
    for number in 0..<3 where Bool.random(using: &random) {
      var set = NamedSet(
        SetDeclaration(name: "s\(number)", key: [.port], value: number == 2 && !chains.isEmpty ? .verdict : .none))
      for port in 0..<UInt16(4) where Bool.random(using: &random) {
        let verdict = chains.randomElement(using: &random).map { ElementValue.verdict(.goto($0)) } ?? ElementValue.none
        set.elements[Words().port(port)] = set.declaration.value == .verdict ? verdict : ElementValue.none
      }
      sets.append(set)
    }
    var all = chains.map { Chain(name: $0, rules: Bool.random(using: &random) ? [Rule(.counter)] : []) }
    var rules: [Rule] = []
    for set in sets where set.declaration.value == .none && Bool.random(using: &random) {
      rules.append(Rule(.matchSet([.destinationPort], set: set.declaration.name, contained: true), .masquerade))
    }
    for chain in chains where Bool.random(using: &random) { rules.append(Rule(.verdict(.jump(chain)))) }
    all.append(
      Chain(
        name: "base",
        base: .init(
          kind: .nat, hook: Int.random(in: 0..<8, using: &random) == 0 ? .output : .prerouting, priority: -100),
        rules: rules))
    return Table(name: "t", sets: sets, chains: all)
  }

  static func same(_ left: Table?, _ right: Table) -> Bool {
    guard let left else { return false }
    return left.sets.sorted { $0.declaration.name < $1.declaration.name }
      == right.sets.sorted { $0.declaration.name < $1.declaration.name }
      && left.chains.sorted { $0.name < $1.name } == right.chains.sorted { $0.name < $1.name }
  }

  @Test(arguments: 1...300 as ClosedRange<UInt64>) func differenceLeadsFromAnyTableToAnyOther(_ seed: UInt64) throws {
    var random = Random(seed: seed)
    var kernel = FakeKernel()
    var current = Self.table(&random)
    try kernel.run(current.replacing())
    #expect(Self.same(kernel.tables["t"], current))
    for _ in 0..<10 {
      let wanted = Self.table(&random)
      try kernel.run(Table.difference(from: current, to: wanted))
      #expect(Self.same(kernel.tables["t"], wanted), "seed \(seed)")
      current = wanted
    }
    #expect(Table.difference(from: current, to: current) == [])
  }

  @Test func differenceRendersInOrder() throws {
    let set = SetDeclaration(name: "ports", key: [.port])
    let old = Table(
      name: "t",
      sets: [NamedSet(set, elements: [Words().port(80): ElementValue.none, Words().port(443): ElementValue.none])],
      chains: [Chain(name: "base", rules: [Rule(.verdict(.jump("old")))]), Chain(name: "old", rules: [Rule(.counter)])])
    let new = Table(
      name: "t",
      sets: [NamedSet(set, elements: [Words().port(443): ElementValue.none, Words().port(8080): ElementValue.none])],
      chains: [Chain(name: "base", rules: [Rule(.verdict(.jump("new")))]), Chain(name: "new", rules: [Rule(.counter)])])
    let text = Table.difference(from: old, to: new).map(\.description).joined(separator: "\n") + "\n"
    try Golden.check(text, named: "difference.txt")
  }

  @Test func longListsOfElementsAreSplitBelowTheAttributeLimit() {
    let set = SetDeclaration(name: "pairs", key: [.ipv6Address, .ipv6Address])
    let elements = (0..<5_000).map { number in
      Element(
        Words().address([UInt8](repeating: 0, count: 14) + [UInt8(number >> 8), UInt8(number & 0xff)])
          .address([UInt8](repeating: 1, count: 16)))
    }
    let messages = Table.messages(table: "t", set, ElementDifference(added: elements))
    var count = 0
    for message in messages {
      guard case .addElements(_, _, let piece) = message else { continue }
      count += piece.count
      #expect(piece.count * (12 + 32 + 4) < 65_535)
    }
    #expect(count == 5_000)
    #expect(messages.count > 1)
  }
}
