internal import Kernel

/// Files that change as one: a dated directory holds them, `..data` points to it, and each name in the volume points
/// through `..data`. An update writes a new dated directory and renames `..data`, so that a reader sees all of the old
/// files or all of the new ones.
struct Projection {
  /// The volume's own directory, which only this program writes.
  let path: String
  let group: UInt32?

  private static let data = "..data"
  private static let prefix = "..v_"

  /// Makes the volume hold exactly `files`. Does nothing where it does already. Blocks on the file system.
  func write(_ files: [VolumeRequest.File]) throws(SyscallError) {
    let volume = try Directory(path: path)
    let current = try currentVersion()
    if let current, try holds(files, in: current) { return }
    let version = Self.prefix + randomHex(bytes: 8)
    try volume.makeDirectory(version, mode: 0o755, existingOK: false)
    let directory = try volume.directory(version)
    try VolumeFiles.setMode(directory.fd, 0o755, path: version)
    for file in files { try write(file, below: directory) }
    let temporary = "\(path)/..data_next"
    try Files.remove(temporary)
    try Files.symlink(version, at: temporary)
    try Files.rename(temporary, to: "\(path)/\(Self.data)")
    // Names last to appear and first to go: none ever points to a file that is not there.
    let wanted = Set(files.map { String($0.path.prefix { $0 != "/" }) })
    let present = try volume.list()
    for name in wanted where !present.contains(where: { $0.name == name }) {
      try Files.symlink("\(Self.data)/\(name)", at: "\(path)/\(name)")
    }
    for entry in present {
      let isOurs = entry.name.hasPrefix("..")
      if isOurs ? entry.name.hasPrefix(Self.prefix) && entry.name != version : !wanted.contains(entry.name) {
        try volume.removeTree(entry.name)
      }
    }
  }

  private func write(_ file: VolumeRequest.File, below root: borrowing Directory) throws(SyscallError) {
    let steps = file.path.split(separator: "/").map(String.init)
    for count in 1..<max(1, steps.count) {
      let parent = steps[..<(count - 1)].joined(separator: "/")
      let name = steps[count - 1]
      if parent.isEmpty {
        try root.makeDirectory(name, mode: 0o755)
      } else {
        try root.directory(parent).makeDirectory(name, mode: 0o755)
      }
      let made = try root.directory(steps[..<count].joined(separator: "/"))
      try VolumeFiles.setMode(made.fd, 0o755, path: file.path)
    }
    let opened = try root.openBeneath(
      file.path, flags: OpenFlags.writeOnly | OpenFlags.create | OpenFlags.exclusive, mode: 0o600)
    try opened.writeAll(file.bytes)
    if let group { try VolumeFiles.setGroup(opened, group, path: file.path) }
    try VolumeFiles.setMode(opened, mode(of: file), path: file.path)
  }

  /// Who is in the group of the pod's files may read them.
  private func mode(of file: VolumeRequest.File) -> UInt32 { group == nil ? file.mode : file.mode | 0o440 }

  private func currentVersion() throws(SyscallError) -> String? {
    do {
      let version = try Files.readLink("\(path)/\(Self.data)")
      return version.hasPrefix(Self.prefix) ? version : nil
    } catch {
      if error.errno == Errno.noEntry || error.errno == Errno.invalid { return nil }
      throw error
    }
  }

  /// Whether this version is `files`, byte for byte, and each has its name in the volume.
  private func holds(_ files: [VolumeRequest.File], in version: String) throws(SyscallError) -> Bool {
    guard try Files.status("\(path)/\(version)")?.kind == .directory else { return false }
    let root = try Directory(path: path).directory(version)
    guard try Self.countFiles(root, depth: 0) == files.count else { return false }
    for file in files {
      do throws(SyscallError) {
        let opened = try root.openBeneath(file.path, flags: OpenFlags.readOnly)
        let status = try VolumeFiles.status(opened, path: file.path)
        guard status.mode == mode(of: file), status.sizeBytes == file.bytes.count else { return false }
        guard try opened.readAll(maxBytes: file.bytes.count + 1) == file.bytes else { return false }
      } catch {
        return false
      }
      // A name that a crash left out is put there by writing again.
      if try Files.status("\(path)/\(file.path.prefix { $0 != "/" })") == nil { return false }
    }
    return true
  }

  private static func countFiles(_ directory: borrowing Directory, depth: Int) throws(SyscallError) -> Int {
    var count = 0
    for entry in try directory.list() {
      if entry.kind == .directory, depth < 64 {
        let inner = try directory.directory(entry.name)
        count += try countFiles(inner, depth: depth + 1)
      } else {
        count += 1
      }
    }
    return count
  }
}
