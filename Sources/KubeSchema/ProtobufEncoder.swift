import JSON

/// Writes messages by the table, fields in ascending order.
struct ProtobufEncoder {
  let schema: Schema
  private(set) var out: [UInt8] = []
  /// For errors: `spec.containers[0].name`.
  private var path: [String] = []

  init(schema: Schema) { self.schema = schema }

  private func error(_ problem: String) -> ProtobufError {
    ProtobufError("\(path.isEmpty ? "" : path.joined(separator: ".") + ": ")\(problem)", at: out.count)
  }

  mutating func varint(_ value: UInt64) { KubeProtobuf.appendVarint(value, to: &out) }

  private mutating func tag(_ number: Int, _ wire: ProtobufReader.Wire) {
    varint(UInt64(number) << 3 | wire.rawValue)
  }

  mutating func text(_ number: Int, _ text: String) {
    tag(number, .bytes)
    varint(UInt64(text.utf8.count))
    out += text.utf8
  }

  private mutating func number(_ number: Int, _ value: Int64) {
    tag(number, .varint)
    // Negative numbers of 32 bits are written with ten bytes, too.
    varint(UInt64(bitPattern: value))
  }

  /// A field whose length is known when its bytes are written: room for it is made then.
  mutating func nested(
    _ number: Int, _ body: (inout ProtobufEncoder) throws(ProtobufError) -> Void
  ) throws(ProtobufError) {
    tag(number, .bytes)
    let start = out.count
    out.append(0)
    try body(&self)
    let length = out.count - start - 1
    if length < 0x80 {
      out[start] = UInt8(length)
    } else {
      var prefix = ProtobufEncoder(schema: schema)
      prefix.varint(UInt64(length))
      out.replaceSubrange(start...start, with: prefix.out)
    }
  }

  mutating func message(_ object: JSONObject, _ type: SchemaType) throws(ProtobufError) {
    // Objects have few of the fields that their type has, so it is their members that are walked.
    var present: [(number: Int, field: SchemaField, value: JSONValue)] = []
    present.reserveCapacity(object.count)
    for (key, value) in object.members {
      guard let field = type.fields[key] else {
        if key == "apiVersion" || key == "kind" { continue }
        throw error("\(key): \(type.shortName) has no such field")
      }
      guard let number = field.protobufPath.first else {
        if key == "apiVersion" || key == "kind" { continue }
        throw error("\(key): \(type.shortName) has no form in protobuf")
      }
      if !value.isNull { present.append((number, field, value)) }
    }
    if type.message.hasEmbedded { return try message(object, type.message) }
    present.sort { $0.number < $1.number }
    for (number, field, value) in present {
      path.append(field.name)
      try self.field(number, value, field.valueType, schema.leaf(field))
      path.removeLast()
    }
  }

  private mutating func message(_ object: JSONObject, _ message: ProtobufMessage) throws(ProtobufError) {
    for (number, node) in message.entries {
      switch node {
      case .embedded(let inner):
        guard Self.hasFields(object, inner) else { continue }
        try nested(number) { (encoder) throws(ProtobufError) in try encoder.message(object, inner) }
      case .field(let field):
        guard let value = object[field.name], !value.isNull else { continue }
        path.append(field.name)
        try self.field(number, value, field.valueType, schema.leaf(field))
        path.removeLast()
      }
    }
  }

  private static func hasFields(_ object: JSONObject, _ message: ProtobufMessage) -> Bool {
    message.entries.contains { entry in
      switch entry.node {
      case .embedded(let inner): hasFields(object, inner)
      case .field(let field): object[field.name].map { !$0.isNull } ?? false
      }
    }
  }

  private mutating func field(
    _ number: Int, _ value: JSONValue, _ type: SchemaValueType, _ leaf: SchemaType?
  ) throws(ProtobufError) {
    switch type {
    case .list(let item):
      guard let items = value.array else { throw wrongType(value, "a list") }
      for value in items { try single(number, value.isNull ? Schema.zero(item) : value, item, leaf) }
    case .map(let member):
      guard let members = value.object?.members else { throw wrongType(value, "an object") }
      for (key, inner) in members.sorted(by: { $0.key < $1.key }) {
        try nested(number) { (encoder) throws(ProtobufError) in
          encoder.text(1, key)
          try encoder.single(2, inner.isNull ? Schema.zero(member) : inner, member, leaf)
        }
      }
    default: try single(number, value, type, leaf)
    }
  }

  private func wrongType(_ value: JSONValue, _ expected: String) -> ProtobufError {
    error("expected \(expected), found \(value.kindName)")
  }

  private mutating func single(
    _ field: Int, _ value: JSONValue, _ type: SchemaValueType, _ leaf: SchemaType?
  ) throws(ProtobufError) {
    switch type {
    case .string:
      guard let text = value.string else { throw wrongType(value, "a string") }
      self.text(field, text)
    case .bool:
      guard let truth = value.bool else { throw wrongType(value, "true or false") }
      number(field, truth ? 1 : 0)
    case .int32, .int64:
      guard let integer = value.integer, type == .int64 || Int32(exactly: integer) != nil else {
        throw wrongType(value, type == .int64 ? "a whole number" : "a whole number of 32 bits")
      }
      number(field, integer)
    case .double:
      guard let double = value.double else { throw wrongType(value, "a number") }
      tag(field, .fixed64)
      for shift in stride(from: UInt64(0), to: 64, by: 8) {
        out.append(UInt8(truncatingIfNeeded: double.bitPattern >> shift))
      }
    case .bytes:
      guard let bytes = value.string.flatMap(Base64Text.decode) else { throw wrongType(value, "base64 text") }
      tag(field, .bytes)
      varint(UInt64(bytes.count))
      out += bytes
    case .object:
      guard let object = value.object else { throw wrongType(value, "an object") }
      guard let type = leaf else { throw error("a type that is not in the table") }
      try nested(field) { (encoder) throws(ProtobufError) in try encoder.message(object, type) }
    case .quantity:
      guard let text = value.string ?? (value.double == nil ? nil : value.encodedString()) else {
        throw wrongType(value, "a quantity")
      }
      try nested(field) { (encoder) in encoder.text(1, text) }
    case .intOrString: try intOrString(field, value)
    case .time, .microTime: try time(field, value, isMicro: type == .microTime)
    case .any, .fieldsV1:
      try nested(field) { (encoder) in
        encoder.tag(1, .bytes)
        let raw = value.encoded()
        encoder.varint(UInt64(raw.count))
        encoder.out += raw
      }
    case .list(let item):
      // A list as the member of a map is a message that holds its items.
      guard let items = value.array else { throw wrongType(value, "a list") }
      try nested(field) { (encoder) throws(ProtobufError) in
        for value in items { try encoder.single(1, value.isNull ? Schema.zero(item) : value, item, leaf) }
      }
    case .map: throw error("a map within a list or a map")
    }
  }

  private mutating func intOrString(_ field: Int, _ value: JSONValue) throws(ProtobufError) {
    let integer = value.integer
    guard value.string != nil || integer.flatMap({ Int32(exactly: $0) }) != nil else {
      throw wrongType(value, "a whole number of 32 bits or a string")
    }
    try nested(field) { (encoder) in
      encoder.number(1, value.string == nil ? 0 : 1)
      encoder.number(2, integer ?? 0)
      encoder.text(3, value.string ?? "")
    }
  }

  private mutating func time(_ field: Int, _ value: JSONValue, isMicro: Bool) throws(ProtobufError) {
    guard let text = value.string, let time = TimeText.parse(text) else { throw wrongType(value, "a time") }
    try nested(field) { (encoder) in
      encoder.number(1, time.seconds)
      encoder.number(2, isMicro ? time.nanoseconds / 1000 * 1000 : 0)
    }
  }

  /// Bytes that are there already.
  mutating func bytes(_ number: Int, _ bytes: [UInt8]) {
    tag(number, .bytes)
    varint(UInt64(bytes.count))
    out += bytes
  }
}
