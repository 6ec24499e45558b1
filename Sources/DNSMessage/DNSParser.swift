/// Why bytes are no message, and where.
package struct DNSParseError: Error, Hashable, CustomStringConvertible {
  package var what: String
  package var offset: Int

  package var description: String { "DNS message, byte \(offset): \(what)" }
}

extension DNSMessage {
  /// Bytes of a message: what a length of 16 bits can say.
  package static let bytesMax = 65_535
  /// Records of a message in all: an answer of 64 KiB holds at most some 4,000 addresses.
  package static let recordsMax = 4_500

  /// Reads a whole message. Bytes after its last record are not looked at.
  ///
  /// - Throws: `DNSParseError`; nothing that a sender writes makes this loop, trap or take memory out of proportion.
  package init(parsing bytes: [UInt8]) throws(DNSParseError) {
    var parser = DNSParser(bytes)
    guard bytes.count <= Self.bytesMax else { throw parser.error("more than \(Self.bytesMax) bytes") }
    id = try parser.number16()
    let flags = try parser.number16()
    isResponse = flags & 0x8000 != 0
    operation = UInt8(flags >> 11 & 0xf)
    isAuthoritative = flags & 0x0400 != 0
    isTruncated = flags & 0x0200 != 0
    wantsRecursion = flags & 0x0100 != 0
    offersRecursion = flags & 0x0080 != 0
    isAuthentic = flags & 0x0020 != 0
    checksDisabled = flags & 0x0010 != 0
    var codeBits = flags & 0xf
    var counts: [Int] = []
    for _ in 0..<4 { counts.append(Int(try parser.number16())) }
    guard counts.reduce(0, +) <= Self.recordsMax else { throw parser.error("more than \(Self.recordsMax) records") }
    for _ in 0..<counts[0] {
      questions.append(
        DNSQuestion(
          try parser.name(), DNSType(rawValue: try parser.number16()), classCode: try parser.number16()))
    }
    for _ in 0..<counts[1] { answers.append(try parser.record()) }
    for _ in 0..<counts[2] { authority.append(try parser.record()) }
    for _ in 0..<counts[3] {
      let record = try parser.record()
      guard record.type == .opt else {
        additional.append(record)
        continue
      }
      guard extension_ == nil, record.name.isRoot else { throw parser.error("a second or misplaced OPT record") }
      extension_ = DNSExtension(
        udpBytes: record.classCode, version: UInt8(record.ttl >> 16 & 0xff),
        wantsSignatures: record.ttl & 0x8000 != 0)
      codeBits |= UInt16(record.ttl >> 24) << 4
    }
    code = DNSCode(rawValue: codeBits)
  }
}

/// A cursor over a message.
struct DNSParser {
  private let bytes: [UInt8]
  private var offset = 0

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  func error(_ what: String) -> DNSParseError { DNSParseError(what: what, offset: offset) }

  mutating func byte() throws(DNSParseError) -> UInt8 {
    guard offset < bytes.count else { throw error("it ends too early") }
    defer { offset += 1 }
    return bytes[offset]
  }

  mutating func number16() throws(DNSParseError) -> UInt16 { UInt16(try byte()) << 8 | UInt16(try byte()) }
  mutating func number32() throws(DNSParseError) -> UInt32 { UInt32(try number16()) << 16 | UInt32(try number16()) }

  private mutating func take(_ count: Int) throws(DNSParseError) -> [UInt8] {
    guard bytes.count - offset >= count else { throw error("it ends too early") }
    defer { offset += count }
    return Array(bytes[offset..<(offset + count)])
  }

  /// A name, perhaps with a pointer to an earlier one (RFC 1035 §4.1.4).
  ///
  /// Each pointer must lead before the piece of the name that it ends, so that there is no way round.
  mutating func name() throws(DNSParseError) -> DNSName {
    var wire: [UInt8] = []
    var cursor = offset
    var piece = offset
    var after: Int?
    while true {
      guard cursor < bytes.count else { throw error("a name ends too early") }
      let length = bytes[cursor]
      switch length & 0xc0 {
      case 0 where length == 0:
        offset = after ?? cursor + 1
        return DNSName(wire: wire)
      case 0:
        let end = cursor + 1 + Int(length)
        guard end <= bytes.count else { throw error("a label ends too early") }
        wire += bytes[cursor..<end]
        guard wire.count < DNSName.bytesMax else { throw error("a name of more than \(DNSName.bytesMax) bytes") }
        cursor = end
      case 0xc0:
        guard cursor + 1 < bytes.count else { throw error("a pointer ends too early") }
        let target = Int(length & 0x3f) << 8 | Int(bytes[cursor + 1])
        guard target < piece else { throw error("a pointer that does not lead back") }
        after = after ?? cursor + 2
        (cursor, piece) = (target, target)
      default: throw error("a label of an unknown kind")
      }
    }
  }

  mutating func record() throws(DNSParseError) -> DNSRecord {
    let owner = try name()
    let type = DNSType(rawValue: try number16())
    let classCode = try number16()
    let ttl = try number32()
    let length = Int(try number16())
    let end = offset + length
    guard end <= bytes.count else { throw error("a record ends too early") }
    let data: DNSRecord.Data
    switch type {
    case .a where length == 4, .aaaa where length == 16: data = .address(try take(length))
    case .a, .aaaa: throw error("an address of \(length) bytes")
    case .cname, .ns, .ptr: data = .name(try name())
    case .srv:
      data = .service(
        priority: try number16(), weight: try number16(), port: try number16(), target: try name())
    case .mx: data = .mail(preference: try number16(), host: try name())
    case .soa:
      let (primary, mailbox, serial) = (try name(), try name(), try number32())
      var times: [UInt32] = []
      for _ in 0..<4 { times.append(try number32()) }
      data = .authority(primary: primary, mailbox: mailbox, serial: serial, times: times)
    case .txt:
      var texts: [[UInt8]] = []
      while offset < end { texts.append(try take(Int(try byte()))) }
      data = .text(texts)
    default: data = .raw(try take(length))
    }
    guard offset == end else { throw error("a record of another length than it says") }
    // Times above 2^31 are none (RFC 2181 §8); OPT has other things there.
    let lasting = type == .opt || ttl <= 0x7fff_ffff ? ttl : 0
    return DNSRecord(owner, type, classCode: classCode, ttl: lasting, data)
  }
}
