internal import Kernel

/// Writes a POSIX ustar archive of regular files with fixed ids and times, so that the same content gives the same bytes.
/// - SeeAlso: POSIX.1-2017, pax, "ustar Interchange Format".
final class TarWriter: Sendable {
  private let file: SharedFD
  private let path: String

  init(path: String) throws(SyscallError) {
    self.path = path
    file = SharedFD(
      try Files.open(path, flags: OpenFlags.writeOnly | OpenFlags.create | OpenFlags.exclusive, mode: 0o600))
  }

  /// Then exactly `size` bytes by `write`, then `pad`.
  func header(_ name: String, size: Int64, isDirectory: Bool = false) throws(SyscallError) {
    precondition(name.utf8.count <= 100, "names of image archives are short")
    var block = [UInt8](repeating: 0, count: 512)
    func put(_ text: String, at offset: Int) {
      for (index, byte) in text.utf8.enumerated() { block[offset + index] = byte }
    }
    put(name, at: 0)
    put(isDirectory ? "0000755" : "0000644", at: 100)
    put("0000000", at: 108)
    put("0000000", at: 116)
    if size < 1 << 33 {
      put(Self.octal(size, digits: 11), at: 124)
    } else {
      // Larger than eleven octal digits hold: base 256, which every tar of today reads.
      block[124] = 0x80
      for index in 0..<8 { block[128 + index] = UInt8(truncatingIfNeeded: size >> (56 - 8 * index)) }
    }
    put("00000000000", at: 136)
    put("        ", at: 148)
    block[156] = UInt8(ascii: isDirectory ? "5" : "0")
    put("ustar", at: 257)
    put("00", at: 263)
    let sum = block.reduce(Int64(0)) { $0 + Int64($1) }
    put(Self.octal(sum, digits: 6), at: 148)
    block[154] = 0
    try write(block)
  }

  func write(_ bytes: [UInt8]) throws(SyscallError) { try file.write(bytes, to: path) }

  func pad(_ size: Int64) throws(SyscallError) {
    let rest = Int(size % 512)
    if rest > 0 { try write([UInt8](repeating: 0, count: 512 - rest)) }
  }

  func add(_ name: String, _ bytes: [UInt8]) throws(SyscallError) {
    try header(name, size: Int64(bytes.count))
    try write(bytes)
    try pad(Int64(bytes.count))
  }

  func finish() throws(SyscallError) { try write([UInt8](repeating: 0, count: 1024)) }

  private static func octal(_ value: Int64, digits: Int) -> String {
    let text = String(value, radix: 8)
    return String(repeating: "0", count: max(0, digits - text.utf8.count)) + text
  }
}
