internal import CLinux
internal import Glibc

/// An open directory below which paths are resolved by descriptor, so that no symbolic link leads out of it.
package struct Directory: ~Copyable, Sendable {
  package let fd: OwnedFD
  /// For messages only.
  package let path: String

  /// Opens a directory of the host by path. Follows symbolic links: for trusted paths.
  package init(path: String) throws(SyscallError) {
    fd = OwnedFD(
      adopting: try syscall("open", on: path) { unsafe Glibc.open(path, O_DIRECTORY | O_RDONLY | O_CLOEXEC) })
    self.path = path
  }

  package init(adopting fd: consuming OwnedFD, path: String) {
    self.fd = fd
    self.path = path
  }

  /// Opens what `relative` names as a process would whose root this is: `..` and symbolic links stay inside.
  /// - Parameter flags: as for open(2); O_CLOEXEC is added.
  package borrowing func openInRoot(_ relative: String, flags: CInt, mode: UInt32 = 0) throws(SyscallError) -> OwnedFD {
    try open(relative, flags: flags, mode: mode, resolve: CLINUX_RESOLVE_IN_ROOT | CLINUX_RESOLVE_NO_MAGICLINKS)
  }

  /// Opens what `relative` names and refuses every symbolic link and `..` out of here on the way (ELOOP, EXDEV).
  package borrowing func openBeneath(_ relative: String, flags: CInt, mode: UInt32 = 0) throws(SyscallError) -> OwnedFD
  {
    try open(
      relative, flags: flags, mode: mode,
      resolve: CLINUX_RESOLVE_BENEATH | CLINUX_RESOLVE_NO_SYMLINKS | CLINUX_RESOLVE_NO_MAGICLINKS)
  }

  private borrowing func open(
    _ relative: String, flags: CInt, mode: UInt32, resolve: Int
  ) throws(SyscallError) -> OwnedFD {
    let where_ = "\(path)/\(relative)"
    let raw = try fd.withRaw { directory throws(SyscallError) in
      try Self.retrying { () throws(SyscallError) in
        try syscall("openat2", on: where_) {
          unsafe clinux_openat2(
            directory, relative, UInt64(UInt32(bitPattern: flags | O_CLOEXEC)), UInt64(mode), UInt64(resolve))
        }
      }
    }
    return OwnedFD(adopting: raw)
  }

  /// Attempts to resolve a path while mounts and names change around it.
  static let resolveTriesMax = 1_000

  /// openat2(2) answers EAGAIN where ".." was met while anything on the machine was renamed or mounted, and wants to be
  /// asked again; each container's start mounts.
  static func retrying(_ body: () throws(SyscallError) -> CInt) throws(SyscallError) -> CInt {
    for _ in 1..<resolveTriesMax {
      do throws(SyscallError) { return try body() } catch {
        guard error.errno == EAGAIN else { throw error }
        _ = sched_yield()
      }
    }
    return try body()
  }

  /// The directory `relative` below this one, refusing symbolic links.
  package borrowing func directory(_ relative: String) throws(SyscallError) -> Directory {
    Directory(
      adopting: try openBeneath(relative, flags: O_DIRECTORY | O_RDONLY), path: "\(path)/\(relative)")
  }

  /// Makes a directory; `name` is one component. One that exists is left as it is when `existingOK`.
  package borrowing func makeDirectory(_ name: String, mode: UInt32 = 0o700, existingOK: Bool = true)
    throws(SyscallError)
  {
    let where_ = "\(path)/\(name)"
    do {
      _ = try fd.withRaw { directory throws(SyscallError) in
        try syscall("mkdirat", on: where_) { unsafe mkdirat(directory, name, mode) }
      }
    } catch {
      if !(existingOK && error.errno == EEXIST) { throw error }
    }
  }

  /// Renames within this directory, replacing what is there.
  package borrowing func rename(_ from: String, to: String) throws(SyscallError) {
    let where_ = "\(path)/\(from) to \(to)"
    _ = try fd.withRaw { directory throws(SyscallError) in
      try syscall("renameat", on: where_) { unsafe renameat(directory, from, directory, to) }
    }
  }

  /// Removes a file, or with `directory` an empty directory. Nothing there is not an error.
  package borrowing func unlink(_ name: String, directory isDirectory: Bool = false) throws(SyscallError) {
    let where_ = "\(path)/\(name)"
    do {
      _ = try fd.withRaw { directory throws(SyscallError) in
        try syscall("unlinkat", on: where_) { unsafe unlinkat(directory, name, isDirectory ? AT_REMOVEDIR : 0) }
      }
    } catch {
      if error.errno != ENOENT { throw error }
    }
  }

  /// An entry of a directory.
  package struct Entry: Hashable, Sendable {
    package enum Kind: Hashable, Sendable { case directory, file, symlink, other }
    package let name: String
    package let kind: Kind
  }

  /// Names and kinds of what is in here, without `.` and `..`, in no order.
  package borrowing func list() throws(SyscallError) -> [Entry] {
    let again = try openBeneath(".", flags: O_DIRECTORY | O_RDONLY)
    let where_ = path
    let raw = again.release()
    guard let stream = unsafe fdopendir(raw) else {
      let code = Glibc.errno
      _ = Glibc.close(raw)
      throw SyscallError(call: "fdopendir", subject: where_, errno: code)
    }
    defer { unsafe closedir(stream) }
    var entries: [Entry] = []
    while true {
      Glibc.errno = 0
      guard let entry = unsafe readdir(stream) else {
        if Glibc.errno != 0 { throw SyscallError(call: "readdir", subject: where_, errno: Glibc.errno) }
        return entries
      }
      // Safe: d_name is NUL-terminated and lives until the next readdir on this stream.
      let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) {
        unsafe $0.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
      }
      if name == "." || name == ".." { continue }
      let kind: Entry.Kind =
        switch unsafe Int(entry.pointee.d_type) {
        case Int(DT_DIR): .directory
        case Int(DT_REG): .file
        case Int(DT_LNK): .symlink
        default: .other
        }
      entries.append(Entry(name: name, kind: kind))
    }
  }

  /// Removes `name` and all that is below it, by descriptor: never follows a symbolic link. Nothing there is not an error.
  ///
  /// Names need not be text, and the tree may be as deep as a container could make it. Blocks on the disk.
  package borrowing func removeTree(_ name: String) throws(SyscallError) {
    let where_ = "\(path)/\(name)"
    let bytes = name.utf8.map { CChar(bitPattern: $0) } + [0]
    try fd.withRaw { parent throws(SyscallError) in try LayerRemoval.remove(bytes, in: parent, where_) }
  }
}
