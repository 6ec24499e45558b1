internal import CArchive
internal import CLinux
internal import Glibc

/// The directory that a layer is unpacked into, with the descriptors of the directories last used in it.
///
/// Parents are resolved by openat2 with the layer as root: a symbolic link, absolute or with `..`, stays inside whatever
/// entries came before. The last component is never followed.
final class LayerTree {
  private let root: Directory
  private var cache: [LayerPath: CInt] = [:]
  private var lastPath: LayerPath?
  private var lastFD: CInt = -1
  /// Directory descriptors kept open; all are closed when it is full.
  private static let cachedMax = 128
  /// A set-gid directory was made: what is made below it may get its group.
  var inheritsGroups = false
  /// The last `makeDirectory` found the directory there.
  private(set) var reused = false
  /// Directories that were made because something is in them, and of which the archive has said nothing so far.
  private(set) var implied: Set<LayerPath> = []
  /// Of those, as many are remembered.
  private static let impliedMax = 16_384
  /// Called with the paths whose content is no longer what their first entry wrote.
  var onReplace: (() -> Void)?

  init(root: consuming Directory) { self.root = root }

  deinit { forget() }

  private func forget() {
    for fd in cache.values { _ = Glibc.close(fd) }
    cache.removeAll(keepingCapacity: true)
    lastPath = nil
    lastFD = -1
  }

  /// Bytes left for everybody on the file system.
  func space() throws(SyscallError) -> Int64 {
    try root.fd.withRaw { raw throws(SyscallError) in
      try syscall("fstatfs", on: root.path) { carchive_available_bytes(raw) }
    }
  }

  // MARK: Directories by descriptor

  /// The open directory that holds `path`, made with what is above it where it is missing. Owned by the cache: valid until
  /// the next call of any method here.
  func parent(of path: LayerPath) throws(SyscallError) -> CInt {
    if path.isRoot { return root.fd.withRaw { $0 } }
    return try directory(path.parentPath)
  }

  private func directory(_ path: LayerPath) throws(SyscallError) -> CInt {
    if path.isRoot { return root.fd.withRaw { $0 } }
    if path == lastPath { return lastFD }
    if let fd = cache[path] {
      lastPath = path
      lastFD = fd
      return fd
    }
    let fd: CInt
    do {
      fd = try open(path, flags: O_RDONLY | O_DIRECTORY).release()
    } catch {
      guard error.errno == ENOENT else { throw error }
      let above = try parent(of: path)
      let name = path.name
      do {
        _ = try syscall("mkdirat", on: path.shown) { unsafe mkdirat(above, name, 0o755) }
        if implied.count < Self.impliedMax { implied.insert(path) }
      } catch {
        // A symbolic link to nowhere; opening it again says so.
        if error.errno != EEXIST { throw error }
      }
      fd = try open(path, flags: O_RDONLY | O_DIRECTORY).release()
    }
    if cache.count >= Self.cachedMax { forget() }
    cache[path] = fd
    lastPath = path
    lastFD = fd
    return fd
  }

  /// Opens with the layer as root, following symbolic links inside it unless `flags` forbid that for the last component.
  func open(_ path: LayerPath, flags: CInt) throws(SyscallError) -> OwnedFD {
    let resolve = UInt64(CLINUX_RESOLVE_IN_ROOT | CLINUX_RESOLVE_NO_MAGICLINKS)
    let text = path.isRoot ? [CChar(UInt8(ascii: ".")), 0] : path.bytes
    let raw = try root.fd.withRaw { root throws(SyscallError) in
      try Directory.retrying { () throws(SyscallError) in
        try syscall("openat2", on: path.shown) {
          unsafe clinux_openat2(root, text, UInt64(UInt32(bitPattern: flags | O_CLOEXEC)), 0, resolve)
        }
      }
    }
    return OwnedFD(adopting: raw)
  }

  // MARK: Making entries

  /// Makes one name by `call`, first removing what an earlier entry left there.
  func make(_ path: LayerPath, _ call: StaticString, _ body: (CInt, [CChar]) -> CInt) throws {
    guard !path.isRoot else { throw ArchiveError(.refused, "the root of a layer is a directory") }
    _ = try create(path, call, body)
  }

  func createFile(_ path: LayerPath, mode: mode_t) throws(SyscallError) -> OwnedFD {
    let raw = try create(path, "openat") { parent, name in
      unsafe openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode)
    }
    return OwnedFD(adopting: raw)
  }

  private func create(_ path: LayerPath, _ call: StaticString, _ body: (CInt, [CChar]) -> CInt) throws(SyscallError)
    -> CInt
  {
    let parent = try parent(of: path)
    let name = path.name
    do {
      return try syscall(call, on: path.shown) { body(parent, name) }
    } catch {
      guard error.errno == EEXIST else { throw error }
    }
    try remove(path)
    let again = try self.parent(of: path)
    return try syscall(call, on: path.shown) { body(again, name) }
  }

  /// A directory that is there already is kept, anything else replaced; a whiteout leaves the new directory opaque.
  func makeDirectory(_ path: LayerPath, mode: mode_t) throws(SyscallError) {
    reused = false
    let parent = try parent(of: path)
    let name = path.name
    do {
      _ = try syscall("mkdirat", on: path.shown) { unsafe mkdirat(parent, name, mode) }
      return
    } catch {
      guard error.errno == EEXIST else { throw error }
    }
    let there = try status(parent, path)
    if there.st_mode & S_IFMT == S_IFDIR {
      implied.remove(path)
      reused = true
      return
    }
    try remove(path)
    let again = try self.parent(of: path)
    _ = try syscall("mkdirat", on: path.shown) { unsafe mkdirat(again, name, mode) }
    if there.st_mode & S_IFMT == S_IFCHR && there.st_rdev == 0 { try setOpaque(path) }
  }

  /// Both names stay inside the layer, and the target is never followed where it is a symbolic link.
  func link(_ path: LayerPath, to target: LayerPath) throws {
    guard !path.isRoot, !target.isRoot else { throw ArchiveError(.refused, "is a hard link of or to the root") }
    if path == target { return }
    let name = target.name
    do {
      let holder = try open(target.parentPath, flags: O_RDONLY | O_DIRECTORY)
      _ = try holder.withRaw { from throws(SyscallError) in
        try create(path, "linkat") { parent, new in unsafe linkat(from, name, parent, new, 0) }
      }
    } catch {
      guard error.errno == ENOENT else { throw error }
      throw ArchiveError(.refused, "is a hard link to \(target.shown), which is not in this layer", cause: error)
    }
  }

  private func status(_ parent: CInt, _ path: LayerPath) throws(SyscallError) -> stat {
    var info = stat()
    let name = path.name
    _ = try syscall("fstatat", on: path.shown) { unsafe fstatat(parent, name, &info, AT_SYMLINK_NOFOLLOW) }
    return info
  }

  private func remove(_ path: LayerPath) throws(SyscallError) {
    onReplace?()
    forget()
    try LayerRemoval.remove(path.name, in: try parent(of: path), path.shown)
  }

  // MARK: Whiteouts

  /// Hides everything below this directory in lower layers.
  func setOpaque(_ path: LayerPath) throws(SyscallError) {
    let fd = try directory(path)
    _ = try syscall("fsetxattr", on: "\(path.shown) trusted.overlay.opaque") {
      unsafe carchive_fsetxattr(fd, "trusted.overlay.opaque", "y", 1)
    }
  }

  /// Hides a name of lower layers. What this layer itself put there stays: a directory then only hides what is below it.
  func whiteOut(_ path: LayerPath) throws(SyscallError) {
    let parent = try parent(of: path)
    let name = path.name
    do {
      _ = try syscall("mknodat", on: path.shown) { unsafe mknodat(parent, name, S_IFCHR, 0) }
    } catch {
      guard error.errno == EEXIST else { throw error }
      if try status(parent, path).st_mode & S_IFMT == S_IFDIR { try setOpaque(path) }
    }
  }
}
