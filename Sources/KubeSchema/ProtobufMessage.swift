/// A type's fields by their numbers, with those that lie in messages which JSON does not know where they lie.
struct ProtobufMessage: Sendable {
  enum Node: Sendable {
    case field(SchemaField)
    case embedded(ProtobufMessage)
  }
  private(set) var nodes: [Int: Node] = [:]
  /// Ascending, as fields are written.
  private(set) var numbers: [Int] = []

  init(_ type: SchemaType) {
    for field in type.orderedFields { insert(field, field.protobufPath[...]) }
    sort()
  }

  private init() {}

  private mutating func insert(_ field: SchemaField, _ path: ArraySlice<Int>) {
    guard let number = path.first else { return }
    guard path.count > 1 else {
      nodes[number] = .field(field)
      return
    }
    var inner = ProtobufMessage()
    if case .embedded(let present)? = nodes[number] { inner = present }
    inner.insert(field, path.dropFirst())
    nodes[number] = .embedded(inner)
  }

  private mutating func sort() {
    numbers = nodes.keys.sorted()
    for number in numbers {
      guard case .embedded(var inner)? = nodes[number] else { continue }
      inner.sort()
      nodes[number] = .embedded(inner)
    }
  }
}
