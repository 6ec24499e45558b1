package import JSON

/// What an expression works with and comes to.
package enum CELValue: Sendable {
  case null
  case bool(Bool)
  case int(Int64)
  case uint(UInt64)
  case double(Double)
  case string(String)
  case bytes([UInt8])
  case list([CELValue])
  case map(CELMap)
  case timestamp(CELTime)
  case duration(CELDuration)
  case type(String)
  indirect case optional(CELValue?)
  case quantity(CELQuantity)
  case url(CELURL)
  case ip(CELAddress)
  case cidr(CELNetwork)
  /// Something that its host answers for.
  case host(any CELHostValue)
  /// What could not be had: told to whom asks for it.
  case failed(CELProblem)
}

/// A value whose methods are the host's: `authorizer`.
package protocol CELHostValue: Sendable {
  /// - Returns: nil where there is no such method.
  func call(_ method: String, _ arguments: [CELValue]) throws(CELProblem) -> CELValue?
}

/// Members in the order in which they came.
package struct CELMap: Sendable {
  package private(set) var keys: [CELValue] = []
  private(set) var values: [CELValue] = []
  private var places: [CELValue: Int] = [:]

  package init() {}

  package var count: Int { keys.count }

  package subscript(key: CELValue) -> CELValue? {
    get { places[key].map { values[$0] } }
    set {
      guard let newValue else { return }
      if let place = places[key] {
        values[place] = newValue
      } else {
        places[key] = keys.count
        keys.append(key)
        values.append(newValue)
      }
    }
  }

  package subscript(name: String) -> CELValue? {
    get { self[.string(name)] }
    set { self[.string(name)] = newValue }
  }
}

extension CELValue: Hashable {
  package static func == (left: CELValue, right: CELValue) -> Bool {
    switch (left, right) {
    case (.null, .null): true
    case (.bool(let one), .bool(let other)): one == other
    case (.int, _) where right.isNumber, (.uint, _) where right.isNumber, (.double, _) where right.isNumber:
      left.compared(with: right) == .same
    case (.string(let one), .string(let other)): one.unicodeScalars.elementsEqual(other.unicodeScalars)
    case (.bytes(let one), .bytes(let other)): one == other
    case (.list(let one), .list(let other)): one == other
    case (.map(let one), .map(let other)):
      one.count == other.count && zip(one.keys, one.values).allSatisfy { key, value in other[key] == value }
    case (.timestamp(let one), .timestamp(let other)): one == other
    case (.duration(let one), .duration(let other)): one == other
    case (.type(let one), .type(let other)): one == other
    case (.optional(let one), .optional(let other)): one == other
    case (.quantity(let one), .quantity(let other)): one == other
    case (.url(let one), .url(let other)): one == other
    case (.ip(let one), .ip(let other)): one == other
    case (.cidr(let one), .cidr(let other)): one == other
    default: false
    }
  }

  package func hash(into hasher: inout Hasher) {
    switch self {
    // Equal numbers of different kinds hash as one.
    case .int(let value): hasher.combine(Double(value))
    case .uint(let value): hasher.combine(Double(value))
    case .double(let value): hasher.combine(value)
    case .bool(let value): hasher.combine(value)
    case .string(let value): hasher.combine(value)
    case .bytes(let value): hasher.combine(value)
    case .list(let items): hasher.combine(items)
    case .map(let map): hasher.combine(map.count)
    case .timestamp(let value): hasher.combine(value)
    case .duration(let value): hasher.combine(value)
    case .type(let name): hasher.combine(name)
    default: hasher.combine(0)
    }
  }

  /// Whether maps may have such keys; a double is one that is equal to an integer.
  var isKey: Bool {
    switch self {
    case .bool, .int, .uint, .double, .string: true
    default: false
    }
  }

  var isNumber: Bool {
    switch self {
    case .int, .uint, .double: true
    default: false
    }
  }

  enum Order: Sendable { case less, same, more, none }

  /// Numbers of whatever kind, exactly.
  func compared(with other: CELValue) -> Order {
    func order<Value: Comparable>(_ one: Value, _ two: Value) -> Order {
      one < two ? .less : one == two ? .same : one > two ? .more : .none
    }
    func mixed(_ whole: Int128, _ number: Double) -> Order {
      if number.isNaN { return .none }
      if number >= 0x1p100 { return .less }
      if number <= -0x1p100 { return .more }
      let floor = Int128(number.rounded(.down))
      if whole != floor { return whole < floor ? .less : .more }
      return number > number.rounded(.down) ? .less : .same
    }
    switch (self, other) {
    case (.int(let one), .int(let two)): return order(one, two)
    case (.uint(let one), .uint(let two)): return order(one, two)
    case (.int(let one), .uint(let two)): return order(Int128(one), Int128(two))
    case (.uint(let one), .int(let two)): return order(Int128(one), Int128(two))
    case (.double(let one), .double(let two)): return order(one, two)
    case (.int(let one), .double(let two)): return mixed(Int128(one), two)
    case (.uint(let one), .double(let two)): return mixed(Int128(one), two)
    case (.double, .int), (.double, .uint):
      switch other.compared(with: self) {
      case .less: return .more
      case .more: return .less
      case let same: return same
      }
    case (.string(let one), .string(let two)): return one.unicodeScalars.ordered(two.unicodeScalars)
    case (.bytes(let one), .bytes(let two)): return one.ordered(two)
    case (.bool(let one), .bool(let two)): return order(one ? 1 : 0, two ? 1 : 0)
    case (.timestamp(let one), .timestamp(let two)): return order(one, two)
    case (.duration(let one), .duration(let two)): return order(one, two)
    default: return .none
    }
  }
}

extension Sequence where Element: Comparable {
  fileprivate func ordered(_ other: some Sequence<Element>) -> CELValue.Order {
    if lexicographicallyPrecedes(other) { return .less }
    return elementsEqual(other) ? .same : .more
  }
}

extension CELValue {
  /// As `type()` and messages name it.
  var typeName: String {
    switch self {
    case .null: "null_type"
    case .bool: "bool"
    case .int: "int"
    case .uint: "uint"
    case .double: "double"
    case .string: "string"
    case .bytes: "bytes"
    case .list: "list"
    case .map: "map"
    case .timestamp: "google.protobuf.Timestamp"
    case .duration: "google.protobuf.Duration"
    case .type: "type"
    case .optional: "optional_type"
    case .quantity: "kubernetes.Quantity"
    case .url: "kubernetes.URL"
    case .ip: "net.IP"
    case .cidr: "net.CIDR"
    case .host: "kubernetes.authorization"
    case .failed: "error"
    }
  }

  package var bool: Bool? { if case .bool(let value) = self { value } else { nil } }
  package var string: String? { if case .string(let value) = self { value } else { nil } }

  /// A document of which nothing is known: integers are `int`, other numbers `double`.
  package init(_ json: JSONValue) {
    switch json {
    case .null: self = .null
    case .bool(let value): self = .bool(value)
    case .integer(let value): self = .int(value)
    case .number(let text): self = .double(Double(text) ?? .nan)
    case .string(let text): self = .string(text)
    case .array(let items): self = .list(items.map { CELValue($0) })
    case .object(let object):
      var map = CELMap()
      for (key, value) in object.members { map[key] = CELValue(value) }
      self = .map(map)
    }
  }

  /// For annotations and messages; nil for what has no JSON.
  package var json: JSONValue? {
    switch self {
    case .null: .null
    case .bool(let value): .bool(value)
    case .int(let value): .integer(value)
    case .uint(let value): Int64(exactly: value).map { .integer($0) } ?? .number("\(value)")
    case .double(let value): value.isFinite ? JSONValue(value) : nil
    case .string(let text): .string(text)
    case .list(let items): .array(items.compactMap(\.json))
    case .map(let map):
      .object(
        zip(map.keys, map.values).reduce(into: JSONObject()) { object, member in
          if let key = member.0.string, let value = member.1.json { object[key] = value }
        })
    default: nil
    }
  }
}
