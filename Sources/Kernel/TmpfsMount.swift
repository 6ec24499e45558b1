internal import CLinux
internal import Glibc

/// A file system in memory: tmpfs(5).
package enum TmpfsMount {
  /// Mounts a tmpfs on the directory `path`. Needs CAP_SYS_ADMIN. The file system goes with its last mount.
  ///
  /// - Parameters:
  ///   - sizeBytes: what it may hold; nil is the kernel's default, half of the memory.
  ///   - mode: of its root directory.
  ///   - noSwap: keeps its pages out of swap where the kernel can (6.4).
  /// - Returns: whether its pages stay out of swap.
  package static func mount(
    at path: String, sizeBytes: Int64?, mode: UInt32, group: UInt32? = nil, noSwap: Bool
  ) throws(SyscallError) -> Bool {
    var options = "mode=\(String(mode, radix: 8))"
    if let sizeBytes { options += ",size=\(max(sizeBytes, 4096))" }
    if let group { options += ",gid=\(group)" }
    let flags = UInt(MS_NODEV | MS_NOSUID)
    if noSwap {
      do {
        _ = try syscall("mount", on: path) { unsafe clinux_mount("tmpfs", path, "tmpfs", flags, options + ",noswap") }
        return true
      } catch {
        if error.errno != EINVAL { throw error }
      }
    }
    _ = try syscall("mount", on: path) { unsafe clinux_mount("tmpfs", path, "tmpfs", flags, options) }
    return false
  }
}
