/// What types and fields mean, for `kubectl explain`.
package enum Descriptions {
  package static func type(_ name: String) -> String? { table[name] }

  /// By type and field; else by the field alone, where it means the same wherever it stands.
  package static func field(_ field: String, of type: String) -> String? {
    let owner = type == "EphemeralContainer" ? "Container" : type
    return table["\(owner).\(field)"] ?? table["*.\(field)"]
  }

  /// Every name that the table has; `*.` begins those that stand for any type.
  package static var names: [String] { table.keys.sorted() }

  private static let table: [String: String] = {
    var table: [String: String] = [:]
    for lines in [DescriptionTable.shared, DescriptionTable.core, DescriptionTable.kinds] {
      for line in lines.split(separator: "\n") {
        guard let colon = line.firstRange(of: ": ") else { continue }
        table[String(line[..<colon.lowerBound])] = String(line[colon.upperBound...])
      }
    }
    return table
  }()
}
