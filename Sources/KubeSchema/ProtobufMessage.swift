/// A type's fields by their numbers, with those that lie in messages which JSON does not know where they lie.
struct ProtobufMessage: Sendable {
  enum Node: Sendable {
    case field(SchemaField)
    case embedded(ProtobufMessage)
  }
  /// Ascending, as fields are written.
  private(set) var entries: [(number: Int, node: Node)] = []
  /// Where in `entries` a number stands, by the number; -1 for those that are not used.
  private var places: [Int16] = []
  /// Whether any field lies in a message that JSON does not know.
  private(set) var hasEmbedded = false

  init(_ fields: [SchemaField]) {
    for field in fields { insert(field, field.protobufPath[...]) }
    index()
  }

  private init() {}

  subscript(number: Int) -> Node? {
    guard number < places.count, places[number] >= 0 else { return nil }
    return entries[Int(places[number])].node
  }

  private mutating func insert(_ field: SchemaField, _ path: ArraySlice<Int>) {
    guard let number = path.first else { return }
    guard path.count > 1 else { return entries.append((number, .field(field))) }
    let place = entries.firstIndex { $0.number == number }
    var inner = ProtobufMessage()
    if let place, case .embedded(let present) = entries[place].node { inner = present }
    inner.insert(field, path.dropFirst())
    if let place { entries[place].node = .embedded(inner) } else { entries.append((number, .embedded(inner))) }
  }

  private mutating func index() {
    entries.sort { $0.number < $1.number }
    // The tables use small numbers.
    places = Array(repeating: -1, count: (entries.last?.number ?? -1) + 1)
    for place in entries.indices {
      places[entries[place].number] = Int16(place)
      guard case .embedded(var inner) = entries[place].node else { continue }
      hasEmbedded = true
      inner.index()
      entries[place].node = .embedded(inner)
    }
  }
}
