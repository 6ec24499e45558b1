internal import CLinux
internal import CNetlink
internal import Glibc

/// A network namespace, held by a descriptor: it lives as long as that, a pin, or a process inside.
package final class NetworkNamespace: Sendable {
  private let fd: OwnedFD

  private init(_ fd: consuming OwnedFD) { self.fd = fd }

  /// A new one, with a loopback link that is down. Needs CAP_SYS_ADMIN.
  /// - Parameters:
  ///   - home: where `outside` runs; nil: the namespace of the process.
  ///   - made: one that somebody has made already, for its owner's sake, instead of a new one.
  ///   - inside: runs in the new namespace.
  ///   - outside: runs at home after that, with what `inside` gave.
  package static func make<R: Sendable, S: Sendable>(
    from home: NetworkNamespace? = nil,
    adopting made: NetworkNamespace? = nil,
    inside: @escaping @Sendable () throws(SyscallError) -> R,
    outside: @escaping @Sendable (NetworkNamespace, R) throws(SyscallError) -> S
  ) async throws(SyscallError) -> S {
    try await onFreshThread { () throws(SyscallError) -> S in
      let origin: NetworkNamespace
      if let home { origin = home } else { origin = try ofThisThread() }
      if let made {
        try made.enter()
      } else {
        _ = try syscall("unshare", on: "network namespace") { clinux_unshare(CInt(CNETLINK_CLONE_NEWNET)) }
      }
      let (namespace, result) = try origin.afterwards { () throws(SyscallError) in (try ofThisThread(), try inside()) }
      return try outside(namespace, result)
    }
  }

  /// A new one that stays pinned at `path`, which must not exist.
  package static func make(pinnedAt path: String) async throws(SyscallError) -> NetworkNamespace {
    try await make(inside: { () throws(SyscallError) in }) { (namespace, _) throws(SyscallError) in
      try namespace.pin(at: path)
      return namespace
    }
  }

  /// The namespace that the calling thread is in.
  package static func ofThisThread() throws(SyscallError) -> NetworkNamespace {
    try open("/proc/thread-self/ns/net")
  }

  /// The namespace pinned at `path`, or that of a process.
  /// - Throws: EINVAL where something else lies there.
  package static func open(_ path: String) throws(SyscallError) -> NetworkNamespace {
    let fd = try Files.open(path, flags: O_RDONLY)
    let namespace = NetworkNamespace(fd)
    guard try namespace.isNetworkNamespace() else { throw SyscallError(call: "open", subject: path, errno: EINVAL) }
    return namespace
  }

  /// NS_GET_NSTYPE answers only for a namespace: a pin that lost its mount is a plain file.
  private func isNetworkNamespace() throws(SyscallError) -> Bool {
    fd.withRaw { fd in cnetlink_namespace_type(fd) == CInt(CNETLINK_CLONE_NEWNET) }
  }

  /// Identity: two descriptors of one namespace have the same number.
  package func inode() throws(SyscallError) -> UInt64 {
    let path = fd.withRaw { "/proc/self/fd/\($0)" }
    guard let status = try Files.status(path, follow: true) else {
      throw SyscallError(call: "stat", subject: path, errno: ENOENT)
    }
    return status.inode
  }

  /// Runs `body` inside, on a thread made for it.
  package func run<R: Sendable>(_ body: @escaping @Sendable () throws(SyscallError) -> R) async throws(SyscallError)
    -> R
  {
    try await onFreshThread { () throws(SyscallError) -> R in
      let home = try Self.ofThisThread()
      try self.enter()
      return try home.afterwards(body)
    }
  }

  /// Moves the calling thread here after `body`, also where that fails: whoever goes on from it may start threads, and
  /// those are born where it is.
  private func afterwards<R>(_ body: () throws(SyscallError) -> R) throws(SyscallError) -> R {
    let result = Result { () throws(SyscallError) in try body() }
    try enter()
    return try result.get()
  }

  /// Moves the calling thread: only for one that was made for it.
  func enter() throws(SyscallError) {
    _ = try fd.withRaw { fd throws(SyscallError) in
      try syscall("setns", on: "network namespace") { clinux_setns(fd, CInt(CNETLINK_CLONE_NEWNET)) }
    }
  }

  /// For IFLA_NET_NS_FD; not to be kept.
  func withRaw<R, E: Error>(_ body: (CInt) throws(E) -> R) throws(E) -> R { try fd.withRaw(body) }

  /// Binds it to `path`, a file that this makes: then it outlives its processes and descriptors.
  package func pin(at path: String) throws(SyscallError) {
    try Files.open(path, flags: O_RDONLY | O_CREAT | O_EXCL, mode: 0o400).close()
    do throws(SyscallError) {
      _ = try fd.withRaw { fd throws(SyscallError) in
        try syscall("mount", on: path) {
          unsafe clinux_mount("/proc/self/fd/\(fd)", path, nil, UInt(CNETLINK_MS_BIND), nil)
        }
      }
    } catch {
      try? Files.remove(path)
      throw error
    }
  }

  /// Takes a pin away; none there is fine. The namespace goes with its last user.
  package static func unpin(_ path: String) throws(SyscallError) {
    while true {
      do throws(SyscallError) {
        _ = try syscall("umount2", on: path) {
          unsafe clinux_umount2(path, CInt(CNETLINK_MNT_DETACH | CNETLINK_UMOUNT_NOFOLLOW))
        }
      } catch {
        if error.errno == ENOENT { return }
        // EINVAL: nothing is mounted on it (any more).
        if error.errno == EINVAL { break }
        throw error
      }
    }
    try Files.remove(path)
  }

  /// Writes a network sysctl of the calling thread's namespace: `ipv4/ip_forward`.
  package static func writeSysctl(_ name: String, _ value: String) throws(SyscallError) {
    let path = "/proc/sys/net/\(name)"
    do throws(SyscallError) {
      let file = try Files.open(path, flags: O_WRONLY)
      try file.writeAll(Array(value.utf8))
    } catch {
      throw SyscallError(call: "write", subject: path, errno: error.errno)
    }
  }

  /// - Throws: ENOENT where the kernel has no such sysctl.
  package static func readSysctl(_ name: String) throws(SyscallError) -> String {
    let text = String(decoding: try Files.read("/proc/sys/net/\(name)", maxBytes: 4096), as: UTF8.self)
    return String(text.prefix { $0 != "\n" })
  }
}
