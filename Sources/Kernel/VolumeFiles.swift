internal import CLinux
internal import Glibc

/// Work on files that are held open, inside directories that others may change meanwhile.
package enum VolumeFiles {
  /// Sets permission bits, whatever the umask was.
  package static func setMode(_ file: borrowing OwnedFD, _ mode: UInt32, path: String) throws(SyscallError) {
    try file.withRaw { raw throws(SyscallError) in _ = try syscall("fchmod", on: path) { fchmod(raw, mode) } }
  }

  /// Gives the file to a group; its owner stays.
  package static func setGroup(_ file: borrowing OwnedFD, _ group: UInt32, path: String) throws(SyscallError) {
    try file.withRaw { raw throws(SyscallError) in
      _ = try syscall("fchown", on: path) { fchown(raw, uid_t.max, group) }
    }
  }

  /// What an open file is; also for descriptors that only name it (O_PATH).
  package static func status(_ file: borrowing OwnedFD, path: String) throws(SyscallError) -> FileStatus {
    try file.withRaw { raw throws(SyscallError) in
      var status = stat()
      _ = try syscall("fstat", on: path) { unsafe fstat(raw, &status) }
      return FileStatus(status)
    }
  }

  /// Bytes on disk of everything below a directory. Follows no symbolic link and enters no other file system.
  ///
  /// Blocks. Entries that vanish meanwhile count nothing.
  /// - Parameter entriesMax: after so many entries it stops and gives what it has.
  package static func usedBytes(_ path: String, entriesMax: Int = 1_000_000) throws(SyscallError) -> Int64 {
    let root = try Directory(path: path)
    let device = try status(root.fd, path: path).device
    var entries = 0
    return try usedBytes(root, device: device, entries: &entries, entriesMax: entriesMax, depth: 0)
  }

  private static func usedBytes(
    _ directory: borrowing Directory, device: UInt64, entries: inout Int, entriesMax: Int, depth: Int
  ) throws(SyscallError) -> Int64 {
    // Each level holds a descriptor; deeper trees are counted up to here.
    let depthMax = 256
    var total: Int64 = 0
    for entry in try directory.list() {
      entries += 1
      if entries > entriesMax || depth > depthMax { return total }
      do throws(SyscallError) {
        let item = try directory.openBeneath(entry.name, flags: OpenFlags.path | OpenFlags.noFollow)
        let status = try status(item, path: entry.name)
        total += status.blocks * 512
        if status.kind == .directory, status.device == device {
          let inner = try directory.directory(entry.name)
          total += try usedBytes(inner, device: device, entries: &entries, entriesMax: entriesMax, depth: depth + 1)
        }
      } catch {
        // Symbolic links cannot be opened so; they take no blocks to speak of.
        if ![ENOENT, ELOOP, ENOTDIR].contains(error.errno) { throw error }
      }
    }
    return total
  }
}
