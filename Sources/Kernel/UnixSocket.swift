internal import CLinux
internal import Glibc

/// A listening unix socket that one process at a time owns.
package struct UnixSocketListener: ~Copyable, Sendable {
  package let socket: OwnedFD
  /// Held as long as this lives: the proof that no other daemon serves the path.
  private let lock: FileLock
  package let path: String

  /// Connections that wait to be accepted.
  private static let backlog: CInt = 128

  /// Locks `path`.lock, removes what an earlier owner left at `path`, binds and listens there.
  ///
  /// - Parameter mode: of the socket; set before anybody can connect.
  /// - Throws: EADDRINUSE where another process holds the lock; ENAMETOOLONG beyond 107 bytes.
  package static func bind(_ path: String, mode: UInt32 = 0o600) throws(SyscallError) -> UnixSocketListener {
    let lock = try FileLock(path: "\(path).lock")
    try Files.remove(path)
    let socket = OwnedFD(
      adopting: try syscall("socket", on: path) {
        Glibc.socket(AF_UNIX, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
      })
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let bytes = Array(path.utf8)
    guard bytes.count < 108 else {
      throw SyscallError(call: "bind", subject: "\(path), more than 107 bytes", errno: ENAMETOOLONG)
    }
    // Safe: sun_path has 108 bytes, of which the last stays 0.
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: bytes) }
    // The mode counts from the first moment: nobody connects between bind and chmod because nothing listens yet.
    try socket.withRaw { fd throws(SyscallError) in
      _ = try syscall("bind", on: path) {
        unsafe withUnsafePointer(to: &address) { pointer in
          // Safe: a sockaddr_un is a sockaddr by its first member, and its size is given.
          unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            unsafe Glibc.bind(fd, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
          }
        }
      }
      try Files.chmod(path, mode: mode)
      _ = try syscall("listen", on: path) { Glibc.listen(fd, backlog) }
    }
    return UnixSocketListener(socket: socket, lock: lock, path: path)
  }

  private init(socket: consuming OwnedFD, lock: consuming FileLock, path: String) {
    self.socket = socket
    self.lock = lock
    self.path = path
  }

  /// Takes the path away, so that clients see at once that nobody serves it.
  package borrowing func unlink() throws(SyscallError) { try Files.remove(path) }
}

/// Sends one datagram to a unix socket, as sd_notify does. A leading @ names an abstract socket.
package func sendDatagram(_ text: String, to path: String) throws(SyscallError) {
  let socket = OwnedFD(
    adopting: try syscall("socket", on: path) {
      Glibc.socket(AF_UNIX, CInt(SOCK_DGRAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
    })
  var address = sockaddr_un()
  address.sun_family = sa_family_t(AF_UNIX)
  var bytes = Array(path.utf8)
  guard !bytes.isEmpty, bytes.count < 108 else {
    throw SyscallError(call: "sendto", subject: path, errno: ENAMETOOLONG)
  }
  if bytes[0] == UInt8(ascii: "@") { bytes[0] = 0 }
  // Safe: sun_path has 108 bytes.
  unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: bytes) }
  let length = socklen_t(MemoryLayout<sa_family_t>.size + bytes.count)
  let message = Array(text.utf8)
  try socket.withRaw { fd throws(SyscallError) in
    _ = try syscall("sendto", on: path) {
      unsafe withUnsafePointer(to: &address) { pointer in
        // Safe: as in bind above; the message lives for the length of the call.
        unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { target in
          unsafe message.withUnsafeBytes { unsafe Glibc.sendto(fd, $0.baseAddress, $0.count, 0, target, length) }
        }
      }
    }
  }
}

/// A lock file: held as long as this lives, and given back by the kernel however the process ends.
package struct FileLock: ~Copyable, Sendable {
  private let file: OwnedFD

  /// - Throws: EADDRINUSE where another process holds it.
  package init(path: String) throws(SyscallError) {
    let file = try Files.open(path, flags: O_RDWR | O_CREAT, mode: 0o600)
    try Self.take(file, path)
    self.file = file
  }

  private static func take(_ file: borrowing OwnedFD, _ path: String) throws(SyscallError) {
    do throws(SyscallError) {
      _ = try file.withRaw { fd throws(SyscallError) in
        try syscall("flock", on: path) { clinux_flock_exclusive_nonblocking(fd) }
      }
    } catch {
      guard error.errno == EAGAIN else { throw error }
      throw SyscallError(call: "flock", subject: "\(path), which another process holds", errno: EADDRINUSE)
    }
  }
}
