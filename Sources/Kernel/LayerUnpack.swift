internal import CArchive
internal import CLinux
internal import Glibc

/// Caps on one layer.
package struct LayerLimits: Hashable, Sendable {
  /// Bytes of the decompressed archive, and of all files in it as declared (sparse files count in full).
  package var contentBytesMax: Int64 = 64 << 30
  package var entriesMax = 4_000_000
  /// Bytes of an entry's path, as PATH_MAX.
  package var pathBytesMax = 4095
  /// Directories above an entry.
  package var depthMax = 256
  /// Extended attributes of one entry, and bytes of one of them.
  package var xattrsMax = 128
  package var xattrBytesMax = 64 << 10
  /// Bytes that must stay free on the file system; unpacking stops before it fills the disk for everybody else.
  package var reservedBytes: Int64 = 64 << 20
  package init() {}
}

/// What unpacking a layer found.
package struct LayerUnpackResult: Hashable, Sendable {
  /// SHA-256 of the bytes as they came, 32 bytes.
  package var blobDigest: [UInt8]
  /// SHA-256 of the decompressed archive (the diff-ID), 32 bytes.
  package var contentDigest: [UInt8]
  package var contentBytes: Int64
  /// Sizes of all files, as declared.
  package var fileBytes: Int64
  /// Estimate of what it takes on disk.
  package var diskBytes: Int64
  package var entries: Int
  /// A skeleton was written and the archive can be made again from it.
  package var hasSkeleton: Bool
  /// Directories that no entry tells of, only what is in them: they have mode 0755 and belong to root, and in an image
  /// they are to be what lower layers say (`ImpliedDirectories`). Paths below the layer; those that are no text are left
  /// out.
  package var impliedDirectories: [String]
  /// Attributes that the file system does not take, by name; at most 16.
  package var warnings: [String]
}

/// Unpacks layers: tar streams into a directory, for overlayfs.
package enum LayerUnpack {
  /// Unpacks one layer on a thread of its own.
  ///
  /// Whiteouts become overlayfs's (a 0:0 character device; `trusted.overlay.opaque`). Every path is resolved by descriptor
  /// with the directory as root, so that whatever the archive holds, nothing outside is touched.
  /// - Parameters:
  ///   - declaredBytes: size of the blob; other sizes are errors.
  ///   - directory: exists, empty, and on a file system that takes device nodes and trusted attributes.
  ///   - skeletonPath: where to keep what is needed to write the archive again (`LayerPack`); nil for nowhere.
  ///   - progress: called on the thread with the blob bytes used so far.
  /// - Throws: `ArchiveError`, or what the channel's sender finished with. The directory then holds rubbish.
  /// - Requires: root.
  package static func run(
    _ input: ArchiveInput, compression: ArchiveCompression, declaredBytes: Int64, into directory: String,
    skeletonPath: String?, limits: LayerLimits = LayerLimits(), stop: StopFlag = StopFlag(),
    progress: @escaping @Sendable (Int64) -> Void = { _ in }
  ) async throws -> LayerUnpackResult {
    do {
      return try await onFreshThread {
        // The thread gets its own umask, so that files are made with their mode at once. CLONE_FS.
        _ = try syscall("unshare", on: "file system attributes") { clinux_unshare(0x200) }
        _ = umask(0)
        let stream = try ArchiveStream(
          input, compression: compression, declaredBytes: declaredBytes, streamBytesMax: limits.contentBytesMax,
          stop: stop, progress: progress)
        if let skeletonPath { stream.skeleton = try SkeletonWriter(path: skeletonPath) }
        let unpacker = LayerUnpacker(root: try Directory(path: directory), stream: stream, limits: limits)
        return try unpacker.run()
      }
    } catch {
      if case .channel(let channel) = input { channel.abandon(error) }
      throw error
    }
  }
}

/// The state of unpacking one layer. Lives on one thread.
final class LayerUnpacker {
  let tree: LayerTree
  let stream: ArchiveStream
  let limits: LayerLimits
  var entries = 0
  var fileBytes: Int64 = 0
  var diskBytes: Int64 = 0
  var warnings: [String] = []
  /// Modification times of directories, applied at the end: making entries in them changes it.
  private var directoryTimes: [(path: LayerPath, time: timespec)] = []
  private var writtenSinceCheck: Int64 = 0
  /// Where the content of the last file ends in the archive; nil where that is not known (sparse files).
  private var lastContentEnd: Int64? = 0
  /// Bytes written between two looks at the free space.
  private static let spaceCheckBytes: Int64 = 64 << 20

  init(root: consuming Directory, stream: ArchiveStream, limits: LayerLimits) {
    tree = LayerTree(root: root)
    self.stream = stream
    // What a later entry replaced cannot be written again from the directory.
    tree.onReplace = { [stream] in stream.skeleton?.invalidate() }
    self.limits = limits
  }

  func run() throws -> LayerUnpackResult {
    guard let archive = unsafe archive_read_new() else {
      throw ArchiveError(.system, "no memory for an archive reader")
    }
    defer { unsafe archive_read_free(archive) }
    unsafe archive_read_support_format_tar(archive)
    unsafe archive_read_support_format_empty(archive)
    let context = unsafe Unmanaged.passUnretained(stream).toOpaque()
    unsafe try check(
      unsafe carchive_open(
        archive, context,
        { _, context, block in
          // Safe: libarchive calls on this thread while `run` keeps the stream alive, and block is where it reads from.
          guard let context = unsafe context, let block = unsafe block else { return -1 }
          let stream = unsafe Unmanaged<ArchiveStream>.fromOpaque(context).takeUnretainedValue()
          do {
            let bytes = try unsafe stream.next()
            unsafe block.pointee = bytes.baseAddress
            return bytes.count
          } catch {
            stream.failure = error
            return -1
          }
        }, nil), archive)
    try spaceLeft()
    while true {
      var entry: OpaquePointer?
      let code = unsafe archive_read_next_header(archive, &entry)
      if code == CARCHIVE_EOF { break }
      // A warning is about converting a name to the locale's characters; the name's bytes are used as they are.
      if code != CARCHIVE_WARN { unsafe try check(code, archive) }
      guard let entry = unsafe entry else { throw ArchiveError(.corrupt, "an archive entry is missing") }
      entries += 1
      guard entries <= limits.entriesMax else {
        throw ArchiveError(.tooLarge, "has more than \(limits.entriesMax) entries")
      }
      try unsafe unpack(LayerEntry(entry), archive)
    }
    while try unsafe stream.next().count > 0 {}
    if stream.isPadded, lastContentEnd.map({ $0 > stream.contentBytes }) ?? true {
      throw ArchiveError(.corrupt, "tar: Truncated in the content of its last file")
    }
    try applyDirectoryTimes()
    let hasSkeleton = try stream.skeleton?.finish(stream.contentBytes) ?? false
    return LayerUnpackResult(
      blobDigest: stream.blobDigest, contentDigest: stream.contentDigest, contentBytes: stream.contentBytes,
      fileBytes: fileBytes, diskBytes: diskBytes, entries: entries, hasSkeleton: hasSkeleton,
      impliedDirectories: tree.implied.compactMap(\.validText).sorted(), warnings: warnings)
  }

  private func check(_ code: CInt, _ archive: OpaquePointer) throws {
    if let failure = stream.failure { throw failure }
    if code >= CARCHIVE_OK { return }
    let text = unsafe archive_error_string(archive).map { unsafe String(cString: $0) } ?? "cannot be read"
    throw ArchiveError(.corrupt, "tar: \(text)")
  }

  // MARK: One entry

  private func unpack(_ entry: borrowing LayerEntry, _ archive: OpaquePointer) throws {
    let path = try LayerPath(entry.path, limits: limits)
    do throws(SyscallError) {
      _ = try tree.parent(of: path)
    } catch {
      throw ArchiveError(error, entry: path.shown)
    }
    do {
      if try whiteout(path) { return }
      if let target = entry.hardlink {
        try tree.link(path, to: try LayerPath(target, limits: limits))
        return
      }
      switch entry.type {
      case S_IFREG: unsafe try file(path, entry, archive)
      case S_IFDIR: try directory(path, entry)
      case S_IFLNK:
        guard let target = entry.symlink, !path.isRoot else {
          throw ArchiveError(.refused, "is a symbolic link without target")
        }
        try tree.make(path, "symlinkat") { parent, name in unsafe symlinkat(target, parent, name) }
        try attributes(path, entry)
      case S_IFCHR, S_IFBLK, S_IFIFO:
        let mode = entry.type | entry.mode & 0o777
        let device = entry.device
        try tree.make(path, "mknodat") { parent, name in unsafe mknodat(parent, name, mode, device) }
        try attributes(path, entry)
      default:
        throw ArchiveError(.refused, "has file type \(String(entry.type, radix: 8)), which a layer cannot hold")
      }
    } catch let error as SyscallError {
      throw ArchiveError(error, entry: path.shown)
    } catch let error as ArchiveError where error.entry.isEmpty && error.code != .corrupt {
      throw ArchiveError(error.code, entry: path.shown, error.detail, cause: error.cause)
    }
  }

  /// - Returns: the entry was a whiteout (or other metadata of aufs) and is done.
  private func whiteout(_ path: LayerPath) throws -> Bool {
    guard path.hasWhiteoutPrefix else { return false }
    if path.isOpaqueMarker {
      try tree.setOpaque(path.parentPath)
      return true
    }
    // aufs's own bookkeeping (.wh..wh.plnk, .wh..wh.aufs) says nothing about the image.
    if path.isAufsMetadata { return true }
    let hidden = try path.withoutWhiteoutPrefix()
    try tree.whiteOut(hidden)
    return true
  }

  private func directory(_ path: LayerPath, _ entry: borrowing LayerEntry) throws {
    if !path.isRoot { try tree.makeDirectory(path, mode: entry.mode & 0o777) }
    diskBytes += 4096
    if path.isRoot || entry.mode & 0o7000 != 0 || tree.inheritsGroups || entry.owner != 0 || entry.group != 0
      || entry.hasXattrs || tree.reused
    {
      let fd = try tree.open(path, flags: O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
      try fd.withRaw { raw in try ownAndMode(raw, path, entry) }
      if entry.mode & S_ISGID != 0 { tree.inheritsGroups = true }
    }
    directoryTimes.append((path, entry.modified))
  }

  private func file(_ path: LayerPath, _ entry: borrowing LayerEntry, _ archive: OpaquePointer) throws {
    guard !path.isRoot else { throw ArchiveError(.refused, "the root of a layer is a directory") }
    let size = entry.size
    guard size >= 0, size <= limits.contentBytesMax - fileBytes else {
      throw ArchiveError(
        .tooLarge, "declares \(size) bytes; files of a layer may have \(limits.contentBytesMax) in all")
    }
    fileBytes += size
    diskBytes += (size + 4095) & ~4095
    let fd = try tree.createFile(path, mode: entry.mode & 0o777)
    let start = unsafe archive_filter_bytes(archive, 0)
    lastContentEnd = entry.isSparse ? nil : start + size
    if size > 0, !entry.isSparse { stream.skeleton?.payload(path, at: start, size: size) }
    try fd.withRaw { raw in
      let end = unsafe try content(raw, path, archive)
      // A file that ends in a hole.
      if end < size { _ = try syscall("ftruncate", on: path.shown) { ftruncate(raw, off_t(size)) } }
      if entry.mode & 0o7000 != 0 || tree.inheritsGroups || entry.owner != 0 || entry.group != 0 || entry.hasXattrs {
        try ownAndMode(raw, path, entry)
      }
      let times = [entry.modified, entry.modified]
      _ = try syscall("futimens", on: path.shown) { unsafe futimens(raw, times) }
    }
  }

  /// Writes the entry's content; returns the offset after the last byte written.
  private func content(_ fd: CInt, _ path: LayerPath, _ archive: OpaquePointer) throws -> Int64 {
    var end: Int64 = 0
    while true {
      var block: UnsafeRawPointer?
      var count = 0
      var offset: Int64 = 0
      let code = unsafe archive_read_data_block(archive, &block, &count, &offset)
      if code == CARCHIVE_EOF { return end }
      unsafe try check(code == CARCHIVE_WARN ? 0 : code, archive)
      var done = 0
      while done < count {
        // Safe: libarchive lends `count` bytes at `block` until its next call.
        done += try syscall("pwrite", on: path.shown) {
          unsafe pwrite(fd, block.map { unsafe $0 + done }, count - done, off_t(offset) + off_t(done))
        }
      }
      end = max(end, offset + Int64(count))
      writtenSinceCheck += Int64(count)
      if writtenSinceCheck >= Self.spaceCheckBytes { try spaceLeft() }
    }
  }

  private func spaceLeft() throws {
    writtenSinceCheck = 0
    let space = try tree.space()
    guard space >= limits.reservedBytes else {
      let detail =
        "\(space) bytes are left on the disk, \(limits.reservedBytes) are kept free; free some, then try again"
      throw ArchiveError(.noSpace, detail)
    }
  }

  // MARK: Attributes

  /// Owner before mode, because chown clears set-uid; attributes last, because chown clears security.capability.
  private func ownAndMode(_ fd: CInt, _ path: LayerPath, _ entry: borrowing LayerEntry) throws {
    let (owner, group, mode) = (entry.owner, entry.group, entry.mode)
    _ = try syscall("fchown", on: path.shown) { fchown(fd, owner, group) }
    _ = try syscall("fchmod", on: path.shown) { fchmod(fd, mode) }
    unsafe try entry.forEachXattr(limits) { name, value in
      try xattr(name, path) { unsafe carchive_fsetxattr(fd, name, value.baseAddress, value.count) }
    }
  }

  /// Of symbolic links and device nodes, which are never opened.
  private func attributes(_ path: LayerPath, _ entry: borrowing LayerEntry) throws {
    let parent = try tree.parent(of: path)
    let (owner, group, mode) = (entry.owner, entry.group, entry.mode)
    let name = path.name
    if owner != 0 || group != 0 || tree.inheritsGroups {
      _ = try syscall("fchownat", on: path.shown) { unsafe fchownat(parent, name, owner, group, AT_SYMLINK_NOFOLLOW) }
    }
    if entry.type != S_IFLNK, mode & 0o7000 != 0 || owner != 0 || group != 0 {
      // fchmodat follows links, and this name is a device or fifo that we made in a directory that only we write to.
      _ = try syscall("fchmodat", on: path.shown) { unsafe fchmodat(parent, name, mode, 0) }
    }
    unsafe try entry.forEachXattr(limits) { key, value in
      let place = path.inDescriptor(parent)
      try xattr(key, path) { unsafe carchive_lsetxattr(place, key, value.baseAddress, value.count) }
    }
    let times = [entry.modified, entry.modified]
    _ = try syscall("utimensat", on: path.shown) { unsafe utimensat(parent, name, times, AT_SYMLINK_NOFOLLOW) }
  }

  private func xattr(_ name: String, _ path: LayerPath, _ set: () -> CInt) throws {
    if name.hasPrefix("trusted.overlay.") || name.hasPrefix("user.overlay.") {
      throw ArchiveError(.refused, "has the attribute \(name), which is overlayfs's own")
    }
    do throws(SyscallError) {
      _ = try syscall("setxattr", on: "\(path.shown) \(name)", set)
    } catch {
      // File capabilities must hold. What this file system, or this kind of file, cannot keep is told and left out, as
      // tar does: SELinux labels of the machine that built the image, most of all.
      let tolerated = [EOPNOTSUPP, EPERM, EINVAL, EACCES].contains(error.errno) && name != "security.capability"
      guard tolerated else { throw error }
      if warnings.count < 16 { warnings.append("\(error)") }
    }
  }

  private func applyDirectoryTimes() throws {
    for (path, time) in directoryTimes {
      let times = [time, time]
      do throws(SyscallError) {
        // One that a later entry replaced is gone, or is no directory any more.
        let fd = try tree.open(path, flags: O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
        _ = try fd.withRaw { raw throws(SyscallError) in
          try syscall("futimens", on: path.shown) { unsafe futimens(raw, times) }
        }
      } catch {
        guard [ENOENT, ENOTDIR, ELOOP].contains(error.errno) else { throw ArchiveError(error, entry: path.shown) }
      }
    }
  }
}
