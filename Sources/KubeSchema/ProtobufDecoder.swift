import JSON

/// Reads messages by the table.
struct ProtobufDecoder {
  let schema: Schema
  let bytes: [UInt8]
  /// Values that may still be made: an empty message of two bytes makes one, too.
  private var valuesLeft = KubeProtobuf.valuesMax

  init(schema: Schema, bytes: [UInt8]) {
    self.schema = schema
    self.bytes = bytes
  }

  /// The document in an envelope.
  mutating func document(_ range: Range<Int>, depth: Int) throws(ProtobufError) -> JSONValue {
    guard bytes[range].starts(with: KubeProtobuf.magic) else {
      throw ProtobufError("no Kubernetes protobuf: it does not begin with k8s and a zero", at: range.lowerBound)
    }
    var reader = ProtobufReader(bytes, (range.lowerBound + KubeProtobuf.magic.count)..<range.upperBound)
    var (apiVersion, kind, contentEncoding, contentType) = ("", "", "", "")
    var raw = range.upperBound..<range.upperBound
    while !reader.isAtEnd {
      let (number, wire) = try reader.tag()
      switch number {
      case 1: (apiVersion, kind) = try typeMeta(reader.range(wire))
      case 2: raw = try reader.range(wire)
      case 3: contentEncoding = try reader.text(wire)
      case 4: contentType = try reader.text(wire)
      default: try reader.skip(wire)
      }
    }
    guard contentEncoding.isEmpty else {
      throw ProtobufError("content encoding \(contentEncoding), which is not supported", at: raw.lowerBound)
    }
    if contentType == "application/json" { return try json(raw) }
    guard ["", KubeProtobuf.contentType].contains(contentType) else {
      throw ProtobufError("content type \(contentType), which is not supported", at: raw.lowerBound)
    }
    guard let type = schema.type(apiVersion: apiVersion, kind: kind) else {
      throw ProtobufError("no kind \"\(kind)\" is registered for version \"\(apiVersion)\"", at: range.lowerBound)
    }
    var object: JSONObject = ["apiVersion": .string(apiVersion), "kind": .string(kind)]
    try message(&object, raw, type, depth: depth)
    if type.isList, object["items"] == nil { object["items"] = .array([]) }
    return .object(object)
  }

  private func typeMeta(_ range: Range<Int>) throws(ProtobufError) -> (apiVersion: String, kind: String) {
    var reader = ProtobufReader(bytes, range)
    var (apiVersion, kind) = ("", "")
    while !reader.isAtEnd {
      let (number, wire) = try reader.tag()
      switch number {
      case 1: apiVersion = try reader.text(wire)
      case 2: kind = try reader.text(wire)
      default: try reader.skip(wire)
      }
    }
    return (apiVersion, kind)
  }

  private func json(_ range: Range<Int>) throws(ProtobufError) -> JSONValue {
    do throws(JSONError) {
      return try JSONValue.parse(Array(bytes[range]))
    } catch {
      throw ProtobufError("\(error)", at: range.lowerBound)
    }
  }

  private mutating func count(_ offset: Int) throws(ProtobufError) {
    valuesLeft -= 1
    guard valuesLeft > 0 else { throw ProtobufError("more than \(KubeProtobuf.valuesMax) values", at: offset) }
  }

  /// Adds the fields of a message to an object; one that stands twice is one object, as protobuf wants it.
  mutating func message(
    _ object: inout JSONObject, _ range: Range<Int>, _ type: SchemaType, depth: Int
  ) throws(ProtobufError) {
    try message(&object, range, type.message, depth: depth)
  }

  private mutating func message(
    _ object: inout JSONObject, _ range: Range<Int>, _ message: ProtobufMessage, depth: Int
  ) throws(ProtobufError) {
    guard depth < KubeProtobuf.depthMax else {
      throw ProtobufError("nested deeper than \(KubeProtobuf.depthMax)", at: range.lowerBound)
    }
    var reader = ProtobufReader(bytes, range)
    while !reader.isAtEnd {
      let (number, wire) = try reader.tag()
      switch message[number] {
      case nil: try reader.skip(wire)
      case .embedded(let inner)?: try self.message(&object, reader.range(wire), inner, depth: depth + 1)
      case .field(let field)?: try self.field(field, &object, &reader, wire, depth: depth)
      }
    }
  }

  private mutating func field(
    _ field: SchemaField, _ object: inout JSONObject, _ reader: inout ProtobufReader, _ wire: ProtobufReader.Wire,
    depth: Int
  ) throws(ProtobufError) {
    let leaf = schema.leaf(field)
    switch field.valueType {
    case .list(let item):
      var items = object[field.name]?.array ?? []
      object[field.name] = nil
      if wire == .bytes, item == .int32 || item == .int64 {
        var packed = try ProtobufReader(bytes, reader.range(wire))
        while !packed.isAtEnd { items.append(try value(item, &packed, .varint, nil, leaf, depth: depth) ?? .null) }
      } else {
        items.append(try value(item, &reader, wire, nil, leaf, depth: depth) ?? .null)
      }
      object[field.name] = .array(items)
    case .map(let member):
      var members = object[field.name]?.object ?? JSONObject()
      object[field.name] = nil
      let (key, value) = try entry(member, leaf, reader.range(wire), depth: depth)
      members[key] = value
      object[field.name] = .object(members)
    default:
      let value = try value(field.valueType, &reader, wire, object[field.name], leaf, depth: depth)
      if let value, field.zero != .absent || !Schema.isZero(value, field.valueType) {
        object[field.name] = value
      } else {
        object[field.name] = nil
      }
    }
  }

  private mutating func entry(
    _ member: SchemaValueType, _ leaf: SchemaType?, _ range: Range<Int>, depth: Int
  ) throws(ProtobufError) -> (key: String, value: JSONValue) {
    var reader = ProtobufReader(bytes, range)
    var key = ""
    var value: JSONValue?
    while !reader.isAtEnd {
      let (number, wire) = try reader.tag()
      switch number {
      case 1: key = try reader.text(wire)
      case 2: value = try self.value(member, &reader, wire, nil, leaf, depth: depth + 1)
      default: try reader.skip(wire)
      }
    }
    return (key, value ?? Schema.zero(member))
  }

  /// Nil where a message stands for nothing: a time that was never set.
  private mutating func value(
    _ type: SchemaValueType, _ reader: inout ProtobufReader, _ wire: ProtobufReader.Wire, _ present: JSONValue?,
    _ leaf: SchemaType?, depth: Int
  ) throws(ProtobufError) -> JSONValue? {
    try count(reader.position)
    switch type {
    case .string: return .string(try reader.text(wire))
    case .bool: return .bool(try reader.number(wire) != 0)
    case .int32: return .integer(Int64(Int32(truncatingIfNeeded: try reader.number(wire))))
    case .int64: return .integer(Int64(bitPattern: try reader.number(wire)))
    case .double: return JSONValue(Double(bitPattern: try reader.fixed64(wire)))
    case .bytes: return .string(Base64Text.encode(Array(bytes[try reader.range(wire)])))
    case .object:
      guard let type = leaf else { throw reader.error("a type that is not in the table") }
      var object = present?.object ?? JSONObject()
      try message(&object, reader.range(wire), type, depth: depth + 1)
      return .object(object)
    case .quantity:
      return .string(
        try single(reader.range(wire)) { (inner, wire) throws(ProtobufError) in
          try inner.text(wire)
        } ?? "0")
    case .any, .fieldsV1:
      let raw = try single(reader.range(wire)) { (inner, wire) throws(ProtobufError) in try inner.range(wire) }
      guard let raw, !raw.isEmpty else { return .none }
      return bytes[raw].starts(with: KubeProtobuf.magic) ? try document(raw, depth: depth + 1) : try json(raw)
    case .intOrString: return try intOrString(reader.range(wire))
    case .time, .microTime: return try time(reader.range(wire), isMicro: type == .microTime)
    case .list(let item): return try listOfMember(item, reader.range(wire), leaf, depth: depth)
    case .map: throw reader.error("a map within a list or a map")
    }
  }

  /// A list as the member of a map is a message that holds its items.
  private mutating func listOfMember(
    _ item: SchemaValueType, _ range: Range<Int>, _ leaf: SchemaType?, depth: Int
  ) throws(ProtobufError) -> JSONValue {
    guard depth < KubeProtobuf.depthMax else {
      throw ProtobufError("nested deeper than \(KubeProtobuf.depthMax)", at: range.lowerBound)
    }
    var reader = ProtobufReader(bytes, range)
    var items: [JSONValue] = []
    while !reader.isAtEnd {
      let (number, wire) = try reader.tag()
      if number == 1 {
        items.append(try value(item, &reader, wire, nil, leaf, depth: depth + 1) ?? .null)
      } else {
        try reader.skip(wire)
      }
    }
    return .array(items)
  }

  /// The last field 1 of a message that has no other.
  private func single<Value>(
    _ range: Range<Int>, _ read: (inout ProtobufReader, ProtobufReader.Wire) throws(ProtobufError) -> Value
  ) throws(ProtobufError) -> Value? {
    var reader = ProtobufReader(bytes, range)
    var found: Value?
    while !reader.isAtEnd {
      let (number, wire) = try reader.tag()
      if number == 1 { found = try read(&reader, wire) } else { try reader.skip(wire) }
    }
    return found
  }

  private func intOrString(_ range: Range<Int>) throws(ProtobufError) -> JSONValue {
    var reader = ProtobufReader(bytes, range)
    var (kind, number, text): (UInt64, Int64, String) = (0, 0, "")
    while !reader.isAtEnd {
      let (field, wire) = try reader.tag()
      switch field {
      case 1: kind = try reader.number(wire)
      case 2: number = Int64(Int32(truncatingIfNeeded: try reader.number(wire)))
      case 3: text = try reader.text(wire)
      default: try reader.skip(wire)
      }
    }
    guard kind <= 1 else { throw reader.error("int-or-string of kind \(kind)") }
    return kind == 0 ? .integer(number) : .string(text)
  }

  private func time(_ range: Range<Int>, isMicro: Bool) throws(ProtobufError) -> JSONValue? {
    if range.isEmpty { return .none }
    var reader = ProtobufReader(bytes, range)
    var (seconds, nanoseconds): (Int64, Int64) = (0, 0)
    while !reader.isAtEnd {
      let (field, wire) = try reader.tag()
      switch field {
      case 1: seconds = Int64(bitPattern: try reader.number(wire))
      case 2: nanoseconds = Int64(Int32(truncatingIfNeeded: try reader.number(wire)))
      default: try reader.skip(wire)
      }
    }
    guard TimeText.range.contains(seconds), (0..<1_000_000_000).contains(nanoseconds) else {
      throw reader.error("a time outside of the years 0 to 9999")
    }
    return .string(
      TimeText.text(seconds: seconds, fraction: isMicro ? TimeText.pad(nanoseconds / 1000, 6) : nil))
  }
}
