import JSON

/// Reads the generated table. One line a type, a field or a resource; columns end with a tab, empty ones at the end of a
/// line are left out:
///
///     T  full name, value type, list or map type, kinds
///     F  name, value type, r if required, published default, default, choices, list type, keys, patch strategy,
///        merge key, numbers in protobuf, a or p (ZeroRule .always or .value), name of the type in messages
///     R  group, version, resource, singular, kind, scope, verbs, short names, categories
///
/// A value type is `[` and the type of items, `{` and that of members, a letter for a scalar, or the number of a type,
/// counted from 0. Fields belong to the type above them.
struct SchemaTable {
  var types: [SchemaType] = []
  var resources: [ResourceRow] = []

  static func parse(_ text: String) -> SchemaTable {
    let bytes = Array(text.utf8)
    var lines: [Line] = []
    lines.reserveCapacity(2000)
    var start = 0
    while start < bytes.count {
      let line = Line(bytes, from: start)
      start = line.end + 1
      if !line.isEmpty { lines.append(line) }
    }
    var names: [(name: String, format: String)] = []
    for line in lines where line.kind == UInt8(ascii: "T") { names.append((line[1], line[2])) }
    let index = TypeIndex(names: names)
    var table = SchemaTable()
    var header: Line?
    var fields: [SchemaField] = []
    func finish() {
      if let header { table.types.append(type(header, fields, index.named(table.types.count))) }
      fields.removeAll(keepingCapacity: true)
    }
    for line in lines {
      switch line.kind {
      case UInt8(ascii: "T"):
        finish()
        header = line
      case UInt8(ascii: "F"): fields.append(field(line, index))
      default: table.resources.append(resource(line))
      }
    }
    finish()
    return table
  }

  /// A line by its columns; one beyond the last is empty.
  private struct Line {
    private let bytes: [UInt8]
    private let start: Int
    let end: Int

    init(_ bytes: [UInt8], from start: Int) {
      self.bytes = bytes
      self.start = start
      var end = start
      while end < bytes.count, bytes[end] != UInt8(ascii: "\n") { end += 1 }
      self.end = end
    }

    var isEmpty: Bool { start == end }
    var kind: UInt8 { bytes[start] }

    func range(_ column: Int) -> Range<Int> {
      var (left, from) = (column, start)
      while from < end, left > 0 {
        if bytes[from] == UInt8(ascii: "\t") { left -= 1 }
        from += 1
      }
      guard left == 0 else { return end..<end }
      var to = from
      while to < end, bytes[to] != UInt8(ascii: "\t") { to += 1 }
      return from..<to
    }

    subscript(column: Int) -> String { text(range(column)) }

    private func text(_ range: Range<Int>) -> String {
      range.isEmpty ? "" : String(decoding: bytes[range], as: UTF8.self)
    }

    func code(_ column: Int) -> ArraySlice<UInt8> { bytes[range(column)] }

    func words(_ column: Int, separator: UInt8 = UInt8(ascii: " ")) -> [String] {
      bytes[range(column)].split(separator: separator).map { String(decoding: $0, as: UTF8.self) }
    }
  }

  private struct TypeIndex {
    let names: [(name: String, format: String)]

    /// The type, and the number of the object's type within it.
    func valueType(_ code: ArraySlice<UInt8>) -> (type: SchemaValueType, leaf: Int?) {
      switch code.first {
      case UInt8(ascii: "["):
        let item = valueType(code.dropFirst())
        return (.list(item.type), item.leaf)
      case UInt8(ascii: "{"):
        let member = valueType(code.dropFirst())
        return (.map(member.type), member.leaf)
      case UInt8(ascii: "s"): return (.string, nil)
      case UInt8(ascii: "b"): return (.bool, nil)
      case UInt8(ascii: "i"): return (.int32, nil)
      case UInt8(ascii: "l"): return (.int64, nil)
      case UInt8(ascii: "d"): return (.double, nil)
      case UInt8(ascii: "y"): return (.bytes, nil)
      default:
        let number = code.reduce(0) { $0 * 10 + Int($1) - 48 }
        guard names.indices.contains(number) else { return (.any, nil) }
        let type = named(number)
        return (type, type.objectName == nil ? nil : number)
      }
    }

    func named(_ number: Int) -> SchemaValueType {
      let (name, format) = names[number]
      switch format {
      case "any": return .any
      case "number-or-string": return .quantity
      case "int-or-string": return .intOrString
      case "string:date-time": return name.hasSuffix("MicroTime") ? .microTime : .time
      default:
        if name.hasSuffix(".FieldsV1") { return .fieldsV1 }
        return name.hasSuffix(".RawExtension") ? .any : .object(name)
      }
    }

    func goType(_ type: SchemaValueType) -> String {
      switch type {
      case .string: "string"
      case .bool: "bool"
      case .int32: "int32"
      case .int64: "int64"
      case .double: "float64"
      case .bytes: "[]uint8"
      case .any: "runtime.RawExtension"
      case .quantity: "resource.Quantity"
      case .intOrString: "intstr.IntOrString"
      case .time: "v1.Time"
      case .microTime: "v1.MicroTime"
      case .fieldsV1: "v1.FieldsV1"
      case .object(let name): "v1." + SchemaType.shortName(name)
      case .list(let item): "[]" + goType(item)
      case .map(let item): "map[string]" + goType(item)
      }
    }
  }

  private static func type(_ line: Line, _ fields: [SchemaField], _ valueType: SchemaValueType) -> SchemaType {
    let kinds = line.words(4).map { text in
      let parts = text.split(separator: "/").map(String.init)
      return GroupVersionKind(apiVersion: parts.dropLast().joined(separator: "/"), kind: parts.last ?? "")
    }
    return SchemaType(
      name: line[1], kinds: kinds, fields: fields, valueType: valueType, isAtomic: line[3] == "atomic")
  }

  private static func field(_ line: Line, _ index: TypeIndex) -> SchemaField {
    let (valueType, leaf) = index.valueType(line.code(2))
    let published = value(line.code(4))
    var strategy: PatchStrategy = []
    for word in line.words(9, separator: UInt8(ascii: ",")) { strategy.insert(word == "merge" ? .merge : .retainKeys) }
    let zero: ZeroRule =
      switch line.code(12).first {
      case UInt8(ascii: "p"): .value
      case UInt8(ascii: "a"): .always
      default: .absent
      }
    // The zeros of the published schema say nothing that an absent field does not, unless the two differ.
    let says = published.map { zero == .value || !["", 0, false, [:]].contains($0) } ?? false
    let (mergeKey, goType) = (line[10], line[13])
    return SchemaField(
      name: line[1], valueType: valueType, isRequired: !line.range(3).isEmpty, publishedDefault: published,
      default: value(line.code(5)) ?? (says ? published : nil), enumValues: line.words(6),
      listType: SchemaListType(rawValue: line[7]), listMapKeys: line.words(8, separator: UInt8(ascii: ",")),
      patchStrategy: strategy, patchMergeKey: mergeKey.isEmpty ? nil : mergeKey,
      protobufPath: line.code(11).split(separator: UInt8(ascii: ".")).map { $0.reduce(0) { $0 * 10 + Int($1) - 48 } },
      zero: zero, goType: goType.isEmpty ? index.goType(valueType) : goType, leaf: leaf)
  }

  /// The published schema writes some texts without quotes.
  private static func value(_ code: ArraySlice<UInt8>) -> JSONValue? {
    if code.isEmpty { return nil }
    return (try? JSONValue.parse(Array(code))) ?? .string(String(decoding: code, as: UTF8.self))
  }

  private static func resource(_ line: Line) -> ResourceRow {
    let names = line.words(3, separator: UInt8(ascii: "/"))
    return ResourceRow(
      group: line[1], version: line[2], resource: names.first ?? "", subresource: names.count > 1 ? names[1] : nil,
      singular: line[4], kind: line[5], isNamespaced: line[6] == "Namespaced", verbs: line.words(7),
      shortNames: line.words(8), categories: line.words(9))
  }
}
