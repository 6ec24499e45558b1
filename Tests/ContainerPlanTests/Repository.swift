import Kernel

/// Files of the source tree, for tests that compare with them.
enum Repository {
  static func read(_ path: String, testFile: String = #filePath) throws -> String {
    let root = Files.parent(of: Files.parent(of: Files.parent(of: testFile)))
    return String(decoding: try Files.read("\(root)/\(path)"), as: UTF8.self)
  }
}
