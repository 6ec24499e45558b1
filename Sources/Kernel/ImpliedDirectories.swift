internal import CArchive
internal import CLinux
internal import Glibc

/// Directories of an image that its layers only imply.
///
/// A layer that holds `tmp/x` and has no entry for `tmp` says nothing about `tmp`, and in a container it must be what lower
/// layers say, as it is where layers are unpacked one over another. An overlay shows what its topmost directory is: so
/// these get a layer of their own, above all others, that holds nothing but such directories, as they are to be.
package enum ImpliedDirectories {
  package struct Layer: Hashable, Sendable {
    package var directory: String
    /// Paths below it, as `LayerUnpackResult.impliedDirectories`.
    package var implied: Set<String>

    package init(directory: String, implied: Set<String>) {
      self.directory = directory
      self.implied = implied
    }
  }

  /// Makes the layer in `directory`, which exists and is empty.
  /// - Parameter layers: topmost first.
  /// - Returns: whether there is anything in it.
  /// - Requires: root. Blocks on the disk.
  package static func make(_ layers: [Layer], in directory: String) throws(SyscallError) -> Bool {
    var wanted: Set<String> = []
    for layer in layers { for path in layer.implied where try differs(path, layers) { wanted.insert(path) } }
    // What is above them is in the layer as well, and must not become another one by that.
    for path in wanted {
      for (index, byte) in zip(path.utf8.indices, path.utf8) where byte == UInt8(ascii: "/") {
        wanted.insert(String(path[..<index]))
      }
    }
    let ordered = wanted.sorted()
    for path in ordered {
      guard let source = try source(of: path, layers) else { continue }
      try Files.makeDirectories("\(directory)/\(path)", mode: 0o755)
      try copyAttributes(from: source, to: "\(directory)/\(path)")
    }
    // Making what is in a directory changes its time.
    for path in ordered.reversed() {
      guard let source = try source(of: path, layers) else { continue }
      try copyTime(from: source, to: "\(directory)/\(path)")
    }
    return !ordered.isEmpty
  }

  private static func differs(_ path: String, _ layers: [Layer]) throws(SyscallError) -> Bool {
    guard let shown = try topmost(path, layers), let source = try source(of: path, layers), shown != source,
      let there = try Files.status(shown), let said = try Files.status(source)
    else { return false }
    if (there.mode, there.owner, there.group) != (said.mode, said.owner, said.group) { return true }
    return try kept(shown) != kept(source)
  }

  /// What an overlay would show of a directory: the first layer that has it.
  private static func topmost(_ path: String, _ layers: [Layer]) throws(SyscallError) -> String? {
    for layer in layers {
      switch try look(path, in: layer) {
      case .nothing: continue
      case .hidden: return nil
      case .directory: return "\(layer.directory)/\(path)"
      }
    }
    return nil
  }

  /// The directory that says what this one is: of the topmost layer that has an entry for it, or where none has, of the
  /// lowest that implies it.
  private static func source(of path: String, _ layers: [Layer]) throws(SyscallError) -> String? {
    var found: String?
    for layer in layers {
      switch try look(path, in: layer) {
      case .nothing: continue
      case .hidden: return found
      case .directory(let endsHere):
        found = "\(layer.directory)/\(path)"
        if endsHere || !layer.implied.contains(path) { return found }
      }
    }
    return found
  }

  private enum Sight {
    /// Lower layers decide.
    case nothing
    /// Not a directory here, or below one that hides lower layers and does not have it: there is none.
    case hidden
    /// Here; and lower ones do not show through.
    case directory(endsHere: Bool)
  }

  private static func look(_ path: String, in layer: Layer) throws(SyscallError) -> Sight {
    var place = layer.directory
    var hides = false
    for component in path.split(separator: "/") {
      place += "/\(component)"
      guard let status = try Files.status(place) else { return hides ? .hidden : .nothing }
      guard status.kind == .directory else { return .hidden }
      hides = hides || isOpaque(place)
    }
    return .directory(endsHere: hides)
  }

  private static func isOpaque(_ path: String) -> Bool {
    var value: CChar = 0
    let size = unsafe carchive_lgetxattr(path, "trusted.overlay.opaque", &value, 1)
    return size == 1 && value == CChar(UInt8(ascii: "y"))
  }

  private static func copyAttributes(from: String, to: String) throws(SyscallError) {
    guard let status = try Files.status(from) else { return }
    try Files.chown(to, user: status.owner, group: status.group)
    try Files.chmod(to, mode: status.mode)
    for name in try kept(from) {
      var value = [UInt8](repeating: 0, count: LayerLimits().xattrBytesMax)
      let size = unsafe carchive_lgetxattr(from, name, &value, value.count)
      guard size >= 0 else { continue }
      _ = try syscall("lsetxattr", on: "\(to) \(name)") { unsafe carchive_lsetxattr(to, name, value, size) }
    }
  }

  /// Names of the attributes that are the image's and not overlayfs's.
  private static func kept(_ path: String) throws(SyscallError) -> [String] {
    var list = [CChar](repeating: 0, count: 64 << 10)
    let size = unsafe carchive_llistxattr(path, &list, list.count)
    if size < 0, Glibc.errno == EOPNOTSUPP { return [] }
    guard size >= 0 else { throw SyscallError(call: "llistxattr", subject: path, errno: Glibc.errno) }
    return list.prefix(size).split(separator: 0)
      .map { String(decoding: $0.map { UInt8(bitPattern: $0) }, as: UTF8.self) }
      .filter { !$0.hasPrefix("trusted.overlay.") && !$0.hasPrefix("user.overlay.") }
  }

  private static func copyTime(from: String, to: String) throws(SyscallError) {
    var status = stat()
    _ = try syscall("lstat", on: from) { unsafe fstatat(AT_FDCWD, from, &status, AT_SYMLINK_NOFOLLOW) }
    let times = [status.st_mtim, status.st_mtim]
    _ = try syscall("utimensat", on: to) { unsafe utimensat(AT_FDCWD, to, times, AT_SYMLINK_NOFOLLOW) }
  }
}
