/// A volume that a pod asks for.
package struct VolumeRequest: Hashable, Sendable {
  package enum HostPathKind: String, Hashable, Sendable {
    case any = ""
    case directory = "Directory"
    case directoryOrCreate = "DirectoryOrCreate"
    case file = "File"
    case fileOrCreate = "FileOrCreate"
    case socket = "Socket"
    case characterDevice = "CharDevice"
    case blockDevice = "BlockDevice"
  }
  package struct File: Hashable, Sendable {
    /// Relative to the volume, no step empty, `.` or `..`.
    package var path: String
    package var bytes: [UInt8]
    package var mode: UInt32

    package init(path: String, bytes: [UInt8], mode: UInt32) {
      (self.path, self.bytes, self.mode) = (path, bytes, mode)
    }
  }
  package enum Source: Hashable, Sendable {
    case emptyDirectory(inMemory: Bool, sizeLimitBytes: Int64?)
    case hostPath(String, HostPathKind)
    /// A directory of the host; made with mode 0777 where `isMade`, else it must be there.
    case localDirectory(String, isMade: Bool)
    case projection([File])
  }
  package var name: String
  package var source: Source

  package init(name: String, source: Source) { (self.name, self.source) = (name, source) }
}

/// Why a volume could not be made, changed or removed.
package struct VolumeError: Error, Hashable, CustomStringConvertible {
  /// The volume's name, or what else of the pod it was.
  package let volume: String
  package let problem: String

  package init(_ volume: String, _ problem: String) { (self.volume, self.problem) = (volume, problem) }

  package var description: String { "volume \"\(volume)\": \(problem)" }
}
