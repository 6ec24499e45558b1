internal import CNetlink
internal import Glibc

/// What the kernel holds of one table of family inet, in its own numbers and bytes.
package struct NftTable: Sendable {
  package struct Set: Sendable {
    package var name: String
    package var flags: UInt32
    package var keyType: UInt32
    package var keyBytes: UInt32
    package var valueType: UInt32
    package var valueBytes: UInt32
    /// How many elements it may have; 0: no bound.
    package var size: UInt32
    package var elements: [Element]
  }

  package struct Element: Sendable {
    package var key: [UInt8]
    /// Of an interval.
    package var end: [UInt8]?
    package var value: [UInt8]?
    /// Code and, for a jump, the chain.
    package var verdict: (code: Int32, chain: String)?
  }

  package struct Chain: Sendable {
    package var name: String
    package var type: String?
    package var hook: UInt32?
    package var priority: Int32?
    /// The expressions of each, in order.
    package var rules: [[UInt8]]
  }

  package var sets: [Set]
  package var chains: [Chain]
}

extension NftTransactions {
  /// How often reading begins again because somebody else changed something meanwhile.
  private static let readingsMax = 8

  /// Reads a table whole; nil where there is none. Linear in it, about 1 µs an element; blocks.
  ///
  /// - Parameter reads: names of sets whose elements are wanted; nil: all.
  package func read(table: String, elementsOf reads: (String) -> Bool = { _ in true }) throws(SyscallError) -> NftTable?
  {
    var readings = 0
    while true {
      do throws(SyscallError) {
        let before = try generation()
        let found = try readOnce(table, reads)
        if try generation() == before { return found }
      } catch {
        // A set or the table may have gone between two requests.
        if error.errno != EINTR && error.errno != ENOENT { throw error }
      }
      readings += 1
      if readings == Self.readingsMax {
        throw SyscallError(call: "dump", subject: "table \(table), which changes all the time", errno: EBUSY)
      }
    }
  }

  /// How many transactions the namespace has seen: one more for each, whoever's.
  package func generation() throws(SyscallError) -> UInt32 {
    var buffer = NetlinkBuffer()
    buffer.begin(type: CNETLINK_NFT_GETGEN, flags: 0, sequence: 1)
    buffer.append(raw: [0, 0, 0, 0])
    buffer.end()
    for message in try reader.ask(buffer.bytes, subject: "nf_tables generation")
    where message.type == CNETLINK_NFT_NEWGEN {
      if let id = message.body.dropping(4)?.attribute(CNETLINK_NFTA_GEN_ID)?.bigEndian32 { return id }
    }
    throw SyscallError(call: "recv", subject: "nf_tables generation", errno: EPROTO)
  }

  private func readOnce(_ table: String, _ reads: (String) -> Bool) throws(SyscallError) -> NftTable? {
    let tables = try dump(CNETLINK_NFT_GETTABLE, [], "tables")
    guard tables.contains(where: { $0.attribute(CNETLINK_NFTA_TABLE_NAME)?.text == table }) else { return nil }
    var result = NftTable(sets: [], chains: [])
    for body in try dump(CNETLINK_NFT_GETSET, [(CNETLINK_NFTA_SET_TABLE, table)], "sets of \(table)") {
      guard body.attribute(CNETLINK_NFTA_SET_TABLE)?.text == table, var set = Self.set(body) else { continue }
      if reads(set.name) { set.elements = try elements(table: table, set: set.name) }
      result.sets.append(set)
    }
    for body in try dump(CNETLINK_NFT_GETCHAIN, [], "chains of \(table)") {
      guard body.attribute(CNETLINK_NFTA_CHAIN_TABLE)?.text == table, let chain = Self.chain(body) else { continue }
      result.chains.append(chain)
    }
    var rules: [String: [[UInt8]]] = [:]
    for body in try dump(CNETLINK_NFT_GETRULE, [(CNETLINK_NFTA_RULE_TABLE, table)], "rules of \(table)") {
      guard body.attribute(CNETLINK_NFTA_RULE_TABLE)?.text == table,
        let chain = body.attribute(CNETLINK_NFTA_RULE_CHAIN)?.text
      else { continue }
      rules[chain, default: []].append(body.attribute(CNETLINK_NFTA_RULE_EXPRESSIONS).map { Array($0.bytes) } ?? [])
    }
    for index in result.chains.indices { result.chains[index].rules = rules[result.chains[index].name] ?? [] }
    return result
  }

  private func dump(
    _ type: Int, _ filter: [(Int, String)], _ subject: String
  ) throws(SyscallError) -> [NetlinkView] {
    var buffer = NetlinkBuffer()
    buffer.begin(type: type, flags: CNETLINK_NLM_F_DUMP, sequence: 1)
    buffer.append(raw: [UInt8(CNETLINK_AF_INET_TABLES), 0, 0, 0])
    for (attribute, text) in filter { buffer.attribute(attribute, text: text) }
    buffer.end()
    return try reader.dump(buffer.bytes, subject: subject).compactMap { $0.body.dropping(4) }
  }

  /// The elements of one set; of a set that packets change, those of some moment.
  package func elements(table: String, set: String) throws(SyscallError) -> [NftTable.Element] {
    let filter = [(CNETLINK_NFTA_SET_ELEM_LIST_TABLE, table), (CNETLINK_NFTA_SET_ELEM_LIST_SET, set)]
    var all: [NftTable.Element] = []
    for body in try dump(CNETLINK_NFT_GETSETELEM, filter, "elements of \(table) \(set)") {
      body.attribute(CNETLINK_NFTA_SET_ELEM_LIST_ELEMENTS)?.forEachAttribute { _, element in
        if let element = Self.element(element) { all.append(element) }
      }
    }
    return all
  }

  private static func set(_ body: NetlinkView) -> NftTable.Set? {
    func number(_ type: Int) -> UInt32 { body.attribute(type)?.bigEndian32 ?? 0 }
    guard let name = body.attribute(CNETLINK_NFTA_SET_NAME)?.text else { return nil }
    return NftTable.Set(
      name: name, flags: number(CNETLINK_NFTA_SET_FLAGS), keyType: number(CNETLINK_NFTA_SET_KEY_TYPE),
      keyBytes: number(CNETLINK_NFTA_SET_KEY_LEN), valueType: number(CNETLINK_NFTA_SET_DATA_TYPE),
      valueBytes: number(CNETLINK_NFTA_SET_DATA_LEN),
      size: body.attribute(CNETLINK_NFTA_SET_DESC)?.attribute(CNETLINK_NFTA_SET_DESC_SIZE)?.bigEndian32 ?? 0,
      elements: [])
  }

  private static func chain(_ body: NetlinkView) -> NftTable.Chain? {
    guard let name = body.attribute(CNETLINK_NFTA_CHAIN_NAME)?.text else { return nil }
    let hook = body.attribute(CNETLINK_NFTA_CHAIN_HOOK)
    return NftTable.Chain(
      name: name, type: body.attribute(CNETLINK_NFTA_CHAIN_TYPE)?.text,
      hook: hook?.attribute(CNETLINK_NFTA_HOOK_HOOKNUM)?.bigEndian32,
      priority: (hook?.attribute(CNETLINK_NFTA_HOOK_PRIORITY)?.bigEndian32).map { Int32(bitPattern: $0) }, rules: [])
  }

  private static func element(_ view: NetlinkView) -> NftTable.Element? {
    var element = NftTable.Element(key: [])
    view.forEachAttribute { type, value in
      switch type {
      case CNETLINK_NFTA_SET_ELEM_KEY: element.key = data(value)
      case CNETLINK_NFTA_SET_ELEM_KEY_END: element.end = data(value)
      case CNETLINK_NFTA_SET_ELEM_DATA:
        if let verdict = value.attribute(CNETLINK_NFTA_DATA_VERDICT) {
          let code = verdict.attribute(CNETLINK_NFTA_VERDICT_CODE)?.bigEndian32 ?? 0
          element.verdict = (
            Int32(bitPattern: code), verdict.attribute(CNETLINK_NFTA_VERDICT_CHAIN)?.text ?? ""
          )
        } else {
          element.value = data(value)
        }
      default: break
      }
    }
    return element.key.isEmpty ? nil : element
  }

  private static func data(_ view: NetlinkView) -> [UInt8] {
    var bytes: [UInt8] = []
    view.forEachAttribute { type, value in if type == CNETLINK_NFTA_DATA_VALUE { bytes = Array(value.bytes) } }
    return bytes
  }
}

/// Compares rules as they were sent with rules as the kernel lists them.
package enum NftExpressions {
  private static let depthMax = 8

  /// Whether every attribute of `sent` is in `listed` with the same value, in the same order of expressions: the kernel
  /// lists more attributes than it was sent, in another order.
  package static func agree(_ sent: [UInt8], _ listed: [UInt8]) -> Bool {
    let mine = NetlinkView(sent[...]).attributes().map(\.value)
    let theirs = NetlinkView(listed[...]).attributes().map(\.value)
    return mine.count == theirs.count && zip(mine, theirs).allSatisfy { contains($1, $0, depth: 0) }
  }

  private static func contains(_ listed: NetlinkView, _ sent: NetlinkView, depth: Int) -> Bool {
    if listed.bytes.elementsEqual(sent.bytes) { return true }
    guard depth < depthMax, let mine = sent.nested, let theirs = listed.nested else { return false }
    return mine.allSatisfy { attribute in
      theirs.contains { $0.type == attribute.type && contains($0.value, attribute.value, depth: depth + 1) }
    }
  }
}

extension NetlinkView {
  var bigEndian32: UInt32? {
    bytes.count == 4 ? bytes.reduce(0) { $0 << 8 | UInt32($1) } : nil
  }

  /// The attributes, where the bytes are attributes and nothing else.
  fileprivate var nested: [(type: Int, value: NetlinkView)]? {
    let found = attributes()
    guard let last = found.last, (last.offset + last.value.bytes.count + 4 + 3) & ~3 >= bytes.count else { return nil }
    return found.map { ($0.type, $0.value) }
  }

  func forEachAttribute(_ body: (Int, NetlinkView) -> Void) {
    var offset = 0
    while let length = number(at: offset, as: UInt16.self), let type = number(at: offset + 2, as: UInt16.self),
      length >= 4, offset + Int(length) <= bytes.count
    {
      let start = bytes.startIndex + offset
      body(Int(type & 0x3fff), NetlinkView(bytes[(start + 4)..<(start + Int(length))]))
      offset += (Int(length) + 3) & ~3
    }
  }
}

/// One expression of a rule, as the kernel lists it: attributes by the numbers of linux/netfilter/nf_tables.h.
package struct NftExpression: Sendable {
  package let name: String
  private let body: [UInt8]

  /// The expressions of a rule of `NftTable.Chain`.
  package static func list(_ rule: [UInt8]) -> [NftExpression] {
    NetlinkView(rule[...]).attributes().map { element in
      let parts = element.value.attributes()
      return NftExpression(
        name: parts.first { $0.type == 1 }?.value.text ?? "",
        body: parts.first { $0.type == 2 }.map { Array($0.value.bytes) } ?? [])
    }
  }

  private func view(_ attribute: Int) -> NetlinkView? { NetlinkView(body[...]).attribute(attribute) }

  package func bytes(_ attribute: Int) -> [UInt8]? { view(attribute).map { Array($0.bytes) } }

  package func number(_ attribute: Int) -> UInt32? { view(attribute)?.bigEndian32 }

  package func text(_ attribute: Int) -> String? { view(attribute)?.text }

  /// Of an attribute that holds data: the value.
  package func data(_ attribute: Int) -> [UInt8]? {
    view(attribute)?.attribute(CNETLINK_NFTA_DATA_VALUE).map { Array($0.bytes) }
  }

  /// Of an attribute that holds data: code and chain of a verdict.
  package func verdict(_ attribute: Int) -> (code: Int32, chain: String)? {
    guard let verdict = view(attribute)?.attribute(CNETLINK_NFTA_DATA_VERDICT),
      let code = verdict.attribute(CNETLINK_NFTA_VERDICT_CODE)?.bigEndian32
    else { return nil }
    return (Int32(bitPattern: code), verdict.attribute(CNETLINK_NFTA_VERDICT_CHAIN)?.text ?? "")
  }
}
