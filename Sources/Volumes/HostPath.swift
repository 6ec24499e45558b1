internal import Kernel

/// Paths of the host itself, shown to a pod.
enum HostPath {
  /// Why `path` is not what the pod says, or nil. Makes it where that was asked for. Symbolic links on the way are the
  /// host's own and are followed.
  static func problem(_ path: String, _ kind: VolumeRequest.HostPathKind) throws(SyscallError) -> String? {
    let found = try Files.status(path, follow: true)
    switch (kind, found?.kind) {
    case (.directoryOrCreate, nil): try Files.makeDirectories(path, mode: 0o755)
    case (.fileOrCreate, nil):
      let file = try Files.open(path, flags: OpenFlags.writeOnly | OpenFlags.create, mode: 0o644)
      try VolumeFiles.setMode(file, 0o644, path: path)
    case (.any, .some), (.directory, .directory), (.directoryOrCreate, .directory), (.file, .file),
      (.fileOrCreate, .file), (.socket, .socket), (.characterDevice, .characterDevice), (.blockDevice, .blockDevice):
      break
    case (.any, nil): return "\(path) does not exist (type DirectoryOrCreate would make it)"
    case (_, nil): return "\(path) does not exist and must be a \(kind.rawValue)"
    case (_, let other?): return "\(path) is a \(other) and must be a \(kind.rawValue)"
    }
    return nil
  }
}
