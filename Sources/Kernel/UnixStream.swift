internal import Glibc

/// A connection to a program that listens on a unix socket, for short exchanges. Blocks: for a thread of its own.
package struct UnixStream: ~Copyable, Sendable {
  private let socket: OwnedFD
  private let path: String

  /// - Throws: ENOENT where there is no socket, ECONNREFUSED where nobody listens.
  package static func connect(_ path: String) throws(SyscallError) -> UnixStream {
    let bytes = Array(path.utf8)
    guard !bytes.isEmpty, bytes.count < 108 else {
      throw SyscallError(call: "connect", subject: path, errno: ENAMETOOLONG)
    }
    let socket = OwnedFD(
      adopting: try syscall("socket", on: path) {
        Glibc.socket(AF_UNIX, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
      })
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    // Safe: sun_path has 108 bytes.
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: bytes) }
    try socket.withRaw { fd throws(SyscallError) in
      _ = try syscall("connect", on: path) {
        // Safe: a sockaddr_un is a sockaddr by its first member, and its size is given.
        unsafe withUnsafePointer(to: &address) { pointer in
          unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            unsafe Glibc.connect(fd, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
          }
        }
      }
    }
    return UnixStream(socket: socket, path: path)
  }

  private init(socket: consuming OwnedFD, path: String) {
    self.socket = socket
    self.path = path
  }

  package borrowing func write(_ bytes: [UInt8]) throws(SyscallError) { try socket.writeAll(bytes) }

  /// - Parameter deadline: of the boot clock, nanoseconds.
  /// - Returns: what came, at most `count` bytes; nothing at the other side's end.
  /// - Throws: ETIMEDOUT where nothing came until then.
  package borrowing func read(upTo count: Int, until deadline: Int64) throws(SyscallError) -> [UInt8] {
    try socket.withRaw { fd throws(SyscallError) in
      while true {
        let left = (deadline - SystemClock.bootNanoseconds) / 1_000_000
        guard left > 0 else { throw SyscallError(call: "read", subject: path, errno: ETIMEDOUT) }
        var request = pollfd(fd: fd, events: Int16(POLLIN), revents: 0)
        let ready = try syscall("poll", on: path) { unsafe poll(&request, 1, CInt(min(left, 60_000))) }
        if ready > 0 { return }
      }
    }
    return try socket.read(upTo: count)
  }
}
