internal import CNetlink

/// A hardware address of a link.
package struct LinkAddress: Sendable, Hashable, CustomStringConvertible {
  /// Six of them.
  package let bytes: [UInt8]

  /// Locally administered and unicast, whatever is given.
  package init(_ a: UInt8, _ b: UInt8, _ c: UInt8, _ d: UInt8, _ e: UInt8, _ f: UInt8) {
    bytes = [(a | 2) & 0xfe, b, c, d, e, f]
  }

  package static func random() -> LinkAddress {
    let random = randomBytes(6)
    return LinkAddress(random[0], random[1], random[2], random[3], random[4], random[5])
  }

  package var description: String { bytes.map { hexadecimal([$0]) }.joined(separator: ":") }
}

/// One change to links, addresses, neighbours or routes of a network namespace: a value until a `RouteSocket` sends it.
package enum RouteRequest: Sendable, Hashable, CustomStringConvertible {
  /// A pair of links, both down, one of them here; its peer has index 2 in another namespace, or is here too.
  case addPair(name: String, address: LinkAddress, mtu: Int, peer: String, peerAddress: LinkAddress)
  case deleteLink(name: String)
  case setGroup(name: String, group: UInt32)
  /// All links of a group, as fast as one: the kernel waits once for its readers, not once a link.
  case deleteGroup(UInt32)
  case setUp(name: String)
  /// No link-local address of the kernel's making, and IPv4 sources checked against the way they came by.
  case harden(name: String, ipv6: Bool)
  case addAddress(link: UInt32, IPAddress)
  /// Resolved for good.
  case addNeighbour(link: UInt32, IPAddress, LinkAddress)
  /// Straight onto the link; `source` is what the node itself uses on it.
  case addRoute(link: UInt32, IPPrefix, source: IPAddress?)
  case addDefaultRoute(link: UInt32, via: IPAddress)
  case deleteRoute(link: UInt32, IPPrefix)
  /// In place of one to the same addresses.
  case addClusterRoute(ClusterRoute)
  case deleteClusterRoute(ClusterRoute)
  case addOverlay(OverlayLink)
  case addOverlayPeer(link: UInt32, OverlayPeer)
  case deleteOverlayPeer(link: UInt32, OverlayPeer)
  case deleteNeighbour(link: UInt32, IPAddress)

  package var description: String {
    switch self {
    case .addPair(let name, _, _, let peer, _): "add link \(name) peer \(peer)"
    case .deleteLink(let name): "delete link \(name)"
    case .setGroup(let name, let group): "set link \(name) group \(group)"
    case .deleteGroup(let group): "delete links of group \(group)"
    case .setUp(let name): "set link \(name) up"
    case .harden(let name, _): "set link \(name) source check"
    case .addAddress(let link, let address): "add address \(address) on link \(link)"
    case .addNeighbour(let link, let address, let hardware): "add neighbour \(address) at \(hardware) on link \(link)"
    case .addRoute(let link, let prefix, _): "add route \(prefix) on link \(link)"
    case .addDefaultRoute(let link, let gateway): "add route default via \(gateway) on link \(link)"
    case .deleteRoute(let link, let prefix): "delete route \(prefix) on link \(link)"
    case .addClusterRoute(let route): "add route \(route)"
    case .deleteClusterRoute(let route): "delete route \(route)"
    case .addOverlay(let link): "add link \(link.name) vxlan \(link.identifier) port \(link.port) local \(link.local)"
    case .addOverlayPeer(let link, let peer): "add \(peer.address) at \(peer.remote) on link \(link)"
    case .deleteOverlayPeer(let link, let peer): "delete \(peer.address) at \(peer.remote) on link \(link)"
    case .deleteNeighbour(let link, let address): "delete neighbour \(address) on link \(link)"
    }
  }

  /// Index of the only link besides loopback in a namespace that `addPair` filled.
  package static let peerIndex: UInt32 = 2

  /// - Parameter namespace: descriptor of the namespace that a pair's peer goes to.
  func encode(into buffer: inout NetlinkBuffer, sequence: UInt32, namespace: CInt?) {
    switch self {
    case .addPair, .deleteLink, .setGroup, .deleteGroup, .setUp, .harden: encodeLink(&buffer, sequence, namespace)
    case .addAddress(let link, let address):
      buffer.begin(type: CNETLINK_RTM_NEWADDR, flags: Self.exclusive, sequence: sequence)
      let bits = UInt8(address.bytes.count * 8)
      let flags = UInt8(address.family == .ipv6 ? CNETLINK_IFA_F_NODAD : 0)
      let scope = UInt8(address.isLinkLocal ? CNETLINK_RT_SCOPE_LINK : CNETLINK_RT_SCOPE_UNIVERSE)
      buffer.append(raw: [address.familyNumber, bits, flags, scope])
      buffer.append(link)
      buffer.attribute(CNETLINK_IFA_LOCAL, address.bytes)
      buffer.attribute(CNETLINK_IFA_ADDRESS, address.bytes)
      buffer.end()
    case .addNeighbour(let link, let address, let hardware):
      let flags = CNETLINK_NLM_F_CREATE | CNETLINK_NLM_F_REPLACE
      buffer.begin(type: CNETLINK_RTM_NEWNEIGH, flags: flags, sequence: sequence)
      buffer.append(raw: [address.familyNumber, 0, 0, 0])
      buffer.append(link)
      buffer.append(UInt16(CNETLINK_NUD_PERMANENT))
      buffer.append(raw: [0, 0])
      buffer.attribute(CNETLINK_NDA_DST, address.bytes)
      buffer.attribute(CNETLINK_NDA_LLADDR, hardware.bytes)
      buffer.end()
    case .addRoute(let link, let prefix, let source):
      let header = Self.routeHeader(prefix.address, length: prefix.length, onLink: true)
      buffer.begin(type: CNETLINK_RTM_NEWROUTE, flags: Self.exclusive, sequence: sequence)
      buffer.append(raw: header)
      buffer.attribute(CNETLINK_RTA_DST, prefix.address.bytes)
      if let source { buffer.attribute(CNETLINK_RTA_PREFSRC, source.bytes) }
      buffer.attribute(CNETLINK_RTA_OIF, link)
      buffer.end()
    case .addDefaultRoute(let link, let gateway):
      buffer.begin(type: CNETLINK_RTM_NEWROUTE, flags: Self.exclusive, sequence: sequence)
      buffer.append(raw: Self.routeHeader(gateway, length: 0, onLink: false))
      buffer.attribute(CNETLINK_RTA_GATEWAY, gateway.bytes)
      buffer.attribute(CNETLINK_RTA_OIF, link)
      buffer.end()
    case .deleteRoute(let link, let prefix):
      buffer.begin(type: CNETLINK_RTM_DELROUTE, flags: 0, sequence: sequence)
      buffer.append(raw: Self.routeHeader(prefix.address, length: prefix.length, onLink: true))
      buffer.attribute(CNETLINK_RTA_DST, prefix.address.bytes)
      buffer.attribute(CNETLINK_RTA_OIF, link)
      buffer.end()
    case .addClusterRoute, .deleteClusterRoute, .addOverlay, .addOverlayPeer, .deleteOverlayPeer, .deleteNeighbour:
      encodeOverlay(&buffer, sequence)
    }
  }

  private static let exclusive = CNETLINK_NLM_F_CREATE | CNETLINK_NLM_F_EXCL

  private func encodeLink(_ buffer: inout NetlinkBuffer, _ sequence: UInt32, _ namespace: CInt?) {
    switch self {
    case .addPair(let name, let address, let mtu, let peer, let peerAddress):
      buffer.begin(type: CNETLINK_RTM_NEWLINK, flags: Self.exclusive, sequence: sequence)
      buffer.append(raw: Self.linkHeader(index: 0, up: false))
      Self.linkFacts(&buffer, name, address, mtu)
      buffer.nested(CNETLINK_IFLA_LINKINFO) { info in
        info.attribute(CNETLINK_IFLA_INFO_KIND, text: "veth")
        info.nested(CNETLINK_IFLA_INFO_DATA) { data in
          data.nested(CNETLINK_VETH_INFO_PEER) { other in
            other.append(raw: Self.linkHeader(index: namespace == nil ? 0 : Self.peerIndex, up: false))
            Self.linkFacts(&other, peer, peerAddress, mtu)
            if let namespace { other.attribute(CNETLINK_IFLA_NET_NS_FD, UInt32(namespace)) }
          }
        }
      }
    case .deleteLink(let name):
      buffer.begin(type: CNETLINK_RTM_DELLINK, flags: 0, sequence: sequence)
      buffer.append(raw: Self.linkHeader(index: 0, up: false))
      buffer.attribute(CNETLINK_IFLA_IFNAME, text: name)
    case .setGroup(let name, let group):
      buffer.begin(type: CNETLINK_RTM_NEWLINK, flags: 0, sequence: sequence)
      buffer.append(raw: Self.linkHeader(index: 0, up: false))
      buffer.attribute(CNETLINK_IFLA_IFNAME, text: name)
      buffer.attribute(CNETLINK_IFLA_GROUP, group)
    case .deleteGroup(let group):
      buffer.begin(type: CNETLINK_RTM_DELLINK, flags: 0, sequence: sequence)
      buffer.append(raw: Self.linkHeader(index: 0, up: false))
      buffer.attribute(CNETLINK_IFLA_GROUP, group)
    case .setUp(let name):
      buffer.begin(type: CNETLINK_RTM_NEWLINK, flags: 0, sequence: sequence)
      buffer.append(raw: Self.linkHeader(index: 0, up: true))
      buffer.attribute(CNETLINK_IFLA_IFNAME, text: name)
    case .harden(let name, let ipv6):
      buffer.begin(type: CNETLINK_RTM_NEWLINK, flags: 0, sequence: sequence)
      buffer.append(raw: Self.linkHeader(index: 0, up: false))
      buffer.attribute(CNETLINK_IFLA_IFNAME, text: name)
      buffer.nested(CNETLINK_IFLA_AF_SPEC) { spec in
        spec.nested(CNETLINK_AF_INET) { inet in
          inet.nested(CNETLINK_IFLA_INET_CONF) { $0.attribute(CNETLINK_DEVCONF_RP_FILTER, UInt32(1)) }
        }
        guard ipv6 else { return }
        spec.nested(CNETLINK_AF_INET6) { inet6 in
          inet6.attribute(CNETLINK_IFLA_INET6_ADDR_GEN_MODE, [UInt8(CNETLINK_ADDR_GEN_MODE_NONE)])
        }
      }
    default: return
    }
    buffer.end()
  }

  /// struct ifinfomsg.
  static func linkHeader(index: UInt32, up: Bool) -> [UInt8] {
    var header = NetlinkBuffer()
    header.append(raw: [0, 0, 0, 0])
    header.append(index)
    header.append(UInt32(up ? CNETLINK_IFF_UP : 0))
    header.append(UInt32(up ? CNETLINK_IFF_UP : 0))
    return header.bytes
  }

  private static func linkFacts(_ buffer: inout NetlinkBuffer, _ name: String, _ address: LinkAddress, _ mtu: Int) {
    buffer.attribute(CNETLINK_IFLA_IFNAME, text: name)
    buffer.attribute(CNETLINK_IFLA_ADDRESS, address.bytes)
    buffer.attribute(CNETLINK_IFLA_MTU, UInt32(mtu))
  }

  /// struct rtmsg.
  private static func routeHeader(_ address: IPAddress, length: Int, onLink: Bool) -> [UInt8] {
    let scope = onLink && address.family == .ipv4 ? CNETLINK_RT_SCOPE_LINK : CNETLINK_RT_SCOPE_UNIVERSE
    return [
      address.familyNumber, UInt8(length), 0, 0, UInt8(CNETLINK_RT_TABLE_MAIN), UInt8(CNETLINK_RTPROT_STATIC),
      UInt8(scope),
      UInt8(CNETLINK_RTN_UNICAST), 0, 0, 0, 0,
    ]
  }
}

extension IPAddress {
  var familyNumber: UInt8 { UInt8(family == .ipv4 ? CNETLINK_AF_INET : CNETLINK_AF_INET6) }

  package var isLinkLocal: Bool {
    family == .ipv4 ? bytes[0] == 169 && bytes[1] == 254 : bytes[0] == 0xfe && bytes[1] & 0xc0 == 0x80
  }
}
