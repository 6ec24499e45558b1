package import JSON

/// A record on disk that cannot be used, and why. It is set aside, reported, and stops nothing.
package struct RecordError: Error, Hashable, Sendable, CustomStringConvertible {
  package var path: String
  package var problem: String

  package init(path: String, problem: String) {
    self.path = path
    self.problem = problem
  }

  package var description: String { "record \(path): \(problem)" }
}

/// Reads the members of one JSON object of a record and names the member in every refusal.
package struct RecordReader {
  private let members: JSONObject
  private let path: String

  package init(_ value: JSONValue, path: String) throws(RecordError) {
    guard let object = value.object else { throw RecordError(path: path, problem: "is not an object") }
    members = object
    self.path = path
  }

  private func missing(_ key: String, _ kind: String) -> RecordError {
    let found = members[key].map { "is \($0.kindName)" } ?? "is missing"
    return RecordError(path: path, problem: "\(key) \(found), \(kind) was expected")
  }

  package func has(_ key: String) -> Bool { members[key] != nil }

  package func string(_ key: String) throws(RecordError) -> String {
    guard let text = members[key]?.string else { throw missing(key, "a string") }
    return text
  }

  package func optionalString(_ key: String) throws(RecordError) -> String? {
    guard let value = members[key], !value.isNull else { return nil }
    guard let text = value.string else { throw missing(key, "a string") }
    return text
  }

  package func integer(_ key: String) throws(RecordError) -> Int64 {
    guard let number = members[key]?.integer else { throw missing(key, "an integer") }
    return number
  }

  package func unsigned<I: FixedWidthInteger>(_ key: String, as type: I.Type = I.self) throws(RecordError) -> I {
    guard let number = I(exactly: try integer(key)) else { throw missing(key, "an integer in range") }
    return number
  }

  package func bool(_ key: String) throws(RecordError) -> Bool {
    guard let value = members[key]?.bool else { throw missing(key, "true or false") }
    return value
  }

  package func strings(_ key: String) throws(RecordError) -> [String] {
    guard let array = members[key]?.array else { throw missing(key, "a list") }
    var all: [String] = []
    for element in array {
      guard let text = element.string else { throw missing(key, "a list of strings") }
      all.append(text)
    }
    return all
  }

  package func map(_ key: String) throws(RecordError) -> [String: String] {
    guard let object = members[key]?.object else { throw missing(key, "an object") }
    var all: [String: String] = [:]
    for (name, value) in object.members {
      guard let text = value.string else { throw missing(key, "an object of strings") }
      all[name] = text
    }
    return all
  }

  package func choice<C: RawRepresentable>(_ key: String, as type: C.Type = C.self) throws(RecordError) -> C
  where C.RawValue == String {
    let text = try string(key)
    guard let choice = C(rawValue: text) else { throw RecordError(path: path, problem: "\(key) = \(text) is unknown") }
    return choice
  }

  package func value(_ key: String) throws(RecordError) -> JSONValue {
    guard let value = members[key] else { throw missing(key, "a value") }
    return value
  }

  package func object(_ key: String) throws(RecordError) -> RecordReader {
    guard let value = members[key] else { throw missing(key, "an object") }
    return try RecordReader(value, path: "\(path): \(key)")
  }

  package func optionalObject(_ key: String) throws(RecordError) -> RecordReader? {
    guard let value = members[key], !value.isNull else { return nil }
    return try RecordReader(value, path: "\(path): \(key)")
  }

  package func objects(_ key: String) throws(RecordError) -> [RecordReader] {
    guard let array = members[key]?.array else { throw missing(key, "a list") }
    var all: [RecordReader] = []
    for (index, element) in array.enumerated() {
      all.append(try RecordReader(element, path: "\(path): \(key)[\(index)]"))
    }
    return all
  }
}
