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
    guard let object = value.object else { throw ProtobufError("expected an object, found \(value.kindName)", at: 0) }
    let kind = type.kinds.first
    let apiVersion = object["apiVersion"]?.string ?? kind?.apiVersion ?? ""
    var encoder = ProtobufEncoder(schema: schema)
    try encoder.nested(1) { (encoder) in
      encoder.text(1, apiVersion)
      encoder.text(2, object["kind"]?.string ?? kind?.kind ?? "")
    }
    try encoder.nested(2) { (encoder) throws(ProtobufError) in try encoder.message(object, type) }
    // No content encoding, no content type: the bytes are protobuf as they are.
    encoder.text(3, "")
    encoder.text(4, "")
    return magic + encoder.out
  }

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
