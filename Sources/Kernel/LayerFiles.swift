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
  /// Removes a layer's directory and all in it, never through a symbolic link. Nothing there is not an error. Blocks.
  /// - Parameter path: trusted.
  package static func remove(_ path: String) throws(SyscallError) {
    try Directory(path: Files.parent(of: path)).removeTree(Files.name(of: path))
  }
}

/// Removes trees whose names and depth an image or a container chose: names are bytes, and no more than `depthMax`
/// directories are open at once however deep the tree is.
struct LayerRemoval {
  /// What is deeper is first moved up to the top of the tree.
  private static let depthMax = 64

  /// The directory that is being removed.
  private let top: CInt
  private let subject: String
  private var moved = 0

  /// Removes `name` in `parent`; errors name `subject`.
  static func remove(_ name: [CChar], in parent: CInt, _ subject: String) throws(SyscallError) {
    if try unlink(name, in: parent, subject) { return }
    let raw: CInt
    do {
      raw = try open(name, in: parent, subject)
    } catch {
      if error.errno == ENOENT { return }
      throw error
    }
    defer { _ = Glibc.close(raw) }
    var removal = LayerRemoval(top: raw, subject: subject)
    repeat {
      removal.moved = 0
      try removal.empty(raw, depth: 0)
    } while removal.moved > 0
    try removeDirectory(name, in: parent, subject)
  }

  private init(top: CInt, subject: String) {
    self.top = top
    self.subject = subject
  }

  private mutating func empty(_ directory: CInt, depth: Int) throws(SyscallError) {
    for name in try Self.names(directory, subject) {
      if try Self.unlink(name, in: directory, subject) { continue }
      if depth == Self.depthMax {
        try moveUp(name, from: directory)
        continue
      }
      let inner = try Self.open(name, in: directory, subject)
      defer { _ = Glibc.close(inner) }
      try empty(inner, depth: depth + 1)
      try Self.removeDirectory(name, in: directory, subject)
    }
  }

  private mutating func moveUp(_ name: [CChar], from directory: CInt) throws(SyscallError) {
    let new = ".mt-\(randomHex(bytes: 12))"
    let (top, subject) = (top, subject)
    _ = try syscall("renameat", on: subject) { unsafe renameat(directory, name, top, new) }
    moved += 1
  }

  /// - Returns: it is gone; otherwise it is a directory.
  private static func unlink(_ name: [CChar], in directory: CInt, _ subject: String) throws(SyscallError) -> Bool {
    if unsafe unlinkat(directory, name, 0) == 0 { return true }
    switch Glibc.errno {
    case ENOENT: return true
    case EISDIR, EPERM: return false
    default: throw SyscallError(call: "unlinkat", subject: subject, errno: Glibc.errno)
    }
  }

  private static func removeDirectory(_ name: [CChar], in directory: CInt, _ subject: String) throws(SyscallError) {
    if unsafe unlinkat(directory, name, AT_REMOVEDIR) == 0 || Glibc.errno == ENOENT { return }
    throw SyscallError(call: "unlinkat", subject: subject, errno: Glibc.errno)
  }

  private static func open(_ name: [CChar], in directory: CInt, _ subject: String) throws(SyscallError) -> CInt {
    try syscall("openat", on: subject) {
      unsafe openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
    }
  }

  /// Every name in an open directory, NUL-terminated, without `.` and `..`, in no order.
  static func names(_ directory: CInt, _ subject: String) throws(SyscallError) -> [[CChar]] {
    // An open file of its own, with a position of its own.
    let raw = try open([CChar(UInt8(ascii: ".")), 0], in: directory, subject)
    guard let stream = unsafe fdopendir(raw) else {
      let code = Glibc.errno
      _ = Glibc.close(raw)
      throw SyscallError(call: "fdopendir", subject: subject, errno: code)
    }
    defer { unsafe closedir(stream) }
    let dot = CChar(UInt8(ascii: "."))
    var names: [[CChar]] = []
    while true {
      Glibc.errno = 0
      guard let entry = unsafe readdir(stream) else {
        if Glibc.errno != 0 { throw SyscallError(call: "readdir", subject: subject, errno: Glibc.errno) }
        return names
      }
      // Safe: d_name is NUL-terminated and lives until the next readdir on this stream.
      let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) {
        unsafe $0.withMemoryRebound(to: CChar.self, capacity: 256) {
          unsafe Array(UnsafeBufferPointer(start: $0, count: strlen($0) + 1))
        }
      }
      if name == [dot, 0] || name == [dot, dot, 0] { continue }
      names.append(name)
    }
  }
}
