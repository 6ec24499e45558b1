import Kernel
import PodTranslation

/// Where a command of this node works, as its user gave it.
enum Place {
  /// Relative to the working directory, and without the slashes at the end, which would hide it from comparisons.
  static func absolute(_ path: String) throws -> String {
    var path = path.hasPrefix("/") ? path : "\(try Files.readLink("/proc/self/cwd"))/\(path)"
    while path.count > 1, path.hasSuffix("/") { path.removeLast() }
    return path
  }

  /// The node's name: what was given, or the host's.
  static func nodeName(_ given: String?) throws -> String {
    let host = (try Files.readText("/proc/sys/kernel/hostname") ?? "").split(separator: "\n").first.map(String.init)
    let name = (given ?? host ?? "localhost").lowercased()
    guard Names.isSubdomain(name) else {
      throw Failure("\"\(name)\" cannot be a node's name", hint: "give one: --node-name NAME", code: Failure.usageCode)
    }
    return name
  }
}
