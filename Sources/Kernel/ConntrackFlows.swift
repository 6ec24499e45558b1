internal import CNetlink
internal import Glibc

/// A UDP flow that was sent to a virtual address and led to an endpoint.
package struct TranslatedFlow: Sendable, Hashable {
  package var virtualAddress: IPAddress
  package var virtualPort: UInt16
  /// Where the answers come from: the endpoint; the virtual address itself for a flow that met no translation.
  package var endpoint: IPAddress
  package var endpointPort: UInt16

  package init(virtualAddress: IPAddress, virtualPort: UInt16, endpoint: IPAddress, endpointPort: UInt16) {
    self.virtualAddress = virtualAddress
    self.virtualPort = virtualPort
    self.endpoint = endpoint
    self.endpointPort = endpointPort
  }
}

/// The kernel's table of connections, in the network namespace of the thread that made it. Needs CAP_NET_ADMIN.
package final class ConntrackTable: Sendable {
  private static let udp: UInt8 = 17
  private let socket: NetlinkSocket

  package init() throws(SyscallError) { socket = try NetlinkSocket(.netfilter) }

  /// What flows were sent to, as far as it is the same for all that are looked for.
  private struct Destination {
    var address: IPAddress?
    var port: UInt16?

    init() {}

    init(of flows: [TranslatedFlow]) {
      guard let first = flows.first else { return }
      // Of IPv6 addresses Linux 5.8 to 6.18 at least tell of all flows but those that were asked for: the comparison in
      // ctnetlink_filter_match_tuple is the wrong way round.
      if first.virtualAddress.family == .ipv4, flows.allSatisfy({ $0.virtualAddress == first.virtualAddress }) {
        address = first.virtualAddress
      }
      if flows.allSatisfy({ $0.virtualPort == first.virtualPort }) { port = first.virtualPort }
    }
  }

  /// What a look for flows found.
  package struct Deletion: Sendable, Hashable {
    /// Flows that the kernel told of.
    package var listed = 0
    /// Those of them that went.
    package var deleted = 0

    package init() {}
  }

  /// Forgets these UDP flows, so that their next packet is translated anew.
  ///
  /// The kernel looks through its connections once for each address family; it tells, since 5.8, only of those that
  /// were sent to the one IPv4 address, and the one port, that all of `flows` have. Blocks.
  package func deleteUDP(_ flows: Set<TranslatedFlow>) throws(SyscallError) -> Deletion {
    var deletion = Deletion()
    for family in Set(flows.map(\.virtualAddress.family)).sorted() {
      let destination = Destination(of: flows.filter { $0.virtualAddress.family == family })
      try deleteUDP(family, to: destination, where: { flows.contains($0) }, &deletion)
    }
    return deletion
  }

  /// Forgets UDP flows for which `stale` holds. Reads all of the kernel's UDP flows of `families`. Blocks.
  package func deleteUDP(
    families: [IPAddress.Family], where stale: (TranslatedFlow) -> Bool
  ) throws(SyscallError) -> Deletion {
    var deletion = Deletion()
    for family in families { try deleteUDP(family, to: Destination(), where: stale, &deletion) }
    return deletion
  }

  private func deleteUDP(
    _ family: IPAddress.Family, to destination: Destination, where stale: (TranslatedFlow) -> Bool,
    _ deletion: inout Deletion
  ) throws(SyscallError) {
    for message in try socket.dump(Self.dumpRequest(family, destination), subject: "list UDP flows") {
      deletion.listed += 1
      guard let (flow, tuple) = Self.parse(message, family), stale(flow) else { continue }
      let refusals = try socket.transact(Self.deleteRequest(family, tuple: tuple), subject: "delete UDP flow")
      // ENOENT: it timed out in between.
      if let refusal = refusals.first {
        if refusal.errno == ENOENT { continue }
        let subject = "delete UDP flow to \(flow.virtualAddress) port \(flow.virtualPort)"
        throw SyscallError(call: "conntrack", subject: subject, errno: refusal.errno)
      }
      deletion.deleted += 1
    }
  }

  /// struct nfgenmsg.
  private static func header(_ family: IPAddress.Family) -> [UInt8] {
    [UInt8(family == .ipv4 ? CNETLINK_AF_INET : CNETLINK_AF_INET6), 0, 0, 0]
  }

  /// Bits of CTA_FILTER_ORIG_FLAGS.
  private enum Filter {
    static let address: UInt32 = 1 << 1
    static let transport: UInt32 = 1 << 3
    static let port: UInt32 = 1 << 5
  }

  private static func dumpRequest(_ family: IPAddress.Family, _ destination: Destination) -> [UInt8] {
    var buffer = NetlinkBuffer()
    buffer.begin(type: CNETLINK_CT_GET, flags: CNETLINK_NLM_F_DUMP, sequence: 1)
    buffer.append(raw: header(family))
    // Kernels before 5.8 do not know the filter and list everything: `parse` and the caller look again.
    var flags = Filter.transport
    buffer.nested(CNETLINK_CTA_TUPLE_ORIG) { tuple in
      if let address = destination.address {
        flags |= Filter.address
        tuple.nested(CNETLINK_CTA_TUPLE_IP) {
          $0.attribute(family == .ipv4 ? CNETLINK_CTA_IP_V4_DST : CNETLINK_CTA_IP_V6_DST, address.bytes)
        }
      }
      tuple.nested(CNETLINK_CTA_TUPLE_PROTO) {
        $0.attribute(CNETLINK_CTA_PROTO_NUM, [udp])
        guard let port = destination.port else { return }
        flags |= Filter.port
        $0.attribute(CNETLINK_CTA_PROTO_DST_PORT, [UInt8(port >> 8), UInt8(port & 0xff)])
      }
    }
    buffer.nested(CNETLINK_CTA_FILTER) { filter in
      filter.attribute(CNETLINK_CTA_FILTER_ORIG_FLAGS, flags)
      filter.attribute(CNETLINK_CTA_FILTER_REPLY_FLAGS, UInt32(0))
    }
    buffer.end()
    return buffer.bytes
  }

  private static func deleteRequest(_ family: IPAddress.Family, tuple: [UInt8]) -> [UInt8] {
    var buffer = NetlinkBuffer()
    buffer.begin(type: CNETLINK_CT_DELETE, flags: 0, sequence: 1)
    buffer.append(raw: header(family))
    buffer.attribute(CNETLINK_CTA_TUPLE_ORIG | CNETLINK_NLA_F_NESTED, tuple)
    buffer.end()
    return buffer.bytes
  }

  /// The flow, and its original tuple as the kernel wrote it.
  private static func parse(_ message: NetlinkMessage, _ family: IPAddress.Family) -> (TranslatedFlow, [UInt8])? {
    guard let body = message.body.dropping(4),
      let original = body.attribute(CNETLINK_CTA_TUPLE_ORIG), let reply = body.attribute(CNETLINK_CTA_TUPLE_REPLY),
      original.attribute(CNETLINK_CTA_TUPLE_PROTO)?.attribute(CNETLINK_CTA_PROTO_NUM)?.bytes.first == udp,
      let virtualAddress = address(
        original, family == .ipv4 ? CNETLINK_CTA_IP_V4_DST : CNETLINK_CTA_IP_V6_DST),
      let endpoint = address(reply, family == .ipv4 ? CNETLINK_CTA_IP_V4_SRC : CNETLINK_CTA_IP_V6_SRC),
      let virtualPort = port(original, CNETLINK_CTA_PROTO_DST_PORT), let port = port(reply, CNETLINK_CTA_PROTO_SRC_PORT)
    else { return nil }
    let flow = TranslatedFlow(
      virtualAddress: virtualAddress, virtualPort: virtualPort, endpoint: endpoint, endpointPort: port)
    return (flow, Array(original.bytes))
  }

  private static func address(_ tuple: NetlinkView, _ type: Int) -> IPAddress? {
    (tuple.attribute(CNETLINK_CTA_TUPLE_IP)?.attribute(type)?.bytes).flatMap { IPAddress(bytes: $0) }
  }

  private static func port(_ tuple: NetlinkView, _ type: Int) -> UInt16? {
    guard let bytes = tuple.attribute(CNETLINK_CTA_TUPLE_PROTO)?.attribute(type)?.bytes, bytes.count == 2 else {
      return nil
    }
    return UInt16(bytes[bytes.startIndex]) << 8 | UInt16(bytes[bytes.startIndex + 1])
  }
}
