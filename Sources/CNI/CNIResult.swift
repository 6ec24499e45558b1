package import JSON

/// What a list of plugins made. CNI specification 1.1, section 5.
package struct CNIResult: Hashable, Sendable {
  /// As the next plugin, and DEL, is handed it.
  package var document: JSONObject
  /// The pod's own, the first of each family.
  package var ipv4: String?
  package var ipv6: String?
  /// The node's end of the pod's link, where a plugin names it.
  package var hostLink: String?

  /// Reads what a plugin printed.
  ///
  /// - Parameter version: of the network: an answer of another version is made one of it.
  /// - Throws: `.plugin` with the field.
  static func parse(_ bytes: [UInt8], version: CNIVersion, stage: String) throws(CNIError) -> CNIResult {
    guard bytes.contains(where: { $0 > 0x20 }) else {
      throw CNIError(.plugin, stage: stage, "succeeded and printed no result")
    }
    let value: JSONValue
    do throws(JSONError) {
      value = try JSONValue.parse(bytes, limits: JSONLimits(maxBytes: CNIBounds.outputBytesMax, maxDepth: 32))
    } catch {
      throw CNIError(.plugin, stage: stage, "printed no result: \(error)")
    }
    guard let object = value.object else {
      throw CNIError(.plugin, stage: stage, "printed a JSON \(value.kindName), no result")
    }
    return try CNIResult(object, version: version, stage: stage)
  }

  package init(_ object: JSONObject, version: CNIVersion, stage: String) throws(CNIError) {
    func refused(_ problem: String) -> CNIError { CNIError(.plugin, stage: stage, "its result's \(problem)") }
    if let text = object["cniVersion"]?.string, CNIVersion(rawValue: text) == nil {
      throw refused("cniVersion \(text) is not one of \(CNIVersion.names)")
    }
    document = object
    document["cniVersion"] = .string(version.rawValue)
    var links: [(name: String, isOurs: Bool)] = []
    for entry in try Self.list(object, "interfaces", stage) {
      guard let name = entry["name"]?.string else { throw refused("interfaces have one without a name") }
      links.append((name, !(entry["sandbox"]?.string ?? "").isEmpty))
    }
    // What stands before the pod's own link is its other end; plugins further on append links of theirs, as bandwidth does.
    let before = links.prefix { !$0.isOurs }
    hostLink = (before.count == links.count ? before.first : before.last)?.name
    var addresses: [JSONValue] = []
    for entry in try Self.list(object, "ips", stage) {
      guard let text = entry["address"]?.string, let slash = text.firstIndex(of: "/"), slash > text.startIndex else {
        throw refused("ips have one whose address is not of the form 10.0.0.2/24")
      }
      let address = String(text[..<slash])
      let isIPv6 = address.contains(":")
      if let index = entry["interface"]?.integer {
        guard links.indices.contains(Int(clamping: index)) else {
          throw refused("ips name interface \(index), which is none")
        }
      }
      let isPods = entry["interface"]?.integer.map { links[Int(clamping: $0)].isOurs } ?? true
      if isPods, isIPv6, ipv6 == nil { ipv6 = address }
      if isPods, !isIPv6, ipv4 == nil { ipv4 = address }
      var entry = entry
      entry["version"] = version.addressesHaveVersion ? .string(isIPv6 ? "6" : "4") : nil
      addresses.append(.object(entry))
    }
    if !addresses.isEmpty { document["ips"] = .array(addresses) }
  }

  private static func list(_ object: JSONObject, _ key: String, _ stage: String) throws(CNIError) -> [JSONObject] {
    switch object[key] {
    case nil, .null: return []
    case .array(let entries):
      let objects = entries.compactMap(\.object)
      guard objects.count == entries.count else {
        throw CNIError(.plugin, stage: stage, "its result's \(key) are no objects")
      }
      return objects
    default: throw CNIError(.plugin, stage: stage, "its result's \(key) are no list")
    }
  }
}

/// What a plugin prints when it fails.
struct CNIFailure: Hashable, Sendable {
  var code: Int64
  var message: String
  var details: String

  /// Nil where the output is no CNI error.
  init?(_ bytes: [UInt8]) {
    guard let value = try? JSONValue.parse(bytes, limits: JSONLimits(maxBytes: CNIBounds.outputBytesMax, maxDepth: 8)),
      let code = value["code"]?.integer, let message = value["msg"]?.string
    else { return nil }
    self.code = code
    self.message = message
    details = value["details"]?.string ?? ""
  }

  static let tryAgain: Int64 = 11
}
