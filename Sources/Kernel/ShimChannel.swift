internal import CLinux
internal import CSandbox
internal import Glibc

/// One end of a shim's SOCK_SEQPACKET socket: packets of bytes with descriptors beside them. Never blocks.
package final class ShimChannel: Sendable {
  private let socket: OwnedFD
  package static let packetBytesMax = 16 << 10
  package static let descriptorsMax = 4

  /// Takes a connected socket.
  package init(adopting socket: consuming OwnedFD) throws(SyscallError) {
    _ = try socket.withRaw { raw throws(SyscallError) in
      try syscall("fcntl", on: "shim socket") { csandbox_set_nonblocking(raw) }
    }
    self.socket = socket
  }

  /// Connects to the shim that listens in a pod's directory.
  /// - Throws: ENOENT or ECONNREFUSED where none does.
  package static func connect(directory: String) throws(SyscallError) -> ShimChannel {
    let opened = try Directory(path: directory)
    let raw = try opened.fd.withRaw { raw throws(SyscallError) in
      try syscall("connect", on: "\(directory)/shim.sock") { csandbox_connect(raw) }
    }
    return try ShimChannel(adopting: OwnedFD(adopting: raw))
  }

  /// Sends one packet whole. The descriptors are copied, and stay the caller's.
  package func send(_ bytes: [UInt8], descriptors: [CInt] = []) throws(SyscallError) {
    _ = try socket.withRaw { raw throws(SyscallError) in
      // Safe: both arrays live for the length of the call, and their counts go with them.
      try syscall("sendmsg", on: "shim socket") {
        unsafe clinux_sendmsg_fds(raw, bytes, bytes.count, descriptors, descriptors.count)
      }
    }
  }

  /// A packet: its bytes, and descriptors that are the receiver's to close. No bytes: the end.
  package struct Packet: Sendable {
    package let bytes: [UInt8]
    package let descriptors: [CInt]
  }

  /// The next packet, or nil where none waits. A connection that broke is one that ended.
  package func receive() throws(SyscallError) -> Packet? {
    var bytes = [UInt8](repeating: 0, count: Self.packetBytesMax)
    var descriptors = [CInt](repeating: -1, count: Self.descriptorsMax)
    var count = 0
    do throws(SyscallError) {
      let length = try socket.withRaw { raw throws(SyscallError) in
        // Safe: the call writes at most the counts that it is given.
        try syscall("recvmsg", on: "shim socket") {
          unsafe clinux_recvmsg_fds(raw, &bytes, bytes.count, &descriptors, descriptors.count, &count)
        }
      }
      return Packet(bytes: Array(bytes[..<length]), descriptors: Array(descriptors[..<count]))
    } catch {
      if error.errno == EAGAIN { return nil }
      if error.errno == ECONNRESET { return Packet(bytes: [], descriptors: []) }
      throw error
    }
  }

  /// Ends the connection for both sides; the reader sees its end.
  package func shutDown() { socket.withRaw { raw in _ = Glibc.shutdown(raw, CInt(SHUT_RDWR)) } }

  func withRaw<R, E: Error>(_ body: (CInt) throws(E) -> R) throws(E) -> R { try socket.withRaw(body) }

  /// Both ends of a new connection: ours, and the one to give to a shim.
  package static func pair() throws(SyscallError) -> ShimChannelPair {
    var ends: [CInt] = [-1, -1]
    // Safe: room for the two numbers that the call writes.
    _ = try syscall("socketpair", on: "new shim") { unsafe csandbox_socket_pair(&ends) }
    let theirs = OwnedFD(adopting: ends[1])
    return ShimChannelPair(ours: try ShimChannel(adopting: OwnedFD(adopting: ends[0])), theirs: theirs)
  }
}

/// See `ShimChannel.pair`.
package struct ShimChannelPair: ~Copyable {
  package let ours: ShimChannel
  package let theirs: OwnedFD
}

/// Closes descriptors that came with a packet nobody wants.
package func closeDescriptors(_ descriptors: [CInt]) { for raw in descriptors { _ = Glibc.close(raw) } }
