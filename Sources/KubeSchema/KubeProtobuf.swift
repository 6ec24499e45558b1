package import JSON

/// Why bytes are no object in the protobuf form of Kubernetes, or an object has no such form.
package struct ProtobufError: Error, Hashable, Sendable, CustomStringConvertible {
  package let problem: String
  /// Bytes from the start of what was read or written.
  package let offset: Int

  package init(_ problem: String, at offset: Int) { (self.problem, self.offset) = (problem, offset) }

  package var description: String { "protobuf, byte \(offset): \(problem)" }
}

/// `application/vnd.kubernetes.protobuf`: four bytes of magic, then an envelope with the kind and the object's bytes.
///
/// Documents are the same values that JSON has. Fields that the table does not have are dropped when they are read, as
/// protobuf wants it; text that is not UTF-8, lengths beyond the end, depth and size beyond the bounds are errors.
package enum KubeProtobuf {
  package static let contentType = "application/vnd.kubernetes.protobuf"
  /// The first bytes of every document.
  package static let magic: [UInt8] = [0x6B, 0x38, 0x73, 0x00]
  /// Bytes of a document.
  package static let bytesMax = 8 << 20
  /// Messages within messages.
  package static let depthMax = 64
  /// Values in a document.
  package static let valuesMax = 1_000_000

  /// The document, with the `apiVersion` and `kind` of its envelope.
  package static func decode(_ bytes: [UInt8], schema: Schema = .kubernetes) throws(ProtobufError) -> JSONValue {
    guard bytes.count <= bytesMax else {
      throw ProtobufError("document of \(bytes.count) bytes, more than \(bytesMax)", at: 0)
    }
    var decoder = ProtobufDecoder(schema: schema, bytes: bytes)
    return try decoder.document(bytes.indices, depth: 0)
  }

  /// The document in its envelope; the kind is the document's own, or else the type's.
  package static func encode(
    _ value: JSONValue, as type: SchemaType, schema: Schema = .kubernetes
  ) throws(ProtobufError) -> [UInt8] {
    let kind = type.kinds.first
    return envelope(
      apiVersion: value["apiVersion"]?.string ?? kind?.apiVersion ?? "",
      kind: value["kind"]?.string ?? kind?.kind ?? "", message: try message(value, as: type, schema: schema))
  }

  /// The object alone, without the envelope that says what it is: what an envelope and the items of a list hold.
  package static func message(
    _ value: JSONValue, as type: SchemaType, schema: Schema = .kubernetes
  ) throws(ProtobufError) -> [UInt8] {
    guard let object = value.object else { throw ProtobufError("expected an object, found \(value.kindName)", at: 0) }
    var encoder = ProtobufEncoder(schema: schema)
    try encoder.message(object, type)
    return encoder.out
  }

  /// A document of a message that is encoded already.
  package static func envelope(apiVersion: String, kind: String, message: [UInt8]) -> [UInt8] {
    var out: [UInt8] = []
    out.reserveCapacity(message.count + apiVersion.utf8.count + kind.utf8.count + 24)
    begin(&out, apiVersion, kind, messageBytes: message.count)
    out += message
    out += end
    return out
  }

  /// A list of items that are encoded already, in parts: only lengths are written, nothing is encoded anew.
  /// - Parameter type: of the list: `PodList`.
  /// - Parameter partBytes: parts are ended once they are that long.
  package static func list(
    _ items: [[UInt8]], metadata: JSONObject, as type: SchemaType, partBytes: Int, schema: Schema = .kubernetes
  ) throws(ProtobufError) -> [[UInt8]] {
    guard let number = type.fields["items"]?.protobufNumber, let kind = type.kinds.first else {
      throw ProtobufError("\(type.shortName) is no list", at: 0)
    }
    // Everything but the items, which come last: their number is the highest of a list.
    let head = try message(.object(["metadata": .object(metadata)]), as: type, schema: schema)
    let tag = UInt64(number) << 3 | ProtobufReader.Wire.bytes.rawValue
    let bytes = items.reduce(head.count) {
      $0 + varintBytes(tag) + varintBytes(UInt64($1.count)) + $1.count
    }
    var parts: [[UInt8]] = []
    var part: [UInt8] = []
    part.reserveCapacity(min(bytes + 128, partBytes + partBytes / 4))
    begin(&part, kind.apiVersion, kind.kind, messageBytes: bytes)
    part += head
    for item in items {
      appendVarint(tag, to: &part)
      appendVarint(UInt64(item.count), to: &part)
      part += item
      if part.count >= partBytes {
        parts.append(part)
        part = []
        part.reserveCapacity(partBytes + partBytes / 4)
      }
    }
    part += end
    parts.append(part)
    return parts
  }

  private static func begin(_ out: inout [UInt8], _ apiVersion: String, _ kind: String, messageBytes: Int) {
    var encoder = ProtobufEncoder(schema: .kubernetes)
    encoder.text(1, apiVersion)
    encoder.text(2, kind)
    out += magic
    out.append(1 << 3 | 2)
    appendVarint(UInt64(encoder.out.count), to: &out)
    out += encoder.out
    out.append(2 << 3 | 2)
    appendVarint(UInt64(messageBytes), to: &out)
  }

  /// No content encoding, no content type: the bytes are protobuf as they are.
  private static let end: [UInt8] = [3 << 3 | 2, 0, 4 << 3 | 2, 0]

  static func appendVarint(_ value: UInt64, to out: inout [UInt8]) {
    var rest = value
    while rest >= 0x80 {
      out.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    out.append(UInt8(rest))
  }

  private static func varintBytes(_ value: UInt64) -> Int { max(1, (70 - value.leadingZeroBitCount) / 7) }

  /// One event of a watch (`;stream=watch`): four bytes of length, most significant first, and a bare `WatchEvent` that
  /// holds the object in its envelope.
  /// - Parameter event: `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK` or `ERROR`, the latter with a `Status`.
  package static func watchFrame(
    event: String, object: JSONValue, as type: SchemaType, schema: Schema = .kubernetes
  ) throws(ProtobufError) -> [UInt8] {
    try watchFrame(event: event, encoded: encode(object, as: type, schema: schema))
  }

  /// The same, of an object that is encoded already.
  package static func watchFrame(event: String, encoded: [UInt8]) throws(ProtobufError) -> [UInt8] {
    var encoder = ProtobufEncoder(schema: .kubernetes)
    encoder.text(1, event)
    try encoder.nested(2) { (encoder) in encoder.bytes(1, encoded) }
    let length = UInt32(truncatingIfNeeded: encoder.out.count)
    return [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: length >> $0) } + encoder.out
  }

  /// What `watchFrame` made, without its four bytes of length.
  package static func decodeWatchEvent(
    _ bytes: [UInt8], schema: Schema = .kubernetes
  ) throws(ProtobufError) -> (event: String, object: JSONValue) {
    guard bytes.count <= bytesMax else {
      throw ProtobufError("event of \(bytes.count) bytes, more than \(bytesMax)", at: 0)
    }
    guard let type = schema.type(apiVersion: "v1", kind: "WatchEvent") else {
      throw ProtobufError("WatchEvent is not in the table", at: 0)
    }
    var decoder = ProtobufDecoder(schema: schema, bytes: bytes)
    var event = JSONObject()
    try decoder.message(&event, bytes.indices, type, depth: 0)
    return (event["type"]?.string ?? "", event["object"] ?? .null)
  }
}
