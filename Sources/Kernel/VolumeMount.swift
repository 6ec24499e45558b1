internal import CLinux
internal import Glibc

/// Bind mounts of what a descriptor holds, and their end.
package enum VolumeMount {
  /// Shows what `source` holds, a file or a directory with all that is mounted below it, at `path`.
  ///
  /// By descriptor, so that nobody can swap the source between its check and the mount. `path` is a trusted path of the
  /// same kind. Needs CAP_SYS_ADMIN.
  package static func bind(_ source: borrowing OwnedFD, to path: String) throws(SyscallError) {
    try source.withRaw { raw throws(SyscallError) in
      _ = try syscall("mount", on: path) {
        unsafe clinux_mount("/proc/self/fd/\(raw)", path, nil, UInt(MS_BIND | MS_REC), nil)
      }
      // What the pod mounts inside must not come back to the host, nor stay for a later reader of this path.
      _ = try syscall("mount", on: path) {
        unsafe clinux_mount(nil, path, nil, UInt(MS_PRIVATE | MS_REC), nil)
      }
    }
  }

  /// Takes away the topmost mount at `path`, also while something still uses it. Nothing mounted is not an error.
  package static func detach(_ path: String) throws(SyscallError) {
    do {
      _ = try syscall("umount2", on: path) { unsafe clinux_umount2(path, CInt(MNT_DETACH | UMOUNT_NOFOLLOW)) }
    } catch {
      if error.errno != EINVAL && error.errno != ENOENT { throw error }
    }
  }

  /// Takes away every mount at or below `path`, the last mounted first, and looks again until none is left.
  ///
  /// - Throws: EBUSY on the mount that is still there after `roundsMax` rounds; then nothing below may be removed,
  ///   because removing would reach into what is mounted.
  package static func detachAll(below path: String) throws(SyscallError) {
    let roundsMax = 16
    var left: [MountInfo] = []
    for _ in 0..<roundsMax {
      left = try MountInfo.current().filter { $0.mountPoint == path || $0.mountPoint.hasPrefix(path + "/") }
      if left.isEmpty { return }
      for mount in left.reversed() { try detach(mount.mountPoint) }
    }
    if let mount = left.first { throw SyscallError(call: "umount2", subject: mount.mountPoint, errno: EBUSY) }
  }
}
