package import JSON

/// A network configuration list: CNI specification 1.1, section 1. A file with a single plugin is a list of one.
package struct CNIConfiguration: Hashable, Sendable {
  package struct Plugin: Hashable, Sendable {
    /// Names the program in the plugins' directories.
    package var type: String
    /// What the runtime may pass, as "portMappings".
    package var capabilities: Set<String>
    /// The plugin's own part, as it stands in the file.
    package var document: JSONObject
  }

  package var name: String
  package var version: CNIVersion
  package var plugins: [Plugin]
  package var disableCheck: Bool
  package var disableCollect: Bool
  /// The whole file, for records: a pod is taken down by what it was made with.
  package var document: JSONObject

  /// Files with these ends are read.
  package static let fileEnds = [".conf", ".conflist", ".json"]

  /// Reads a file's bytes.
  /// - Parameter file: its name; the one of a single plugin does not end with `.conflist`.
  /// - Throws: `.configuration`, which names the field.
  package static func parse(_ bytes: [UInt8], file: String) throws(CNIError) -> CNIConfiguration {
    let value: JSONValue
    do throws(JSONError) {
      value = try JSONValue.parse(bytes, limits: JSONLimits(maxBytes: CNIBounds.fileBytesMax, maxDepth: 32))
    } catch {
      throw CNIError(.configuration, stage: "read \(file)", error.description)
    }
    guard let object = value.object else {
      throw CNIError(.configuration, stage: "read \(file)", "is a JSON \(value.kindName), no object")
    }
    return try read(object, file: file)
  }

  /// - Parameter object: of either form.
  package static func read(_ object: JSONObject, file: String) throws(CNIError) -> CNIConfiguration {
    func refused(_ problem: String) -> CNIError { CNIError(.configuration, stage: "read \(file)", problem) }
    guard let name = object["name"]?.string, isName(name) else {
      throw refused("name: begins with a letter or digit, and has only those, _, . and - after it")
    }
    let version = try version(object, file)
    let documents: [JSONValue]
    if let plugins = object["plugins"] {
      guard let list = plugins.array, !list.isEmpty, list.count <= CNIBounds.pluginsMax else {
        throw refused("plugins: a list of 1 to \(CNIBounds.pluginsMax) plugins")
      }
      documents = list
    } else if object.contains("type"), !file.hasSuffix(".conflist") {
      documents = [.object(object)]
    } else {
      throw refused("plugins: is missing")
    }
    var plugins: [Plugin] = []
    for (index, document) in documents.enumerated() { plugins.append(try plugin(document, index, file)) }
    return CNIConfiguration(
      name: name, version: version, plugins: plugins, disableCheck: try flag(object, "disableCheck", file),
      disableCollect: try flag(object, "disableGC", file), document: object)
  }

  private static func plugin(_ value: JSONValue, _ index: Int, _ file: String) throws(CNIError) -> Plugin {
    func refused(_ problem: String) -> CNIError {
      CNIError(.configuration, stage: "read \(file)", "plugins[\(index)].\(problem)")
    }
    guard let document = value.object else { throw refused("is no object") }
    // It becomes a file name.
    guard let type = document["type"]?.string, isName(type) else { throw refused("type: is no plugin's name") }
    var capabilities: Set<String> = []
    if let wanted = document["capabilities"] {
      guard let members = wanted.object?.members else { throw refused("capabilities: is no object") }
      for (name, value) in members {
        guard let isWanted = value.bool else { throw refused("capabilities.\(name): is not true or false") }
        if isWanted { capabilities.insert(name) }
      }
    }
    return Plugin(type: type, capabilities: capabilities, document: document)
  }

  /// Of several that a file offers (1.1.0), the newest that we speak.
  private static func version(_ object: JSONObject, _ file: String) throws(CNIError) -> CNIVersion {
    var offered = (object["cniVersions"]?.array ?? []).compactMap(\.string)
    if let one = object["cniVersion"]?.string { offered.append(one) }
    if let version = offered.compactMap({ CNIVersion(rawValue: $0) }).max() { return version }
    throw CNIError(
      .configuration, stage: "read \(file)",
      "cniVersion \(offered.isEmpty ? "is missing" : offered.joined(separator: ", ")): supported are \(CNIVersion.names)"
    )
  }

  private static func flag(_ object: JSONObject, _ key: String, _ file: String) throws(CNIError) -> Bool {
    switch object[key] {
    case nil: return false
    case .bool(let value): return value
    // The specification once had it as a text.
    case .string(let text) where text == "true" || text == "false": return text == "true"
    default: throw CNIError(.configuration, stage: "read \(file)", "\(key): is not true or false")
    }
  }

  private static func isName(_ text: String) -> Bool {
    guard let first = text.utf8.first, text.utf8.count <= 128, isAlphanumeric(first) else { return false }
    return text.utf8.allSatisfy { isAlphanumeric($0) || "_.-".utf8.contains($0) }
  }

  private static func isAlphanumeric(_ byte: UInt8) -> Bool {
    (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
  }
}
