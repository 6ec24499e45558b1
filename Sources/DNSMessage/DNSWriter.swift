extension DNSMessage {
  /// The message as bytes, of which there are at most `bytesMax`: records that do not fit are left out, last ones first,
  /// and where answers or authority are concerned the message says that it is truncated (RFC 2181 §9).
  ///
  /// - Parameter bytesMax: at least 512.
  package func encoded(bytesMax: Int = Self.bytesMax) -> [UInt8] {
    let limit = min(max(bytesMax, 512), Self.bytesMax) - (extension_ == nil ? 0 : DNSWriter.extensionBytes)
    var writer = DNSWriter()
    writer.number16(id)
    writer.number16(0)
    for _ in 0..<4 { writer.number16(0) }
    var counts = [questions.count, 0, 0, 0]
    for question in questions {
      writer.name(question.name)
      writer.number16(question.type.rawValue)
      writer.number16(question.classCode)
    }
    var truncated = isTruncated
    sections: for (index, section) in [answers, authority, additional].enumerated() {
      for record in section {
        let mark = writer.mark
        writer.record(record)
        guard writer.bytes.count <= limit else {
          writer.back(to: mark)
          // Additional records are a courtesy.
          if index < 2 { truncated = true }
          break sections
        }
        counts[index + 1] += 1
      }
    }
    if let extension_ {
      writer.extensionRecord(extension_, code: code)
      counts[3] += 1
    }
    writer.put(flags(truncated: truncated), at: 2)
    for (index, count) in counts.enumerated() { writer.put(UInt16(count), at: 4 + 2 * index) }
    return writer.bytes
  }

  private func flags(truncated: Bool) -> UInt16 {
    // A code that needs the OPT record, without one, is a failure of the server's.
    let shown = extension_ == nil && code.rawValue > 0xf ? DNSCode.serverFailure.rawValue : code.rawValue & 0xf
    var flags = shown | UInt16(operation & 0xf) << 11
    if isResponse { flags |= 0x8000 }
    if isAuthoritative { flags |= 0x0400 }
    if truncated { flags |= 0x0200 }
    if wantsRecursion { flags |= 0x0100 }
    if offersRecursion { flags |= 0x0080 }
    if isAuthentic { flags |= 0x0020 }
    if checksDisabled { flags |= 0x0010 }
    return flags
  }
}

/// Bytes of a message under way, with the places of the names in it.
struct DNSWriter {
  /// Of an OPT record without options.
  static let extensionBytes = 11
  /// What a pointer can reach.
  private static let pointerMax = 0x4000

  private(set) var bytes: [UInt8] = []
  /// Where each tail of a name stands, by its bytes in lower case.
  private var places: [[UInt8]: Int] = [:]
  private var added: [[UInt8]] = []

  struct Mark { var bytes: Int, names: Int }
  var mark: Mark { Mark(bytes: bytes.count, names: added.count) }

  mutating func back(to mark: Mark) {
    bytes.removeSubrange(mark.bytes...)
    for tail in added[mark.names...] { places[tail] = nil }
    added.removeSubrange(mark.names...)
  }

  mutating func number16(_ value: UInt16) { bytes += [UInt8(value >> 8), UInt8(value & 0xff)] }
  mutating func number32(_ value: UInt32) {
    number16(UInt16(value >> 16))
    number16(UInt16(value & 0xffff))
  }
  mutating func put(_ value: UInt16, at index: Int) {
    (bytes[index], bytes[index + 1]) = (UInt8(value >> 8), UInt8(value & 0xff))
  }

  /// - Parameter compress: false in records whose readers need not know pointers (RFC 3597 §4, RFC 2782).
  mutating func name(_ name: DNSName, compress: Bool = true) {
    var index = 0
    while index < name.wire.count {
      let tail = name.wire[index...].map(DNSName.lower)
      if compress, let place = places[tail] {
        number16(0xc000 | UInt16(place))
        return
      }
      if bytes.count < Self.pointerMax, places[tail] == nil {
        places[tail] = bytes.count
        added.append(tail)
      }
      let end = index + 1 + Int(name.wire[index])
      bytes += name.wire[index..<end]
      index = end
    }
    bytes.append(0)
  }

  mutating func record(_ record: DNSRecord) {
    name(record.name)
    number16(record.type.rawValue)
    number16(record.classCode)
    number32(record.ttl)
    let length = bytes.count
    number16(0)
    switch record.data {
    case .address(let address): bytes += address
    case .name(let target): name(target)
    case .service(let priority, let weight, let port, let target):
      for value in [priority, weight, port] { number16(value) }
      name(target, compress: false)
    case .mail(let preference, let host):
      number16(preference)
      name(host)
    case .authority(let primary, let mailbox, let serial, let times):
      name(primary)
      name(mailbox)
      for value in [serial] + times { number32(value) }
    case .text(let texts):
      for text in texts {
        bytes.append(UInt8(text.count))
        bytes += text
      }
    case .raw(let raw): bytes += raw
    }
    put(UInt16(truncatingIfNeeded: bytes.count - length - 2), at: length)
  }

  mutating func extensionRecord(_ value: DNSExtension, code: DNSCode) {
    bytes.append(0)
    number16(DNSType.opt.rawValue)
    number16(value.udpBytes)
    number32(
      UInt32(code.rawValue >> 4) << 24 | UInt32(value.version) << 16 | (value.wantsSignatures ? 0x8000 : 0))
    number16(0)
  }
}
