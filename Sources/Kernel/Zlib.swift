internal import CZlib

/// A stream of zlib's failed.
package struct ZlibError: Error, Hashable, CustomStringConvertible {
  package let call: String
  package let code: Int32
  package let detail: String

  package var description: String { "\(call): \(detail) (\(code))" }
}

/// Compresses or expands a stream of bytes: deflate as it is, in zlib's frame or in gzip's.
///
/// For one task at a time.
@safe
package final class Zlib {
  package enum Format: Sendable {
    case deflate, zlib, gzip

    fileprivate var windowBits: Int32 {
      switch self {
      case .deflate: -15
      case .zlib: 15
      case .gzip: 31
      }
    }
  }

  package enum Direction: Sendable {
    /// - Parameter level: 1 is fast, 9 is small, -1 is zlib's usual.
    case compress(level: Int32)
    case expand
  }

  /// How far what was given must come out at once.
  package enum Flush: Sendable {
    /// As it suits the compressor.
    case none
    /// Everything, ready to be expanded by who gets it.
    case sync
    /// Everything; the stream ends here.
    case finish

    fileprivate var code: Int32 {
      switch self {
      case .none: Z_NO_FLUSH
      case .sync: Z_SYNC_FLUSH
      case .finish: Z_FINISH
      }
    }
  }

  /// zlib keeps this address: allocated once, freed by deinit.
  private let stream: UnsafeMutablePointer<z_stream>
  private let isCompressor: Bool
  private let dictionary: [UInt8]
  /// The stream has told its own end.
  package private(set) var isFinished = false

  private static let chunkBytes = 32 << 10

  /// - Parameter dictionary: what both sides have seen before the first byte.
  package init(_ direction: Direction, format: Format, dictionary: [UInt8] = []) throws(ZlibError) {
    self.dictionary = dictionary
    unsafe stream = .allocate(capacity: 1)
    unsafe stream.initialize(to: z_stream())
    let code: Int32
    switch direction {
    case .compress(let level):
      isCompressor = true
      code = unsafe czlib_deflate_init(stream, level, format.windowBits)
    case .expand:
      isCompressor = false
      code = unsafe czlib_inflate_init(stream, format.windowBits)
    }
    guard code == Z_OK else { throw failure(isCompressor ? "deflateInit2" : "inflateInit2", code) }
    guard !dictionary.isEmpty, isCompressor else { return }
    // Safe: the bytes live for the call, which copies them.
    let set = unsafe dictionary.withUnsafeBufferPointer {
      unsafe deflateSetDictionary(stream, $0.baseAddress, UInt32($0.count))
    }
    guard set == Z_OK else { throw failure("deflateSetDictionary", set) }
  }

  deinit {
    if isCompressor { _ = unsafe deflateEnd(stream) } else { _ = unsafe inflateEnd(stream) }
    unsafe stream.deallocate()
  }

  /// Puts bytes in, and gives what comes out.
  ///
  /// - Parameter limit: of what comes out, so that a small input cannot become a huge output.
  /// - Throws: where the input is no such stream, is damaged, or becomes more than `limit` bytes.
  package func process(_ input: [UInt8], flush: Flush = .none, limit: Int = .max) throws(ZlibError) -> [UInt8] {
    var output: [UInt8] = []
    let code = unsafe input.withUnsafeBufferPointer { source -> Int32 in
      // Safe: zlib reads and never writes through next_in, and it is cleared before the buffer goes.
      unsafe stream.pointee.next_in = UnsafeMutablePointer(mutating: source.baseAddress)
      unsafe stream.pointee.avail_in = UInt32(source.count)
      defer {
        unsafe stream.pointee.next_in = nil
        unsafe stream.pointee.avail_in = 0
      }
      return pump(flush, limit, &output)
    }
    switch code {
    case Z_OK, Z_BUF_ERROR: return output
    case Z_STREAM_END:
      isFinished = true
      return output
    case Self.overLimit: throw ZlibError(call: "inflate", code: code, detail: "more than \(limit) bytes come out")
    default: throw failure(isCompressor ? "deflate" : "inflate", code)
    }
  }

  private static let overLimit: Int32 = -100

  private func pump(_ flush: Flush, _ limit: Int, _ output: inout [UInt8]) -> Int32 {
    while true {
      var code = Z_OK
      let chunk = unsafe [UInt8](unsafeUninitializedCapacity: Self.chunkBytes) { buffer, filled in
        // Safe: zlib writes at most avail_out bytes.
        unsafe stream.pointee.next_out = buffer.baseAddress
        unsafe stream.pointee.avail_out = UInt32(buffer.count)
        code = isCompressor ? unsafe deflate(stream, flush.code) : unsafe inflate(stream, Z_SYNC_FLUSH)
        filled = unsafe buffer.count - Int(stream.pointee.avail_out)
        unsafe stream.pointee.next_out = nil
      }
      output += chunk
      if output.count > limit { return Self.overLimit }
      if code == Z_NEED_DICT, !dictionary.isEmpty {
        // Safe: as in init.
        code = unsafe dictionary.withUnsafeBufferPointer {
          unsafe inflateSetDictionary(stream, $0.baseAddress, UInt32($0.count))
        }
        if code == Z_OK { continue }
      }
      // A full chunk may have more behind it.
      if code != Z_OK || chunk.count < Self.chunkBytes { return code }
    }
  }

  private func failure(_ call: String, _ code: Int32) -> ZlibError {
    let detail =
      unsafe stream.pointee.msg.map { unsafe String(cString: $0) } ?? "the stream is not of this format, or damaged"
    return ZlibError(call: call, code: code, detail: detail)
  }

  /// All of `parts` as one gzip file.
  package static func gzip(_ parts: [[UInt8]], level: Int32) throws(ZlibError) -> [UInt8] {
    let stream = try Zlib(.compress(level: level), format: .gzip)
    var packed: [UInt8] = []
    for part in parts { packed += try stream.process(part) }
    return packed + (try stream.process([], flush: .finish))
  }
}
