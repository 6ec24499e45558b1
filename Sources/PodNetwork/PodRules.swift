package import Kernel
package import NFT

/// The pod network's own table: masquerade on the way out, host ports on the way in, sources checked.
package struct PodRules: Sendable, Hashable {
  package static let tableName = "martlet-pods"
  /// Of every pod's link on the node's side.
  package static let linkPrefix = "mlt"

  package var podCIDRs: [IPPrefix]
  package var clusterCIDRs: [IPPrefix]
  package var serviceCIDRs: [IPPrefix]
  package var masquerade: Bool

  package init(podCIDRs: [IPPrefix], clusterCIDRs: [IPPrefix], serviceCIDRs: [IPPrefix], masquerade: Bool) {
    self.podCIDRs = podCIDRs
    self.clusterCIDRs = clusterCIDRs
    self.serviceCIDRs = serviceCIDRs
    self.masquerade = masquerade
  }

  /// A host port and the addresses of the pod behind it.
  package struct Forward: Sendable, Hashable {
    package var port: HostPort
    package var addresses: [IPAddress]

    package init(port: HostPort, addresses: [IPAddress]) {
      self.port = port
      self.addresses = addresses
    }
  }

  private static func suffix(_ family: AddressFamily) -> String { family == .ipv4 ? "4" : "6" }

  /// Ports of one address of the node.
  private static func bound(_ family: AddressFamily) -> SetDeclaration {
    SetDeclaration(
      name: "bound\(suffix(family))", key: [.address(family), .transport, .port],
      value: .data([.address(family), .port]))
  }

  /// Ports of every address of the node.
  private static func open(_ family: AddressFamily) -> SetDeclaration {
    SetDeclaration(
      name: "open\(suffix(family))", key: [.transport, .port], value: .data([.address(family), .port]))
  }

  private static func hairpins(_ family: AddressFamily) -> SetDeclaration {
    SetDeclaration(name: "hairpins\(suffix(family))", key: [.address(family), .address(family)])
  }

  /// The whole table.
  package func table(_ forwards: [Forward]) -> Table {
    var sets: [NamedSet] = []
    for family in AddressFamily.allCases {
      var bound = NamedSet(Self.bound(family))
      var open = NamedSet(Self.open(family))
      var hairpins = NamedSet(Self.hairpins(family))
      for forward in forwards {
        guard let pod = forward.addresses.first(where: { $0.bytes.count == (family == .ipv4 ? 4 : 16) }) else {
          continue
        }
        let target = ElementValue.data(Words().address(pod.bytes).port(forward.port.containerPort))
        let transport = forward.port.transport.rawValue
        if let hostIP = forward.port.hostIP {
          guard hostIP.family == pod.family else { continue }
          bound.elements[Words().address(hostIP.bytes).transport(transport).port(forward.port.hostPort)] = target
        } else {
          open.elements[Words().transport(transport).port(forward.port.hostPort)] = target
        }
        hairpins.elements[Words().address(pod.bytes).address(pod.bytes)] = ElementValue.none
      }
      sets += [bound, open, hairpins]
    }
    return Table(name: Self.tableName, sets: sets, chains: chains())
  }

  private func chains() -> [Chain] {
    [
      Chain(
        name: "sources", base: .init(kind: .filter, hook: .prerouting, priority: -300), rules: sourceCheck()),
      Chain(
        name: "prerouting", base: .init(kind: .nat, hook: .prerouting, priority: -100),
        rules: [Rule(.verdict(.jump("hostports")))]),
      Chain(
        name: "output", base: .init(kind: .nat, hook: .output, priority: -100),
        rules: [Rule(.verdict(.jump("hostports")))]),
      Chain(
        name: "postrouting", base: .init(kind: .nat, hook: .postrouting, priority: 100),
        rules: AddressFamily.allCases.flatMap(leaving)),
      Chain(
        name: "unknown-forwarded", base: .init(kind: .filter, hook: .forward, priority: 0),
        rules: [Rule(.match(.outputLink, equal: true, .link(PodNetwork.nodeLink)), .refuse)]),
      Chain(
        name: "unknown-output", base: .init(kind: .filter, hook: .output, priority: 0),
        rules: serviceCIDRs.map(Self.unknown)),
      Chain(name: "hostports", rules: AddressFamily.allCases.flatMap(Self.entering)),
    ]
  }

  /// A pod sends under its own addresses only. For IPv4 the link's `rp_filter` does the same.
  private func sourceCheck() -> [Rule] {
    let linkLocal: [UInt8] = [0xfe, 0x80] + [UInt8](repeating: 0, count: 14)
    return [
      Rule(
        .match(.inputLink, equal: true, .link("\(Self.linkPrefix)*")),
        .match(.sourceAddress(.ipv6), equal: false, .prefix(linkLocal, length: 10)),
        .match(.reversePath, equal: true, .number(0)), .verdict(.drop))
    ]
  }

  /// From the node itself to a virtual address that no service has: what a service has was rewritten before.
  private static func unknown(_ prefix: IPPrefix) -> Rule {
    let family: AddressFamily = prefix.address.family == .ipv4 ? .ipv4 : .ipv6
    return Rule(
      .match(.destinationAddress(family), equal: true, .prefix(prefix.address.bytes, length: prefix.length)),
      .match(.destinationKind, equal: false, .local), .refuse)
  }

  /// Only for the node's own addresses: port 443 of a service, or of the world, is not port 443 of the node. Loopback is
  /// left out, because its packets may not leave the node without `route_localnet`, which opens more than it should.
  private static func entering(_ family: AddressFamily) -> [Rule] {
    let loopback = family == .ipv4 ? [127, 0, 0, 0] : [UInt8](repeating: 0, count: 15) + [1]
    let length = family == .ipv4 ? 8 : 128
    let local: [Statement] = [
      .match(.destinationAddress(family), equal: false, .prefix(loopback, length: length)),
      .match(.destinationKind, equal: true, .local),
    ]
    var bound = Rule()
    bound.statements =
      local + [
        .translateDestination(
          family, key: [.destinationAddress(family), .transport, .destinationPort], map: Self.bound(family).name)
      ]
    var open = Rule()
    open.statements =
      local + [.translateDestination(family, key: [.transport, .destinationPort], map: Self.open(family).name)]
    return [bound, open]
  }

  private func leaving(_ family: AddressFamily) -> [Rule] {
    let hairpin = Rule(
      .matchSet(
        [.sourceAddress(family), .destinationAddress(family)], set: Self.hairpins(family).name, contained: true),
      .masquerade)
    if !masquerade { return [hairpin] }
    let own = podCIDRs.filter { ($0.address.family == .ipv4) == (family == .ipv4) }
    let multicast: Literal =
      family == .ipv4
      ? .prefix([224, 0, 0, 0], length: 4) : .prefix([0xff] + [UInt8](repeating: 0, count: 15), length: 8)
    var inside: [IPPrefix] = own
    for prefix in clusterCIDRs where (prefix.address.family == .ipv4) == (family == .ipv4) && !inside.contains(prefix) {
      inside.append(prefix)
    }
    return [hairpin]
      + own.map { prefix in
        var rule = Rule(
          .match(.sourceAddress(family), equal: true, .prefix(prefix.address.bytes, length: prefix.length)))
        rule.statements += inside.map {
          .match(.destinationAddress(family), equal: false, .prefix($0.address.bytes, length: $0.length))
        }
        rule.statements += [.match(.destinationAddress(family), equal: false, multicast), .masquerade]
        return rule
      }
  }
}
