internal import CNetlink
internal import Glibc

/// Netlink messages under construction, in one buffer. All lengths are kept as they grow.
struct NetlinkBuffer {
  private(set) var bytes: [UInt8] = []
  private var messageStart = 0

  mutating func begin(type: Int, flags: Int, sequence: UInt32) {
    pad()
    messageStart = bytes.count
    append(UInt32(0))
    append(UInt16(type))
    append(UInt16(flags | CNETLINK_NLM_F_REQUEST))
    append(sequence)
    append(UInt32(0))
  }

  mutating func end() {
    pad()
    store(UInt32(bytes.count - messageStart), at: messageStart)
  }

  mutating func append<T: FixedWidthInteger>(_ value: T) {
    var rest = value
    for _ in 0..<(T.bitWidth / 8) {
      bytes.append(UInt8(truncatingIfNeeded: rest))
      rest = rest >> (T.bitWidth > 8 ? 8 : 0)
    }
  }

  mutating func append(raw: some Sequence<UInt8>) { bytes.append(contentsOf: raw) }

  mutating func attribute(_ type: Int, _ payload: some Collection<UInt8>) {
    append(UInt16(4 + payload.count))
    append(UInt16(type))
    bytes.append(contentsOf: payload)
    pad()
  }

  mutating func attribute(_ type: Int, _ value: UInt32) {
    append(UInt16(8))
    append(UInt16(type))
    append(value)
  }

  mutating func attribute(_ type: Int, bigEndian value: UInt16) {
    attribute(type, [UInt8(value >> 8), UInt8(value & 0xff)])
  }

  mutating func attribute(_ type: Int, text: String) { attribute(type, Array(text.utf8) + [0]) }

  mutating func nested(_ type: Int, _ body: (inout NetlinkBuffer) -> Void) {
    let start = bytes.count
    append(UInt16(0))
    append(UInt16(type | CNETLINK_NLA_F_NESTED))
    body(&self)
    pad()
    store(UInt16(bytes.count - start), at: start)
  }

  /// Netlink aligns everything to 4 bytes.
  mutating func pad() { while bytes.count % 4 != 0 { bytes.append(0) } }

  private mutating func store<T: FixedWidthInteger>(_ value: T, at offset: Int) {
    for index in 0..<(T.bitWidth / 8) { bytes[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * index)) }
  }
}

/// Reads netlink's native-endian numbers and attributes out of received bytes; nothing outside them is ever read.
struct NetlinkView {
  let bytes: ArraySlice<UInt8>

  init(_ bytes: ArraySlice<UInt8>) { self.bytes = bytes }

  func number<T: FixedWidthInteger & UnsignedInteger>(at offset: Int, as type: T.Type = T.self) -> T? {
    let start = bytes.startIndex + offset
    guard offset >= 0, start + T.bitWidth / 8 <= bytes.endIndex else { return nil }
    var value: T = 0
    for index in (0..<(T.bitWidth / 8)).reversed() {
      value = (value << (T.bitWidth > 8 ? 8 : 0)) | T(bytes[start + index])
    }
    return value
  }

  func dropping(_ count: Int) -> NetlinkView? {
    count <= bytes.count ? NetlinkView(bytes.dropFirst(count)) : nil
  }

  /// The attributes that lie here, with their offsets; stops at the first that does not fit.
  func attributes() -> [(type: Int, offset: Int, value: NetlinkView)] {
    var found: [(type: Int, offset: Int, value: NetlinkView)] = []
    var offset = 0
    while let length = number(at: offset, as: UInt16.self), let type = number(at: offset + 2, as: UInt16.self),
      length >= 4, offset + Int(length) <= bytes.count
    {
      let start = bytes.startIndex + offset
      found.append((Int(type & 0x3fff), offset, NetlinkView(bytes[(start + 4)..<(start + Int(length))])))
      offset += (Int(length) + 3) & ~3
    }
    return found
  }

  func attribute(_ type: Int) -> NetlinkView? { attributes().first { $0.type == type }?.value }

  var text: String { String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self) }
}

/// One received message.
struct NetlinkMessage {
  let type: Int
  let flags: Int
  let sequence: UInt32
  /// Whose request it answers, or whose change it tells of.
  let port: UInt32
  let body: NetlinkView
}

/// What the kernel refused: the sequence number of the request, the error number and, where the kernel says so, the
/// offset of the attribute in that request and a sentence.
struct NetlinkRefusal {
  let sequence: UInt32
  let errno: CInt
  let offset: Int?
  let sentence: String?
}

/// A netlink socket: it belongs to the network namespace of the thread that opened it, wherever it is used later.
///
/// Not for concurrent use: its owner is an actor, or a thread of its own.
package final class NetlinkSocket: Sendable {
  /// What `receive` takes in one call: the kernel puts no more of a dump into one piece.
  private static let receiveBytesMax = 32 << 10
  /// Batches above the socket's default (208 KiB) ask for more room, up to this.
  private static let sendBytesMax = 256 << 20
  private static let defaultSendBytes = 128 << 10

  private let fd: OwnedFD

  package enum Family: Sendable { case route, netfilter }

  package init(_ family: Family) throws(SyscallError) {
    let number = CInt(family == .route ? CNETLINK_PROTOCOL_ROUTE : CNETLINK_PROTOCOL_NETFILTER)
    fd = OwnedFD(
      adopting: try syscall("socket", on: family == .route ? "rtnetlink" : "nfnetlink") { cnetlink_open(number) })
  }

  /// The number by which the kernel tells this socket from others.
  var port: UInt32 { fd.withRaw { cnetlink_port($0) } }

  /// Has the socket told of what happens in a group, or not any more.
  func follow(_ group: Int, _ joined: Bool) throws(SyscallError) {
    _ = try fd.withRaw { fd throws(SyscallError) in
      try syscall("setsockopt", on: "netlink group \(group)") { cnetlink_join(fd, CInt(group), joined ? 1 : 0) }
    }
  }

  /// Makes room for `bytes` of what waits to be received.
  func makeRoom(_ bytes: Int) throws(SyscallError) {
    _ = try fd.withRaw { fd throws(SyscallError) in
      try syscall("setsockopt", on: "SO_RCVBUFFORCE") { cnetlink_force_buffers(fd, CInt(bytes)) }
    }
  }

  /// Waits until something can be received, or `other` can be read: which of them. Blocks.
  func wait(or other: SharedFD, timeoutMilliseconds: Int32) throws(SyscallError) -> (own: Bool, other: Bool) {
    try fd.withRaw { first throws(SyscallError) in
      try other.withRaw { second throws(SyscallError) in
        var set = [
          pollfd(fd: first, events: Int16(POLLIN), revents: 0), pollfd(fd: second, events: Int16(POLLIN), revents: 0),
        ]
        _ = try syscall("poll", on: "netlink") {
          unsafe Glibc.poll(&set, nfds_t(set.count), timeoutMilliseconds)
        }
        return (set[0].revents != 0, set[1].revents != 0)
      }
    }
  }

  /// Sends all of `bytes` as one datagram. The kernel has worked it off when this returns.
  func send(_ bytes: [UInt8], subject: @autoclosure () -> String) throws(SyscallError) {
    if bytes.count > Self.sendBytesMax {
      throw SyscallError(call: "sendmsg", subject: "\(subject()): \(bytes.count) bytes", errno: EMSGSIZE)
    }
    if bytes.count > Self.defaultSendBytes {
      let room = CInt(bytes.count + (1 << 20))
      _ = try fd.withRaw { fd throws(SyscallError) in
        try syscall("setsockopt", on: "SO_SNDBUFFORCE") { cnetlink_force_buffers(fd, room) }
      }
    }
    _ = try fd.withRaw { fd throws(SyscallError) in
      try syscall("send", on: subject()) {
        // Safe: the array outlives the call, and its own length is passed.
        unsafe bytes.withUnsafeBytes { unsafe Glibc.send(fd, $0.baseAddress, $0.count, 0) }
      }
    }
  }

  /// What is waiting now; empty when nothing is.
  func receive() throws(SyscallError) -> [NetlinkMessage] {
    var failure: SyscallError?
    let bytes = unsafe [UInt8](unsafeUninitializedCapacity: Self.receiveBytesMax) { buffer, filled in
      do throws(SyscallError) {
        filled = try fd.withRaw { fd throws(SyscallError) in
          try syscall("recv", on: "netlink") {
            // Safe: the kernel writes at most the capacity that it is given.
            unsafe recv(fd, buffer.baseAddress, Self.receiveBytesMax, CInt(MSG_DONTWAIT))
          }
        }
      } catch {
        failure = error
      }
    }
    if let failure {
      if failure.errno == EAGAIN { return [] }
      throw failure
    }
    return Self.split(bytes[...])
  }

  static func split(_ bytes: ArraySlice<UInt8>) -> [NetlinkMessage] {
    var messages: [NetlinkMessage] = []
    var rest = NetlinkView(bytes)
    while let length = rest.number(at: 0, as: UInt32.self), let type = rest.number(at: 4, as: UInt16.self),
      let flags = rest.number(at: 6, as: UInt16.self), let sequence = rest.number(at: 8, as: UInt32.self),
      let port = rest.number(at: 12, as: UInt32.self), length >= 16, Int(length) <= rest.bytes.count
    {
      let start = rest.bytes.startIndex
      let body = NetlinkView(rest.bytes[(start + 16)..<(start + Int(length))])
      messages.append(
        NetlinkMessage(type: Int(type), flags: Int(flags), sequence: sequence, port: port, body: body))
      guard let next = rest.dropping(min((Int(length) + 3) & ~3, rest.bytes.count)) else { break }
      rest = next
    }
    return messages
  }

  /// Sends and collects what the kernel refused, in the order of the requests.
  func transact(_ bytes: [UInt8], subject: @autoclosure () -> String) throws(SyscallError) -> [NetlinkRefusal] {
    try discardWaiting()
    try send(bytes, subject: subject())
    var refusals: [NetlinkRefusal] = []
    while true {
      let messages = try receive()
      if messages.isEmpty { return refusals }
      for message in messages { if let refusal = Self.refusal(message) { refusals.append(refusal) } }
    }
  }

  /// Sends one dump request and gives every message of the answer.
  func dump(_ bytes: [UInt8], subject: @autoclosure () -> String) throws(SyscallError) -> [NetlinkMessage] {
    try discardWaiting()
    try send(bytes, subject: subject())
    var all: [NetlinkMessage] = []
    while true {
      let messages = try receive()
      if messages.isEmpty { return all }
      for message in messages {
        if let refusal = Self.refusal(message) {
          throw SyscallError(call: "recv", subject: subject(), errno: refusal.errno)
        }
        // What was listed changed meanwhile: the list may be neither the old nor the new one.
        if message.flags & CNETLINK_NLM_F_DUMP_INTR != 0 {
          throw SyscallError(call: "dump", subject: subject(), errno: EINTR)
        }
        if message.type == CNETLINK_NLMSG_DONE { return all }
        if message.type != CNETLINK_NLMSG_ERROR { all.append(message) }
      }
    }
  }

  /// Sends one request and gives what is answered.
  func ask(_ bytes: [UInt8], subject: @autoclosure () -> String) throws(SyscallError) -> [NetlinkMessage] {
    try discardWaiting()
    try send(bytes, subject: subject())
    let messages = try receive()
    for message in messages {
      if let refusal = Self.refusal(message) {
        throw SyscallError(call: "recv", subject: subject(), errno: refusal.errno)
      }
    }
    return messages
  }

  /// A call that failed half-way may have left answers behind; they would be taken for answers to the next one.
  private func discardWaiting() throws(SyscallError) { while try !receive().isEmpty {} }

  private static func refusal(_ message: NetlinkMessage) -> NetlinkRefusal? {
    guard message.type == CNETLINK_NLMSG_ERROR, let raw = message.body.number(at: 0, as: UInt32.self), raw != 0 else {
      return nil
    }
    // struct nlmsgerr: the error, then the header of the request (its sequence number is at 12), then extended attributes.
    let sequence = message.body.number(at: 12, as: UInt32.self) ?? message.sequence
    let extended = message.body.dropping(20)
    return NetlinkRefusal(
      sequence: sequence, errno: -CInt(bitPattern: raw),
      offset: extended?.attribute(CNETLINK_ERROR_OFFS)?.number(at: 0, as: UInt32.self).map { Int($0) },
      sentence: extended?.attribute(CNETLINK_ERROR_MSG)?.text)
  }
}
