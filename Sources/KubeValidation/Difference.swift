import JSON

/// What differs between two documents, for people: a line of what was and a line of what is for each field.
enum Difference {
  static let linesMax = 20
  static let valueCharactersMax = 120

  static func text(_ old: JSONValue, _ new: JSONValue, at path: String) -> String {
    var lines: [String] = []
    collect(old, new, path, &lines)
    let more = lines.count > linesMax ? ["  … \(lines.count - linesMax) more lines"] : []
    return (lines.prefix(linesMax) + more).joined(separator: "\n")
  }

  private static func collect(_ old: JSONValue?, _ new: JSONValue?, _ path: String, _ lines: inout [String]) {
    if old == new { return }
    if let before = old?.object, let now = new?.object {
      for key in Set(before.keys).union(now.keys).sorted() {
        collect(before[key], now[key], "\(path).\(key)", &lines)
      }
    } else if let before = old?.array, let now = new?.array, before.count == now.count {
      for index in before.indices { collect(before[index], now[index], "\(path)[\(index)]", &lines) }
    } else {
      if let old { lines.append("- \(path): \(shown(old))") }
      if let new { lines.append("+ \(path): \(shown(new))") }
    }
  }

  private static func shown(_ value: JSONValue) -> String {
    let text = value.encodedString()
    return text.count <= valueCharactersMax ? text : "\(text.prefix(valueCharactersMax))…"
  }
}
