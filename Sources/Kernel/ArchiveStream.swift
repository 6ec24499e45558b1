internal import CArchive
internal import Glibc
internal import Synchronization

/// How the bytes of an archive are compressed.
package enum ArchiveCompression: Hashable, Sendable {
  case none, gzip, zstd

  /// What the first bytes of a file say.
  package init(sniffing bytes: [UInt8]) {
    if bytes.starts(with: [0x1F, 0x8B]) {
      self = .gzip
    } else if bytes.starts(with: [0x28, 0xB5, 0x2F, 0xFD]) {
      self = .zstd
    } else {
      self = .none
    }
  }

  var code: carchive_compression {
    switch self {
    case .none: CARCHIVE_NONE
    case .gzip: CARCHIVE_GZIP
    case .zstd: CARCHIVE_ZSTD
    }
  }
}

/// Where the bytes of a layer come from.
package enum ArchiveInput: Sendable {
  case channel(ByteChannel)
  /// A part of a file; the path is trusted.
  case file(path: String, offset: Int64)
}

/// Asks a thread to stop at its next look.
package final class StopFlag: Sendable {
  private let stopped = Atomic(false)
  package init() {}
  package func stop() { stopped.store(true, ordering: .relaxed) }
  package var isStopped: Bool { stopped.load(ordering: .relaxed) }
}

/// Why an archive could not be read, unpacked or written again.
package struct ArchiveError: Error, Sendable, CustomStringConvertible {
  package enum Code: Hashable, Sendable {
    /// Not a valid archive or compressed stream, or shorter or longer than declared.
    case corrupt
    /// An entry that breaks a rule: leads out, or has a type or attribute that is not allowed.
    case refused
    /// A cap was reached.
    case tooLarge
    /// No space or inodes left.
    case noSpace
    case stopped
    /// Anything else the kernel refused.
    case system
  }
  package let code: Code
  /// The entry, shown; empty where it is about the whole.
  package let entry: String
  package let detail: String
  package let cause: (any Error)?

  package init(_ code: Code, entry: String = "", _ detail: String, cause: (any Error)? = nil) {
    self.code = code
    self.entry = entry
    self.detail = detail
    self.cause = cause
  }

  init(_ error: SyscallError, entry: String) {
    let full = error.errno == ENOSPC || error.errno == EDQUOT
    let hint = full ? "; free space or inodes, then try again" : ""
    // Below a directory that only we write to, these come from what the archive itself put there.
    let isContent = [ENOENT, ENOTDIR, ELOOP, EXDEV, ENAMETOOLONG].contains(error.errno) && !entry.isEmpty
    self.init(full ? .noSpace : isContent ? .refused : .system, entry: entry, "\(error)\(hint)", cause: error)
  }

  package var description: String { entry.isEmpty ? detail : "entry \(entry): \(detail)" }
}

/// The decompressed bytes of an archive in blocks, hashed before and after decompression. Lives on one thread.
///
/// A block is small enough to stay in the processor's cache from the decompressor through the hash to the write.
@safe final class ArchiveStream {
  static let blockBytes = 256 << 10
  /// Bytes read from a file at once.
  static let inputBytes = 256 << 10

  private let input: ArchiveInput
  private let declaredBytes: Int64
  private let streamBytesMax: Int64
  private let compression: ArchiveCompression
  private let stop: StopFlag
  private let progress: @Sendable (Int64) -> Void
  private let decoder: OpaquePointer
  private let block: UnsafeMutablePointer<UInt8>
  private let file: SharedFD?
  private var fileOffset: Int64

  private var chunk: [UInt8] = []
  private var chunkUsed = 0
  private var inputEnded = false
  private var atEnd = false
  private var blobHash = SHA256Hasher()
  private var contentHash = SHA256Hasher()
  private var reportedBytes: Int64 = 0
  /// Zeros were handed out after the end, to fill the last 512 bytes of a tar that stops right after a file's content.
  private(set) var isPadded = false
  private(set) var blobBytes: Int64 = 0
  private(set) var contentBytes: Int64 = 0
  /// Set where `next` threw inside a callback that cannot throw.
  var failure: (any Error)?
  /// Keeps what is not file content, to write the same archive again.
  var skeleton: SkeletonWriter?

  init(
    _ input: ArchiveInput, compression: ArchiveCompression, declaredBytes: Int64, streamBytesMax: Int64, stop: StopFlag,
    progress: @escaping @Sendable (Int64) -> Void
  ) throws {
    self.input = input
    self.compression = compression
    self.declaredBytes = declaredBytes
    self.streamBytesMax = streamBytesMax
    self.stop = stop
    self.progress = progress
    switch input {
    case .channel:
      file = nil
      fileOffset = 0
    case .file(let path, let offset):
      file = SharedFD(try Files.open(path, flags: O_RDONLY | O_NOFOLLOW))
      fileOffset = offset
    }
    guard let decoder = unsafe carchive_decoder_new(compression.code) else {
      throw ArchiveError(.system, "no memory for a decompressor")
    }
    unsafe self.decoder = unsafe decoder
    unsafe block = .allocate(capacity: Self.blockBytes)
  }

  deinit {
    unsafe carchive_decoder_free(decoder)
    unsafe block.deallocate()
  }

  var blobDigest: [UInt8] { compression == .none ? contentHash.digest : blobHash.digest }
  var contentDigest: [UInt8] { contentHash.digest }

  /// The next block, valid until the next call; empty at the end, which is only reached with the declared number of bytes.
  func next() throws -> UnsafeRawBufferPointer {
    try skeleton?.settle()
    var made = 0
    while made < Self.blockBytes {
      if chunkUsed == chunk.count, !inputEnded { try refill() }
      let step = unsafe chunk.withUnsafeBufferPointer { bytes in
        // Safe: both ranges lie inside their buffers. An empty chunk has no base address; the block's is never read then.
        unsafe carchive_decode(
          decoder, bytes.baseAddress.map { unsafe $0 + chunkUsed } ?? UnsafePointer(block), bytes.count - chunkUsed,
          block + made, Self.blockBytes - made)
      }
      if let problem = unsafe step.problem { throw ArchiveError(.corrupt, unsafe String(cString: problem)) }
      chunkUsed += unsafe step.used
      made += unsafe step.made
      atEnd = unsafe step.at_end != 0
      if inputEnded, unsafe step.used == 0, unsafe step.made == 0 { break }
    }
    if made == 0, !atEnd { throw ArchiveError(.corrupt, "compressed data ends in the middle") }
    if made == 0, contentBytes % 512 != 0, !isPadded {
      // Some writers never end their tars; other readers take those, and the hash is over what was there.
      isPadded = true
      let missing = 512 - Int(contentBytes % 512)
      unsafe block.update(repeating: 0, count: missing)
      return unsafe UnsafeRawBufferPointer(start: block, count: missing)
    }
    let bytes = unsafe UnsafeRawBufferPointer(start: block, count: made)
    unsafe contentHash.update(bytes)
    contentBytes += Int64(made)
    guard contentBytes <= streamBytesMax else {
      throw ArchiveError(.tooLarge, "unpacks to more than \(streamBytesMax) bytes")
    }
    unsafe skeleton?.offer(bytes, at: contentBytes - Int64(made))
    return unsafe bytes
  }

  private func refill() throws {
    if stop.isStopped { throw ArchiveError(.stopped, "stopped") }
    chunkUsed = 0
    switch input {
    case .channel(let channel):
      chunk = try channel.receive() ?? []
    case .file:
      let want = Int(min(Int64(Self.inputBytes), declaredBytes - blobBytes))
      chunk = want > 0 ? try readFile(want) : []
    }
    inputEnded = chunk.isEmpty
    blobBytes += Int64(chunk.count)
    if blobBytes > declaredBytes {
      throw ArchiveError(.corrupt, "has more than the \(declaredBytes) bytes that were declared")
    }
    if inputEnded, blobBytes < declaredBytes {
      throw ArchiveError(.corrupt, "ends after \(blobBytes) of the \(declaredBytes) bytes that were declared")
    }
    if compression != .none { blobHash.update(chunk) }
    if blobBytes - reportedBytes >= 1 << 20 || inputEnded {
      reportedBytes = blobBytes
      progress(blobBytes)
    }
  }

  private func readFile(_ want: Int) throws(SyscallError) -> [UInt8] {
    guard let fd = file?.withRaw({ $0 }) else { return [] }
    var failure: SyscallError?
    let offset = fileOffset
    let bytes = unsafe [UInt8](unsafeUninitializedCapacity: want) { buffer, count in
      do throws(SyscallError) {
        // Safe: the buffer holds `want` bytes, and the descriptor lives as long as self.
        count = try syscall("pread", on: "archive") { unsafe pread(fd, buffer.baseAddress, want, off_t(offset)) }
      } catch { failure = error }
    }
    if let failure { throw failure }
    fileOffset += Int64(bytes.count)
    return bytes
  }
}
