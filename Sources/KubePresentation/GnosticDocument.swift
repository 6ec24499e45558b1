import JSON

/// The second version of the published schema in protobuf: messages of the package `openapi.v2`, whose field numbers
/// are those of https://github.com/google/gnostic-models (openapiv2/OpenAPIv2.proto).
struct GnosticDocument {
  private let info: JSONValue
  private var paths = ProtobufMessage()
  private var definitions = ProtobufMessage()

  init(info: JSONValue) { self.info = info }

  mutating func add(path: String, _ item: JSONValue) { paths.add(2, named(path, Self.pathItem(item))) }
  mutating func add(definition name: String, _ schema: JSONValue) {
    definitions.add(1, named(name, Self.schema(schema)))
  }

  var bytes: [UInt8] {
    var head = ProtobufMessage()
    head.add(1, info.text("title"))
    head.add(2, info.text("version"))
    var document = ProtobufMessage()
    document.add(1, "2.0")
    document.add(2, head)
    document.add(8, paths)
    document.add(9, definitions)
    return document.bytes
  }

  private func named(_ name: String, _ value: ProtobufMessage) -> ProtobufMessage { Self.named(name, value) }

  private static func named(_ name: String, _ value: ProtobufMessage) -> ProtobufMessage {
    var pair = ProtobufMessage()
    pair.add(1, name)
    pair.add(2, value)
    return pair
  }

  /// JSON is YAML, and that is what an `Any` holds.
  private static func any(_ value: JSONValue) -> ProtobufMessage {
    var any = ProtobufMessage()
    any.add(2, value.encodedString())
    return any
  }

  private static func extensions(_ object: JSONValue, _ field: Int, into message: inout ProtobufMessage) {
    for (key, value) in object.object?.members ?? [] where key.hasPrefix("x-") {
      message.add(field, named(key, any(value)))
    }
  }

  private static func wrapped(_ field: Int, _ message: ProtobufMessage) -> ProtobufMessage {
    var outer = ProtobufMessage()
    outer.add(field, message)
    return outer
  }

  // MARK: schemas

  private static func schema(_ value: JSONValue) -> ProtobufMessage {
    var schema = ProtobufMessage()
    schema.add(1, value.text("$ref"))
    schema.add(2, value.text("format"))
    schema.add(4, value.text("description"))
    if let shown = value["default"] { schema.add(5, any(shown)) }
    for name in value.list("required") { schema.add(19, name.string ?? "") }
    for choice in value.list("enum") { schema.add(20, any(choice)) }
    if let member = value["additionalProperties"] { schema.add(21, wrapped(1, Self.schema(member))) }
    if let type = value["type"]?.string {
      var item = ProtobufMessage()
      item.add(1, type)
      schema.add(22, item)
    }
    if let item = value["items"] { schema.add(23, wrapped(1, Self.schema(item))) }
    if let properties = value["properties"]?.object {
      var list = ProtobufMessage()
      for (name, property) in properties.members { list.add(1, named(name, Self.schema(property))) }
      schema.add(25, list)
    }
    extensions(value, 31, into: &schema)
    return schema
  }

  // MARK: paths

  private static func pathItem(_ value: JSONValue) -> ProtobufMessage {
    var item = ProtobufMessage()
    for (method, field) in [("get", 2), ("put", 3), ("post", 4), ("delete", 5), ("patch", 8)] {
      if let operation = value[method] { item.add(field, Self.operation(operation)) }
    }
    for parameter in value.list("parameters") { item.add(9, Self.parameter(parameter)) }
    return item
  }

  private static func operation(_ value: JSONValue) -> ProtobufMessage {
    var operation = ProtobufMessage()
    for tag in value.list("tags") { operation.add(1, tag.string ?? "") }
    operation.add(3, value.text("description"))
    operation.add(5, value.text("operationId"))
    for type in value.list("produces") { operation.add(6, type.string ?? "") }
    for type in value.list("consumes") { operation.add(7, type.string ?? "") }
    for parameter in value.list("parameters") { operation.add(8, Self.parameter(parameter)) }
    var responses = ProtobufMessage()
    for (code, response) in value["responses"]?.object?.members ?? [] {
      var message = ProtobufMessage()
      message.add(1, response.text("description"))
      if let schema = response["schema"] { message.add(2, wrapped(1, Self.schema(schema))) }
      responses.add(1, named(code, wrapped(1, message)))
    }
    operation.add(9, responses)
    for scheme in value.list("schemes") { operation.add(10, scheme.string ?? "") }
    extensions(value, 13, into: &operation)
    return operation
  }

  private static func parameter(_ value: JSONValue) -> ProtobufMessage {
    var parameter = ProtobufMessage()
    if value.text("in") == "body" {
      parameter.add(1, value.text("description"))
      parameter.add(2, value.text("name"))
      parameter.add(3, "body")
      parameter.add(4, value["required"]?.bool ?? false)
      if let schema = value["schema"] { parameter.add(5, Self.schema(schema)) }
      return wrapped(1, wrapped(1, parameter))
    }
    let isInPath = value.text("in") == "path"
    parameter.add(1, value["required"]?.bool ?? false)
    parameter.add(2, value.text("in"))
    parameter.add(3, value.text("description"))
    parameter.add(4, value.text("name"))
    parameter.add(isInPath ? 5 : 6, value.text("type"))
    parameter.add(isInPath ? 19 : 20, value["uniqueItems"]?.bool ?? false)
    return wrapped(1, wrapped(2, wrapped(isInPath ? 4 : 3, parameter)))
  }
}

/// The bytes of a message: https://protobuf.dev/programming-guides/encoding/
struct ProtobufMessage {
  private(set) var bytes: [UInt8] = []

  private mutating func varint(_ value: UInt64) {
    var rest = value
    while rest >= 0x80 {
      bytes.append(UInt8(rest & 0x7F) | 0x80)
      rest >>= 7
    }
    bytes.append(UInt8(rest))
  }

  private mutating func block(_ field: Int, _ content: some Collection<UInt8>) {
    varint(UInt64(field) << 3 | 2)
    varint(UInt64(content.count))
    bytes += content
  }

  /// Empty text is not written.
  mutating func add(_ field: Int, _ text: String) { if !text.isEmpty { block(field, text.utf8) } }
  mutating func add(_ field: Int, _ message: ProtobufMessage) { block(field, message.bytes) }
  /// False is not written.
  mutating func add(_ field: Int, _ value: Bool) {
    guard value else { return }
    varint(UInt64(field) << 3)
    varint(1)
  }
}
