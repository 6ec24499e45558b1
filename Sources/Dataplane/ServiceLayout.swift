internal import Kernel
internal import NFT

/// How services lie in nftables: names, sets, keys and rules. One lookup finds a service, one its endpoint; the number of
/// chains depends on how many different endpoint counts there are, not on how many services. docs/decisions/0015 has
/// the why.
struct ServiceLayout: Sendable {
  static let tableName = "martlet"

  /// Spreads clients the same way on every node.
  static let hashSeed: UInt32 = 0x6d61_7274
  /// Clients of one family that are remembered at the same time; past it, new ones are not.
  static let stickyMax: UInt32 = 262_144

  var podCIDRs: [IPPrefix]
  var masqueradeAll = false

  // MARK: sets

  /// The class of the service: what becomes of a new connection.
  static func services(_ family: AddressFamily) -> SetDeclaration {
    SetDeclaration(
      name: "services\(suffix(family))", key: keyTypes(family), value: .data([.classID]), behaviour: .large)
  }

  /// What follows from the service and a class that was found already: another class.
  static func steps(_ family: AddressFamily) -> SetDeclaration {
    SetDeclaration(
      name: "steps\(suffix(family))", key: keyTypes(family) + [.classID], value: .data([.classID]), behaviour: .large)
  }

  static func endpoints(_ family: AddressFamily) -> SetDeclaration {
    SetDeclaration(
      name: "endpoints\(suffix(family))", key: keyTypes(family) + [.classID], value: .data([.address(family), .port]),
      behaviour: .large)
  }

  /// Each endpoint's address beside itself: a packet that comes from where it goes to.
  static func hairpins(_ family: AddressFamily) -> SetDeclaration {
    SetDeclaration(
      name: "hairpins\(suffix(family))", key: [.address(family), .address(family)], behaviour: .large)
  }

  /// Who may connect, for services that say so.
  static func ranges(_ family: AddressFamily) -> SetDeclaration {
    SetDeclaration(
      name: "ranges\(suffix(family))", key: keyTypes(family) + [.address(family)], behaviour: .intervals)
  }

  /// Which endpoint a client of a service was given, among those of a group: who is outside now may have been inside.
  static func sticky(_ family: AddressFamily, _ group: Lane.Group) -> SetDeclaration {
    SetDeclaration(
      name: "sticky\(suffix(family))\(group == .outside ? "-out" : "")", key: [.address(family)] + keyTypes(family),
      value: .data([.classID]),
      behaviour: .dynamic(size: stickyMax))
  }

  /// Where classes lead.
  static func lanes(_ family: AddressFamily, _ level: Lane.Level) -> SetDeclaration {
    SetDeclaration(name: "lanes\(suffix(family))\(level.suffix)", key: [.classID], value: .verdict)
  }

  /// How a service's class has senders masqueraded.
  static func leaves(_ family: AddressFamily) -> SetDeclaration {
    SetDeclaration(name: "leaves\(suffix(family))", key: [.classID], value: .verdict)
  }

  private static func keyTypes(_ family: AddressFamily) -> [DataType] { [.address(family), .transport, .port] }

  static func suffix(_ family: AddressFamily) -> String { family == .ipv4 ? "4" : "6" }

  // MARK: keys

  static func key(_ service: ServiceEntry.Key) -> Words {
    Words().address(service.address.bytes).transport(service.transport.rawValue).port(service.port)
  }

  static func key(_ service: ServiceEntry.Key, _ classID: UInt32) -> Words { key(service).classID(classID) }

  static func endpointValue(_ endpoint: ServiceEndpoint) -> Words {
    Words().address(endpoint.address.bytes).port(endpoint.port)
  }

  static func hairpin(_ address: IPAddress) -> Words { Words().address(address.bytes).address(address.bytes) }

  static func range(_ service: ServiceEntry.Key, _ prefix: IPPrefix) -> Element {
    let last = zip(prefix.address.bytes, prefix.mask).map { $0 | ~$1 }
    return Element(
      key(service).address(prefix.address.bytes), .upTo(key(service).address(last)))
  }

  // MARK: chains

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
        rules: AddressFamily.allCases.map {
          Rule(.destinationWasTranslated, .family($0), .verdict(.goto("leaving\(Self.suffix($0))")))
        }),
      Chain(name: "services", rules: AddressFamily.allCases.map(Self.dispatch)),
    ] + AddressFamily.allCases.flatMap { arriving($0) + leaving($0) } + [
      Chain(
        name: "refuse",
        rules: [Rule(.match(.transport, equal: true, .transport(6)), .resetConnection), Rule(.refuse)])
    ]
  }

  static func service(_ family: AddressFamily) -> [Operand] {
    [.destinationAddress(family), .transport, .destinationPort]
  }

  /// The packet priority carries the class, and then the slot, from one lookup to the next; `postrouting` sets it back
  /// to 0 before anything reads it. A map from service to verdict would let the kernel walk all services at each change.
  private static func dispatch(_ family: AddressFamily) -> Rule {
    Rule(
      .setPriorityFromMap(service(family), map: services(family).name),
      .verdict(.goto("choose\(suffix(family))")))
  }

  private func arriving(_ family: AddressFamily) -> [Chain] {
    let suffix = Self.suffix(family)
    let service = Self.service(family)
    let steps = Self.steps(family).name
    let insiders = pods(family).map { Rule($0, .verdict(.goto("inside\(suffix)"))) }
    // A class leads to a chain that sets the slot and comes back, or to one that knows better.
    let choosing = [Lane.Level.first, .guarded, .split].map { level in
      Chain(
        name: "choose\(suffix)\(level.suffix)",
        rules: [
          Rule(.verdictMap([.priority], map: Self.lanes(family, level).name)),
          Rule(.verdict(.goto("deliver\(suffix)"))),
        ])
    }
    let stepping = [Lane.Level.guarded, .split].map { level in
      Chain(
        name: "step\(suffix)\(level.suffix)",
        rules: [
          Rule(
            .setPriorityFromMap(service + [.priority], map: steps),
            .verdict(.goto("choose\(suffix)\(level.suffix)")))
        ])
    }
    return choosing + stepping + [
      // The one rule of its family that looks at endpoints: the kernel walks a map for each chain that begins to use it.
      Chain(
        name: "deliver\(suffix)",
        rules: [
          Rule(.translateDestination(family, key: service + [.priority], map: Self.endpoints(family).name)),
          Rule(.setPriority(0)),
        ]),
      Chain(
        name: "draw\(suffix)",
        rules: [
          Rule(
            .setPriorityFromMap(service + [.priority], map: steps),
            .verdictMap([.priority], map: Self.lanes(family, .draw).name))
        ]),
      Chain(name: "tag\(suffix)", rules: [Rule(.setPriorityFromMap(service + [.priority], map: steps))]),
      Chain(
        name: "split\(suffix)",
        rules: insiders + [
          Rule(.match(.sourceKind, equal: true, .local), .verdict(.goto("inside\(suffix)"))),
          Rule(.setPriority(Step.outside.classID), .verdict(.goto("step\(suffix)-split"))),
        ]),
      Chain(
        name: "inside\(suffix)",
        rules: [Rule(.setPriority(Step.inside.classID), .verdict(.goto("step\(suffix)-split")))]),
      Chain(
        name: "guard\(suffix)",
        rules: [
          Rule(
            .matchSet(service + [.sourceAddress(family)], set: Self.ranges(family).name, contained: true),
            .setPriority(Step.guarded.classID), .verdict(.goto("step\(suffix)-guarded"))),
          Rule(.verdict(.drop)),
        ]),
    ]
  }

  /// A statement for each pod block: the sender is in it.
  private func pods(_ family: AddressFamily) -> [Statement] {
    podCIDRs.filter { $0.address.addressFamily == family }.map {
      .match(.sourceAddress(family), equal: true, .prefix($0.address.bytes, length: $0.length))
    }
  }

  /// What connections that were translated get on their way out. Ours are told from others' by what they were sent to.
  private func leaving(_ family: AddressFamily) -> [Chain] {
    let suffix = Self.suffix(family)
    let own = TransportProtocol.allCases.map { transport in
      Rule(
        .match(.transport, equal: true, .transport(transport.rawValue)),
        .setPriorityFromMap(
          [.originalDestination(family), .transport, .originalDestinationPort], map: Self.services(family).name),
        .verdict(.goto("leave\(suffix)")))
    }
    let reset = Rule(.setPriority(0))
    var outside = Rule()
    for prefix in podCIDRs where prefix.address.addressFamily == family {
      outside.statements.append(
        .match(.sourceAddress(family), equal: false, .prefix(prefix.address.bytes, length: prefix.length)))
    }
    outside.statements += [.match(.sourceKind, equal: false, .local), .masquerade]
    return [
      Chain(name: "leaving\(suffix)", rules: own),
      Chain(
        name: "leave\(suffix)",
        rules: [
          Rule(
            .matchSet(
              [.sourceAddress(family), .destinationAddress(family)], set: Self.hairpins(family).name, contained: true),
            .verdict(.goto("leave-always\(suffix)"))),
          Rule(.verdictMap([.priority], map: Self.leaves(family).name)), reset,
        ]),
      Chain(name: "leave-always\(suffix)", rules: [reset, Rule(.masquerade)]),
      Chain(name: "leave-cluster\(suffix)", rules: [reset, outside]),
      Chain(
        name: "leave-split\(suffix)",
        rules: [reset] + pods(family).map { Rule($0, .verdict(.accept)) }
          + [Rule(.match(.sourceKind, equal: true, .local), .masquerade)]),
    ]
  }

  /// The whole table without services.
  func emptyTable() -> Table {
    let sets = AddressFamily.allCases.flatMap { family in
      [
        Self.services(family), Self.steps(family), Self.endpoints(family), Self.hairpins(family), Self.ranges(family),
        Self.sticky(family, .inside), Self.sticky(family, .outside), Self.leaves(family),
      ].map { NamedSet($0) } + Lane.Level.allCases.map { NamedSet(Self.lanes(family, $0)) }
    }
    return Table(name: Self.tableName, sets: sets, chains: chains())
  }
}

/// Classes that `steps` is asked with: which of a service's further classes is wanted.
enum Step: UInt32 {
  /// The class for senders inside, outside, within the source ranges.
  case inside = 1
  case outside, guarded
  /// How a new client of a service with affinity gets its slot.
  case drawInside, drawOutside

  var classID: UInt32 { 0x7000 << 16 | rawValue }
}

extension IPAddress {
  var addressFamily: AddressFamily { family == .ipv4 ? .ipv4 : .ipv6 }
}
