internal import Glibc
internal import Synchronization

/// Connections and datagrams for measurements: between sockets of this process, by whatever way the rules send them.
package enum TrafficProbe {
  /// Answers on a port, until stopped: TCP connections at every IPv4 address of the node are taken and read to their end,
  /// datagrams go back as they came.
  package final class Server: Sendable {
    private let tcp: SharedFD
    private let udp: SharedFD

    /// In the network namespace of the calling thread.
    /// - Parameter datagramAddress: where datagrams are answered: from another address of the node they would not be the
    ///   answers that a translated flow waits for.
    package init(port: UInt16, datagramAddress: IPAddress) throws(SyscallError) {
      tcp = SharedFD(try TrafficProbe.bound(CInt(SOCK_STREAM.rawValue), .ipv4(0, 0, 0, 0), port))
      udp = SharedFD(try TrafficProbe.bound(CInt(SOCK_DGRAM.rawValue), datagramAddress, port))
      _ = try tcp.withRaw { fd throws(SyscallError) in try syscall("listen", on: "port \(port)") { listen(fd, 1024) } }
    }

    /// Blocks until `stop`: for a thread of its own.
    package func serveConnections() {
      var buffer = [UInt8](repeating: 0, count: 256 << 10)
      while true {
        let peer = tcp.withRaw { fd in accept(fd, nil, nil) }
        if peer < 0 { return }
        while unsafe recv(peer, &buffer, buffer.count, 0) > 0 {}
        close(peer)
      }
    }

    /// Blocks until `stop`: for a thread of its own.
    package func serveDatagrams() {
      var buffer = [UInt8](repeating: 0, count: 2048)
      udp.withRaw { fd in
        while true {
          var peer = sockaddr_in()
          var length = socklen_t(MemoryLayout<sockaddr_in>.size)
          let count = unsafe withUnsafeMutablePointer(to: &peer) {
            unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
              unsafe recvfrom(fd, &buffer, buffer.count, 0, $0, &length)
            }
          }
          if count <= 0 { return }
          _ = unsafe withUnsafePointer(to: &peer) {
            unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
              unsafe sendto(fd, buffer, count, 0, $0, length)
            }
          }
        }
      }
    }

    package func stop() {
      tcp.withRaw { _ = shutdown($0, CInt(SHUT_RDWR)) }
      udp.withRaw { _ = shutdown($0, CInt(SHUT_RDWR)) }
    }
  }

  /// Nanoseconds until a connection stands. It is ended by a reset, so that its port is free at once.
  package static func connect(to address: IPAddress, port: UInt16) throws(SyscallError) -> Int64 {
    let socket = try opened(CInt(SOCK_STREAM.rawValue))
    let start = SystemClock.bootNanoseconds
    try connect(socket, address, port)
    let end = SystemClock.bootNanoseconds
    socket.withRaw { fd in
      var abrupt = linger(l_onoff: 1, l_linger: 0)
      _ = unsafe setsockopt(fd, SOL_SOCKET, SO_LINGER, &abrupt, socklen_t(MemoryLayout<linger>.size))
    }
    return end - start
  }

  /// Bytes that one connection carries in about `nanoseconds`, and how long that took.
  package static func stream(
    to address: IPAddress, port: UInt16, nanoseconds: Int64
  ) throws(SyscallError) -> (bytes: Int, nanoseconds: Int64) {
    let socket = try opened(CInt(SOCK_STREAM.rawValue))
    try connect(socket, address, port)
    let block = [UInt8](repeating: 0, count: 128 << 10)
    let start = SystemClock.bootNanoseconds
    var sent = 0
    while SystemClock.bootNanoseconds - start < nanoseconds {
      sent += try socket.withRaw { fd throws(SyscallError) in
        try syscall("send", on: "\(address) port \(port)") {
          unsafe send(fd, block, block.count, CInt(Int(MSG_NOSIGNAL)))
        }
      }
    }
    return (sent, SystemClock.bootNanoseconds - start)
  }

  /// Questions that are answered, one after another, in about `nanoseconds`, each socket asking `asksMax` times.
  package static func ask(
    _ address: IPAddress, port: UInt16, nanoseconds: Int64
  ) throws(SyscallError) -> (answers: Int, nanoseconds: Int64) {
    let asksMax = 50
    let start = SystemClock.bootNanoseconds
    var answers = 0
    while SystemClock.bootNanoseconds - start < nanoseconds {
      let socket = try opened(CInt(SOCK_DGRAM.rawValue))
      try connect(socket, address, port)
      for _ in 0..<asksMax {
        var word: UInt64 = 0
        try socket.withRaw { fd throws(SyscallError) in
          _ = try syscall("send", on: "\(address) port \(port)") { unsafe send(fd, &word, 8, 0) }
          _ = try syscall("recv", on: "\(address) port \(port)") { unsafe recv(fd, &word, 8, 0) }
        }
        answers += 1
      }
    }
    return (answers, SystemClock.bootNanoseconds - start)
  }

  private static func opened(_ kind: CInt) throws(SyscallError) -> OwnedFD {
    let fd = OwnedFD(
      adopting: try syscall("socket", on: "probe") { socket(AF_INET, kind | CInt(SOCK_CLOEXEC.rawValue), 0) })
    // A lost datagram ends the measurement with an error, not never.
    fd.withRaw { raw in
      var limit = timeval(tv_sec: 2, tv_usec: 0)
      _ = unsafe setsockopt(raw, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    }
    return fd
  }

  private static func bound(_ kind: CInt, _ address: IPAddress, _ port: UInt16) throws(SyscallError) -> OwnedFD {
    let fd = OwnedFD(
      adopting: try syscall("socket", on: "probe") { socket(AF_INET, kind | CInt(SOCK_CLOEXEC.rawValue), 0) })
    _ = try fd.withRaw { raw throws(SyscallError) in
      try syscall("bind", on: "port \(port)") { unsafe withAddress(address, port) { unsafe bind(raw, $0, $1) } }
    }
    return fd
  }

  private static func connect(
    _ socket: borrowing OwnedFD, _ address: IPAddress, _ port: UInt16
  ) throws(SyscallError) {
    _ = try socket.withRaw { raw throws(SyscallError) in
      try syscall("connect", on: "\(address) port \(port)") {
        unsafe withAddress(address, port) { unsafe Glibc.connect(raw, $0, $1) }
      }
    }
  }

  private static func withAddress(
    _ address: IPAddress, _ port: UInt16, _ body: (UnsafePointer<sockaddr>, socklen_t) -> CInt
  ) -> CInt {
    var target = sockaddr_in()
    target.sin_family = sa_family_t(AF_INET)
    target.sin_port = port.bigEndian
    unsafe withUnsafeMutableBytes(of: &target.sin_addr) { unsafe $0.copyBytes(from: address.bytes.prefix(4)) }
    return unsafe withUnsafePointer(to: &target) {
      unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
  }
}
