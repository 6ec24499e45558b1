internal import CYAML

/// One step through a text: where something begins or ends, or a scalar.
struct YAMLEvent {
  enum Kind { case streamEnd, documentStart, documentEnd, alias, scalar, listStart, listEnd, mapStart, mapEnd }

  var kind: Kind
  /// Counted from 1.
  var line: Int
  /// Of a scalar.
  var text = ""
  /// Whether the scalar stands without quotes, so that its looks may decide its type.
  var plain = false
  /// The anchor that it has, or that an alias names; empty for none.
  var anchor = ""
  /// The part of a tag that matters, "int" for `!!int`; empty for none.
  var tag = ""
}

/// The events of a text, by libyaml, whose pointers do not leave this type. It reads ahead by a key's greatest length
/// at most, so what follows the last event taken has cost nothing yet.
@safe struct YAMLEvents: ~Copyable {
  private let stream: OpaquePointer

  /// - Parameter bytes: UTF-8; must outlive this.
  init(_ bytes: UnsafeBufferPointer<UInt8>) throws(YAMLError) {
    // libyaml refuses the null pointer that an empty buffer may have.
    let start = unsafe bytes.baseAddress ?? UnsafePointer(bitPattern: 1)
    guard let start = unsafe start, let stream = unsafe cyaml_open(start, bytes.count) else {
      throw YAMLError("YAML: no memory")
    }
    unsafe self.stream = stream
  }

  deinit { unsafe cyaml_close(stream) }

  /// - Throws: what is no YAML; nothing can be read after it.
  func next() throws(YAMLError) -> YAMLEvent {
    let event = unsafe cyaml_next(stream)
    let kind: YAMLEvent.Kind
    switch unsafe event.kind {
    case CYAML_BROKEN:
      var line = 0
      let problem = unsafe String(cString: cyaml_problem(stream, &line))
      throw YAMLError("YAML: line \(line): \(problem)")
    case CYAML_DOCUMENT_START: kind = .documentStart
    case CYAML_DOCUMENT_END: kind = .documentEnd
    case CYAML_ALIAS: kind = .alias
    case CYAML_SCALAR: kind = .scalar
    case CYAML_LIST_START: kind = .listStart
    case CYAML_LIST_END: kind = .listEnd
    case CYAML_MAP_START: kind = .mapStart
    case CYAML_MAP_END: kind = .mapEnd
    default: kind = .streamEnd
    }
    var found = unsafe YAMLEvent(kind: kind, line: event.line)
    // The texts are the stream's until the next call: they are copied here and nowhere else.
    if let text = unsafe event.text {
      found.text = unsafe String(decoding: UnsafeBufferPointer(start: text, count: event.text_bytes), as: UTF8.self)
    }
    found.plain = unsafe event.plain != 0
    found.anchor = unsafe String(cString: event.anchor)
    found.tag = unsafe Self.tag(String(cString: event.tag))
    return found
  }

  private static func tag(_ name: String) -> String {
    let core = "tag:yaml.org,2002:"
    if name.hasPrefix(core) { return String(name.dropFirst(core.count)) }
    return ["", "!", "?"].contains(name) ? "" : name
  }
}
