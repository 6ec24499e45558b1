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

  /// Forgets UDP flows for which `stale` holds, so that their next packet is translated anew.
  ///
  /// Reads the kernel's UDP flows of `families`: linear in their number. Blocks.
  /// - Returns: how many entries went.
  package func deleteUDP(
    families: [IPAddress.Family], where stale: (TranslatedFlow) -> Bool
  ) throws(SyscallError) -> Int {
    var deleted = 0
    for family in families {
      for message in try socket.dump(Self.dumpRequest(family), subject: "list UDP flows") {
        guard let (flow, tuple) = Self.parse(message, family), stale(flow) else { continue }
        let refusals = try socket.transact(Self.deleteRequest(family, tuple: tuple), subject: "delete UDP flow")
        // ENOENT: it timed out in between.
        if let refusal = refusals.first {
          if refusal.errno == ENOENT { continue }
          let subject = "delete UDP flow to \(flow.virtualAddress) port \(flow.virtualPort)"
          throw SyscallError(call: "conntrack", subject: subject, errno: refusal.errno)
        }
        deleted += 1
      }
    }
    return deleted
  }

  /// struct nfgenmsg.
  private static func header(_ family: IPAddress.Family) -> [UInt8] {
    [UInt8(family == .ipv4 ? CNETLINK_AF_INET : CNETLINK_AF_INET6), 0, 0, 0]
  }

  private static func dumpRequest(_ family: IPAddress.Family) -> [UInt8] {
    var buffer = NetlinkBuffer()
    buffer.begin(type: CNETLINK_CT_GET, flags: CNETLINK_NLM_F_DUMP, sequence: 1)
    buffer.append(raw: header(family))
    // Kernels before 5.8 do not know the filter and list TCP too: `parse` looks again.
    buffer.nested(CNETLINK_CTA_TUPLE_ORIG) { tuple in
      tuple.nested(CNETLINK_CTA_TUPLE_PROTO) { $0.attribute(CNETLINK_CTA_PROTO_NUM, [udp]) }
    }
    buffer.nested(CNETLINK_CTA_FILTER) { filter in
      let protocolNumber: UInt32 = 1 << 3
      filter.attribute(CNETLINK_CTA_FILTER_ORIG_FLAGS, protocolNumber)
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
