/// Builds tar archives byte by byte, also those that no honest tar would write.
struct TestTar {
  private(set) var bytes: [UInt8] = []

  enum Kind: Character {
    case file = "0", hardlink = "1", symlink = "2", character = "3", block = "4", directory = "5", fifo = "6"
  }

  /// Adds an entry; pax records are written before it where there are any.
  mutating func add(
    _ name: String, _ kind: Kind = .file, _ content: [UInt8] = [], link: String = "", mode: Int = 0o644, owner: Int = 0,
    group: Int = 0, modified: Int = 1_700_000_000, device: (Int, Int) = (0, 0), declaredSize: Int? = nil,
    pax: [(String, [UInt8])] = []
  ) {
    var records = pax
    if name.utf8.count > 100 { records.append(("path", Array(name.utf8))) }
    if link.utf8.count > 100 { records.append(("linkpath", Array(link.utf8))) }
    if !records.isEmpty {
      let body = records.flatMap { Self.paxRecord($0.0, $0.1) }
      header("PaxHeader", "x", size: body.count, link: "", mode: 0o644, owner: 0, group: 0, modified: 0, device: (0, 0))
      append(body)
    }
    header(
      String(name.prefix(100)), kind.rawValue, size: declaredSize ?? content.count, link: String(link.prefix(100)),
      mode: mode,
      owner: owner, group: group, modified: modified, device: device)
    append(content)
  }

  mutating func add(_ name: String, _ text: String) { add(name, .file, Array(text.utf8)) }

  /// With the two zero blocks that end an archive.
  var finished: [UInt8] { bytes + [UInt8](repeating: 0, count: 1024) }

  private mutating func append(_ content: [UInt8]) {
    bytes += content
    bytes += [UInt8](repeating: 0, count: (512 - content.count % 512) % 512)
  }

  /// Writes the right checksum into every block that looks like a header.
  static func mendChecksums(_ bytes: inout [UInt8]) {
    for start in stride(from: 0, to: bytes.count - 511, by: 512)
    where bytes[start + 257] == UInt8(ascii: "u") && bytes[start + 258] == UInt8(ascii: "s") {
      for index in 148..<156 { bytes[start + index] = 0x20 }
      let sum = bytes[start..<start + 512].reduce(0) { $0 + Int($1) }
      let text = String(sum, radix: 8)
      let padded = Array((String(repeating: "0", count: max(0, 6 - text.count)) + text).utf8)
      for (index, byte) in padded.enumerated() { bytes[start + 148 + index] = byte }
      bytes[start + 154] = 0
    }
  }

  private static func paxRecord(_ key: String, _ value: [UInt8]) -> [UInt8] {
    let rest = Array(" \(key)=".utf8) + value + [0x0A]
    var length = rest.count + 1
    while "\(length)".utf8.count + rest.count != length { length = "\(length)".utf8.count + rest.count }
    return Array("\(length)".utf8) + rest
  }

  private mutating func header(
    _ name: String, _ type: Character, size: Int, link: String, mode: Int, owner: Int, group: Int, modified: Int,
    device: (Int, Int)
  ) {
    var block = [UInt8](repeating: 0, count: 512)
    func put(_ text: String, _ offset: Int) {
      for (index, byte) in text.utf8.enumerated() { block[offset + index] = byte }
    }
    func octal(_ value: Int, _ digits: Int) -> String {
      let text = String(value, radix: 8)
      return String(repeating: "0", count: max(0, digits - text.count)) + text
    }
    put(name, 0)
    put(octal(mode, 7), 100)
    put(octal(owner, 7), 108)
    put(octal(group, 7), 116)
    put(octal(size, 11), 124)
    put(octal(modified, 11), 136)
    put("        ", 148)
    put(String(type), 156)
    put(link, 157)
    put("ustar", 257)
    put("00", 263)
    put(octal(device.0, 7), 329)
    put(octal(device.1, 7), 337)
    put(octal(block.reduce(0) { $0 + Int($1) }, 6), 148)
    block[154] = 0
    bytes += block
  }
}
