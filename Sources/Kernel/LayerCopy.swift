internal import CArchive
internal import Glibc

/// Copies one directory tree into another by descriptor. Lives on one thread.
final class LayerCopy {
  private let destination: CInt
  private let limits = LayerLimits()
  private var entries = 0
  private var writtenSinceCheck: Int64 = 0
  /// Where the first name of a file with several was copied to.
  private var links: [FileID: [CChar]] = [:]
  private var buffer = [UInt8](repeating: 0, count: bufferBytes)

  private struct FileID: Hashable {
    let device: dev_t
    let inode: ino_t
  }

  private static let bufferBytes = 256 << 10
  /// Bytes written between two looks at the free space.
  private static let spaceCheckBytes: Int64 = 64 << 20
  /// lseek(2)'s, which the Glibc module leaves out.
  private static let seekData: CInt = 3
  private static let seekHole: CInt = 4
  private static let slash = CChar(UInt8(ascii: "/"))
  private static let dot: [CChar] = [CChar(UInt8(ascii: ".")), 0]

  init(destination: CInt) { self.destination = destination }

  func run(_ source: CInt) throws {
    try spaceLeft()
    try directory(source, destination, path: [], depth: 0)
    try attributes(source, destination, Self.dot, try status(source, Self.dot, []), [])
  }

  /// - Parameter path: from the destination's root, without NUL; empty for the root.
  private func directory(_ from: CInt, _ to: CInt, path: [CChar], depth: Int) throws {
    guard depth <= limits.depthMax, path.count < limits.pathBytesMax else {
      throw ArchiveError(.tooLarge, entry: show(path), "lies deeper than \(limits.depthMax) directories")
    }
    for name in try LayerRemoval.names(from, show(path)) {
      entries += 1
      guard entries <= limits.entriesMax else {
        throw ArchiveError(.tooLarge, "has more than \(limits.entriesMax) entries")
      }
      let inner = (path.isEmpty ? [] : path + [Self.slash]) + name.dropLast()
      do {
        try entry(from, to, name, inner, depth)
      } catch let error as SyscallError {
        throw ArchiveError(error, entry: show(inner))
      }
    }
  }

  private func entry(_ from: CInt, _ to: CInt, _ name: [CChar], _ path: [CChar], _ depth: Int) throws {
    let info = try status(from, name, path)
    let id = FileID(device: info.st_dev, inode: info.st_ino)
    let kind = info.st_mode & S_IFMT
    if kind != S_IFDIR, info.st_nlink > 1 {
      if let first = links[id] {
        let destination = destination
        _ = try syscall("linkat", on: show(path)) { unsafe linkat(destination, first, to, name, 0) }
        return
      }
      links[id] = path + [0]
    }
    switch kind {
    case S_IFDIR:
      _ = try syscall("mkdirat", on: show(path)) { unsafe mkdirat(to, name, 0o700) }
      let flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW
      let inner = try open(from, name, flags, path)
      let made = try open(to, name, flags, path)
      try inner.withRaw { inner in
        try made.withRaw { made in try directory(inner, made, path: path, depth: depth + 1) }
      }
    case S_IFREG: try file(from, to, name, path, size: Int64(info.st_size))
    case S_IFLNK:
      let target = try linkTarget(from, name, path)
      _ = try syscall("symlinkat", on: show(path)) { unsafe symlinkat(target, to, name) }
    default:
      let (mode, device) = (kind | 0o600, info.st_rdev)
      _ = try syscall("mknodat", on: show(path)) { unsafe mknodat(to, name, mode, device) }
    }
    try attributes(from, to, name, info, path)
  }

  private func file(_ from: CInt, _ to: CInt, _ name: [CChar], _ path: [CChar], size: Int64) throws {
    let source = try open(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, path)
    let target = try open(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, path)
    try source.withRaw { source in
      try target.withRaw { target in
        var offset: Int64 = 0
        while offset < size {
          let data = lseek(source, off_t(offset), Self.seekData)
          // ENXIO: only a hole follows. Elsewhere holes are not known, and all of it is data.
          if data < 0, Glibc.errno == ENXIO { break }
          let start = data < 0 ? offset : Int64(data)
          let hole = lseek(source, off_t(start), Self.seekHole)
          let end = hole < 0 ? size : min(size, Int64(hole))
          try content(source, target, start, end, path)
          offset = end
        }
        _ = try syscall("ftruncate", on: show(path)) { ftruncate(target, off_t(size)) }
      }
    }
  }

  private func content(_ source: CInt, _ target: CInt, _ start: Int64, _ end: Int64, _ path: [CChar]) throws {
    var offset = start
    while offset < end {
      let want = Int(min(Int64(Self.bufferBytes), end - offset))
      let count = try syscall("pread", on: show(path)) {
        // Safe: the buffer holds at least `want` bytes.
        unsafe buffer.withUnsafeMutableBytes { unsafe pread(source, $0.baseAddress, want, off_t(offset)) }
      }
      guard count > 0 else { throw ArchiveError(.corrupt, entry: show(path), "is shorter than its size") }
      var done = 0
      while done < count {
        done += try syscall("pwrite", on: show(path)) {
          unsafe buffer.withUnsafeBytes {
            unsafe pwrite(target, $0.baseAddress.map { unsafe $0 + done }, count - done, off_t(offset) + off_t(done))
          }
        }
      }
      offset += Int64(count)
      writtenSinceCheck += Int64(count)
      if writtenSinceCheck >= Self.spaceCheckBytes { try spaceLeft() }
    }
  }

  private func spaceLeft() throws {
    writtenSinceCheck = 0
    let destination = destination
    let space = try syscall("fstatfs", on: "destination") { carchive_available_bytes(destination) }
    guard space >= limits.reservedBytes else {
      let detail = "\(space) bytes are left on the disk, \(limits.reservedBytes) are kept free; free some"
      throw ArchiveError(.noSpace, detail)
    }
  }

  // MARK: Attributes

  /// Owner before mode, because chown clears set-uid; attributes after both, because chown clears security.capability.
  private func attributes(_ from: CInt, _ to: CInt, _ name: [CChar], _ info: stat, _ path: [CChar]) throws {
    let (owner, group, mode) = (info.st_uid, info.st_gid, info.st_mode & 0o7777)
    _ = try syscall("fchownat", on: show(path)) { unsafe fchownat(to, name, owner, group, AT_SYMLINK_NOFOLLOW) }
    if info.st_mode & S_IFMT != S_IFLNK {
      _ = try syscall("fchmodat", on: show(path)) { unsafe fchmodat(to, name, mode, 0) }
    }
    try extendedAttributes(from, to, name, path)
    let times = [info.st_mtim, info.st_mtim]
    _ = try syscall("utimensat", on: show(path)) { unsafe utimensat(to, name, times, AT_SYMLINK_NOFOLLOW) }
  }

  private func extendedAttributes(_ from: CInt, _ to: CInt, _ name: [CChar], _ path: [CChar]) throws {
    let (source, target) = (Self.place(from, name), Self.place(to, name))
    var names = [CChar](repeating: 0, count: 64 << 10)
    let length = unsafe carchive_llistxattr(source, &names, names.count)
    if length < 0, Glibc.errno == EOPNOTSUPP { return }
    guard length >= 0 else { throw SyscallError(call: "llistxattr", subject: show(path), errno: Glibc.errno) }
    for key in names[..<length].split(separator: 0).map({ Array($0) + [0] }) {
      var value = [UInt8](repeating: 0, count: limits.xattrBytesMax)
      let size = unsafe carchive_lgetxattr(source, key, &value, value.count)
      guard size >= 0 else { throw SyscallError(call: "lgetxattr", subject: show(path), errno: Glibc.errno) }
      guard unsafe carchive_lsetxattr(target, key, value, size) != 0 else { continue }
      // As in unpacking: file capabilities must hold, labels that this file system does not take are left out.
      let isCapability = key.elementsEqual("security.capability\0".utf8.map { CChar(bitPattern: $0) })
      guard !isCapability, [EOPNOTSUPP, EPERM, EINVAL, EACCES].contains(Glibc.errno) else {
        throw SyscallError(call: "lsetxattr", subject: show(path), errno: Glibc.errno)
      }
    }
  }

  // MARK: Calls

  /// A path by which a call without a descriptor form reaches a name in an open directory.
  private static func place(_ parent: CInt, _ name: [CChar]) -> [CChar] {
    "/proc/self/fd/\(parent)/".utf8.map { CChar(bitPattern: $0) } + name
  }

  private func status(_ parent: CInt, _ name: [CChar], _ path: [CChar]) throws(SyscallError) -> stat {
    var info = stat()
    _ = try syscall("fstatat", on: show(path)) { unsafe fstatat(parent, name, &info, AT_SYMLINK_NOFOLLOW) }
    return info
  }

  private func open(_ parent: CInt, _ name: [CChar], _ flags: CInt, _ path: [CChar]) throws(SyscallError) -> OwnedFD {
    OwnedFD(
      adopting: try syscall("openat", on: show(path)) { unsafe openat(parent, name, flags | O_CLOEXEC, mode_t(0o600)) })
  }

  private func linkTarget(_ parent: CInt, _ name: [CChar], _ path: [CChar]) throws(SyscallError) -> [CChar] {
    var target = [CChar](repeating: 0, count: Int(PATH_MAX) + 1)
    let room = target.count - 1
    let length = try syscall("readlinkat", on: show(path)) { unsafe readlinkat(parent, name, &target, room) }
    return Array(target[..<length]) + [0]
  }

  private func show(_ path: [CChar]) -> String {
    String(decoding: path.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}
