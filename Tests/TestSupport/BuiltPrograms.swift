internal import Kernel

/// The programs that were built along with the tests.
package enum BuiltPrograms {
  package struct Missing: Error, CustomStringConvertible {
    package let description: String
  }

  /// Absolute path of `martletd`, `martlet`, `martlet-shim` or `martlet-bench`.
  ///
  /// `MARTLET_BIN` names the directory; without it, it is the one that holds the test program.
  /// - Throws: `Missing` where it was not built: such a test fails, it does not skip.
  package static func path(_ name: String) throws -> String {
    var directories = CommandLine.arguments.filter { $0.contains(".xctest") }.map { Files.parent(of: $0) }
    if let own = try? Files.readLink("/proc/self/exe") { directories.append(Files.parent(of: own)) }
    if let named = environmentVariable("MARTLET_BIN") { directories.insert(named, at: 0) }
    for directory in directories where Files.exists("\(directory)/\(name)") { return "\(directory)/\(name)" }
    throw Missing(description: "\(name) is not in \(directories); build it with hack/build or set MARTLET_BIN")
  }
}
