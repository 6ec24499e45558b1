internal import JSON

/// What a pod holds, on disk from before the first plugin runs until after the last: DEL needs the configuration and the
/// result that ADD had, also after a restart, and after the file in the configuration's directory changed.
struct CNIRecord: Hashable, Sendable {
  static let version: Int64 = 1
  static let bytesMax = 4 << 20

  var sandboxID: String
  var namespacePath: String
  var configuration: CNIConfiguration
  var arguments: String
  var runtimeConfig: JSONObject
  /// Nil until every plugin of ADD has answered.
  var result: CNIResult?

  func encoded() -> [UInt8] {
    var object: JSONObject = [
      "version": .integer(Self.version), "sandbox": .string(sandboxID), "namespace": .string(namespacePath),
      "configuration": .object(configuration.document), "arguments": .string(arguments),
      "runtimeConfig": .object(runtimeConfig),
    ]
    object["result"] = result.map { .object($0.document) }
    return JSONValue.object(object).encoded(pretty: true) + [UInt8(ascii: "\n")]
  }

  /// - Throws: `.configuration` with what is damaged.
  static func parse(_ bytes: [UInt8], file: String) throws(CNIError) -> CNIRecord {
    func damaged(_ problem: String) -> CNIError { CNIError(.configuration, stage: "read \(file)", problem) }
    let value: JSONValue
    do throws(JSONError) {
      value = try JSONValue.parse(bytes, limits: JSONLimits(maxBytes: bytesMax, maxDepth: 34))
    } catch {
      throw damaged(error.description)
    }
    guard value["version"]?.integer == version else { throw damaged("not of version \(version)") }
    guard let sandboxID = value["sandbox"]?.string, let path = value["namespace"]?.string,
      let document = value["configuration"]?.object, let arguments = value["arguments"]?.string,
      let runtimeConfig = value["runtimeConfig"]?.object
    else { throw damaged("sandbox, namespace, configuration, arguments or runtimeConfig is missing") }
    let configuration = try CNIConfiguration.read(document, file: file)
    var record = CNIRecord(
      sandboxID: sandboxID, namespacePath: path, configuration: configuration, arguments: arguments,
      runtimeConfig: runtimeConfig, result: nil)
    if let result = value["result"]?.object {
      record.result = try CNIResult(result, version: configuration.version, stage: "read \(file)")
    }
    return record
  }
}
