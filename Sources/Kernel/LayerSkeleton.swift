internal import CArchive
internal import Glibc

// The skeleton of a layer is its tar without the content of its files: headers, padding and end, as they were, and for
// each file its path and size. With the unpacked directory it gives the same tar again, byte for byte, so that an image can
// be exported with its own diff-IDs although the layer's blob was dropped.
//
// zstd of: "MTSK1\n", then records. 1: UInt32 count, that many literal bytes. 2: UInt64 size, UInt16 count, the path.
// 3: UInt64 length of the whole tar, the last record. Integers are little-endian.
private let magic: [UInt8] = Array("MTSK1\n".utf8)
private enum Tag { static let literal: UInt8 = 1, file: UInt8 = 2, end: UInt8 = 3 }

/// Writes the skeleton of a layer while it is unpacked. Lives on that thread.
@safe final class SkeletonWriter {
  private let path: String
  private let file: OwnedFD
  private let encoder: OpaquePointer
  private var records: [UInt8] = magic
  private var payloads: [(path: LayerPath, at: Int64, size: Int64)] = []
  private var firstPayload = 0
  private var block: (bytes: UnsafeRawBufferPointer, at: Int64)?
  private var settled: Int64 = 0
  private var isValid = true
  private var isFinished = false
  /// Bytes of records collected before they are compressed.
  private static let recordBytesMax = 128 << 10

  init(path: String) throws {
    self.path = path
    guard let encoder = unsafe carchive_encoder_new() else { throw ArchiveError(.system, "no memory for a compressor") }
    unsafe self.encoder = unsafe encoder
    do throws(SyscallError) {
      file = try Files.open(path, flags: O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600)
    } catch {
      unsafe carchive_encoder_free(encoder)
      throw error
    }
  }

  deinit {
    unsafe carchive_encoder_free(encoder)
    if !isFinished { try? Files.remove(path) }
  }

  /// The layer cannot be made again: a later entry replaced an earlier one.
  func invalidate() { isValid = false }

  /// `size` bytes from `at` on are the content of the file `path`.
  func payload(_ path: LayerPath, at: Int64, size: Int64) {
    payloads.append((path, at, size))
  }

  /// The block that is read next; it stays where it is until `settle`, when it is known which of it is content.
  func offer(_ bytes: UnsafeRawBufferPointer, at: Int64) { unsafe block = unsafe (bytes, at) }

  func settle() throws {
    guard isValid, let block = unsafe block else { return }
    unsafe self.block = nil
    let (start, end) = unsafe (block.at, block.at + Int64(block.bytes.count))
    var position = max(settled, start)
    while position < end {
      let next = firstPayload < payloads.count ? payloads[firstPayload].at : Int64.max
      if position < next {
        let stop = min(next, end)
        append(Tag.literal)
        append(UInt32(stop - position))
        unsafe records.append(contentsOf: block.bytes[Int(position - start)..<Int(stop - start)])
        position = stop
      } else {
        let payload = payloads[firstPayload]
        firstPayload += 1
        append(Tag.file)
        append(UInt64(payload.size))
        append(UInt16(payload.path.count))
        records.append(contentsOf: payload.path.bytes.dropLast().map { UInt8(bitPattern: $0) })
        position = payload.at + payload.size
      }
      if records.count >= Self.recordBytesMax { try flush(finish: false) }
    }
    if firstPayload == payloads.count {
      payloads.removeAll(keepingCapacity: true)
      firstPayload = 0
    }
    settled = position
  }

  /// - Returns: the layer can be made again; otherwise nothing was kept.
  func finish(_ contentBytes: Int64) throws -> Bool {
    try settle()
    guard isValid, settled == contentBytes else { return false }
    append(Tag.end)
    append(UInt64(contentBytes))
    try flush(finish: true)
    isFinished = true
    return true
  }

  private func append(_ value: some FixedWidthInteger) {
    var rest = UInt64(truncatingIfNeeded: value)
    for _ in 0..<(value.bitWidth / 8) {
      records.append(UInt8(truncatingIfNeeded: rest))
      rest >>= 8
    }
  }

  private func flush(finish: Bool) throws {
    var used = 0
    var isDone = false
    while !isDone {
      var step = unsafe carchive_progress()
      let output = unsafe [UInt8](unsafeUninitializedCapacity: 128 << 10) { buffer, count in
        // Safe: both ranges lie inside their buffers, which live until the call returns.
        unsafe records.withUnsafeBufferPointer { input in
          unsafe step = unsafe carchive_encode(
            encoder, input.baseAddress.map { unsafe $0 + used }, input.count - used, buffer.baseAddress!, buffer.count,
            finish ? 1 : 0)
        }
        count = unsafe step.made
      }
      if let problem = unsafe step.problem { throw ArchiveError(.system, unsafe String(cString: problem)) }
      used += unsafe step.used
      isDone = unsafe step.at_end != 0
      try file.writeAll(output)
    }
    records.removeAll(keepingCapacity: true)
  }
}

/// Writes layers again: from their skeleton and their directory.
package enum LayerPack {
  /// Sends the tar of a layer to `sink` in order, on a thread of its own.
  /// - Returns: SHA-256 of what was sent, 32 bytes; the caller compares it with the diff-ID.
  /// - Throws: `ArchiveError`, and what `sink` throws.
  package static func run(
    skeletonPath: String, directory: String, sink: @escaping @Sendable ([UInt8]) throws -> Void
  ) async throws -> [UInt8] {
    try await onFreshThread {
      let bytes = try Files.status(skeletonPath)?.sizeBytes ?? 0
      let stream = try ArchiveStream(
        .file(path: skeletonPath, offset: 0), compression: .zstd, declaredBytes: bytes, streamBytesMax: .max,
        stop: StopFlag(), progress: { _ in })
      let packer = LayerPacker(stream, LayerTree(root: try Directory(path: directory)), sink)
      return try packer.run()
    }
  }
}

private final class LayerPacker {
  private let stream: ArchiveStream
  private let tree: LayerTree
  private let sink: ([UInt8]) throws -> Void
  private var block: [UInt8] = []
  private var used = 0
  private var sent: Int64 = 0
  private var hash = SHA256Hasher()

  init(_ stream: ArchiveStream, _ tree: LayerTree, _ sink: @escaping ([UInt8]) throws -> Void) {
    self.stream = stream
    self.tree = tree
    self.sink = sink
  }

  func run() throws -> [UInt8] {
    guard try take(magic.count) == magic else { throw damaged() }
    while true {
      switch try take(1).first {
      case Tag.literal: try send(try take(Int(try integer(4))))
      case Tag.file:
        let size = try integer(8)
        let path = try take(Int(try integer(2))).map { CChar(bitPattern: $0) } + [0]
        try copy(try LayerPath(path, limits: LayerLimits()), size: Int64(clamping: size))
      case Tag.end:
        guard Int64(clamping: try integer(8)) == sent else { throw damaged() }
        return hash.digest
      default: throw damaged()
      }
    }
  }

  private func damaged() -> ArchiveError { ArchiveError(.corrupt, "the layer's skeleton is damaged") }

  private func take(_ count: Int) throws -> [UInt8] {
    var bytes: [UInt8] = []
    while bytes.count < count {
      if used == block.count {
        block = unsafe Array(try stream.next())
        used = 0
        if block.isEmpty { throw damaged() }
      }
      let step = min(count - bytes.count, block.count - used)
      bytes += block[used..<used + step]
      used += step
    }
    return bytes
  }

  private func integer(_ bytes: Int) throws -> UInt64 {
    try take(bytes).reversed().reduce(0) { $0 << 8 | UInt64($1) }
  }

  private func send(_ bytes: [UInt8]) throws {
    hash.update(bytes)
    sent += Int64(bytes.count)
    try sink(bytes)
  }

  private func copy(_ path: LayerPath, size: Int64) throws {
    let fd = try tree.open(path, flags: O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
    var left = size
    while left > 0 {
      let bytes = try fd.read(upTo: Int(min(left, 256 << 10)))
      guard !bytes.isEmpty else {
        throw ArchiveError(.corrupt, entry: path.shown, "is shorter than when it was unpacked")
      }
      try send(bytes)
      left -= Int64(bytes.count)
    }
  }
}
