internal import CArchive
internal import Glibc

/// A member of an uncompressed tar file.
package struct ArchiveMember: Hashable, Sendable {
  /// Without leading "./" or "/"; members with ".." in their name are left out.
  package let name: String
  /// Where its content begins in the file.
  package let offset: Int64
  package let size: Int64
  /// Of a symbolic or hard link, as written.
  package let linkTarget: String?
}

/// Finds the members of tar files without reading their content.
package enum ArchiveIndex {
  /// Members listed at most.
  package static let membersMax = 100_000

  /// Lists the regular files and links of an uncompressed tar, in order. Blocks on the disk.
  /// - Parameter path: trusted.
  package static func list(_ path: String) throws -> [ArchiveMember] {
    let cursor = try FileCursor(path)
    guard let archive = unsafe archive_read_new() else {
      throw ArchiveError(.system, "no memory for an archive reader")
    }
    defer { unsafe archive_read_free(archive) }
    unsafe archive_read_support_format_tar(archive)
    let context = unsafe Unmanaged.passUnretained(cursor).toOpaque()
    // Safe: libarchive calls back on this thread while this function holds the cursor.
    let opened = unsafe carchive_open(
      archive, context,
      { _, context, block in
        guard let context = unsafe context, let block = unsafe block else { return -1 }
        let cursor = unsafe Unmanaged<FileCursor>.fromOpaque(context).takeUnretainedValue()
        return unsafe cursor.read(block)
      },
      { _, context, count in
        guard let context = unsafe context else { return 0 }
        return unsafe Unmanaged<FileCursor>.fromOpaque(context).takeUnretainedValue().skip(count)
      })
    var members: [ArchiveMember] = []
    var code = opened
    while code >= CARCHIVE_WARN {
      var next: OpaquePointer?
      code = unsafe archive_read_next_header(archive, &next)
      if code == CARCHIVE_EOF { return members }
      guard code >= CARCHIVE_WARN, let raw = unsafe next else { break }
      guard members.count < membersMax else { throw ArchiveError(.tooLarge, "has more than \(membersMax) members") }
      let entry = unsafe LayerEntry(raw)
      guard let name = try? LayerPath(entry.path, limits: LayerLimits()).text else { continue }
      let link = entry.hardlink ?? entry.symlink
      guard entry.type == S_IFREG || link != nil else { continue }
      members.append(
        ArchiveMember(
          name: name, offset: unsafe archive_filter_bytes(archive, 0), size: link == nil ? entry.size : 0,
          linkTarget: link.map { LayerPath.text($0) }))
    }
    if let failure = cursor.failure { throw failure }
    let text = unsafe archive_error_string(archive).map { unsafe String(cString: $0) } ?? "cannot be read"
    throw ArchiveError(.corrupt, "tar: \(text)")
  }

  /// Writes the decompressed bytes of `path` to a new file.
  package static func decompress(
    _ path: String, _ compression: ArchiveCompression, to output: String, bytesMax: Int64, stop: StopFlag
  ) async throws {
    try await onFreshThread {
      let size = try Files.status(path, follow: true)?.sizeBytes ?? 0
      let stream = try ArchiveStream(
        .file(path: path, offset: 0), compression: compression, declaredBytes: size, streamBytesMax: bytesMax,
        stop: stop,
        progress: { _ in })
      let file = try Files.open(output, flags: O_WRONLY | O_CREAT | O_EXCL, mode: 0o600)
      while true {
        let block = unsafe Array(try stream.next())
        if block.isEmpty { break }
        do throws(SyscallError) { try file.writeAll(block) } catch { throw ArchiveError(error, entry: output) }
      }
    }
  }

  /// Reads a part of a file. Blocks on the disk.
  package static func read(_ path: String, offset: Int64, count: Int) throws(SyscallError) -> [UInt8] {
    let file = try Files.open(path, flags: O_RDONLY)
    let start = try file.withRaw { fd throws(SyscallError) in
      try syscall("lseek", on: path) { lseek(fd, off_t(offset), SEEK_SET) }
    }
    guard start == offset else { return [] }
    var bytes: [UInt8] = []
    while bytes.count < count {
      let chunk = try file.read(upTo: min(count - bytes.count, 1 << 20))
      if chunk.isEmpty { break }
      bytes += chunk
    }
    return bytes
  }
}

/// A file that libarchive reads and skips through. Lives on one thread.
@safe private final class FileCursor {
  private let file: SharedFD
  private let size: Int64
  private var offset: Int64 = 0
  private let buffer: UnsafeMutableRawPointer
  private static let bufferBytes = 16 << 10
  var failure: SyscallError?

  init(_ path: String) throws(SyscallError) {
    size = try Files.status(path, follow: true)?.sizeBytes ?? 0
    file = SharedFD(try Files.open(path, flags: O_RDONLY))
    unsafe buffer = .allocate(byteCount: Self.bufferBytes, alignment: 16)
  }

  deinit { unsafe buffer.deallocate() }

  func read(_ block: UnsafeMutablePointer<UnsafeRawPointer?>) -> Int {
    do throws(SyscallError) {
      let at = offset
      // Safe: the buffer holds the bytes asked for and lives as long as self.
      let count = try file.withRaw { fd throws(SyscallError) in
        try syscall("pread", on: "archive") { unsafe pread(fd, buffer, Self.bufferBytes, off_t(at)) }
      }
      offset += Int64(count)
      unsafe block.pointee = unsafe UnsafeRawPointer(buffer)
      return count
    } catch {
      failure = error
      return -1
    }
  }

  /// Never past the end, so that a member cut short is seen.
  func skip(_ count: Int64) -> Int64 {
    let step = max(0, min(count, size - offset))
    offset += step
    return step
  }
}

extension LayerPath {
  /// As text; bytes that are not UTF-8 are replaced.
  var text: String { Self.text(bytes) }

  static func text(_ bytes: [CChar]) -> String {
    String(decoding: bytes.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}

extension LayerUnpack {
  /// Processors that may run threads of ours now.
  package static var processors: Int { max(1, sysconf(CInt(_SC_NPROCESSORS_ONLN))) }

  /// Writes everything of the file system of `path` to its disk. Blocks as long as that takes.
  package static func sync(_ path: String) async throws(SyscallError) {
    try await onFreshThread { () throws(SyscallError) in
      let directory = try Directory(path: path)
      _ = try directory.fd.withRaw { fd throws(SyscallError) in try syscall("syncfs", on: path) { carchive_syncfs(fd) }
      }
    }
  }
}
