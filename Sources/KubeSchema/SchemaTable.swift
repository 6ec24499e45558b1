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
    let lines = text.split(separator: "\n").map { Line($0) }
    let names = lines.filter { $0[0] == "T" }.map { $0[1] }
    let formats = lines.filter { $0[0] == "T" }.map { $0[2] }
    let index = TypeIndex(names: names, formats: formats)
    var table = SchemaTable()
    var header: Line?
    var fields: [SchemaField] = []
    func finish() {
      if let header { table.types.append(type(header, fields, index)) }
      fields = []
    }
    for line in lines {
      switch line[0] {
      case "T":
        finish()
        header = line
      case "F": fields.append(field(line, index))
      default: table.resources.append(resource(line))
      }
    }
    finish()
    return table
  }

  /// A line by its columns; one beyond the last is empty.
  private struct Line {
    private let columns: [Substring]

    init(_ text: Substring) { columns = text.split(separator: "\t", omittingEmptySubsequences: false) }

    subscript(column: Int) -> String { column < columns.count ? String(columns[column]) : "" }

    func words(_ column: Int, separator: Character = " ") -> [String] {
      column < columns.count ? columns[column].split(separator: separator).map(String.init) : []
    }
  }

  private struct TypeIndex {
    let names: [String]
    let formats: [String]

    func valueType(_ code: Substring) -> SchemaValueType {
      switch code.utf8.first {
      case UInt8(ascii: "["): return .list(valueType(code.dropFirst()))
      case UInt8(ascii: "{"): return .map(valueType(code.dropFirst()))
      case UInt8(ascii: "s"): return .string
      case UInt8(ascii: "b"): return .bool
      case UInt8(ascii: "i"): return .int32
      case UInt8(ascii: "l"): return .int64
      case UInt8(ascii: "d"): return .double
      case UInt8(ascii: "y"): return .bytes
      default: return Int(code).flatMap { names.indices.contains($0) ? named($0) : nil } ?? .any
      }
    }

    func named(_ number: Int) -> SchemaValueType {
      switch (names[number], formats[number]) {
      case (_, "number-or-string"): .quantity
      case (_, "int-or-string"): .intOrString
      case (let name, "string:date-time"): name.hasSuffix("MicroTime") ? .microTime : .time
      case (let name, _) where name.hasSuffix(".FieldsV1"): .fieldsV1
      case (let name, _) where name.hasSuffix(".RawExtension"): .any
      case (let name, _): .object(name)
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
      case .object(let name): "v1." + (name.split(separator: ".").last ?? "")
      case .list(let item): "[]" + goType(item)
      case .map(let item): "map[string]" + goType(item)
      }
    }
  }

  private static func type(_ line: Line, _ fields: [SchemaField], _ index: TypeIndex) -> SchemaType {
    let kinds = line.words(4).map { text in
      let parts = text.split(separator: "/").map(String.init)
      return GroupVersionKind(apiVersion: parts.dropLast().joined(separator: "/"), kind: parts.last ?? "")
    }
    let number = index.names.firstIndex(of: line[1]) ?? 0
    return SchemaType(
      name: line[1], kinds: kinds, fields: fields, valueType: index.named(number), isAtomic: line[3] == "atomic")
  }

  private static func field(_ line: Line, _ index: TypeIndex) -> SchemaField {
    let valueType = index.valueType(line[2][...])
    let published = value(line[4])
    var strategy: PatchStrategy = []
    for word in line.words(9, separator: ",") { strategy.insert(word == "merge" ? .merge : .retainKeys) }
    let zero: ZeroRule = line[12] == "p" ? .value : line[12] == "a" ? .always : .absent
    // The zeros of the published schema say nothing that an absent field does not, unless the two differ.
    let says = published.map { zero == .value || !["\"\"", "0", "false", "{}"].contains($0.encodedString()) } ?? false
    return SchemaField(
      name: line[1], valueType: valueType, isRequired: line[3] == "r", publishedDefault: published,
      default: value(line[5]) ?? (says ? published : nil), enumValues: line.words(6),
      listType: SchemaListType(rawValue: line[7]), listMapKeys: line.words(8, separator: ","), patchStrategy: strategy,
      patchMergeKey: line[10].isEmpty ? nil : line[10],
      protobufPath: line.words(11, separator: ".").compactMap { Int($0) },
      zero: zero,
      goType: line[13].isEmpty ? index.goType(valueType) : line[13])
  }

  /// The published schema writes some texts without quotes.
  private static func value(_ text: String) -> JSONValue? {
    if text.isEmpty { return Optional.none }
    return (try? JSONValue.parse(text)) ?? .string(text)
  }

  private static func resource(_ line: Line) -> ResourceRow {
    let names = line.words(3, separator: "/")
    return ResourceRow(
      group: line[1], version: line[2], resource: names.first ?? "", subresource: names.count > 1 ? names[1] : nil,
      singular: line[4], kind: line[5], isNamespaced: line[6] == "Namespaced", verbs: line.words(7),
      shortNames: line.words(8), categories: line.words(9))
  }
}
