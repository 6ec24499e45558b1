internal import Kernel
internal import NFT

/// How services lie in nftables: names, keys and rules. One lookup finds a service, one its endpoint; the number of chains
/// depends on how many different endpoint counts there are, not on how many services. docs/decisions/0004 has the why.
struct ServiceLayout: Sendable {
  static let tableName = "martlet"

  /// Services with as many endpoints share a round-robin counter; that many counters are kept a count, so that calls
  /// that alternate between two services do not always meet the same endpoint of each.
  static let counters: UInt32 = 16

  /// Spreads clients the same way on every node.
  static let hashSeed: UInt32 = 0x6d61_7274

  var podCIDRs: [IPPrefix]

  // Sets, for each family.

  static func services(_ family: AddressFamily) -> SetDeclaration {
    SetDeclaration(
      name: "services\(suffix(family))", key: [.address(family), .transport, .port], value: .data([.classID]))
  }

  static func endpoints(_ family: AddressFamily) -> SetDeclaration {
    SetDeclaration(
      name: "endpoints\(suffix(family))", key: [.address(family), .transport, .port, .classID],
      value: .data([.address(family), .port]))
  }

  /// Virtual addresses, to tell our translated connections from those of others.
  static func addresses(_ family: AddressFamily) -> SetDeclaration {
    SetDeclaration(name: "addresses\(suffix(family))", key: [.address(family)])
  }

  /// Each endpoint's address beside itself: a packet that comes from where it goes to.
  static func hairpins(_ family: AddressFamily) -> SetDeclaration {
    SetDeclaration(name: "hairpins\(suffix(family))", key: [.address(family), .address(family)])
  }

  static let lanes = SetDeclaration(name: "lanes", key: [.classID], value: .verdict)

  static func suffix(_ family: AddressFamily) -> String { family == .ipv4 ? "4" : "6" }

  // Elements.

  static func key(_ service: ServiceEntry.Key) -> Words {
    Words().address(service.address.bytes).transport(service.transport.rawValue).port(service.port)
  }

  /// The class of slot 0. nft 1.0.6 reads a class only if it begins with a decimal digit and neither half is 0.
  static let firstSlot: UInt32 = 0x50 << 16 | 1

  static func endpointKey(_ service: ServiceEntry.Key, slot: Int) -> Words {
    key(service).classID(firstSlot + UInt32(slot))
  }

  static func endpointValue(_ endpoint: ServiceEndpoint) -> Words {
    Words().address(endpoint.address.bytes).port(endpoint.port)
  }

  static func hairpin(_ address: IPAddress) -> Words { Words().address(address.bytes).address(address.bytes) }

  // Chains.

  /// Everything that does not depend on services.
  func chains() -> [Chain] {
    [
      Chain(
        name: "prerouting", base: .init(kind: .nat, hook: .prerouting, priority: -100),
        rules: [Rule(.verdict(.jump("services")))]),
      Chain(
        name: "output", base: .init(kind: .nat, hook: .output, priority: -100),
        rules: [Rule(.verdict(.jump("services")))]),
      Chain(
        name: "postrouting", base: .init(kind: .nat, hook: .postrouting, priority: 100),
        rules: AddressFamily.allCases.flatMap(masquerading)),
      Chain(name: "services", rules: AddressFamily.allCases.map(Self.dispatch)),
    ] + AddressFamily.allCases.map(Self.deliver) + [
      Chain(
        name: Lane.refused.chainName,
        rules: [Rule(.match(.transport, equal: true, .transport(6)), .resetConnection), Rule(.refuse)])
    ]
  }

  /// The packet priority carries the lane, and then the slot, from one lookup to the next; `postrouting` sets it back
  /// to 0 before anything reads it. A map from service to verdict would let the kernel walk all services at each change.
  private static func dispatch(_ family: AddressFamily) -> Rule {
    Rule(
      .setPriorityFromMap([.destinationAddress(family), .transport, .destinationPort], map: services(family).name),
      .verdictMap([.priority], map: lanes.name))
  }

  /// The one rule of its family that looks at endpoints: the kernel walks a map for each chain that begins to use it.
  private static func deliver(_ family: AddressFamily) -> Chain {
    Chain(
      name: deliverChain(family),
      rules: [
        Rule(
          .translateDestination(
            family, key: [.destinationAddress(family), .transport, .destinationPort, .priority],
            map: endpoints(family).name))
      ])
  }

  static func deliverChain(_ family: AddressFamily) -> String { "deliver\(suffix(family))" }

  private func masquerading(_ family: AddressFamily) -> [Rule] {
    let hairpin = Rule(
      .matchSet(
        [.sourceAddress(family), .destinationAddress(family)], set: Self.hairpins(family).name, contained: true),
      .masquerade)
    let reset = Rule(
      .destinationWasTranslated,
      .matchSet([.originalDestination(family)], set: Self.addresses(family).name, contained: true), .setPriority(0))
    // From outside: the answers must come back through this node.
    var outside = Rule(
      .destinationWasTranslated,
      .matchSet([.originalDestination(family)], set: Self.addresses(family).name, contained: true))
    for prefix in podCIDRs where prefix.address.addressFamily == family {
      outside.statements.append(
        .match(.sourceAddress(family), equal: false, .prefix(prefix.address.bytes, length: prefix.length)))
    }
    outside.statements += [.match(.sourceKind, equal: false, .local), .masquerade]
    return [reset, hairpin, outside]
  }

  /// The whole table without services.
  func emptyTable() -> Table {
    var sets: [NamedSet] = []
    for family in AddressFamily.allCases {
      sets += [
        Self.services(family), Self.endpoints(family), Self.addresses(family), Self.hairpins(family),
      ].map { NamedSet($0) }
    }
    sets.append(NamedSet(Self.lanes, elements: [Lane.refused.key: .verdict(.goto(Lane.refused.chainName))]))
    return Table(name: Self.tableName, sets: sets, chains: chains())
  }
}

extension IPAddress {
  var addressFamily: AddressFamily { family == .ipv4 ? .ipv4 : .ipv6 }
}

/// A chain that services of one family, balance and endpoint count lead to, and the class that names it.
enum Lane: Hashable, Sendable, Comparable {
  case refused
  case roundRobin(AddressFamily, endpoints: Int, counter: UInt32)
  case hash(AddressFamily, endpoints: Int)

  /// The lane of a service; FNV-1a over its key chooses the counter, the same on every run.
  init(_ entry: ServiceEntry) {
    let family = entry.address.addressFamily
    if entry.endpoints.isEmpty {
      self = .refused
      return
    }
    switch entry.balance {
    case .hash: self = .hash(family, endpoints: entry.endpoints.count)
    case .roundRobin, .random:
      var hash: UInt32 = 0x811c_9dc5
      for byte in ServiceLayout.key(entry.key).bytes { hash = (hash ^ UInt32(byte)) &* 0x0100_0193 }
      hash ^= hash >> 16
      self = .roundRobin(family, endpoints: entry.endpoints.count, counter: hash % ServiceLayout.counters)
    }
  }

  /// Upper half: kind, family and counter; lower half: the number of endpoints (see `firstSlot` for their form).
  var classID: UInt32 {
    switch self {
    case .refused: 0x40 << 16 | 1
    case .roundRobin(let family, let endpoints, let counter):
      ((family == .ipv4 ? 0x10 : 0x20) + counter) << 16 | UInt32(endpoints)
    case .hash(let family, let endpoints): (family == .ipv4 ? 0x31 : 0x32) << 16 | UInt32(endpoints)
    }
  }

  var key: Words { Words().classID(classID) }

  static func < (left: Lane, right: Lane) -> Bool { left.classID < right.classID }

  var chainName: String {
    switch self {
    case .refused: "refuse"
    case .roundRobin(let family, let endpoints, let counter):
      "turn\(ServiceLayout.suffix(family))-\(endpoints)-\(counter)"
    case .hash(let family, let endpoints): "hash\(ServiceLayout.suffix(family))-\(endpoints)"
    }
  }

  /// Nil for `refused`, which is always there.
  var chain: Chain? {
    let own: AddressFamily
    let slot: Operand
    switch self {
    case .refused: return nil
    case .roundRobin(let family, let endpoints, _):
      own = family
      slot = .counter(modulus: UInt32(endpoints), offset: ServiceLayout.firstSlot)
    case .hash(let family, let endpoints):
      own = family
      slot = .hash(
        [.sourceAddress(family), .destinationAddress(family)], modulus: UInt32(endpoints),
        seed: ServiceLayout.hashSeed, offset: ServiceLayout.firstSlot)
    }
    let rule = Rule(.setPriorityFrom(slot), .verdict(.goto(ServiceLayout.deliverChain(own))))
    return Chain(name: chainName, rules: [rule])
  }
}
