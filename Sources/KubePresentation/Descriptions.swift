/// What types and fields mean, for `kubectl explain`.
enum Descriptions {
  static func type(_ name: String) -> String? { table[name] }

  /// By type and field; else by the field alone, where it means the same wherever it stands.
  static func field(_ field: String, of type: String) -> String? { table["\(type).\(field)"] ?? table["*.\(field)"] }

  private static let table: [String: String] = {
    var table: [String: String] = [:]
    for line in DescriptionTable.lines.split(separator: "\n") {
      let parts = line.split(separator: "\t", maxSplits: 1)
      if parts.count == 2 { table[String(parts[0])] = String(parts[1]) }
    }
    return table
  }()
}
