package import Kernel
package import YAML

/// The directory of manifests: files ending in .yaml, .yml or .json whose names do not begin with a dot.
package struct ManifestDirectory: Sendable {
  package let path: String
  package var limits = YAMLLimits()
  /// Files looked at; more are reported and left alone.
  package static let filesMax = 1000

  package init(path: String) { self.path = path }

  /// What is there now.
  package struct Reading: Sendable {
    package var files: [String: [UInt8]] = [:]
    package var errors: [ManifestError] = []
  }

  package static func isManifest(_ name: String) -> Bool {
    !name.hasPrefix(".")
      && [".yaml", ".yml", ".json"].contains { name.hasSuffix($0) && name.utf8.count > $0.utf8.count }
  }

  /// Reads every manifest. Blocks on the file system. A file that cannot be read is an error of that file alone.
  ///
  /// - Throws: where the directory itself cannot be listed.
  package func read() throws(SyscallError) -> Reading {
    var reading = Reading()
    let directory = try Directory(path: path)
    let names = try directory.list().map(\.name).filter(Self.isManifest).sorted()
    for name in names.dropFirst(Self.filesMax) {
      reading.errors.append(Self.error(name, "more than \(Self.filesMax) manifests in one directory"))
    }
    for name in names.prefix(Self.filesMax) {
      do throws(SyscallError) {
        guard let status = try Files.status("\(path)/\(name)", follow: true) else { continue }
        guard status.kind == .file else {
          reading.errors.append(Self.error(name, "is a \(status.kind), not a file"))
          continue
        }
        guard status.sizeBytes <= limits.fileBytesMax else {
          reading.errors.append(Self.error(name, "\(status.sizeBytes) bytes, more than \(limits.fileBytesMax)"))
          continue
        }
        reading.files[name] = try Files.read("\(path)/\(name)", maxBytes: limits.fileBytesMax)
      } catch {
        // It may have gone between the listing and the reading.
        if error.errno != Errno.noEntry { reading.errors.append(Self.error(name, "\(error)")) }
      }
    }
    return reading
  }

  private static func error(_ file: String, _ problem: String) -> ManifestError {
    ManifestError(place: ManifestPlace(file: file, document: 1), object: "", field: "", problem: problem)
  }
}
