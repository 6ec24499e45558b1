internal import CNetlink

/// A way to addresses that another machine has: the only routes of ours with a gateway besides those of pods.
package struct ClusterRoute: Sendable, Hashable, CustomStringConvertible {
  package var prefix: IPPrefix
  package var gateway: IPAddress
  /// What the machine itself sends from when it goes this way.
  package var source: IPAddress?
  /// Index of the link that the gateway is on; nil where the kernel shall find it by the gateway's address.
  package var link: UInt32?

  package init(prefix: IPPrefix, gateway: IPAddress, source: IPAddress?, link: UInt32? = nil) {
    (self.prefix, self.gateway, self.source, self.link) = (prefix, gateway, source, link)
  }

  package var description: String { "\(prefix) via \(gateway)" }
}

/// A link that carries packets between machines inside of UDP.
package struct OverlayLink: Sendable, Hashable {
  package var name: String
  package var address: LinkAddress
  /// Which of several such networks.
  package var identifier: UInt32
  package var port: UInt16
  /// Where the others send to.
  package var local: IPAddress
  /// Bytes.
  package var mtu: Int

  package init(
    name: String, address: LinkAddress, identifier: UInt32, port: UInt16, local: IPAddress, mtu: Int
  ) {
    (self.name, self.address, self.identifier) = (name, address, identifier)
    (self.port, self.local, self.mtu) = (port, local, mtu)
  }
}

/// What is known for good of another machine on an overlay's link.
package struct OverlayPeer: Sendable, Hashable {
  /// On the link.
  package var address: LinkAddress
  /// Of the machine, outside.
  package var remote: IPAddress

  package init(address: LinkAddress, remote: IPAddress) { (self.address, self.remote) = (address, remote) }
}

/// Numbers of linux/rtnetlink.h, if_link.h and neighbour.h that only this file needs.
private enum Number {
  static let getNeighbour = 30
  static let deleteNeighbour = 29
  static let mtu = 4
  static let familyBridge: UInt8 = 7
  /// NTF_SELF: of the link itself, not of a bridge that it is in.
  static let flagSelf: UInt8 = 2
  static let stateNoARP: UInt16 = 0x40
  static let permanent: UInt16 = 0x80
  static let onLink: UInt32 = 4
  static let vxlanIdentifier = 1
  static let vxlanLocal4 = 4
  static let vxlanLearning = 7
  static let vxlanPort = 15
  static let vxlanLocal6 = 17
  /// Headers of a route, a neighbour.
  static let routeBytes = 12
  static let neighbourBytes = 12
}

extension RouteRequest {
  /// Marks routes as ours: a protocol number that linux/rtnetlink.h gives to nobody.
  static let clusterProtocol: UInt8 = 109

  func encodeOverlay(_ buffer: inout NetlinkBuffer, _ sequence: UInt32) {
    switch self {
    case .addClusterRoute(let route):
      buffer.begin(
        type: CNETLINK_RTM_NEWROUTE, flags: CNETLINK_NLM_F_CREATE | CNETLINK_NLM_F_REPLACE, sequence: sequence)
      Self.append(route, to: &buffer)
    case .deleteClusterRoute(let route):
      buffer.begin(type: CNETLINK_RTM_DELROUTE, flags: 0, sequence: sequence)
      Self.append(route, to: &buffer)
    case .addOverlay(let link):
      let flags = CNETLINK_NLM_F_CREATE | CNETLINK_NLM_F_EXCL
      buffer.begin(type: CNETLINK_RTM_NEWLINK, flags: flags, sequence: sequence)
      Self.append(link, to: &buffer)
    case .addOverlayPeer(let link, let peer):
      let flags = CNETLINK_NLM_F_CREATE | CNETLINK_NLM_F_REPLACE
      buffer.begin(type: CNETLINK_RTM_NEWNEIGH, flags: flags, sequence: sequence)
      Self.append(peer, on: link, to: &buffer)
    case .deleteOverlayPeer(let link, let peer):
      buffer.begin(type: Number.deleteNeighbour, flags: 0, sequence: sequence)
      Self.append(peer, on: link, to: &buffer)
    case .deleteNeighbour(let link, let address):
      buffer.begin(type: Number.deleteNeighbour, flags: 0, sequence: sequence)
      buffer.append(raw: [address.familyNumber, 0, 0, 0])
      buffer.append(link)
      buffer.append(raw: [0, 0, 0, 0])
      buffer.attribute(CNETLINK_NDA_DST, address.bytes)
    default: return
    }
    buffer.end()
  }

  private static func append(_ route: ClusterRoute, to buffer: inout NetlinkBuffer) {
    buffer.append(raw: [
      route.prefix.address.familyNumber, UInt8(route.prefix.length), 0, 0, UInt8(CNETLINK_RT_TABLE_MAIN),
      clusterProtocol, UInt8(CNETLINK_RT_SCOPE_UNIVERSE), UInt8(CNETLINK_RTN_UNICAST),
    ])
    buffer.append(route.link == nil ? UInt32(0) : Number.onLink)
    buffer.attribute(CNETLINK_RTA_DST, route.prefix.address.bytes)
    buffer.attribute(CNETLINK_RTA_GATEWAY, route.gateway.bytes)
    if let source = route.source { buffer.attribute(CNETLINK_RTA_PREFSRC, source.bytes) }
    if let link = route.link { buffer.attribute(CNETLINK_RTA_OIF, link) }
  }

  private static func append(_ link: OverlayLink, to buffer: inout NetlinkBuffer) {
    buffer.append(raw: linkHeader(index: 0, up: false))
    buffer.attribute(CNETLINK_IFLA_IFNAME, text: link.name)
    buffer.attribute(CNETLINK_IFLA_ADDRESS, link.address.bytes)
    buffer.attribute(CNETLINK_IFLA_MTU, UInt32(link.mtu))
    buffer.nested(CNETLINK_IFLA_LINKINFO) { info in
      info.attribute(CNETLINK_IFLA_INFO_KIND, text: "vxlan")
      info.nested(CNETLINK_IFLA_INFO_DATA) { data in
        data.attribute(Number.vxlanIdentifier, link.identifier)
        let isIPv4 = link.local.family == .ipv4
        data.attribute(isIPv4 ? Number.vxlanLocal4 : Number.vxlanLocal6, link.local.bytes)
        // Who is where is told by the API, never learned from packets.
        data.attribute(Number.vxlanLearning, [0])
        data.attribute(Number.vxlanPort, bigEndian: link.port)
      }
    }
  }

  private static func append(_ peer: OverlayPeer, on link: UInt32, to buffer: inout NetlinkBuffer) {
    buffer.append(raw: [Number.familyBridge, 0, 0, 0])
    buffer.append(link)
    buffer.append(Number.stateNoARP | Number.permanent)
    buffer.append(raw: [Number.flagSelf, 0])
    buffer.attribute(CNETLINK_NDA_LLADDR, peer.address.bytes)
    buffer.attribute(CNETLINK_NDA_DST, peer.remote.bytes)
  }
}

extension RouteSocket {
  /// Every route that `addClusterRoute` made, each with its link.
  package func clusterRoutes() throws(SyscallError) -> [ClusterRoute] {
    var buffer = NetlinkBuffer()
    buffer.begin(type: CNETLINK_RTM_GETROUTE, flags: CNETLINK_NLM_F_DUMP, sequence: 1)
    buffer.append(raw: [UInt8](repeating: 0, count: Number.routeBytes))
    buffer.end()
    return try dump(buffer, subject: "list routes").compactMap { message in
      guard message.type == CNETLINK_RTM_NEWROUTE, message.body.bytes.count >= Number.routeBytes,
        let length = message.body.number(at: 1, as: UInt8.self),
        message.body.number(at: 5, as: UInt8.self) == RouteRequest.clusterProtocol,
        let attributes = message.body.dropping(Number.routeBytes),
        let destination = attributes.attribute(CNETLINK_RTA_DST).flatMap({ IPAddress(bytes: $0.bytes) }),
        let gateway = attributes.attribute(CNETLINK_RTA_GATEWAY).flatMap({ IPAddress(bytes: $0.bytes) }),
        let prefix = IPPrefix(address: destination, length: Int(length))
      else { return nil }
      return ClusterRoute(
        prefix: prefix, gateway: gateway,
        source: attributes.attribute(CNETLINK_RTA_PREFSRC).flatMap { IPAddress(bytes: $0.bytes) },
        link: attributes.attribute(CNETLINK_RTA_OIF)?.number(at: 0, as: UInt32.self))
    }
  }

  /// What stands for good on a link: machines of an overlay, and gateways.
  package func neighbours(
    on link: UInt32
  ) throws(SyscallError) -> (peers: Set<OverlayPeer>, gateways: [IPAddress: LinkAddress]) {
    var peers: Set<OverlayPeer> = []
    var gateways: [IPAddress: LinkAddress] = [:]
    for family in [UInt8(0), Number.familyBridge] {
      var buffer = NetlinkBuffer()
      buffer.begin(type: Number.getNeighbour, flags: CNETLINK_NLM_F_DUMP, sequence: 1)
      buffer.append(raw: [family] + [UInt8](repeating: 0, count: Number.neighbourBytes - 1))
      buffer.end()
      for message in try dump(buffer, subject: "list neighbours") {
        guard message.type == CNETLINK_RTM_NEWNEIGH, message.body.bytes.count >= Number.neighbourBytes,
          message.body.number(at: 4, as: UInt32.self) == link,
          let state = message.body.number(at: 8, as: UInt16.self), state & Number.permanent != 0,
          let attributes = message.body.dropping(Number.neighbourBytes),
          let hardware = attributes.attribute(CNETLINK_NDA_LLADDR).map({ Array($0.bytes) }), hardware.count == 6,
          let target = attributes.attribute(CNETLINK_NDA_DST).flatMap({ IPAddress(bytes: $0.bytes) })
        else { continue }
        let address = LinkAddress(
          hardware[0], hardware[1], hardware[2], hardware[3], hardware[4], hardware[5])
        if message.body.number(at: 0, as: UInt8.self) == Number.familyBridge {
          peers.insert(OverlayPeer(address: address, remote: target))
        } else {
          gateways[target] = address
        }
      }
    }
    return (peers, gateways)
  }

  /// How an overlay's link stands; nil where there is no link of that name, or where it is of another kind.
  package func overlay(named name: String) throws(SyscallError) -> (link: OverlayLink, index: UInt32)? {
    guard let message = try linkMessage(named: name), let index = message.body.number(at: 4, as: UInt32.self),
      let attributes = message.body.dropping(16), let info = attributes.attribute(CNETLINK_IFLA_LINKINFO),
      info.attribute(CNETLINK_IFLA_INFO_KIND)?.text == "vxlan", let data = info.attribute(CNETLINK_IFLA_INFO_DATA),
      let hardware = attributes.attribute(CNETLINK_IFLA_ADDRESS).map({ Array($0.bytes) }), hardware.count == 6,
      let identifier = data.attribute(Number.vxlanIdentifier)?.number(at: 0, as: UInt32.self),
      let port = data.attribute(Number.vxlanPort)?.number(at: 0, as: UInt16.self),
      let local = [Number.vxlanLocal4, Number.vxlanLocal6].compactMap({ data.attribute($0) }).compactMap({
        IPAddress(bytes: $0.bytes)
      }).first
    else { return nil }
    let address = LinkAddress(hardware[0], hardware[1], hardware[2], hardware[3], hardware[4], hardware[5])
    let mtu = attributes.attribute(Number.mtu)?.number(at: 0, as: UInt32.self) ?? 0
    let link = OverlayLink(
      name: name, address: address, identifier: identifier, port: port.byteSwapped, local: local, mtu: Int(mtu))
    return (link, index)
  }
}
