/// Numbers of a Job's pods, as its status writes them: `0,1,3-5,9`.
package struct JobIndexes: Hashable, Sendable, CustomStringConvertible {
  package private(set) var numbers: Set<Int> = []

  package init() {}
  package init(_ numbers: some Sequence<Int>) { self.numbers = Set(numbers) }

  /// Numbers from `count` on, and what is no number, are left out.
  package init(_ text: String, below count: Int) {
    for part in text.split(separator: ",") {
      let ends = part.split(separator: "-").compactMap { Int($0) }
      guard let first = ends.first, let last = ends.last, first >= 0, first <= last else { continue }
      for number in first...last where number < count { numbers.insert(number) }
    }
  }

  package var count: Int { numbers.count }
  package func contains(_ number: Int) -> Bool { numbers.contains(number) }
  package mutating func insert(_ number: Int) { numbers.insert(number) }

  /// Three or more in a row are written as a range.
  package var description: String {
    var parts: [String] = []
    var run: (first: Int, last: Int)?
    func close() {
      guard let run else { return }
      switch run.last - run.first {
      case 0: parts.append("\(run.first)")
      case 1: parts.append("\(run.first),\(run.last)")
      default: parts.append("\(run.first)-\(run.last)")
      }
    }
    for number in numbers.sorted() {
      if let open = run, number == open.last + 1 {
        run = (open.first, number)
      } else {
        close()
        run = (number, number)
      }
    }
    close()
    return parts.joined(separator: ",")
  }
}
