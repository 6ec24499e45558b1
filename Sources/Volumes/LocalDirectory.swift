internal import Kernel

/// Directories of the node that outlive pods.
package enum LocalDirectory {
  /// Makes the directory where that was asked for, and gives it to the pod's group.
  ///
  /// The host's own symbolic links on the way to it are followed; it itself must be a directory.
  static func prepare(_ path: String, isMade: Bool, group: UInt32?, volume: String) throws {
    let found = try Files.status(path)
    if found == nil {
      guard isMade else { throw VolumeError(volume, "\(path) does not exist") }
      try Files.makeDirectories(Files.parent(of: path), mode: 0o755)
      try Files.makeDirectories(path, mode: 0o777)
    }
    let opened = try Directory(path: path)
    if found == nil { try VolumeFiles.setMode(opened.fd, 0o777, path: path) }
    guard let group else { return }
    // What lies in it keeps its owners: a volume may hold millions of files, and new ones get the group by the set-gid bit.
    try VolumeFiles.setGroup(opened.fd, group, path: path)
    let mode = try VolumeFiles.status(opened.fd, path: path).mode & 0o7777
    try VolumeFiles.setMode(opened.fd, mode | 0o2070, path: path)
  }

  /// Removes a directory and all in it; nothing there is not an error.
  ///
  /// - Parameter root: it must lie right below this directory, so that no volume's text reaches elsewhere. Symbolic links
  ///   are removed, never followed. Blocks.
  package static func remove(_ path: String, below root: String) throws(VolumeError) {
    let name = path.split(separator: "/").last.map(String.init) ?? ""
    guard path == "\(root)/\(name)", !name.isEmpty, name != ".", name != ".." else {
      throw VolumeError(path, "does not lie right below \(root): it is not this node's to remove")
    }
    do {
      guard try Files.status(root) != nil else { return }
      let above = try Directory(path: root)
      guard try above.list().contains(where: { $0.name == name }) else { return }
      try above.removeTree(name)
    } catch {
      throw VolumeError(path, "\(error)")
    }
  }
}
