extension Table {
  /// The table in nft's language: what `nft -f` takes, in an order that depends on the value alone.
  package var text: String {
    var lines = ["table inet \(name) {"]
    for (index, set) in sets.enumerated() {
      if index > 0 { lines.append("") }
      lines += set.lines.map { "\t" + $0 }
    }
    for (index, chain) in chains.enumerated() {
      if index > 0 || !sets.isEmpty { lines.append("") }
      lines += chain.lines.map { "\t" + $0 }
    }
    return (lines + ["}", ""]).map { $0 == "\t" ? "" : $0 }.joined(separator: "\n")
  }
}

extension SetDeclaration {
  /// `map` or `set`.
  var keyword: String { value == .none ? "set" : "map" }

  /// `type ipv4_addr . inet_proto : classid`
  var typeText: String {
    func list(_ types: [DataType]) -> String { types.map(\.name).joined(separator: " . ") }
    switch value {
    case .none: return "type \(list(key))"
    case .data(let types): return "type \(list(key)) : \(list(types))"
    case .verdict: return "type \(list(key)) : verdict"
    }
  }

  /// `10.96.0.1 . tcp . 80 : 1:3`
  package func text(_ element: Element) -> String {
    let keyText = text(element.key, key)
    switch element.value {
    case .none: return keyText
    case .verdict(let verdict): return "\(keyText) : \(verdict.text)"
    case .data(let words):
      guard case .data(let types) = value else { return keyText }
      return "\(keyText) : \(text(words, types))"
    case .upTo(let last): return intervalText(element.key, last)
    }
  }

  private func intervalText(_ first: Words, _ last: Words) -> String {
    var offset = 0
    var parts: [String] = []
    for type in key {
      let low = first.bytes[offset..<(offset + type.bytes)]
      let high = last.bytes[offset..<(offset + type.bytes)]
      if low == high {
        parts.append(type.text(low))
      } else if let length = prefixLength(low, high) {
        parts.append("\(type.text(low))/\(length)")
      } else {
        parts.append("\(type.text(low))-\(type.text(high))")
      }
      offset += padded(type.bytes)
    }
    return parts.joined(separator: " . ")
  }

  /// Nil where the interval is no block of addresses.
  private func prefixLength(_ low: ArraySlice<UInt8>, _ high: ArraySlice<UInt8>) -> Int? {
    let bits = low.count * 8
    func bit(_ bytes: ArraySlice<UInt8>, _ index: Int) -> UInt8 {
      bytes[bytes.startIndex + index / 8] >> (7 - UInt8(index % 8)) & 1
    }
    let length = (0..<bits).first { bit(low, $0) != bit(high, $0) } ?? bits
    return (length..<bits).allSatisfy { bit(low, $0) == 0 && bit(high, $0) == 1 } ? length : nil
  }

  private func text(_ words: Words, _ types: [DataType]) -> String {
    var offset = 0
    var parts: [String] = []
    for type in types where offset + type.bytes <= words.bytes.count {
      parts.append(type.text(words.bytes[offset..<(offset + type.bytes)]))
      offset += padded(type.bytes)
    }
    return parts.joined(separator: " . ")
  }
}

extension NamedSet {
  /// By key, as the kernel's bytes sort.
  package var sortedElements: [Element] {
    elements.map { Element($0.key, $0.value) }.sorted { $0.key.bytes.lexicographicallyPrecedes($1.key.bytes) }
  }

  var lines: [String] {
    var lines = ["\(declaration.keyword) \(declaration.name) {", "\t\(declaration.typeText)"]
    switch declaration.behaviour {
    case .plain, .large: break
    case .intervals: lines.append("\tflags interval")
    case .dynamic(let size): lines += ["\tsize \(size)", "\tflags dynamic,timeout"]
    }
    let texts = sortedElements.map(declaration.text)
    if !texts.isEmpty { lines.append("\telements = { " + texts.joined(separator: ",\n\t\t\t     ") + " }") }
    return lines + ["}"]
  }
}

extension Chain {
  var lines: [String] {
    var lines = ["chain \(name) {"]
    if let base {
      lines.append("\t\(base.text); policy accept;")
    }
    return lines + rules.map { "\t\($0.text)" } + ["}"]
  }
}

extension Chain.Base {
  /// `type nat hook output priority -100`
  package var text: String { "type \(kind.rawValue) hook \(hook) priority \(priorityText)" }

  /// nft has names for the usual priorities, each valid at certain hooks only.
  var priorityText: String {
    switch (hook, priority) {
    case (.prerouting, -100): "dstnat"
    case (.postrouting, 100): "srcnat"
    case (_, -300): "raw"
    case (_, 0): "filter"
    default: String(priority)
    }
  }
}

extension Rule {
  package var text: String { statements.map(\.text).joined(separator: " ") }
}

extension Verdict {
  var text: String {
    switch self {
    case .accept: "accept"
    case .drop: "drop"
    case .jump(let chain): "jump \(chain)"
    case .goto(let chain): "goto \(chain)"
    }
  }
}

extension Operand {
  var text: String {
    switch self {
    case .sourceAddress(let family): "\(family.header) saddr"
    case .destinationAddress(let family): "\(family.header) daddr"
    case .transport: "meta l4proto"
    case .destinationPort: "th dport"
    case .priority: "meta priority"
    case .originalDestination(let family): "ct original \(family.header) daddr"
    case .originalDestinationPort: "ct original proto-dst"
    case .sourceKind: "fib saddr type"
    case .destinationKind: "fib daddr type"
    case .reversePath: "fib saddr . iif oif"
    case .inputLink: "iifname"
    case .outputLink: "oifname"
    case .counter(let modulus, let offset): "numgen inc mod \(modulus)\(offsetText(offset))"
    case .random(let modulus, let offset): "numgen random mod \(modulus)\(offsetText(offset))"
    case .hash(let operands, let modulus, let seed, let offset):
      "jhash \(concatenated(operands)) mod \(modulus) seed 0x\(String(seed, radix: 16))\(offsetText(offset))"
    }
  }
}

private func portsText(_ transport: UInt8, _ range: ClosedRange<UInt16>?) -> String {
  let name = transportText(transport)
  guard let range else { return "meta l4proto \(name)" }
  return range.count == 1
    ? "\(name) dport \(range.lowerBound)" : "\(name) dport \(range.lowerBound)-\(range.upperBound)"
}

/// As nft writes times: `1d2h3m4s`, without parts that are 0.
func timeText(_ seconds: UInt32) -> String {
  let parts = [(seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")]
  return parts.filter { $0.0 > 0 }.map { "\($0.0)\($0.1)" }.joined()
}

private func offsetText(_ offset: UInt32) -> String { offset == 0 ? "" : " offset \(offset)" }

private func concatenated(_ operands: [Operand]) -> String { operands.map(\.text).joined(separator: " . ") }

extension Literal {
  var text: String {
    switch self {
    case .address(let bytes): addressText(bytes)
    case .prefix(let bytes, let length): "\(addressText(bytes))/\(length)"
    case .transport(let number): transportText(number)
    case .local: "local"
    case .link(let name): "\"\(name)\""
    case .number(let number): String(number)
    }
  }
}

extension Statement {
  var text: String {
    switch self {
    case .match(let operand, let equal, let literal): "\(operand.text) \(equal ? "" : "!= ")\(literal.text)"
    case .matchSet(let key, let set, let contained): "\(concatenated(key)) \(contained ? "" : "!= ")@\(set)"
    case .destinationWasTranslated: "ct status dnat"
    case .isKnownConnection: "ct state established,related"
    case .family(let family): "meta nfproto \(family == .ipv4 ? "ipv4" : "ipv6")"
    case .destinationPorts(let transport, let range): portsText(transport, range)
    case .neighbourDiscovery(let answer): "icmpv6 type nd-neighbor-\(answer ? "advert" : "solicit")"
    case .update(let map, let key, let seconds, let value):
      "update @\(map) { \(concatenated(key)) timeout \(timeText(seconds)) : \(value.text) }"
    case .forget(let map, let key, let value): "delete @\(map) { \(concatenated(key)) : \(value.text) }"
    case .setPriority(let value): "meta priority set \(classIDText(value))"
    case .setPriorityFrom(let operand): "meta priority set \(operand.text)"
    case .setPriorityFromMap(let key, let map): "meta priority set \(concatenated(key)) map @\(map)"
    case .verdictMap(let key, let map): "\(concatenated(key)) vmap @\(map)"
    case .translateDestination(let family, let key, let map):
      "dnat \(family.header) to \(concatenated(key)) map @\(map)"
    case .masquerade: "masquerade"
    case .resetConnection: "reject with tcp reset"
    case .refuse: "reject"
    case .counter: "counter"
    case .verdict(let verdict): verdict.text
    case .foreign(let what): "# not ours: \(what)"
    }
  }
}
