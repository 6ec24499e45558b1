internal import Kernel
internal import NFT

/// What is different between a table as it should be and as the kernel lists it, and the messages that mend it.
struct TableComparison {
  private(set) var verification = Verification()
  /// In one transaction; empty where nothing differs.
  private(set) var messages: [Message] = []
  private(set) var addedElements = 0
  private(set) var removedElements = 0
  /// Something cannot be changed in place: the whole table must be replaced.
  private(set) var mustReplace = false
  private let desired: Table

  /// - Parameters:
  ///   - found: nil where there is no such table.
  ///   - strangers: whether a set or chain of this name that is not in `desired` has to go.
  init(
    _ desired: Table, _ found: NftTable?, strangers isStranger: (String) -> Bool
  ) throws(DataplaneError) {
    self.desired = desired
    guard let found else {
      note("there is no table inet \(desired.name)")
      mustReplace = true
      return
    }
    let sets = Dictionary(found.sets.map { ($0.name, $0) }) { $1 }
    let chains = Dictionary(found.chains.map { ($0.name, $0) }) { $1 }
    addSets(sets)
    var stale: [Message] = []
    var rules: [Message] = []
    try compareChains(chains, &stale, &rules)
    var elements: [Message] = []
    for set in desired.sets where !set.declaration.isDynamic {
      elements += compareElements(set, sets[set.declaration.name]?.elements ?? [])
    }
    let names = Set(desired.chains.map(\.name))
    let strangers = found.chains.filter { !names.contains($0.name) && isStranger($0.name) }
    for chain in strangers { note("chain \(chain.name) is not ours") }
    let setNames = Set(desired.sets.map(\.declaration.name))
    let strangeSets = found.sets.filter { !setNames.contains($0.name) && isStranger($0.name) }
    for set in strangeSets { note("set \(set.name) is not ours") }
    messages += stale
    messages += strangers.filter { !$0.rules.isEmpty }.map { .deleteRules(table: desired.name, chain: $0.name) }
    messages += rules + elements
    messages += strangers.map { .deleteChain(table: desired.name, $0.name) }
    messages += strangeSets.map { .deleteSet(table: desired.name, $0.name) }
  }

  private mutating func note(_ difference: String) {
    verification.count += 1
    if verification.differences.count < Verification.differencesMax { verification.differences.append(difference) }
  }

  private mutating func addSets(_ found: [String: NftTable.Set]) {
    for (index, set) in desired.sets.enumerated() {
      let wanted = set.declaration
      guard let there = found[wanted.name] else {
        note("\(wanted.value == .none ? "set" : "map") \(wanted.name) is missing")
        messages.append(
          wanted.creation(table: desired.name, id: UInt32(index + 1), elements: set.elements.count))
        continue
      }
      let isVerdict = wanted.value == .verdict
      if there.flags != wanted.flags || there.keyType != wanted.keyNumber || there.keyBytes != wanted.keyBytes
        || there.valueType != wanted.valueNumber || !isVerdict && there.valueBytes != wanted.valueBytes
      {
        note("\(wanted.name) is declared otherwise")
        mustReplace = true
      }
    }
  }

  private mutating func compareChains(
    _ found: [String: NftTable.Chain], _ stale: inout [Message], _ rules: inout [Message]
  ) throws(DataplaneError) {
    let all = desired.chains.flatMap { chain in
      chain.rules.map { Message.addRule(table: desired.name, chain: chain.name, $0) }
    }
    let sent: [[UInt8]]
    do throws(NftRefusal) {
      sent = try NftTransactions.ruleExpressions(Program.encode(all))
    } catch {
      throw DataplaneError(stage: "compare rules", detail: error.cause.description)
    }
    var position = 0
    for chain in desired.chains {
      let wanted = sent[position..<(position + chain.rules.count)]
      position += chain.rules.count
      guard let there = found[chain.name] else {
        note("chain \(chain.name) is missing")
        messages.append(.addChain(table: desired.name, chain.name, chain.base))
        rules += chain.rules.map { .addRule(table: desired.name, chain: chain.name, $0) }
        continue
      }
      if there.hook != chain.base?.hook.rawValue || there.priority != chain.base?.priority
        || chain.base != nil && there.type != chain.base?.kind.rawValue
      {
        note("chain \(chain.name) is entered otherwise")
        mustReplace = true
      }
      if there.rules.count == wanted.count,
        zip(wanted, there.rules).allSatisfy({ NftExpressions.agree($0, $1) })
      {
        continue
      }
      note("the rules of chain \(chain.name) are not ours")
      if !there.rules.isEmpty { stale.append(.deleteRules(table: desired.name, chain: chain.name)) }
      rules += chain.rules.map { .addRule(table: desired.name, chain: chain.name, $0) }
    }
  }

  private mutating func compareElements(_ set: NamedSet, _ found: [NftTable.Element]) -> [Message] {
    var difference = ElementDifference()
    var there: Set<Words> = []
    there.reserveCapacity(found.count)
    // Several intervals may begin with one key.
    for listed in found {
      let element = Element(listed, in: set.declaration)
      if set.elements[element.key] == element.value {
        there.insert(element.key)
      } else {
        note("\(set.declaration.name) { \(set.declaration.text(element)) } is not ours")
        difference.removed.append(element)
      }
    }
    for (key, value) in set.elements where !there.contains(key) {
      let element = Element(key, value)
      note("\(set.declaration.name) { \(set.declaration.text(element)) } is missing")
      difference.added.append(element)
    }
    addedElements += difference.added.count
    removedElements += difference.removed.count
    return difference.isEmpty ? [] : Table.messages(table: desired.name, set.declaration, difference)
  }
}

extension Element {
  /// As the kernel lists it.
  init(_ listed: NftTable.Element, in set: SetDeclaration) {
    let value: ElementValue
    if let (code, chain) = listed.verdict {
      switch code {
      case -3: value = .verdict(.jump(chain))
      case -4: value = .verdict(.goto(chain))
      case 0: value = .verdict(.drop)
      default: value = .verdict(.accept)
      }
    } else if let data = listed.value {
      value = .data(Words(listed: data))
    } else if let end = listed.end, set.behaviour == .intervals {
      value = .upTo(Words(listed: end))
    } else {
      value = .none
    }
    self.init(Words(listed: listed.key), value)
  }
}
