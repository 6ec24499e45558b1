package import JSON

/// JSON patch: RFC 6902 over RFC 6901 pointers.
package enum JSONPatch {
  /// Operations in one patch.
  package static let operationsMax = 10_000
  /// Bytes, as JSON, that all `copy` operations of a patch may add: copies of copies double.
  package static let copiedBytesMax = 3 << 20
  /// Levels of the result: what is written and read without end must not nest without end.
  package static let depthMax = 64

  /// Applies the operations in their order, all or none.
  /// - Throws: `PatchError`: `.malformed` for what is no patch, `.notApplicable` where an operation does not fit.
  package static func apply(_ operations: JSONValue, to value: JSONValue) throws(PatchError) -> JSONValue {
    guard let list = operations.array else {
      throw PatchError(
        .malformed, "json: cannot unmarshal \(operations.kindName) into Go value of type jsonpatch.Patch")
    }
    guard list.count <= operationsMax else {
      throw PatchError(
        .malformed, "The allowed maximum operations in a JSON patch is \(operationsMax), got \(list.count)")
    }
    let parsed = try list.map { (item) throws(PatchError) in try Operation(item) }
    var patcher = Patcher(document: value)
    for operation in parsed { try patcher.apply(operation) }
    return patcher.document
  }

  fileprivate struct Operation {
    let name: String
    let path: Pointer
    let from: Pointer?
    let value: JSONValue?

    init(_ item: JSONValue) throws(PatchError) {
      guard let object = item.object else {
        throw PatchError(
          .malformed, "json: cannot unmarshal \(item.kindName) into Go value of type jsonpatch.Operation")
      }
      guard let name = object["op"]?.string else { throw PatchError(.malformed, "Unexpected kind: unknown") }
      guard ["add", "remove", "replace", "move", "copy", "test"].contains(name) else {
        throw PatchError(.malformed, "Unexpected kind: \(name)")
      }
      guard let path = object["path"]?.string else {
        throw PatchError(.malformed, "\(name) operation does not apply: missing path field")
      }
      self.name = name
      self.path = try Pointer(path)
      let needsFrom = name == "move" || name == "copy"
      guard !needsFrom || object["from"]?.string != nil else {
        throw PatchError(.malformed, "\(name) operation does not apply: missing from field")
      }
      from = needsFrom ? try Pointer(object["from"]?.string ?? "") : nil
      // A test without a value tests for null, as others do.
      value = object["value"] ?? (name == "test" ? JSONValue.null : nil)
      guard value != nil || !["add", "replace"].contains(name) else {
        throw PatchError(.malformed, "\(name) operation does not apply: missing value field")
      }
    }
  }

  fileprivate struct Pointer {
    let text: String
    let tokens: [String]

    init(_ text: String) throws(PatchError) {
      self.text = text
      guard text.isEmpty || text.hasPrefix("/") else {
        throw PatchError(.malformed, "invalid JSON pointer \"\(text)\": must be empty or begin with /")
      }
      tokens = text.split(separator: "/", omittingEmptySubsequences: false).dropFirst().map { token in
        token.contains("~") ? Self.unescaped(token) : String(token)
      }
    }

    private static func unescaped(_ token: Substring) -> String {
      var bytes: [UInt8] = []
      var tilde = false
      for byte in token.utf8 {
        switch (tilde, byte) {
        case (true, UInt8(ascii: "0")): bytes.append(UInt8(ascii: "~"))
        case (true, UInt8(ascii: "1")): bytes.append(UInt8(ascii: "/"))
        case (true, _): bytes += [UInt8(ascii: "~"), byte]
        case (false, UInt8(ascii: "~")): break
        case (false, _): bytes.append(byte)
        }
        tilde = !tilde && byte == UInt8(ascii: "~")
      }
      if tilde { bytes.append(UInt8(ascii: "~")) }
      return String(decoding: bytes, as: UTF8.self)
    }
  }
}

/// Where a pointer's last step goes.
private enum Place {
  case member(String)
  case index(Int)
  case end
}

private struct Patcher {
  var document: JSONValue
  private var copiedBytes = 0
  /// Values that checks of depth may still look at: moves back and forth of a large object cost no more.
  private var visitsLeft = 4_000_000

  init(document: JSONValue) { self.document = document }

  mutating func apply(_ operation: JSONPatch.Operation) throws(PatchError) {
    let (path, value) = (operation.path, operation.value ?? .null)
    switch operation.name {
    case "add": try add(value, at: path, "add")
    case "remove": _ = try remove(path, "remove")
    case "replace":
      if path.tokens.isEmpty {
        try add(value, at: path, "replace")
        return
      }
      guard find(path.tokens.dropLast()) != nil else {
        throw missing("replace operation does not apply: doc is missing path: \(path.text)")
      }
      guard find(path.tokens[...]) != nil else {
        throw missing("replace operation does not apply: doc is missing key: \(path.text)")
      }
      try checkDepth(value, below: path)
      try change(path, "replace") { (container, place) throws(PatchError) in
        switch place {
        case .member(let key): container.object?[key] = value
        case .index(let index): container.items[index] = value
        case .end: throw Self.invalidIndex(-1)
        }
      }
    case "test":
      let found = find(path.tokens[...])
      // A member that is absent passes for null.
      if (found ?? .null) != value {
        throw PatchError(.notApplicable, "testing value \(path.text) failed: test failed")
      }
    case "move":
      let from = operation.from ?? path
      if from.tokens == path.tokens, find(from.tokens[...]) != nil { return }
      guard !path.tokens.starts(with: from.tokens) else {
        throw PatchError(.notApplicable, "move operation does not apply: \(from.text) is not movable into itself")
      }
      guard find(from.tokens[...]) != nil else {
        throw missing("move operation does not apply: doc is missing from path: \(from.text)")
      }
      try add(try remove(from, "move"), at: path, "move")
    default:
      let from = operation.from ?? path
      guard let found = find(from.tokens[...]) else {
        throw missing("copy operation does not apply: doc is missing from path: \(from.text)")
      }
      copiedBytes += found.encoded().count
      guard copiedBytes <= JSONPatch.copiedBytesMax else {
        throw PatchError(
          .notApplicable,
          "Unable to complete the copy, the accumulated size increase of copy is \(copiedBytes), exceeding the limit "
            + "\(JSONPatch.copiedBytesMax)")
      }
      try add(found, at: path, "copy")
    }
  }

  private func missing(_ text: String) -> PatchError { PatchError(.notApplicable, "\(text): missing value") }

  private static func invalidIndex(_ index: Int) -> PatchError {
    PatchError(.notApplicable, "Unable to access invalid index: \(index): invalid index referenced")
  }

  private func find(_ tokens: ArraySlice<String>) -> JSONValue? {
    var value = document
    for token in tokens {
      switch value {
      case .object(let object):
        guard let member = object[token] else { return nil }
        value = member
      case .array(let items):
        guard let index = Self.index(token), items.indices.contains(index) else { return nil }
        value = items[index]
      default: return nil
      }
    }
    return value
  }

  /// Digits without leading zeros (RFC 6901 §4).
  private static func index(_ token: String) -> Int? {
    guard token == "0" || token.utf8.first != UInt8(ascii: "0"), !token.isEmpty,
      token.utf8.allSatisfy({ (48...57).contains($0) })
    else { return nil }
    return Int(token)
  }

  private mutating func add(_ value: JSONValue, at path: JSONPatch.Pointer, _ name: String) throws(PatchError) {
    try checkDepth(value, below: path)
    guard !path.tokens.isEmpty else {
      document = value
      return
    }
    guard let container = find(path.tokens.dropLast()), container.object != nil || container.array != nil else {
      throw missing("\(name) operation does not apply: doc is missing path: \"\(path.text)\"")
    }
    try change(path, name) { (container, place) throws(PatchError) in
      switch place {
      case .member(let key): container.object?[key] = value
      case .index(let index): container.items.insert(value, at: index)
      case .end: container.items.append(value)
      }
    }
  }

  private mutating func remove(_ path: JSONPatch.Pointer, _ name: String) throws(PatchError) -> JSONValue {
    guard let last = path.tokens.last, let container = find(path.tokens.dropLast()),
      container.object != nil || container.array != nil
    else {
      throw missing("\(name) operation does not apply: doc is missing path: \"\(path.text)\"")
    }
    guard let found = find(path.tokens[...]) else {
      let why =
        container.object != nil
        ? "Unable to remove nonexistent key: \(last): missing value" : Self.invalidIndex(Int(last) ?? -1).message
      throw PatchError(.notApplicable, "error in \(name) for path: '\(path.text)': \(why)")
    }
    try change(path, name) { (container, place) throws(PatchError) in
      switch place {
      case .member(let key): container.object?[key] = nil
      case .index(let index): container.items.remove(at: index)
      case .end: throw Self.invalidIndex(-1)
      }
    }
    return found
  }

  /// Changes the container of the pointer's last step in place.
  private mutating func change(
    _ path: JSONPatch.Pointer, _ name: String, _ body: (inout Container, Place) throws(PatchError) -> Void
  ) throws(PatchError) {
    let inserts = name == "add" || name == "move" || name == "copy"
    do {
      try Self.change(&document, path.tokens[...], inserts: inserts, body)
    } catch {
      throw PatchError(.notApplicable, "error in \(name) for path: '\(path.text)': \(error.message)")
    }
  }

  private static func change(
    _ value: inout JSONValue, _ tokens: ArraySlice<String>, inserts: Bool,
    _ body: (inout Container, Place) throws(PatchError) -> Void
  ) throws(PatchError) {
    guard let token = tokens.first else { return }
    var container = Container(taking: &value)
    // What was taken goes back on every path, or an error would leave a hole; the caller drops the document then.
    defer { value = container.value }
    let rest = tokens.dropFirst()
    if container.object != nil {
      guard !rest.isEmpty else { return try body(&container, .member(token)) }
      guard var inner = container.object?[token] else { throw PatchError(.notApplicable, "missing value") }
      container.object?[token] = .null
      defer { container.object?[token] = inner }
      try change(&inner, rest, inserts: inserts, body)
      return
    }
    if rest.isEmpty, token == "-", inserts { return try body(&container, .end) }
    let count = container.items.count
    guard let index = index(token), index < count || inserts && rest.isEmpty && index == count else {
      throw invalidIndex(Int(token) ?? -1)
    }
    guard !rest.isEmpty else { return try body(&container, .index(index)) }
    var inner = container.items[index]
    container.items[index] = .null
    defer { container.items[index] = inner }
    try change(&inner, rest, inserts: inserts, body)
  }

  /// An object or a list, taken out of its value so that changing it copies nothing.
  private struct Container {
    var object: JSONObject?
    var items: [JSONValue] = []

    init(taking value: inout JSONValue) {
      switch value {
      case .object(let object): self.object = object
      case .array(let items): self.items = items
      default: break
      }
      value = .null
    }

    var value: JSONValue { object.map { .object($0) } ?? .array(items) }
  }

  private mutating func checkDepth(_ value: JSONValue, below path: JSONPatch.Pointer) throws(PatchError) {
    let depth = path.tokens.count + Self.depth(value, &visitsLeft)
    guard depth <= JSONPatch.depthMax else {
      throw PatchError(.notApplicable, "the patch nests deeper than \(JSONPatch.depthMax) levels")
    }
    guard visitsLeft > 0 else { throw PatchError(.notApplicable, "the patch moves too much") }
  }

  private static func depth(_ value: JSONValue, _ visits: inout Int) -> Int {
    visits -= 1
    guard visits > 0 else { return 0 }
    switch value {
    case .object(let object):
      var deepest = 0
      for member in object.members { deepest = max(deepest, depth(member.value, &visits)) }
      return deepest + 1
    case .array(let items):
      var deepest = 0
      for item in items { deepest = max(deepest, depth(item, &visits)) }
      return deepest + 1
    default: return 0
    }
  }
}
