internal import CArchive
internal import CLinux
internal import Glibc

/// The layers of an image as one tree, read-only and for this process alone: an overlay that is mounted nowhere and goes
/// with its descriptor.
///
/// Every path below it is resolved by the kernel with the tree as root: what an image's author made of its symbolic links,
/// nothing of the host is reached.
/// - Requires: CAP_SYS_ADMIN. Everything blocks on the disk.
package struct LayerStack: ~Copyable {
  /// What a path leads to.
  package struct Found: Hashable, Sendable {
    /// From the tree's root, without symbolic links, `.` or `..`; empty for the root itself.
    package let components: [[UInt8]]
    package let status: FileStatus
  }

  private let root: Directory
  private let layers: [String]

  /// - Parameters:
  ///   - layers: directories, topmost first; trusted paths, at least one.
  ///   - empty: an empty directory: overlayfs wants two layers where nothing can be written.
  package init(_ layers: [String], empty: String) throws(SyscallError) {
    let paths = layers.count == 1 ? layers + [empty] : layers
    let copies = unsafe paths.compactMap { unsafe UnsafePointer(strdup($0)) }
    defer { unsafe copies.forEach { unsafe Glibc.free(UnsafeMutablePointer(mutating: $0)) } }
    // Safe: the texts are copies that live until this returns.
    let result = unsafe copies.withUnsafeBufferPointer { texts in
      unsafe texts.baseAddress.map { unsafe carchive_stack($0, texts.count) }
    }
    guard let result else { throw SyscallError(call: "fsmount", subject: "no layers", errno: EINVAL) }
    guard result.fd >= 0 else {
      let call = ["", "fsopen", "fsconfig", "fsconfig", "fsmount"][Int(result.stage)]
      let layer = result.layer >= 0 ? paths[Int(result.layer)] : "overlay of \(paths.count) layers"
      throw SyscallError(call: call, subject: layer, errno: result.err)
    }
    root = Directory(adopting: OwnedFD(adopting: result.fd), path: "image")
    self.layers = layers
  }

  /// What `path` leads to in a container whose root this is, symbolic links followed; nil where nothing is there.
  package borrowing func find(_ path: String) throws(SyscallError) -> Found? {
    let fd: OwnedFD
    do {
      fd = try root.openInRoot(path.isEmpty ? "." : path, flags: OpenFlags.path)
    } catch {
      if [ENOENT, ENOTDIR].contains(error.errno) { return nil }
      throw error
    }
    return Found(components: try Self.components(fd), status: try fd.status())
  }

  /// Where the kernel says that an open file of a mount is, from the mount's root.
  private static func components(_ fd: borrowing OwnedFD) throws(SyscallError) -> [[UInt8]] {
    var buffer = [UInt8](repeating: 0, count: Int(PATH_MAX) + 1)
    let length = try fd.withRaw { raw throws(SyscallError) in
      let link = "/proc/self/fd/\(raw)"
      return try syscall("readlink", on: link) {
        // Safe: the kernel writes at most the buffer's count and no terminator.
        unsafe buffer.withUnsafeMutableBytes { bytes in
          unsafe bytes.baseAddress.map { unsafe readlink(link, $0.assumingMemoryBound(to: CChar.self), bytes.count) }
            ?? -1
        }
      }
    }
    return buffer[..<length].split(separator: UInt8(ascii: "/")).map(Array.init)
  }

  /// The directories of the layers that make up the directory `found`, topmost first: overlaid they show what it shows.
  package borrowing func directories(of found: Found) throws(SyscallError) -> [String] {
    var directories: [String] = []
    for layer in layers {
      let (directory, hidesLower) = try Self.look(found.components, in: layer)
      if let directory { directories.append(directory) }
      if hidesLower { break }
    }
    return directories
  }

  /// The file of the topmost layer that has `found`.
  package borrowing func file(of found: Found) throws(SyscallError) -> String? {
    let path = found.components.map { String(decoding: $0, as: UTF8.self) }.joined(separator: "/")
    for layer in layers where try Files.status("\(layer)/\(path)") != nil { return "\(layer)/\(path)" }
    return nil
  }

  /// - Returns: the directory where the layer has it, and whether it hides what lower layers have there.
  private static func look(_ components: [[UInt8]], in layer: String) throws(SyscallError) -> (String?, Bool) {
    var directory = try Directory(path: layer)
    var path = layer
    var hidesLower = false
    for component in components {
      let name = component.map { CChar(bitPattern: $0) } + [0]
      let subject = path
      do {
        let raw = try directory.fd.withRaw { fd throws(SyscallError) in
          try syscall("openat", on: subject) {
            unsafe openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
          }
        }
        path += "/" + String(decoding: component, as: UTF8.self)
        directory = Directory(adopting: OwnedFD(adopting: raw), path: path)
      } catch {
        // Not a word of it in this layer; a whiteout, or anything else that is no directory, hides all below.
        if error.errno == ENOENT { return (nil, hidesLower) }
        if error.errno == ENOTDIR || error.errno == ELOOP { return (nil, true) }
        throw error
      }
      hidesLower = directory.fd.withRaw { isOpaque($0) } || hidesLower
    }
    return (path, hidesLower)
  }

  private static func isOpaque(_ directory: CInt) -> Bool {
    var value: CChar = 0
    let count = unsafe carchive_lgetxattr("/proc/self/fd/\(directory)/.", "trusted.overlay.opaque", &value, 1)
    return count == 1 && value == CChar(UInt8(ascii: "y"))
  }

  /// Copies all that is in the directory `found`, and its own owner, mode, attributes and times, into an empty directory.
  ///
  /// Hard links, holes, devices and names that are not text are kept. Symbolic links are copied, never followed.
  /// - Parameter destination: of this process alone while it is filled.
  /// - Throws: `ArchiveError` that names the entry; the destination then holds a part.
  package borrowing func copy(_ found: Found, into destination: borrowing Directory) throws {
    let path = found.components.isEmpty ? [UInt8(ascii: ".")] : Array(found.components.joined(separator: [0x2F]))
    let text = path.map { CChar(bitPattern: $0) } + [0]
    let resolve = UInt64(CLINUX_RESOLVE_BENEATH | CLINUX_RESOLVE_NO_SYMLINKS)
    let flags = UInt64(UInt32(bitPattern: O_RDONLY | O_DIRECTORY | O_CLOEXEC))
    let raw = try root.fd.withRaw { root throws(SyscallError) in
      try syscall("openat2", on: "image") { unsafe clinux_openat2(root, text, flags, 0, resolve) }
    }
    let source = OwnedFD(adopting: raw)
    try source.withRaw { from in
      try destination.fd.withRaw { to in
        let copy = LayerCopy(destination: to)
        try copy.run(from)
      }
    }
  }
}
