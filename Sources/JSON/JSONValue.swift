/// A JSON document as a value: RFC 8259, with exact numbers and objects that keep the order of their members.
package enum JSONValue: Hashable, Sendable {
  case null
  case bool(Bool)
  case integer(Int64)
  /// A number that is not an integer of 64 bits, as it was written.
  case number(String)
  case string(String)
  case array([JSONValue])
  case object(JSONObject)
}

extension JSONValue {
  package var isNull: Bool { if case .null = self { true } else { false } }

  package var bool: Bool? { if case .bool(let value) = self { value } else { nil } }
  package var string: String? { if case .string(let value) = self { value } else { nil } }
  package var array: [JSONValue]? { if case .array(let value) = self { value } else { nil } }
  package var object: JSONObject? { if case .object(let value) = self { value } else { nil } }

  /// An integer, also one that was written as 5.0 or 5e3.
  package var integer: Int64? {
    switch self {
    case .integer(let value): value
    case .number(let text): Double(text).flatMap { Int64(exactly: $0) }
    default: nil
    }
  }

  package var double: Double? {
    switch self {
    case .integer(let value): Double(value)
    case .number(let text): Double(text)
    default: nil
    }
  }

  /// A member of an object; nil for other values and absent members.
  package subscript(key: String) -> JSONValue? { object?[key] }

  /// An element of an array; nil beyond its end.
  package subscript(index: Int) -> JSONValue? {
    guard let array, array.indices.contains(index) else { return nil }
    return array[index]
  }

  /// "object", "string" and so on, for messages.
  package var kindName: String {
    switch self {
    case .null: "null"
    case .bool: "boolean"
    case .integer, .number: "number"
    case .string: "string"
    case .array: "array"
    case .object: "object"
    }
  }
}

// Not by nil: an absent value and null would look alike where one of two branches is nil.
extension JSONValue: ExpressibleByBooleanLiteral, ExpressibleByIntegerLiteral,
  ExpressibleByStringLiteral, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
  package init(booleanLiteral value: Bool) { self = .bool(value) }
  package init(integerLiteral value: Int64) { self = .integer(value) }
  package init(stringLiteral value: String) { self = .string(value) }
  package init(arrayLiteral elements: JSONValue...) { self = .array(elements) }
  package init(dictionaryLiteral elements: (String, JSONValue)...) {
    var object = JSONObject()
    for (key, value) in elements { object[key] = value }
    self = .object(object)
  }

  /// Rounded as Swift prints it; not-a-number and infinities, which JSON lacks, become null.
  package init(_ value: Double) {
    if let exact = Int64(exactly: value) {
      self = .integer(exact)
    } else {
      self = value.isFinite ? .number(value.description) : .null
    }
  }

  package init(_ strings: [String]) { self = .array(strings.map { .string($0) }) }
  package init(_ map: [String: String]) { self = .object(JSONObject(sorted: map.mapValues { .string($0) })) }
}

extension JSONValue {
  /// What lies at the end of a path of members: `pod[path: "spec", "nodeName"]`. Setting makes objects of what is no
  /// object on the way; setting nil removes the last member and makes nothing.
  package subscript(path keys: String...) -> JSONValue? {
    get {
      var value = self
      for key in keys {
        guard let inner = value[key] else { return nil }
        value = inner
      }
      return value
    }
    set { set(newValue, at: keys[...]) }
  }

  private mutating func set(_ value: JSONValue?, at keys: ArraySlice<String>) {
    guard let key = keys.first else {
      self = value ?? .null
      return
    }
    var object = self.object ?? JSONObject()
    if value == nil, !object.contains(key) { return }
    // Taken out of its place, so that what is changed is held once and not copied.
    self = .null
    if keys.count == 1 {
      object[key] = value
    } else {
      var inner = object[key] ?? .null
      object[key] = JSONValue.null
      inner.set(value, at: keys.dropFirst())
      object[key] = inner
    }
    self = .object(object)
  }
}
