internal import CLinux
internal import Glibc

/// Flags of open(2) for callers that do not import the C library.
package enum OpenFlags {
  package static let readOnly: CInt = O_RDONLY
  package static let writeOnly: CInt = O_WRONLY
  package static let readWrite: CInt = O_RDWR
  package static let create: CInt = O_CREAT
  package static let exclusive: CInt = O_EXCL
  package static let truncate: CInt = O_TRUNC
  package static let append: CInt = O_APPEND
  package static let directory: CInt = O_DIRECTORY
  package static let noFollow: CInt = O_NOFOLLOW
  package static let nonBlocking: CInt = O_NONBLOCK
  package static let path: CInt = CInt(CLINUX_O_PATH)
}

/// What stat(2) tells, as far as it is used.
package struct FileStatus: Hashable, Sendable {
  package enum Kind: Hashable, Sendable { case file, directory, symlink, characterDevice, blockDevice, fifo, socket }
  package let kind: Kind
  /// Permission bits, with set-uid, set-gid and sticky.
  package let mode: UInt32
  package let owner: UInt32
  package let group: UInt32
  package let sizeBytes: Int64
  /// 512-byte units that the file takes on disk.
  package let blocks: Int64
  package let inode: UInt64
  package let device: UInt64
  /// For device nodes.
  package let representedDevice: UInt64
  package let links: UInt64
  package let modifiedNanoseconds: Int64

  init(_ status: stat) {
    switch status.st_mode & S_IFMT {
    case S_IFDIR: kind = .directory
    case S_IFLNK: kind = .symlink
    case S_IFCHR: kind = .characterDevice
    case S_IFBLK: kind = .blockDevice
    case S_IFIFO: kind = .fifo
    case S_IFSOCK: kind = .socket
    default: kind = .file
    }
    mode = status.st_mode & 0o7777
    owner = status.st_uid
    group = status.st_gid
    sizeBytes = Int64(status.st_size)
    blocks = Int64(status.st_blocks)
    inode = UInt64(status.st_ino)
    device = UInt64(status.st_dev)
    representedDevice = UInt64(status.st_rdev)
    links = UInt64(status.st_nlink)
    modifiedNanoseconds = Int64(status.st_mtim.tv_sec) * 1_000_000_000 + Int64(status.st_mtim.tv_nsec)
  }
}

/// Whole-file operations on trusted paths of the host. All block on the disk.
package enum Files {
  package static func open(_ path: String, flags: CInt, mode: UInt32 = 0) throws(SyscallError) -> OwnedFD {
    OwnedFD(adopting: try syscall("open", on: path) { unsafe Glibc.open(path, flags | O_CLOEXEC, mode) })
  }

  /// - Throws: EMSGSIZE where the file is larger than `maxBytes`.
  package static func read(_ path: String, maxBytes: Int = 16 << 20) throws(SyscallError) -> [UInt8] {
    do throws(SyscallError) {
      return try open(path, flags: O_RDONLY).readAll(maxBytes: maxBytes)
    } catch {
      throw SyscallError(call: error.call, subject: path, errno: error.errno)
    }
  }

  /// The file's text, or nil where it does not exist.
  package static func readText(_ path: String, maxBytes: Int = 1 << 20) throws(SyscallError) -> String? {
    do {
      return String(decoding: try read(path, maxBytes: maxBytes), as: UTF8.self)
    } catch {
      if error.errno == ENOENT { return nil }
      throw error
    }
  }

  /// Replaces or makes the file at once: a reader, and a crash of this process, sees the old bytes or the new ones.
  /// - Parameter durable: also survives a power cut (syncs file and directory; milliseconds on a disk).
  package static func writeAtomically(_ path: String, _ bytes: [UInt8], mode: UInt32 = 0o600, durable: Bool = false)
    throws(SyscallError)
  {
    let temporary = "\(path).tmp.\(randomHex(bytes: 6))"
    do throws(SyscallError) {
      let file = try open(temporary, flags: O_WRONLY | O_CREAT | O_EXCL, mode: mode)
      try file.writeAll(bytes)
      if durable { _ = try file.withRaw { fd throws(SyscallError) in try syscall("fsync", on: path) { fsync(fd) } } }
      try file.close()
      try rename(temporary, to: path)
    } catch {
      _ = unsafe Glibc.unlink(temporary)
      throw SyscallError(call: error.call, subject: path, errno: error.errno)
    }
    if durable {
      let directory = try Directory(path: parent(of: path))
      _ = try directory.fd.withRaw { fd throws(SyscallError) in try syscall("fsync", on: path) { fsync(fd) } }
    }
  }

  package static func rename(_ from: String, to: String) throws(SyscallError) {
    _ = try syscall("rename", on: "\(from) to \(to)") { unsafe Glibc.rename(from, to) }
  }

  /// Removes a file; nothing there is not an error.
  package static func remove(_ path: String) throws(SyscallError) {
    do {
      _ = try syscall("unlink", on: path) { unsafe Glibc.unlink(path) }
    } catch {
      if error.errno != ENOENT { throw error }
    }
  }

  /// Makes a directory and those above it; existing ones keep their mode.
  package static func makeDirectories(_ path: String, mode: UInt32 = 0o700) throws(SyscallError) {
    do {
      _ = try syscall("mkdir", on: path) { unsafe mkdir(path, mode) }
    } catch {
      switch error.errno {
      case EEXIST: return
      case ENOENT where path.contains("/") && parent(of: path) != path:
        try makeDirectories(parent(of: path), mode: mode)
        _ = try syscall("mkdir", on: path) { unsafe mkdir(path, mode) }
      default: throw error
      }
    }
  }

  /// Removes `path` and all below it, never through a symbolic link or into another mount's parent.
  package static func removeTree(_ path: String) throws(SyscallError) {
    do {
      let directory = try Directory(path: parent(of: path))
      try directory.removeTree(name(of: path))
    } catch {
      if error.errno != ENOENT { throw error }
    }
  }

  /// What `path` is, itself, without following it; nil where nothing is there.
  package static func status(_ path: String, follow: Bool = false) throws(SyscallError) -> FileStatus? {
    var status = stat()
    do {
      _ = try syscall("stat", on: path) {
        unsafe fstatat(AT_FDCWD, path, &status, follow ? 0 : AT_SYMLINK_NOFOLLOW)
      }
      return FileStatus(status)
    } catch {
      if error.errno == ENOENT || error.errno == ENOTDIR { return nil }
      throw error
    }
  }

  package static func exists(_ path: String) -> Bool { unsafe access(path, F_OK) == 0 }

  package static func chmod(_ path: String, mode: UInt32) throws(SyscallError) {
    _ = try syscall("chmod", on: path) { unsafe Glibc.chmod(path, mode) }
  }

  package static func chown(_ path: String, user: UInt32, group: UInt32) throws(SyscallError) {
    _ = try syscall("lchown", on: path) { unsafe lchown(path, user, group) }
  }

  package static func symlink(_ target: String, at path: String) throws(SyscallError) {
    _ = try syscall("symlink", on: path) { unsafe Glibc.symlink(target, path) }
  }

  package static func readLink(_ path: String) throws(SyscallError) -> String {
    var buffer = [UInt8](repeating: 0, count: 4096)
    let length = try syscall("readlink", on: path) {
      // Safe: the kernel writes at most the buffer's count and no terminator.
      unsafe buffer.withUnsafeMutableBytes {
        unsafe readlink(path, $0.baseAddress!.assumingMemoryBound(to: CChar.self), $0.count)
      }
    }
    return String(decoding: buffer[..<length], as: UTF8.self)
  }

  /// Space of the file system that holds `path`.
  package struct Space: Hashable, Sendable {
    package let totalBytes: UInt64
    package let availableBytes: UInt64
    package let totalInodes: UInt64
    package let freeInodes: UInt64
    /// statfs(2)'s `f_type`.
    package let kind: UInt64
  }

  package static func space(_ path: String) throws(SyscallError) -> Space {
    var info = clinux_space()
    _ = try syscall("statfs", on: path) { unsafe clinux_statfs(path, &info) }
    return Space(
      totalBytes: info.blocks * info.block_bytes, availableBytes: info.available_blocks * info.block_bytes,
      totalInodes: info.inodes, freeInodes: info.free_inodes, kind: info.kind)
  }

  /// Everything before the last slash; "/" of "/a", "." of "a".
  package static func parent(of path: String) -> String {
    guard let slash = path.lastIndex(of: "/") else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
  }

  /// Everything after the last slash.
  package static func name(of path: String) -> String {
    guard let slash = path.lastIndex(of: "/") else { return path }
    return String(path[path.index(after: slash)...])
  }
}
