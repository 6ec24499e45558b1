internal import Glibc

/// Connections to programs that listen on loopback, in whatever network namespace the calling thread is in.
package enum LoopbackSocket {
  /// Connects to `port` of 127.0.0.1, or of ::1 where nobody listens there.
  ///
  /// - Returns: a socket that blocks.
  /// - Throws: what IPv4 said, where neither listens. Blocks for as long as loopback takes: it answers at once.
  package static func connect(port: UInt16) throws(SyscallError) -> OwnedFD {
    do throws(SyscallError) {
      return try connectIPv4(port)
    } catch {
      guard let socket = try? connectIPv6(port) else { throw error }
      return socket
    }
  }

  /// The same inside a namespace, on a thread made for it.
  package static func connect(port: UInt16, in namespace: NetworkNamespace) async throws(SyscallError) -> OwnedFD {
    OwnedFD(adopting: try await namespace.run { () throws(SyscallError) in try connect(port: port).release() })
  }

  private static func connectIPv4(_ port: UInt16) throws(SyscallError) -> OwnedFD {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    let socket = try open(AF_INET, "127.0.0.1:\(port)")
    try socket.withRaw { fd throws(SyscallError) in
      _ = try syscall("connect", on: "127.0.0.1:\(port)") {
        // Safe: a sockaddr_in is a sockaddr by its first member, and its size is given.
        unsafe withUnsafePointer(to: &address) { pointer in
          unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            unsafe Glibc.connect(fd, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
          }
        }
      }
    }
    return socket
  }

  private static func connectIPv6(_ port: UInt16) throws(SyscallError) -> OwnedFD {
    var address = sockaddr_in6()
    address.sin6_family = sa_family_t(AF_INET6)
    address.sin6_port = port.bigEndian
    address.sin6_addr = in6addr_loopback
    let socket = try open(AF_INET6, "[::1]:\(port)")
    try socket.withRaw { fd throws(SyscallError) in
      _ = try syscall("connect", on: "[::1]:\(port)") {
        // Safe: as above.
        unsafe withUnsafePointer(to: &address) { pointer in
          unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            unsafe Glibc.connect(fd, $0, socklen_t(MemoryLayout<sockaddr_in6>.size))
          }
        }
      }
    }
    return socket
  }

  private static func open(_ family: CInt, _ subject: String) throws(SyscallError) -> OwnedFD {
    OwnedFD(
      adopting: try syscall("socket", on: subject) {
        socket(family, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
      })
  }
}
