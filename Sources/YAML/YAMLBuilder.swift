internal import JSON

/// Makes the value of one document from its events, counting: an alias is a copy, so a document can hold more values
/// than bytes.
struct YAMLBuilder {
  private let limits: YAMLLimits
  private var values = 0
  private var textBytes = 0
  private var anchors: [String: Anchored] = [:]

  /// What is wrong with a document: alone, or so that nothing after it is read.
  private enum Fault: Error {
    case here(YAMLError)
    case end(YAMLError)
  }

  /// A value on its way into another.
  private struct Node {
    var value: JSONValue
    /// What it is as a key; nil where it cannot be one.
    var key: String?
    /// Whether it is `<<` as a key.
    var merges = false
    /// How many levels of lists and maps it has.
    var height = 0
  }

  /// A value with a name, and what each alias to it counts for.
  private struct Anchored {
    var node: Node
    var values: Int
    var textBytes: Int
  }

  init(limits: YAMLLimits) { self.limits = limits }

  /// The document whose start was read last, to its end: nil for an empty one, a failure for one that cannot be taken.
  /// - Throws: what ends the whole text.
  mutating func document(_ events: borrowing YAMLEvents) throws(YAMLError) -> Result<JSONValue?, YAMLError> {
    let first = try events.next()
    let isEmpty = first.kind == .scalar && first.plain && first.tag.isEmpty && YAMLScalar.looks(first.text).isNull
    do throws(Fault) {
      let node = try node(first, events, depth: 0)
      _ = try Self.next(events)
      return .success(isEmpty ? nil : node.value)
    } catch {
      switch error {
      case .end(let error): throw error
      case .here(let error):
        try skip(events)
        return .failure(error)
      }
    }
  }

  /// Reads on to the end of the document; lists within lists cost the parser more the deeper they are.
  private func skip(_ events: borrowing YAMLEvents) throws(YAMLError) {
    var depth = 0
    while true {
      let event = try events.next()
      switch event.kind {
      case .documentEnd, .streamEnd: return
      case .listStart, .mapStart: depth += 1
      case .listEnd, .mapEnd: depth -= 1
      default: break
      }
      guard depth <= limits.depthMax else { throw tooDeep(event) }
    }
  }

  private static func next(_ events: borrowing YAMLEvents) throws(Fault) -> YAMLEvent {
    do throws(YAMLError) { return try events.next() } catch { throw .end(error) }
  }

  private func tooDeep(_ event: YAMLEvent) -> YAMLError {
    YAMLError("line \(event.line): nested deeper than \(limits.depthMax)")
  }

  private mutating func count(_ event: YAMLEvent, values: Int = 1, textBytes: Int) throws(Fault) {
    self.values += values
    self.textBytes += textBytes
    guard self.values <= limits.valuesMax, self.textBytes <= limits.textBytesMax else {
      throw .end(
        YAMLError(
          "line \(event.line): expands to more than \(limits.valuesMax) values or \(limits.textBytesMax) bytes; "
            + "anchors and aliases may multiply, but not without end"))
    }
  }

  private mutating func node(_ event: YAMLEvent, _ events: borrowing YAMLEvents, depth: Int) throws(Fault) -> Node {
    guard depth <= limits.depthMax else { throw .end(tooDeep(event)) }
    let (valuesBefore, textBytesBefore) = (values, textBytes)
    let node: Node
    switch event.kind {
    case .alias: return try alias(event, depth: depth)
    case .scalar: node = try scalar(event)
    case .listStart: node = try list(event, events, depth: depth)
    case .mapStart: node = try map(event, events, depth: depth)
    default: throw .end(YAMLError("YAML: line \(event.line): a value is missing"))
    }
    if !event.anchor.isEmpty {
      anchors[event.anchor] = Anchored(
        node: node, values: values - valuesBefore, textBytes: textBytes - textBytesBefore)
    }
    return node
  }

  private mutating func alias(_ event: YAMLEvent, depth: Int) throws(Fault) -> Node {
    // An anchor counts from its value's end on, so a value cannot hold itself.
    guard let anchored = anchors[event.anchor] else {
      throw .here(YAMLError("line \(event.line): unknown anchor '\(event.anchor)' referenced"))
    }
    guard depth + anchored.node.height <= limits.depthMax else { throw .end(tooDeep(event)) }
    try count(event, values: anchored.values, textBytes: anchored.textBytes)
    return anchored.node
  }

  private mutating func scalar(_ event: YAMLEvent) throws(Fault) -> Node {
    try count(event, textBytes: event.text.utf8.count)
    do throws(YAMLError) {
      let value = try YAMLScalar.value(event.text, tag: event.tag, plain: event.plain, line: event.line)
      let merges = event.text == "<<" && event.plain && event.tag.isEmpty
      return Node(value: value, key: YAMLScalar.key(value), merges: merges)
    } catch {
      throw .here(error)
    }
  }

  private mutating func list(_ start: YAMLEvent, _ events: borrowing YAMLEvents, depth: Int) throws(Fault) -> Node {
    try count(start, textBytes: 0)
    guard ["", "seq"].contains(start.tag) else { throw .here(YAMLError("line \(start.line): a tag that is no list")) }
    var items: [JSONValue] = []
    var height = 0
    while true {
      let event = try Self.next(events)
      if event.kind == .listEnd { break }
      let item = try node(event, events, depth: depth + 1)
      items.append(item.value)
      height = max(height, item.height)
    }
    return Node(value: .array(items), height: height + 1)
  }

  private mutating func map(_ start: YAMLEvent, _ events: borrowing YAMLEvents, depth: Int) throws(Fault) -> Node {
    try count(start, textBytes: 0)
    guard ["", "map"].contains(start.tag) else { throw .here(YAMLError("line \(start.line): a tag that is no map")) }
    var object = JSONObject()
    var merged: [JSONObject] = []
    var height = 0
    while true {
      let event = try Self.next(events)
      if event.kind == .mapEnd { break }
      guard event.kind == .scalar || event.kind == .alias else {
        throw .here(YAMLError("line \(event.line): a key that is not plain text"))
      }
      let key = try node(event, events, depth: depth + 1)
      if key.merges {
        let source = try node(try Self.next(events), events, depth: depth + 1)
        merged += try Self.sources(source.value, event)
        height = max(height, source.height)
        continue
      }
      guard let name = key.key else {
        throw .here(YAMLError("line \(event.line): a key that is not plain text"))
      }
      guard object[name] == nil else {
        throw .here(YAMLError("line \(event.line): key \"\(name)\" already set in map"))
      }
      let item = try node(try Self.next(events), events, depth: depth + 1)
      object[name] = item.value
      height = max(height, item.height)
    }
    for source in merged {
      for (key, value) in source.members where object[key] == nil { object[key] = value }
    }
    return Node(value: .object(object), height: height + 1)
  }

  /// The maps that `<<` brings in.
  private static func sources(_ value: JSONValue, _ event: YAMLEvent) throws(Fault) -> [JSONObject] {
    var sources: [JSONObject] = []
    for source in value.array ?? [value] {
      guard let object = source.object else {
        throw .here(YAMLError("line \(event.line): map merge requires map or sequence of maps as the value"))
      }
      sources.append(object)
    }
    return sources
  }
}
