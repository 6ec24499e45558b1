internal import CLinux
internal import Glibc

extension OwnedFD {
  /// Takes the file's lock for this open file, or throws EWOULDBLOCK at once where another process has it. Dropped with
  /// the last descriptor.
  package borrowing func lockExclusively(_ path: String) throws(SyscallError) {
    _ = try withRaw { fd throws(SyscallError) in
      try syscall("flock", on: path) { clinux_flock_exclusive_nonblocking(fd) }
    }
  }
}

extension SharedFD {
  /// Writes every byte at the file's position; errors name `path`. Blocks on the disk.
  package func write(_ bytes: [UInt8], to path: String) throws(SyscallError) {
    var done = 0
    while done < bytes.count {
      done += try withRaw { fd throws(SyscallError) in
        try syscall("write", on: path) {
          // Safe: the range from `done` lies inside the array for the length of the call.
          unsafe bytes.withUnsafeBytes {
            unsafe Glibc.write(fd, $0.baseAddress.map { unsafe $0 + done }, bytes.count - done)
          }
        }
      }
    }
  }
}

extension LayerUnpack {
  /// Removes a layer's directory and all in it, never through a symbolic link. Nothing there is not an error. Unlike
  /// `Files.removeTree` it works on names that are not text, which layers may hold. Blocks.
  /// - Parameter path: trusted.
  package static func remove(_ path: String) throws(SyscallError) {
    let parent = try Directory(path: Files.parent(of: path))
    let name = Files.name(of: path).utf8.map { CChar(bitPattern: $0) } + [0]
    try parent.fd.withRaw { fd throws(SyscallError) in
      if unsafe unlinkat(fd, name, 0) == 0 || Glibc.errno == ENOENT { return }
      guard Glibc.errno == EISDIR || Glibc.errno == EPERM else {
        throw SyscallError(call: "unlinkat", subject: path, errno: Glibc.errno)
      }
      try removeLayerTree(fd, name, path)
    }
  }
}

/// Removes the directory `name` in `parent`; errors name `subject`, which is above what they are about.
func removeLayerTree(_ parent: CInt, _ name: [CChar], _ subject: String) throws(SyscallError) {
  let raw = try syscall("openat", on: subject) {
    unsafe openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
  }
  guard let stream = unsafe fdopendir(raw) else {
    let code = Glibc.errno
    _ = Glibc.close(raw)
    throw SyscallError(call: "fdopendir", subject: subject, errno: code)
  }
  defer { unsafe closedir(stream) }
  let dot = CChar(UInt8(ascii: "."))
  while let entry = unsafe readdir(stream) {
    // Safe: d_name is NUL-terminated and lives until the next readdir on this stream.
    let inner = unsafe withUnsafePointer(to: &entry.pointee.d_name) {
      unsafe $0.withMemoryRebound(to: CChar.self, capacity: 256) {
        unsafe Array(UnsafeBufferPointer(start: $0, count: strlen($0) + 1))
      }
    }
    if inner == [dot, 0] || inner == [dot, dot, 0] { continue }
    if unsafe unlinkat(raw, inner, 0) == 0 { continue }
    guard Glibc.errno == EISDIR || Glibc.errno == EPERM else {
      throw SyscallError(call: "unlinkat", subject: subject, errno: Glibc.errno)
    }
    try removeLayerTree(raw, inner, subject)
  }
  _ = try syscall("unlinkat", on: subject) { unsafe unlinkat(parent, name, AT_REMOVEDIR) }
}
