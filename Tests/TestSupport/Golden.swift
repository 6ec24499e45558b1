internal import Kernel

/// Text that a test compares with a file under `Golden/` beside it; `REGOLDEN=1` writes the file instead.
package enum Golden {
  package struct Mismatch: Error, CustomStringConvertible {
    package let file: String
    package let line: Int
    package let expected: String
    package let actual: String

    package var description: String {
      """
      \(file):\(line) differs (REGOLDEN=1 hack/test rewrites it)
        expected: \(expected)
        actual:   \(actual)
      """
    }
  }

  /// - Throws: `Mismatch` at the first line that differs, `SyscallError` where the file cannot be read.
  package static func check(_ actual: String, named name: String, testFile: String = #filePath) throws {
    let path = "\(Files.parent(of: testFile))/Golden/\(name)"
    if environmentVariable("REGOLDEN") == "1" {
      try Files.makeDirectories(Files.parent(of: path), mode: 0o755)
      try Files.writeAtomically(path, Array(actual.utf8), mode: 0o644)
      return
    }
    let expected = String(decoding: try Files.read(path), as: UTF8.self)
    if expected == actual { return }
    let left = expected.split(separator: "\n", omittingEmptySubsequences: false)
    let right = actual.split(separator: "\n", omittingEmptySubsequences: false)
    for index in 0..<max(left.count, right.count) {
      let expectedLine = index < left.count ? String(left[index]) : "<end>"
      let actualLine = index < right.count ? String(right[index]) : "<end>"
      if expectedLine != actualLine {
        throw Mismatch(file: path, line: index + 1, expected: expectedLine, actual: actualLine)
      }
    }
  }
}
