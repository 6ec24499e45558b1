internal import Kernel

/// A network namespace with all that a pod's has but its addresses, and the node's end of its link.
///
/// Nothing pins it: it goes with the last reference, or with this process, and takes both ends of the link along.
final class ReadyNamespace: Sendable {
  /// Where a pod sees its gateway. No link has these; both sides know each other's hardware address for good.
  static let gatewayIPv4 = IPAddress.ipv4(169, 254, 1, 1)
  static let gatewayIPv6 = IPAddress("fe80::1")
  static let podLink = "eth0"

  let namespace: NetworkNamespace
  /// Speaks to the namespace from any thread.
  let inside: RouteSocket
  let hostLink: LinkInfo
  let podAddress: LinkAddress

  private init(_ namespace: NetworkNamespace, _ inside: RouteSocket, _ hostLink: LinkInfo, _ podAddress: LinkAddress) {
    self.namespace = namespace
    self.inside = inside
    self.hostLink = hostLink
    self.podAddress = podAddress
  }

  /// Milliseconds of kernel work, on a thread of its own.
  /// - Parameter made: the namespace to make ready, empty; nil: a new one.
  static func make(
    home: NetworkNamespace?, families: Set<IPAddress.Family>, mtu: Int, adopting made: NetworkNamespace? = nil
  ) async throws(SyscallError) -> ReadyNamespace {
    let ipv6 = families.contains(.ipv6)
    return try await NetworkNamespace.make(
      from: home, adopting: made,
      inside: { () throws(SyscallError) -> RouteSocket in
        if ipv6 {
          // The link's values are copied from these when it is made: no router but ours, no waiting for other owners.
          try NetworkNamespace.writeSysctl("ipv6/conf/default/accept_ra", "0")
          try NetworkNamespace.writeSysctl("ipv6/conf/default/accept_dad", "0")
        }
        let inside = try RouteSocket()
        try inside.run([.setUp(name: "lo")])
        return inside
      },
      outside: { (namespace, inside) throws(SyscallError) -> ReadyNamespace in
        try connect(namespace, inside, families, mtu)
      })
  }

  private static func connect(
    _ namespace: NetworkNamespace, _ inside: RouteSocket, _ families: Set<IPAddress.Family>, _ mtu: Int
  ) throws(SyscallError) -> ReadyNamespace {
    let outside = try RouteSocket()
    let name = PodRules.linkPrefix + randomHex(bytes: 5)
    let hostAddress = LinkAddress.random()
    let podAddress = LinkAddress.random()
    let ipv6 = families.contains(.ipv6)
    let pair = RouteRequest.addPair(
      name: name, address: hostAddress, mtu: mtu, peer: podLink, peerAddress: podAddress)
    try outside.run([pair, .harden(name: name, ipv6: ipv6)], peersIn: namespace)
    // A pod must not become the node's router (CVE-2020-10749).
    if ipv6 { try NetworkNamespace.writeSysctl("ipv6/conf/\(name)/accept_ra", "0") }
    try outside.run([.setUp(name: name)])
    guard let hostLink = try outside.link(named: name) else {
      throw SyscallError(call: "rtnetlink", subject: "link \(name) that was just made", errno: Errno.noDevice)
    }
    try inside.run(routes(hostAddress, families))
    return ReadyNamespace(namespace, inside, hostLink, podAddress)
  }

  private static func routes(_ hostAddress: LinkAddress, _ families: Set<IPAddress.Family>) -> [RouteRequest] {
    let link = RouteRequest.peerIndex
    var requests: [RouteRequest] = [.setUp(name: podLink)]
    if families.contains(.ipv4), let onLink = IPPrefix(address: gatewayIPv4, length: 32) {
      requests += [
        .addNeighbour(link: link, gatewayIPv4, hostAddress), .addRoute(link: link, onLink, source: nil),
        .addDefaultRoute(link: link, via: gatewayIPv4),
      ]
    }
    if families.contains(.ipv6), let gatewayIPv6 {
      requests += [.addNeighbour(link: link, gatewayIPv6, hostAddress), .addDefaultRoute(link: link, via: gatewayIPv6)]
    }
    return requests
  }
}
