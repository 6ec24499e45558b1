package import JSON

/// Why bytes are no object in the protobuf form of Kubernetes.
package struct ProtobufError: Error, Hashable, Sendable, CustomStringConvertible {
  package let problem: String
  /// Bytes from the start.
  package let offset: Int

  package init(_ problem: String, at offset: Int) { (self.problem, self.offset) = (problem, offset) }

  package var description: String { "protobuf, byte \(offset): \(problem)" }
}

/// `application/vnd.kubernetes.protobuf`: four bytes of magic, then an envelope with the kind and the object's bytes.
package enum KubeProtobuf {
  package static let contentType = "application/vnd.kubernetes.protobuf"
  /// The first bytes of every document.
  package static let magic: [UInt8] = [0x6B, 0x38, 0x73, 0x00]

  package static func decode(_ bytes: [UInt8], schema: Schema = .kubernetes) throws(ProtobufError) -> JSONValue {
    throw ProtobufError("protobuf is not supported", at: 0)
  }

  package static func encode(
    _ value: JSONValue, as type: SchemaType, schema: Schema = .kubernetes
  ) throws(ProtobufError) -> [UInt8] {
    throw ProtobufError("protobuf is not supported", at: 0)
  }
}
