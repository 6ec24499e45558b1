internal import CNetlink
internal import Glibc

/// A link as the kernel lists it.
package struct LinkInfo: Sendable, Hashable {
  package let name: String
  package let index: UInt32
}

/// Sends changes of links, addresses and routes, many at once, to the network namespace of the thread that opened it.
///
/// Needs CAP_NET_ADMIN there. Not for concurrent use. Deleting a link blocks for milliseconds.
package final class RouteSocket: Sendable {
  private let socket: NetlinkSocket

  package init() throws(SyscallError) { socket = try NetlinkSocket(.route) }

  /// Sends all in one batch. Unlike a transaction, those behind a refused one are still done.
  /// - Parameters:
  ///   - namespace: where the peers of pairs go.
  ///   - tolerating: error numbers that mean "it is so already".
  /// - Throws: the first refusal, with the request as its subject.
  package func run(_ requests: [RouteRequest], peersIn namespace: NetworkNamespace? = nil, tolerating: Set<CInt> = [])
    throws(SyscallError)
  {
    guard let namespace else { return try send(requests, nil, tolerating) }
    try namespace.withRaw { fd throws(SyscallError) in try send(requests, fd, tolerating) }
  }

  private func send(_ requests: [RouteRequest], _ namespace: CInt?, _ tolerating: Set<CInt>) throws(SyscallError) {
    if requests.isEmpty { return }
    var buffer = NetlinkBuffer()
    for (index, request) in requests.enumerated() {
      request.encode(into: &buffer, sequence: UInt32(index + 1), namespace: namespace)
    }
    let refusals = try socket.transact(buffer.bytes, subject: "\(requests.count) requests, first \(requests[0])")
    guard let first = refusals.first(where: { !tolerating.contains($0.errno) }) else { return }
    let index = Int(first.sequence) - 1
    let what = requests.indices.contains(index) ? requests[index].description : "unknown request"
    let sentence = first.sentence.map { ": \($0)" } ?? ""
    throw SyscallError(call: "rtnetlink", subject: what + sentence, errno: first.errno)
  }

  /// Every link of the namespace.
  package func links() throws(SyscallError) -> [LinkInfo] {
    var buffer = NetlinkBuffer()
    buffer.begin(type: CNETLINK_RTM_GETLINK, flags: CNETLINK_NLM_F_DUMP, sequence: 1)
    buffer.append(raw: RouteRequest.linkHeader(index: 0, up: false))
    buffer.end()
    return try socket.dump(buffer.bytes, subject: "list links").compactMap(Self.link)
  }

  /// Nil where there is none of that name.
  package func link(named name: String) throws(SyscallError) -> LinkInfo? {
    try linkMessage(named: name).flatMap(Self.link)
  }

  func dump(_ request: NetlinkBuffer, subject: String) throws(SyscallError) -> [NetlinkMessage] {
    try socket.dump(request.bytes, subject: subject)
  }

  func linkMessage(named name: String) throws(SyscallError) -> NetlinkMessage? {
    var buffer = NetlinkBuffer()
    buffer.begin(type: CNETLINK_RTM_GETLINK, flags: 0, sequence: 1)
    buffer.append(raw: RouteRequest.linkHeader(index: 0, up: false))
    buffer.attribute(CNETLINK_IFLA_IFNAME, text: name)
    buffer.end()
    do throws(SyscallError) {
      return try socket.dump(buffer.bytes, subject: "get link \(name)").first { $0.type == CNETLINK_RTM_NEWLINK }
    } catch {
      if error.errno == ENODEV { return nil }
      throw error
    }
  }

  private static func link(_ message: NetlinkMessage) -> LinkInfo? {
    guard message.type == CNETLINK_RTM_NEWLINK, let index = message.body.number(at: 4, as: UInt32.self),
      let name = message.body.dropping(16)?.attribute(CNETLINK_IFLA_IFNAME)?.text
    else { return nil }
    return LinkInfo(name: name, index: index)
  }
}
