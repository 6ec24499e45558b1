internal import JSON

/// A configuration that cannot be taken: which field, and why.
package struct RuntimeSpecError: Error, Hashable, Sendable, CustomStringConvertible {
  /// As "linux.seccomp.syscalls[3].action".
  package let field: String
  package let problem: String

  package var description: String { "\(field): \(problem)" }

  package static func unsupported(_ field: String, _ what: String) -> RuntimeSpecError {
    RuntimeSpecError(field: field, problem: "\(what) is not supported")
  }
}

/// Reads the members of one JSON object, each by its type. What nobody asked for is an unknown member, which the
/// specification says to ignore; what it defines and Martlet lacks is refused by `refuse`.
struct RuntimeReader {
  let object: JSONObject
  let path: String

  init(_ value: JSONValue, path: String) throws(RuntimeSpecError) {
    guard let object = value.object else {
      throw RuntimeSpecError(field: path, problem: "a \(value.kindName) where an object belongs")
    }
    self.object = object
    self.path = path
  }

  private func name(_ key: String) -> String { path.isEmpty ? key : "\(path).\(key)" }

  func error(_ key: String, _ problem: String) -> RuntimeSpecError {
    RuntimeSpecError(field: name(key), problem: problem)
  }

  /// The member, with null the same as absent.
  private func member(_ key: String) -> JSONValue? {
    guard let value = object[key], !value.isNull else { return nil }
    return value
  }

  private func wrongKind(_ key: String, _ value: JSONValue, _ wanted: String) -> RuntimeSpecError {
    error(key, "a \(value.kindName) where a \(wanted) belongs")
  }

  func string(_ key: String) throws(RuntimeSpecError) -> String? {
    guard let value = member(key) else { return nil }
    guard let text = value.string else { throw wrongKind(key, value, "string") }
    return text
  }

  func requiredString(_ key: String) throws(RuntimeSpecError) -> String {
    guard let text = try string(key), !text.isEmpty else { throw error(key, "missing") }
    return text
  }

  func bool(_ key: String) throws(RuntimeSpecError) -> Bool? {
    guard let value = member(key) else { return nil }
    guard let flag = value.bool else { throw wrongKind(key, value, "boolean") }
    return flag
  }

  func integer<Number: FixedWidthInteger>(
    _ key: String, _ type: Number.Type = Number.self
  ) throws(RuntimeSpecError) -> Number? {
    guard let value = member(key) else { return nil }
    if case .number(let text) = value, let exact = Number(text) { return exact }
    guard let number = value.integer else { throw wrongKind(key, value, "whole number") }
    guard let exact = Number(exactly: number) else { throw error(key, "\(number) is out of range") }
    return exact
  }

  func strings(_ key: String) throws(RuntimeSpecError) -> [String] {
    guard let value = member(key) else { return [] }
    guard let array = value.array else { throw wrongKind(key, value, "array") }
    var texts: [String] = []
    for (index, element) in array.enumerated() {
      guard let text = element.string else { throw wrongKind("\(key)[\(index)]", element, "string") }
      texts.append(text)
    }
    return texts
  }

  func stringMap(_ key: String) throws(RuntimeSpecError) -> [String: String] {
    guard let reader = try object(key) else { return [:] }
    var map: [String: String] = [:]
    for (member, _) in reader.object.members { map[member] = try reader.string(member) }
    return map
  }

  func object(_ key: String) throws(RuntimeSpecError) -> RuntimeReader? {
    guard let value = member(key) else { return nil }
    return try RuntimeReader(value, path: name(key))
  }

  func objects(_ key: String) throws(RuntimeSpecError) -> [RuntimeReader] {
    guard let value = member(key) else { return [] }
    guard let array = value.array else { throw wrongKind(key, value, "array") }
    var readers: [RuntimeReader] = []
    for (index, element) in array.enumerated() {
      readers.append(try RuntimeReader(element, path: "\(name(key))[\(index)]"))
    }
    return readers
  }

  /// Throws where one of these members asks for something; empty and null ask for nothing.
  func refuse(_ keys: String...) throws(RuntimeSpecError) {
    for key in keys {
      guard let value = member(key) else { continue }
      let isEmpty =
        value == .string("") || value == .bool(false) || value.array?.isEmpty == true
        || value.object?.isEmpty == true
      if !isEmpty { throw error(key, "not supported") }
    }
  }
}
