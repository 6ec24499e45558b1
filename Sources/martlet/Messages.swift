import CRIModel
import JSON
import Kernel
import SwiftProtobuf

/// CRI messages as JSON, both ways.
enum Messages {
  /// A configuration file may be so large.
  private static let fileBytesMax = 4 << 20

  /// A message as a value: camel-case names, 64-bit numbers as numbers, times as they are (nanoseconds since 1970).
  static func value(_ message: some Message) throws -> JSONValue {
    var options = JSONEncodingOptions()
    options.alwaysPrintInt64sAsNumbers = true
    options.useDeterministicOrdering = true
    let bytes: [UInt8] = try message.jsonUTF8Bytes(options: options)
    return try JSONValue.parse(bytes, limits: JSONLimits(maxBytes: 64 << 20, maxDepth: 100))
  }

  /// The runtime's verbose facts: text that is itself JSON becomes a value.
  static func info(_ info: [String: String]) -> JSONValue {
    .object(
      JSONObject(
        sorted: info.mapValues { text in
          guard text.hasPrefix("{") || text.hasPrefix("[") else { return .string(text) }
          return (try? JSONValue.parse(text)) ?? .string(text)
        }))
  }

  /// Reads a message from a JSON file; a field that the message does not have is an error that names it.
  static func read<M: Message>(_ type: M.Type, from path: String) throws -> M {
    let bytes = try Files.read(path, maxBytes: fileBytesMax)
    do {
      // Our own parser first: it says where, and refuses duplicate keys.
      _ = try JSONValue.parse(bytes, limits: JSONLimits(maxBytes: fileBytesMax, maxDepth: 64))
      return try M(jsonUTF8Bytes: bytes)
    } catch let error as JSONError {
      throw Failure("\(path): \(error)")
    } catch let JSONDecodingError.unknownField(name) {
      throw Failure("\(path): no such field in a \(M.protoMessageName): \(name)")
    } catch {
      throw Failure("\(path): not a \(M.protoMessageName): \(error)")
    }
  }
}
