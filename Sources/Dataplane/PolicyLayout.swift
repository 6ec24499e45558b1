internal import Kernel
package import NFT

/// How policies lie in nftables: a set a peer set, a chain a policy, one more for each combination of policies that some
/// pod has, and two maps from a pod's address to that. A pod that comes or goes changes elements only.
extension PolicyTable {
  /// What is in the table for these policies; nothing at all where no pod is selected.
  package func table() -> Table {
    var table = Table(name: ServiceLayout.tableName, sets: [], chains: [])
    if pods.isEmpty { return table }
    var maps: [SetDeclaration: [Words: ElementValue]] = [:]
    var combinations: [String: Chain] = [:]
    var used: Set<String> = []
    for family in AddressFamily.allCases {
      for set in [Self.judged(.ingress, family), Self.judged(.egress, family), Self.itself(family)] { maps[set] = [:] }
    }
    for pod in pods {
      for address in pod.addresses {
        let family = address.addressFamily
        let key = Words().address(address.bytes)
        maps[Self.itself(family)]?[Words().address(address.bytes).address(address.bytes)] = ElementValue.none
        for (direction, names) in [(Policy.Direction.ingress, pod.ingress), (.egress, pod.egress)] {
          guard let names else { continue }
          let (verdict, chain) = combination(direction, names)
          maps[Self.judged(direction, family)]?[key] = .verdict(verdict)
          if let chain { combinations[chain.name] = chain }
          used.formUnion(names)
        }
      }
    }
    table.chains = Self.entrances()
    var peerNames: Set<String> = []
    for name in used.sorted() {
      guard let policy = policies[name] else { continue }
      table.chains.append(chain(name, policy))
      for rule in policy.rules { peerNames.formUnion(rule.peers ?? []) }
    }
    table.chains += combinations.values.sorted { $0.name < $1.name }
    table.sets = maps.sorted { $0.key.name < $1.key.name }.map { NamedSet($0.key, elements: $0.value) }
    for name in peerNames.sorted() {
      guard let set = peers[name] else { continue }
      for family in AddressFamily.allCases {
        let members = set.addresses.filter { $0.addressFamily == family }
        if members.isEmpty { continue }
        var elements: [Words: ElementValue] = [:]
        for address in members { elements[Words().address(address.bytes)] = ElementValue.none }
        table.sets.append(NamedSet(Self.peerSet(name, family), elements: elements))
      }
    }
    return table
  }

  /// Whether a set or chain of this name is made for policies.
  static func owns(_ name: String) -> Bool {
    let prefixes = ["ingress", "egress", "itself", "peers", "arrive", "policy-", "in-", "out-"]
    return ["forward", "input", "judge"].contains(name) || prefixes.contains { name.hasPrefix($0) }
  }

  // MARK: sets

  private static func judged(_ direction: Policy.Direction, _ family: AddressFamily) -> SetDeclaration {
    let name = direction == .ingress ? "ingress" : "egress"
    return SetDeclaration(
      name: "\(name)\(ServiceLayout.suffix(family))", key: [.address(family)], value: .verdict)
  }

  /// Each selected pod's address beside itself: a pod always reaches itself.
  private static func itself(_ family: AddressFamily) -> SetDeclaration {
    SetDeclaration(name: "itself\(ServiceLayout.suffix(family))", key: [.address(family), .address(family)])
  }

  private static func peerSet(_ name: String, _ family: AddressFamily) -> SetDeclaration {
    SetDeclaration(name: "peers\(ServiceLayout.suffix(family))-\(label([name]))", key: [.address(family)])
  }

  /// FNV-1a, 64 bits: names are people's, and longer than nftables takes.
  private static func label(_ names: [String]) -> String {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for name in names {
      for byte in name.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
      hash = (hash ^ 0) &* 0x100_0000_01b3
    }
    let digits = String(hash, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
  }

  // MARK: chains

  /// What is forwarded, and what pods send to the node itself. The node's own packets to its pods meet neither hook.
  private static func entrances() -> [Chain] {
    func entrance(_ name: String, _ hook: Chain.Base.Hook) -> Chain {
      Chain(
        name: name, base: .init(kind: .filter, hook: hook, priority: 0),
        rules: [
          Rule(.isKnownConnection, .verdict(.accept)), Rule(.verdict(.jump("judge"))),
        ])
    }
    return [entrance("forward", .forward), entrance("input", .input)]
      + [
        Chain(
          name: "judge",
          rules: [
            Rule(.neighbourDiscovery(answer: false), .verdict(.accept)),
            Rule(.neighbourDiscovery(answer: true), .verdict(.accept)),
          ]
            + AddressFamily.allCases.flatMap { family in
              [
                Rule(
                  .matchSet(
                    [.sourceAddress(family), .destinationAddress(family)], set: itself(family).name, contained: true),
                  .verdict(.accept)),
                Rule(.verdictMap([.sourceAddress(family)], map: judged(.egress, family).name)),
                Rule(.family(family), .verdict(.goto(arrival(family)))),
              ]
            })
      ]
      + AddressFamily.allCases.map { family in
        Chain(
          name: arrival(family),
          rules: [
            Rule(.verdictMap([.destinationAddress(family)], map: judged(.ingress, family).name)),
            // Not the end of the chain: that would lead back to the sender's policies.
            Rule(.verdict(.accept)),
          ])
      }
  }

  private static func arrival(_ family: AddressFamily) -> String { "arrive\(ServiceLayout.suffix(family))" }

  private static func policyChain(_ name: String) -> String { "policy-\(label([name]))" }

  /// Where a pod's address leads: through all its policies to a drop.
  private func combination(_ direction: Policy.Direction, _ names: [String]) -> (Verdict, Chain?) {
    let known = Set(names).filter { policies[$0]?.direction == direction && policies[$0]?.rules.isEmpty == false }
    if known.isEmpty { return (.drop, nil) }
    let sorted = known.sorted()
    let name = (direction == .ingress ? "in-" : "out-") + Self.label(sorted)
    let jumps = sorted.map { Rule(.verdict(.jump(Self.policyChain($0)))) }
    return (.goto(name), Chain(name: name, rules: jumps + [Rule(.verdict(.drop))]))
  }

  private func chain(_ name: String, _ policy: Policy) -> Chain {
    let rules = AddressFamily.allCases.flatMap { family in
      policy.rules.flatMap { rule in
        let allowed: Statement = .verdict(policy.direction == .ingress ? .accept : .goto(Self.arrival(family)))
        let ports: [Statement?] =
          rule.ports?.map { .destinationPorts(transport: $0.transport.rawValue, $0.range) } ?? [nil]
        return partners(rule, policy.direction, family).flatMap { partner in
          ports.map { port in NFT.Rule(statements: partner + [port, allowed].compactMap { $0 }) }
        }
      }
    }
    return Chain(name: Self.policyChain(name), rules: rules)
  }

  /// The matches of each way to be one of the rule's peers.
  private func partners(
    _ rule: Policy.Rule, _ direction: Policy.Direction, _ family: AddressFamily
  ) -> [[Statement]] {
    guard let names = rule.peers else { return [[.family(family)]] }
    let partner: Operand = direction == .ingress ? .sourceAddress(family) : .destinationAddress(family)
    return names.sorted().compactMap { name in peers[name].map { (name, $0) } }.flatMap { name, set in
      var ways: [[Statement]] = []
      if set.addresses.contains(where: { $0.addressFamily == family }) {
        ways.append([.matchSet([partner], set: Self.peerSet(name, family).name, contained: true)])
      }
      for block in set.blocks where block.prefix.address.addressFamily == family {
        let except = block.except.filter { $0.address.addressFamily == family }
        let whole: Statement =
          block.prefix.length == 0
          ? .family(family)
          : .match(partner, equal: true, .prefix(block.prefix.address.bytes, length: block.prefix.length))
        ways.append(
          [whole]
            + except.map { .match(partner, equal: false, .prefix($0.address.bytes, length: $0.length)) })
      }
      return ways
    }
  }
}
