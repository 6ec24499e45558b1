internal import Kernel
package import OCISpec

/// An image, or a part of one, as a volume of a container.
package struct ImageVolume: Hashable, Sendable {
  package enum Content: Hashable, Sendable {
    /// Lower directories of a read-only overlay, topmost first, two at least: `lowerdir+` of fsconfig(2) for each.
    case directory(layers: [String])
    /// A single file, for a read-only bind mount.
    case file(path: String)
  }
  package var imageID: Digest
  package var content: Content

  /// As a mount of the OCI runtime specification: type `overlay` with one option `lowerdir+=DIRECTORY` a layer, or a bind
  /// mount. Read-only, without devices and set-uid programs, as whoever made the image is not who runs it.
  package func mount(at destination: String, options: [String] = ["ro", "nosuid", "nodev"]) -> RuntimeSpec.Mount {
    switch content {
    case .directory(let layers):
      RuntimeSpec.Mount(
        destination: destination, type: "overlay", source: "overlay",
        options: options + layers.map { "lowerdir+=\($0)" })
    case .file(let path):
      RuntimeSpec.Mount(destination: destination, type: "bind", source: path, options: ["bind"] + options)
    }
  }
}

extension ImageStore {
  /// An image as a volume (CRI `Mount.image`), held for `owner` (a container id) until `release(owner:)`, also across a
  /// restart of the daemon.
  /// - Parameter subPath: inside the image, relative; symbolic links are followed inside the image. Empty is all of it.
  /// - Throws: `notFound` for the image or the path in it, `invalid` where the path leads out or to no file or directory.
  package func volume(
    _ nameOrID: String, subPath: String = "", for owner: String
  ) async throws(ImageError) -> ImageVolume {
    let stage = "mount image volume"
    let image = try require(nameOrID, stage: stage)
    guard !subPath.hasPrefix("/"), !subPath.split(separator: "/").contains(".."), !subPath.utf8.contains(0) else {
      let detail = "its sub-path \(ImageReference.shown(subPath)) must be relative and without \"..\""
      throw ImageError(.invalid, stage: stage, subject: nameOrID, detail)
    }
    let (layers, empty) = (record(image).layerDirectories, files.empty)
    // Before anything is awaited: a removal in between shall find it.
    addHold(image.id, for: owner)
    do {
      try Files.makeDirectories(files.volumeHolds)
      try Files.writeAtomically(files.volumeHold(image.id, owner), [])
      let content = try await onFreshThread { try Self.content(layers, empty, subPath) }
      guard let content else {
        let detail = "the image has nothing at \(ImageReference.shown(subPath))"
        throw ImageError(.notFound, stage: stage, subject: nameOrID, detail)
      }
      return ImageVolume(imageID: image.id, content: content)
    } catch {
      throw .wrap(error, stage: stage, subject: nameOrID)
    }
  }

  private static func content(_ layers: [String], _ empty: String, _ subPath: String) throws -> ImageVolume.Content? {
    let stack = try LayerStack(layers, empty: empty)
    guard let found = try stack.find(subPath) else { return nil }
    switch found.status.kind {
    case .directory:
      let directories = try stack.directories(of: found)
      return .directory(layers: directories.count == 1 ? directories + [empty] : directories)
    case .file: return try stack.file(of: found).map { .file(path: $0) }
    default:
      let detail = "\(ImageReference.shown(subPath)) is neither a directory nor a regular file in the image"
      throw ImageError(.invalid, stage: "mount image volume", subject: subPath, detail)
    }
  }

  /// Fills a directory with what an image has at the path of one of its VOLUMEs, as a container would see it there: owner,
  /// mode, attributes and times are kept, also of the directory itself.
  ///
  /// The path is resolved inside the image whatever symbolic links it has, and nothing of the host is ever copied. Where
  /// the image has nothing at the path the directory is left as it is.
  /// - Parameters:
  ///   - image: held by the caller.
  ///   - directory: trusted, exists and is empty; after an error it holds a part.
  package nonisolated func fill(
    _ directory: String, from image: ImageRecord, at path: String
  ) async throws(ImageError) {
    let stage = "fill volume \(ImageReference.shown(path))"
    let empty = files.empty
    do {
      try await onFreshThread {
        let stack = try LayerStack(image.layerDirectories, empty: empty)
        guard let found = try stack.find(path) else { return }
        guard found.status.kind == .directory else {
          let detail = "the image declares a volume where it has no directory; no container of it can be made"
          throw ImageError(.invalid, stage: stage, subject: image.id.description, detail)
        }
        try stack.copy(found, into: try Directory(path: directory))
      }
    } catch {
      throw .wrap(error, stage: stage, subject: image.id.description)
    }
  }

  // MARK: Holds of volumes, on disk

  /// Takes up the holds of volumes again; those of containers that are gone are dropped by `releaseAll`.
  func loadVolumeHolds() throws(SyscallError) {
    try Files.makeDirectories(files.volumeHolds)
    try Files.makeDirectories(files.empty, mode: 0o755)
    for entry in try Directory(path: files.volumeHolds).list() {
      let parts = entry.name.split(separator: ".", maxSplits: 1)
      guard parts.count == 2, let id = Digest(sha256Hex: String(parts[0])), stored[id] != nil else {
        try Files.remove("\(files.volumeHolds)/\(entry.name)")
        continue
      }
      addHold(id, for: String(parts[1]))
    }
  }

  /// Drops the holds of every owner but these: what was released while nobody listened.
  package func releaseAll(but owners: Set<String>) {
    for owner in heldOwners where !owners.contains(owner) { release(owner: owner) }
  }
}
