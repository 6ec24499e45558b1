/// Columns of text, as wide as their widest cell, two spaces between them, nothing at a line's end.
struct Table: Equatable, Sendable {
  struct Cell: Equatable, Sendable, ExpressibleByStringLiteral {
    /// What the colour of a cell says.
    enum Tone: Sendable { case plain, good, bad, waiting, faint, heading }
    var text: String
    var tone: Tone

    init(_ text: String, _ tone: Tone = .plain) {
      // A name out of an image or a manifest must not move the cursor of whoever looks at it.
      self.text = text.printable
      self.tone = tone
    }

    init(stringLiteral value: String) { self.init(value) }
  }

  var header: [String]
  var rows: [[Cell]] = []

  init(_ header: [String]) { self.header = header }

  /// The text, each line ended.
  /// - Parameter width: columns of the terminal that cut the last column; nil cuts nothing.
  func text(_ style: Style = Style(enabled: false), width: Int? = nil) -> String {
    let all = [header.map { Cell($0, .heading) }] + rows
    var widths = [Int](repeating: 0, count: header.count)
    for row in all {
      for (index, cell) in row.enumerated() where index < widths.count {
        widths[index] = max(widths[index], cell.text.count)
      }
    }
    return all.map { line($0, widths, style, width) + "\n" }.joined()
  }

  private func line(_ row: [Cell], _ widths: [Int], _ style: Style, _ width: Int?) -> String {
    var line = ""
    var column = 0
    let last = row.lastIndex { !$0.text.isEmpty } ?? 0
    for (index, cell) in row.prefix(last + 1).enumerated() {
      var text = cell.text
      if let width, column + text.count > width, width > column { text = text.clipped(to: width - column) }
      line += paint(text, cell.tone, style)
      guard index < last else { break }
      let gap = widths[index] - cell.text.count + 2
      line += String(repeating: " ", count: gap)
      column += cell.text.count + gap
    }
    return line
  }

  private func paint(_ text: String, _ tone: Cell.Tone, _ style: Style) -> String {
    switch tone {
    case .plain: text
    case .good: style.green(text)
    case .bad: style.red(text)
    case .waiting: style.yellow(text)
    case .faint: style.dim(text)
    case .heading: style.bold(text)
    }
  }
}

extension String {
  /// With control characters shown as `?`.
  var printable: String {
    guard unicodeScalars.contains(where: { $0.properties.generalCategory == .control }) else { return self }
    return String(
      String.UnicodeScalarView(unicodeScalars.map { $0.properties.generalCategory == .control ? "?" : $0 }))
  }

  /// At most `count` characters, the last of them `…` where something was cut.
  func clipped(to count: Int) -> String {
    guard self.count > count else { return self }
    return count < 1 ? "" : prefix(count - 1) + "…"
  }
}
