import JSON

/// Typed reads of one JSON object of an image document. Unknown members are allowed there (the specification wants that);
/// members of a wrong type are errors that name them.
struct ImageDocumentReader {
  let object: JSONObject
  let subject: String

  init(_ value: JSONValue, _ subject: String) throws(ImageSpecError) {
    guard let object = value.object else { throw ImageSpecError(.invalid, subject, "is not a JSON object") }
    self.object = object
    self.subject = subject
  }

  /// Checks `bytes` against a cap, then parses them.
  static func parse(_ bytes: [UInt8], bytesMax: Int, _ subject: String) throws(ImageSpecError) -> JSONValue {
    guard bytes.count <= bytesMax else {
      throw ImageSpecError(.tooLarge, subject, "has \(bytes.count) bytes, at most \(bytesMax) are read")
    }
    do {
      return try JSONValue.parse(bytes, limits: JSONLimits(maxBytes: bytesMax, maxDepth: ImageLimits.jsonDepthMax))
    } catch {
      throw ImageSpecError(.invalid, subject, "is not acceptable JSON: \(error)")
    }
  }

  func refused(_ key: String, _ problem: String) -> ImageSpecError {
    ImageSpecError(.invalid, subject, "\(key) \(problem)")
  }

  /// Null counts as absent: many writers emit it for empty lists.
  func member(_ key: String) -> JSONValue? {
    guard let value = object[key], value != .null else { return nil }
    return value
  }

  func string(_ key: String) throws(ImageSpecError) -> String? {
    guard let value = member(key) else { return nil }
    guard let string = value.string else { throw refused(key, "is not a string") }
    return string
  }

  func requiredString(_ key: String) throws(ImageSpecError) -> String {
    guard let string = try string(key), !string.isEmpty else { throw refused(key, "is missing") }
    return string
  }

  func integer(_ key: String) throws(ImageSpecError) -> Int64? {
    guard let value = member(key) else { return nil }
    guard let integer = value.integer else { throw refused(key, "is not an integer") }
    return integer
  }

  func array(_ key: String) throws(ImageSpecError) -> [JSONValue] {
    guard let value = member(key) else { return [] }
    guard let array = value.array else { throw refused(key, "is not an array") }
    return array
  }

  func stringArray(_ key: String) throws(ImageSpecError) -> [String] {
    var strings: [String] = []
    for value in try array(key) {
      guard let string = value.string else { throw refused(key, "has a member that is not a string") }
      strings.append(string)
    }
    return strings
  }

  /// An object whose values are strings; null values are left out.
  func strings(_ key: String) throws(ImageSpecError) -> [String: String] {
    guard let value = member(key) else { return [:] }
    guard let object = value.object else { throw refused(key, "is not an object") }
    var strings: [String: String] = [:]
    for (name, value) in object.members where value != .null {
      guard let string = value.string else { throw refused("\(key).\(name)", "is not a string") }
      strings[name] = string
    }
    return strings
  }

  /// The names of an object used as a set (`ExposedPorts`, `Volumes`), sorted.
  func set(_ key: String) throws(ImageSpecError) -> [String] {
    guard let value = member(key) else { return [] }
    guard let object = value.object else { throw refused(key, "is not an object") }
    return object.keys.sorted()
  }

  static func json(_ strings: [String: String]) -> JSONValue {
    var object = JSONObject()
    for key in strings.keys.sorted() { object[key] = strings[key].map { .string($0) } }
    return .object(object)
  }
}
