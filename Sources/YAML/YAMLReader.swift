package import JSON
internal import Yams

/// What a YAML text may be at most. A small one can describe a huge value through its aliases; the bound is on the value.
package struct YAMLLimits: Hashable, Sendable {
  /// Bytes of a text with all its documents.
  package var fileBytesMax = 4 << 20
  /// Documents in a text.
  package var documentsMax = 1000
  /// Values in a document after its aliases are expanded.
  package var valuesMax = 200_000
  /// Bytes of text in a document after its aliases are expanded.
  package var textBytesMax = 16 << 20
  package var depthMax = 64

  package init() {}
}

/// One document of a text: a value, or why there is none.
package struct YAMLDocument: Hashable, Sendable {
  /// Counted from 1 within the text.
  package var number: Int
  package var content: Result<JSONValue, YAMLError>

  package init(number: Int, content: Result<JSONValue, YAMLError>) { (self.number, self.content) = (number, content) }
}

/// Why a text is not YAML that we take, with its line where that is known.
package struct YAMLError: Error, Hashable, CustomStringConvertible {
  package let description: String

  package init(_ description: String) { self.description = description }
}

/// YAML as Kubernetes reads it: 1.1, plain scalars by their looks, anchors, aliases and merge keys expanded, tags other
/// than those of JSON's types refused.
package enum YAML {
  /// The values of the documents that are not empty.
  /// - Throws: what is wrong with the first document that cannot be taken.
  package static func parse(_ text: String, limits: YAMLLimits = YAMLLimits()) throws(YAMLError) -> [JSONValue] {
    var values: [JSONValue] = []
    for document in documents(text, limits: limits) { values.append(try document.content.get()) }
    return values
  }

  /// The documents that are not empty. An error of syntax ends the list, because nobody knows what follows.
  package static func documents(_ text: String, limits: YAMLLimits = YAMLLimits()) -> [YAMLDocument] {
    var documents: [YAMLDocument] = []
    var number = 0
    guard text.utf8.count <= limits.fileBytesMax else {
      let why = "a text of \(text.utf8.count) bytes, more than \(limits.fileBytesMax)"
      return [YAMLDocument(number: 1, content: .failure(YAMLError(why)))]
    }
    func add(_ content: Result<JSONValue, YAMLError>) {
      documents.append(YAMLDocument(number: number, content: content))
    }
    // The parser compares keys by their whole value, so an alias in a key would be expanded where nothing counts.
    if hasAnchors(text), let line = complexKey(text) {
      number = 1
      add(.failure(YAMLError("line \(line): a key that is not plain text, in a file with anchors")))
      return documents
    }
    do {
      let parser = try Parser(yaml: text, resolver: .basic)
      while let node = try parser.nextRoot() {
        number += 1
        guard number <= limits.documentsMax else {
          add(.failure(YAMLError("more than \(limits.documentsMax) documents in one file")))
          break
        }
        if isEmpty(node) { continue }
        var reader = Reader(limits: limits)
        do throws(YAMLError) {
          add(.success(try reader.value(node, depth: 0)))
        } catch {
          add(.failure(error))
        }
      }
    } catch {
      number += 1
      let text = "\(error)".split(separator: "\n").joined(separator: " ")
      add(.failure(YAMLError("YAML: \(text)")))
    }
    return documents
  }

  private static func isEmpty(_ node: Node) -> Bool {
    guard case .scalar(let scalar) = node else { return false }
    return scalar.style == .plain && ["", "~", "null", "Null", "NULL"].contains(scalar.string)
  }

  private static func hasAnchors(_ text: String) -> Bool {
    var (last, beforeLast) = (UInt8(ascii: " "), UInt8(ascii: " "))
    for byte in text.utf8 {
      // `&name` after a blank, a bracket or a comma may begin an anchor; `&&` and `2>&1` do not.
      if last == UInt8(ascii: "&"), " \t\n\r[{,:-?".utf8.contains(beforeLast), byte > 0x20, byte != last { return true }
      (beforeLast, last) = (last, byte)
    }
    return false
  }

  /// The first line that may have a key which is an alias, a list or a map. Takes some text that is none for one.
  private static func complexKey(_ text: String) -> Int? {
    for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
      let bytes = Array(line.utf8)
      for (position, byte) in bytes.enumerated() {
        let next = position + 1 < bytes.count ? bytes[position + 1] : UInt8(ascii: " ")
        let blankNext = next == UInt8(ascii: " ") || next == UInt8(ascii: "\t") || next == UInt8(ascii: "\r")
        let before = bytes[..<position].reversed().drop { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") }
        if byte == UInt8(ascii: "?"), blankNext, before.first.map({ "-?[{,".utf8.contains($0) }) ?? true {
          return index + 1
        }
        guard byte == UInt8(ascii: ":") else { continue }
        if let last = before.first, last == UInt8(ascii: "]") || last == UInt8(ascii: "}") { return index + 1 }
        // `*name :` is an alias: without the blank the colon belongs to its name.
        let word = before.prefix { !" \t[{,".utf8.contains($0) }
        let blankBefore = before.count < position
        if blankBefore, word.last == UInt8(ascii: "*") { return index + 1 }
      }
    }
    return nil
  }
}

/// Turns nodes into values, counting them: an alias is a copy, so a document can hold more values than bytes.
private struct Reader {
  let limits: YAMLLimits
  var values = 0
  var textBytes = 0

  init(limits: YAMLLimits) { self.limits = limits }

  private mutating func count(_ node: Node, text: Int = 0) throws(YAMLError) {
    values += 1
    textBytes += text
    if values > limits.valuesMax || textBytes > limits.textBytesMax {
      throw YAMLError(
        "\(Self.place(node))expands to more than \(limits.valuesMax) values or \(limits.textBytesMax) bytes; "
          + "anchors and aliases may multiply, but not without end")
    }
  }

  static func place(_ node: Node) -> String { node.mark.map { "line \($0.line): " } ?? "" }

  mutating func value(_ node: Node, depth: Int) throws(YAMLError) -> JSONValue {
    guard depth <= limits.depthMax else {
      throw YAMLError("\(Self.place(node))nested deeper than \(limits.depthMax)")
    }
    switch node {
    case .scalar(let scalar):
      try count(node, text: scalar.string.utf8.count)
      return try YAMLScalar.value(
        scalar.string, tag: Self.tag(scalar.tag), plain: scalar.style == .plain, Self.place(node))
    case .sequence(let sequence):
      try count(node)
      guard ["", "seq"].contains(Self.tag(sequence.tag)) else {
        throw YAMLError("\(Self.place(node))a tag that is no list")
      }
      var items: [JSONValue] = []
      for item in sequence { items.append(try value(item, depth: depth + 1)) }
      return .array(items)
    case .mapping(let mapping):
      try count(node)
      guard ["", "map"].contains(Self.tag(mapping.tag)) else {
        throw YAMLError("\(Self.place(node))a tag that is no map")
      }
      return .object(try object(mapping, depth: depth))
    case .alias:
      throw YAMLError("\(Self.place(node))an alias without its anchor")
    }
  }

  private mutating func object(_ mapping: Node.Mapping, depth: Int) throws(YAMLError) -> JSONObject {
    var object = JSONObject()
    var merged: [JSONObject] = []
    for (key, item) in mapping {
      guard case .scalar(let scalar) = key else { throw YAMLError("\(Self.place(key))a key that is not text") }
      if scalar.string == "<<", scalar.style == .plain {
        let value = try value(item, depth: depth + 1)
        for source in value.array ?? [value] {
          guard let inner = source.object else {
            throw YAMLError("\(Self.place(key))<< needs a map or a list of maps")
          }
          merged.append(inner)
        }
        continue
      }
      try count(key, text: scalar.string.utf8.count)
      guard object[scalar.string] == nil else {
        throw YAMLError("\(Self.place(key))\"\(scalar.string)\" stands twice")
      }
      object[scalar.string] = try value(item, depth: depth + 1)
    }
    for source in merged {
      for (key, value) in source.members where object[key] == nil { object[key] = value }
    }
    return object
  }

  /// The part of a tag that matters; empty for none.
  private static func tag(_ tag: Tag) -> String {
    let name = tag.rawValue
    if name.hasPrefix("tag:yaml.org,2002:") { return String(name.dropFirst("tag:yaml.org,2002:".count)) }
    return ["", "!", "?"].contains(name) ? "" : name
  }
}

/// Plain scalars of YAML 1.1 by their looks, as Kubernetes' own reader takes them.
enum YAMLScalar {
  static func value(_ text: String, tag: String, plain: Bool, _ place: String) throws(YAMLError) -> JSONValue {
    switch tag {
    case "": return plain ? looks(text) : .string(text)
    case "str": return .string(text)
    case "null": return .null
    case "bool", "int", "float":
      let value = looks(text)
      let fits =
        switch value {
        case .bool: tag == "bool"
        case .integer: tag != "bool"
        case .number: tag == "float"
        default: false
        }
      guard fits else { throw YAMLError("\(place)\"\(text)\" is not a !!\(tag)") }
      return value
    default: throw YAMLError("\(place)the tag \(tag) is not supported")
    }
  }

  static func looks(_ text: String) -> JSONValue {
    switch text {
    case "", "~", "null", "Null", "NULL": return .null
    case "true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", "Y": return .bool(true)
    case "false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "n", "N": return .bool(false)
    default: return integer(text).map { .integer($0) } ?? float(text) ?? .string(text)
    }
  }

  private static func integer(_ text: String) -> Int64? {
    var rest = text[...]
    let negative = rest.hasPrefix("-")
    if negative || rest.hasPrefix("+") { rest = rest.dropFirst() }
    guard let first = rest.utf8.first, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(first) else { return nil }
    let digits = rest.filter { $0 != "_" }
    let sign = negative ? "-" : ""
    if digits.count > 1, digits.hasPrefix("0") {
      for (prefix, radix) in [("0x", 16), ("0b", 2), ("0o", 8), ("0", 8)] where digits.hasPrefix(prefix) {
        return Int64(sign + digits.dropFirst(prefix.count), radix: radix)
      }
    }
    return Int64(sign + digits)
  }

  private static func float(_ text: String) -> JSONValue? {
    guard let first = text.utf8.first,
      text.utf8.contains(where: { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
      "+-.0123456789".utf8.contains(first), text.utf8.allSatisfy({ "+-.0123456789eE".utf8.contains($0) }),
      let value = Double(text), value.isFinite
    else { return nil }
    return JSONValue(value)
  }
}
