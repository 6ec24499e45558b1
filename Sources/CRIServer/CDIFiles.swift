internal import JSON
internal import Kernel
internal import YAML

/// Reads the documents of the Container Device Interface from their directories.
enum CDIFiles {
  /// Blocks on the disk. A file that cannot be used is noted and harms no other; a directory that is missing is empty.
  static func registry(_ directories: [String] = CDIRegistry.directories) throws -> CDIRegistry {
    var registry = CDIRegistry()
    for (priority, directory) in directories.enumerated() {
      guard try Files.status(directory, follow: true)?.kind == .directory else { continue }
      let names = try Directory(path: directory).list().map(\.name).sorted()
        .filter { $0.hasSuffix(".json") || $0.hasSuffix(".yaml") }
      if names.count > CDIRegistry.documentsMax {
        let problem = "has \(names.count) documents, \(CDIRegistry.documentsMax) are read"
        registry.note(CDIRegistry.Problem(path: directory, problem: problem))
      }
      for name in names.prefix(CDIRegistry.documentsMax) {
        let path = "\(directory)/\(name)"
        do {
          registry.add(try document(path), path: path, priority: priority)
        } catch {
          registry.note(CDIRegistry.Problem(path: path, problem: "\(error)"))
        }
      }
    }
    return registry
  }

  private static func document(_ path: String) throws -> JSONValue {
    let bytes = try Files.read(path, maxBytes: CDIRegistry.documentBytesMax)
    if path.hasSuffix(".json") {
      return try JSONValue.parse(bytes, limits: JSONLimits(maxBytes: CDIRegistry.documentBytesMax, maxDepth: 32))
    }
    guard let first = try YAML.parse(String(decoding: bytes, as: UTF8.self)).first else {
      throw YAMLError("holds no document")
    }
    return first
  }
}
