internal import Kernel

/// The volumes of a node's pods, all below one directory: `<root>/<pod uid>/…`, gone with the pod.
///
/// ```
/// <uid>/vol/<volume>            an emptyDir or a projection
/// <uid>/mounts/<container>/<n>  what a subPath names, mounted by descriptor
/// <uid>/files/<name>            single files: hosts, last words of containers
/// ```
/// Every function blocks on the file system and belongs on a thread of its own. They need CAP_SYS_ADMIN. Calls for one
/// pod must not overlap; calls for different pods may.
package struct VolumeStore: Sendable {
  package let root: String
  /// Bytes of a projection's own tmpfs: what a ConfigMap or Secret may hold, with room for old and new at once.
  private static let projectionBytesMax: Int64 = 16 << 20
  /// Bytes of a single file of the pod that are looked at.
  private static let fileBytesMax: Int64 = 1 << 20

  /// - Parameter root: made on first use, mode 0700.
  package init(root: String) { self.root = root }

  private func directory(_ uid: String) throws(VolumeError) -> String { "\(root)/\(try Self.name(uid))" }

  private static func name(_ name: String) throws(VolumeError) -> String {
    guard !name.isEmpty, !name.hasPrefix("."), !name.contains("/"), !name.utf8.contains(0) else {
      throw VolumeError(name, "cannot be a file's name")
    }
    return name
  }

  private static func checkInner(_ path: String, _ volume: String) throws(VolumeError) {
    let steps = path.split(separator: "/", omittingEmptySubsequences: false)
    let fine = steps.allSatisfy { !$0.isEmpty && $0 != "." && $0 != ".." }
    if !fine || path.hasPrefix("..") || path.utf8.contains(0) {
      throw VolumeError(volume, "\"\(path)\" is no path inside a volume")
    }
  }

  /// Makes a volume, or brings one that is there up to date. Idempotent.
  ///
  /// - Parameter group: owns what is in the volume (`fsGroup`).
  /// - Returns: the host's path of the volume.
  package func make(_ volume: VolumeRequest, pod uid: String, group: UInt32? = nil) throws(VolumeError) -> String {
    let path = "\(try directory(uid))/vol/\(try Self.name(volume.name))"
    if case .projection(let files) = volume.source {
      for file in files { try Self.checkInner(file.path, volume.name) }
    }
    do {
      switch volume.source {
      case .hostPath(let host, let kind):
        if let problem = try HostPath.problem(host, kind) { throw VolumeError(volume.name, problem) }
        return host
      case .localDirectory(let host, let isMade):
        try LocalDirectory.prepare(host, isMade: isMade, group: group, volume: volume.name)
        return host
      case .emptyDirectory(inMemory: false, _):
        try Files.makeDirectories(path)
        let opened = try Directory(path: path)
        if let group { try VolumeFiles.setGroup(opened.fd, group, path: path) }
        try VolumeFiles.setMode(opened.fd, group == nil ? 0o777 : 0o2777, path: path)
      case .emptyDirectory(inMemory: true, let limit):
        try mountOnce(path, sizeBytes: limit, mode: group == nil ? 0o777 : 0o2777, group: group)
      case .projection(let files):
        try mountOnce(path, sizeBytes: Self.projectionBytesMax, mode: 0o755, group: group)
        try Projection(path: path, group: group).write(files)
      }
      return path
    } catch let error as VolumeError {
      throw error
    } catch {
      throw VolumeError(volume.name, "\(error)")
    }
  }

  private func mountOnce(_ path: String, sizeBytes: Int64?, mode: UInt32, group: UInt32?) throws(SyscallError) {
    try Files.makeDirectories(path)
    guard try !isMounted(path) else { return }
    _ = try TmpfsMount.mount(at: path, sizeBytes: sizeBytes, mode: mode, group: group, noSwap: true)
  }

  private func isMounted(_ path: String) throws(SyscallError) -> Bool {
    guard let own = try Files.status(path), let above = try Files.status(Files.parent(of: path)) else { return false }
    return own.device != above.device
  }

  /// What a container shall mount of a volume: the volume itself, or what `inner` names in it.
  ///
  /// `inner` is looked up as if the volume were the root directory, so symbolic links in it stay inside; what it finds is
  /// held open and mounted below the pod's directory, and that path is returned, so that nothing can be swapped later.
  /// A directory that is missing is made.
  /// - Parameters:
  ///   - volumePath: as `make` gave it.
  ///   - index: of the mount among the container's.
  package func mountSource(
    volumePath: String, inner: String, pod uid: String, container: String, index: Int
  ) throws(VolumeError) -> String {
    if inner.isEmpty { return volumePath }
    try Self.checkInner(inner, container)
    let folder = "\(try directory(uid))/mounts/\(try Self.name(container))"
    let target = "\(folder)/\(index)"
    do {
      let volume = try Directory(path: volumePath)
      let found = try openOrMake(inner, in: volume)
      let isDirectory = try VolumeFiles.status(found, path: inner).kind == .directory
      try Files.makeDirectories(folder)
      try VolumeMount.detachAll(below: target)
      try Files.removeTree(target)
      if isDirectory { try Files.makeDirectories(target) } else { try Files.writeAtomically(target, []) }
      try VolumeMount.bind(found, to: target)
      return target
    } catch {
      throw VolumeError(container, "subPath \"\(inner)\": \(error)")
    }
  }

  private func openOrMake(_ inner: String, in volume: borrowing Directory) throws(SyscallError) -> OwnedFD {
    let steps = inner.split(separator: "/").map(String.init)
    for count in 1...steps.count {
      let here = steps[..<count].joined(separator: "/")
      do throws(SyscallError) {
        let found = try volume.openInRoot(here, flags: OpenFlags.path)
        if count == steps.count { return found }
      } catch {
        if error.errno != Errno.noEntry { throw error }
        let above = count == 1 ? "." : steps[..<(count - 1)].joined(separator: "/")
        let parent = try volume.openInRoot(above, flags: OpenFlags.directory | OpenFlags.readOnly)
        let mode = try VolumeFiles.status(parent, path: above).mode & 0o777
        let opened = Directory(adopting: parent, path: "\(volume.path)/\(above)")
        try opened.makeDirectory(steps[count - 1], mode: mode)
        // Refuses a symbolic link to nowhere that stood in the way.
        let made = try opened.directory(steps[count - 1])
        try VolumeFiles.setMode(made.fd, mode, path: here)
      }
    }
    return try volume.openInRoot(inner, flags: OpenFlags.path)
  }

  /// Writes a single file of the pod.
  ///
  /// - Returns: its path on the host.
  package func writeFile(
    _ name: String, _ bytes: [UInt8], pod uid: String, mode: UInt32 = 0o644
  ) throws(VolumeError) -> String {
    let folder = "\(try directory(uid))/files"
    let path = "\(folder)/\(try Self.name(name))"
    do {
      try Files.makeDirectories(folder)
      // In place: a container that has the file mounted shall see the change.
      let file = try Files.open(
        path, flags: OpenFlags.writeOnly | OpenFlags.create | OpenFlags.truncate | OpenFlags.noFollow, mode: mode)
      try file.writeAll(bytes)
      try VolumeFiles.setMode(file, mode, path: path)
      return path
    } catch {
      throw VolumeError(name, "\(error)")
    }
  }

  /// The end of a single file of the pod, at most `maxBytes`; empty where there is none.
  package func readFile(_ name: String, pod uid: String, maxBytes: Int) throws(VolumeError) -> [UInt8] {
    let path = "\(try directory(uid))/files/\(try Self.name(name))"
    do {
      // A container wrote it: it may be large.
      guard let status = try Files.status(path), status.kind == .file else { return [] }
      guard status.sizeBytes <= Self.fileBytesMax else { return Array("(more than 1 MiB)".utf8) }
      return try Files.read(path, maxBytes: Int(Self.fileBytesMax)).suffix(maxBytes)
    } catch {
      throw VolumeError(name, "\(error)")
    }
  }

  /// Removes a single file of the pod; nothing there is not an error.
  package func removeFile(_ name: String, pod uid: String) throws(VolumeError) {
    let path = "\(try directory(uid))/files/\(try Self.name(name))"
    do {
      try Files.remove(path)
    } catch {
      throw VolumeError(name, "\(error)")
    }
  }

  /// Bytes on disk of an emptyDir.
  package func usedBytes(_ volume: String, pod uid: String) throws(VolumeError) -> Int64 {
    let path = "\(try directory(uid))/vol/\(try Self.name(volume))"
    do {
      return try VolumeFiles.usedBytes(path)
    } catch {
      throw VolumeError(volume, "\(error)")
    }
  }

  /// Bytes on disk of what is below a directory; none where there is none.
  package static func bytes(below path: String) throws(VolumeError) -> Int64 {
    do {
      return try Files.status(path) == nil ? 0 : try VolumeFiles.usedBytes(path)
    } catch {
      throw VolumeError(path, "\(error)")
    }
  }

  /// Unmounts and removes everything of a pod. Nothing there is not an error.
  ///
  /// - Throws: where a mount does not go; then nothing is removed, because removing would reach into it.
  package func remove(pod uid: String) throws(VolumeError) {
    let path = try directory(uid)
    do {
      guard try Files.status(path) != nil else { return }
      try VolumeMount.detachAll(below: path)
      try Files.removeTree(path)
    } catch {
      throw VolumeError(uid, "\(error)")
    }
  }

  /// The uids of the pods that have something here.
  package func pods() throws(VolumeError) -> [String] {
    do {
      guard try Files.status(root) != nil else { return [] }
      return try Directory(path: root).list().filter { $0.kind == .directory }.map(\.name).sorted()
    } catch {
      throw VolumeError(root, "\(error)")
    }
  }
}
