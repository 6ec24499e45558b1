/// One message on a bus. D-Bus specification, "Message Protocol". Pure.
package struct DBusMessage: Hashable, Sendable {
  package enum Kind: UInt8, Sendable { case call = 1, answer, error, signal }

  package var kind: Kind
  package var serial: UInt32
  package var path = ""
  package var interface = ""
  package var member = ""
  package var errorName = ""
  package var replySerial: UInt32 = 0
  package var destination = ""
  package var sender = ""
  package var body: [DBusValue] = []

  /// Bytes of one message that are taken; systemd's answers have some hundred.
  package static let bytesMax = 1 << 20
  /// What says how long the rest is.
  package static let fixedBytes = 16

  package init(_ kind: Kind, serial: UInt32) {
    self.kind = kind
    self.serial = serial
  }

  package var encoded: [UInt8] {
    var inner = DBusWriter()
    for value in body { inner.value(value) }
    var writer = DBusWriter()
    writer.byte(UInt8(ascii: "l"))
    writer.byte(kind.rawValue)
    writer.byte(0)  // flags
    writer.byte(1)  // version of the protocol
    writer.integer(UInt32(inner.bytes.count))
    writer.integer(serial)
    // An array of (code, variant) as any other; a signature is no value of ours, so it is put by hand.
    var fields = DBusWriter()
    func field(_ code: UInt8, _ type: String, _ put: (inout DBusWriter) -> Void) {
      fields.align(8)
      fields.byte(code)
      fields.signature(type)
      put(&fields)
    }
    if !path.isEmpty { field(1, "o") { $0.value(.objectPath(path)) } }
    if !interface.isEmpty { field(2, "s") { $0.value(.string(interface)) } }
    if !member.isEmpty { field(3, "s") { $0.value(.string(member)) } }
    if !errorName.isEmpty { field(4, "s") { $0.value(.string(errorName)) } }
    if replySerial != 0 { field(5, "u") { $0.integer(replySerial) } }
    if !destination.isEmpty { field(6, "s") { $0.value(.string(destination)) } }
    if !sender.isEmpty { field(7, "s") { $0.value(.string(sender)) } }
    if !body.isEmpty { field(8, "g") { $0.signature(body.map(\.signature).joined()) } }
    writer.integer(UInt32(fields.bytes.count))
    // The fields begin at 16, which is a multiple of every alignment: what was put together apart fits.
    return Self.padded(writer.bytes + fields.bytes) + inner.bytes
  }

  private static func padded(_ bytes: [UInt8]) -> [UInt8] {
    bytes + [UInt8](repeating: 0, count: (8 - bytes.count % 8) % 8)
  }

  /// How long the message is that begins with these bytes; nil where they are too few to tell.
  /// - Throws: `DBusFormatError` for other byte orders and versions, and beyond `bytesMax`.
  static func length(_ start: [UInt8]) throws(DBusFormatError) -> Int? {
    guard start.count >= fixedBytes else { return nil }
    guard start[0] == UInt8(ascii: "l"), start[3] == 1 else { throw DBusFormatError("a message of another protocol") }
    var reader = DBusReader(Array(start[..<fixedBytes]))
    reader.at = 4
    let body = Int(try reader.integer(UInt32.self))
    reader.at = 12
    let fields = Int(try reader.integer(UInt32.self))
    guard body <= bytesMax, fields <= bytesMax else { throw DBusFormatError("a message of \(body) bytes and more") }
    return (fixedBytes + fields + 7) / 8 * 8 + body
  }

  /// - Parameter bytes: the whole message, as `length` told.
  init(_ bytes: [UInt8]) throws(DBusFormatError) {
    var reader = DBusReader(bytes)
    _ = try reader.byte()
    guard let kind = Kind(rawValue: try reader.byte()) else { throw DBusFormatError("a message of unknown kind") }
    reader.at = 8
    self.init(kind, serial: try reader.integer(UInt32.self))
    let end = Int(try reader.integer(UInt32.self)) + Self.fixedBytes
    var signature = ""
    while reader.at < end {
      try reader.align(8)
      let code = try reader.byte()
      let type = try reader.signature()
      if type == "g" {
        signature = try reader.signature()
        continue
      }
      guard let value = try reader.values(type).first else { throw DBusFormatError("a field without a value") }
      take(code, value)
    }
    try reader.align(8)
    body = try reader.values(signature)
  }

  private mutating func take(_ code: UInt8, _ value: DBusValue) {
    switch (code, value) {
    case (1, .objectPath(let text)): path = text
    case (2, .string(let text)): interface = text
    case (3, .string(let text)): member = text
    case (4, .string(let text)): errorName = text
    case (5, .uint32(let number)): replySerial = number
    case (6, .string(let text)): destination = text
    case (7, .string(let text)): sender = text
    // Fields of later versions are to be passed over.
    default: break
    }
  }
}
