internal import CLinux
internal import CSandbox
internal import Glibc

/// What the start of pods and containers needs of the kernel.
package enum Sandbox {
  /// Makes the empty mount namespace that containers start from.
  /// - Requires: CAP_SYS_ADMIN. Copies the host's mounts once; blocks some milliseconds.
  package static func makeSeed() async throws(SyscallError) -> SharedFD {
    try await onFreshThread { () throws(SyscallError) -> SharedFD in
      let seed = csandbox_seed_make()
      guard seed.fd >= 0 else {
        let stages = ["", "unshare", "mount", "move_mount", "pivot_root", "openat"]
        let call = stages.indices.contains(Int(seed.stage)) ? stages[Int(seed.stage)] : ""
        throw SyscallError(call: call, subject: "mount namespace to start containers from", errno: seed.err)
      }
      return SharedFD(OwnedFD(adopting: seed.fd))
    }
  }

  /// A program's bytes in sealed memory, which nothing can write to, not even through /proc/PID/exe (CVE-2019-5736).
  /// - Returns: a descriptor; its /proc/self/fd path can be executed.
  package static func sealedProgram(path: String) throws(SyscallError) -> SharedFD {
    let bytes = try Files.read(path, maxBytes: 64 << 20)
    let file = try memoryFile("martlet-shim", bytes, isSealed: true)
    // Away from the low numbers: a child gets its own descriptors there before it executes this one by its path.
    let raw = try file.withRaw { raw throws(SyscallError) in
      try syscall("fcntl", on: path) { clinux_fcntl_dupfd_cloexec(raw, lowestProgram) }
    }
    return SharedFD(OwnedFD(adopting: raw))
  }

  private static let lowestProgram: CInt = 64

  /// Bytes as a file without a name, for the reader of a descriptor.
  package static func memoryFile(_ name: String, _ bytes: [UInt8], isSealed: Bool = false) throws(SyscallError)
    -> OwnedFD
  {
    // MFD_EXEC says what every kernel before 6.3 did anyway and does not know.
    let flags: UInt32 = 0x0001 | (isSealed ? 0x0002 | 0x0010 : 0)
    var raw = unsafe clinux_memfd_create(name, flags)
    if raw < 0, isSealed { raw = unsafe clinux_memfd_create(name, flags & ~0x0010) }
    let file = OwnedFD(adopting: try syscall("memfd_create", on: name) { raw })
    try file.writeAll(bytes)
    if isSealed {
      _ = try file.withRaw { raw throws(SyscallError) in
        try syscall("fcntl", on: "seal \(name)") { clinux_memfd_seal(raw) }
      }
    }
    return file
  }

  /// Removes a directory that nothing is in. Whether it is gone; one that was not there is.
  package static func removeIfEmpty(directory: String) throws(SyscallError) -> Bool {
    do throws(SyscallError) {
      _ = try syscall("rmdir", on: directory) { unsafe rmdir(directory) }
      return true
    } catch {
      switch error.errno {
      case ENOENT: return true
      case ENOTEMPTY, EEXIST, EBUSY: return false
      default: throw error
      }
    }
  }

  /// Removes a writable layer in which nothing was written: `upper`, and `work` with what an overlay mounted volatile
  /// leaves there. By name, because a look into each directory costs several times as much. Whether all of it is gone.
  package static func removeUnwritten(layer: String) throws(SyscallError) -> Bool {
    guard try removeIfEmpty(directory: "\(layer)/upper") else { return false }
    let work = "\(layer)/work"
    _ = unsafe Glibc.unlink("\(work)/work/incompat/volatile/dirty")
    for part in ["/work/incompat/volatile", "/work/incompat", "/work", ""] { _ = unsafe rmdir(work + part) }
    return try removeIfEmpty(directory: layer)
  }

  /// A container's log, made where it is missing, to append to.
  package static func openLog(_ path: String) throws(SyscallError) -> OwnedFD {
    try Files.open(path, flags: O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW, mode: 0o640)
  }
}
