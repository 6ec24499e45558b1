internal import Kernel
import OCISpec

extension ImageStore {
  /// Removes the image with all its names (CRI RemoveImage). Removing what is not there succeeds and gives nil.
  /// - Throws: `inUse` while a container holds it.
  package func remove(_ nameOrID: String) async throws(ImageError) -> ImageRemoval? {
    guard let image = find(nameOrID) else { return nil }
    let owners = holders(image.id)
    guard owners.isEmpty else {
      let detail = "is used by container \(owners.joined(separator: ", ")); remove that first"
      throw ImageError(.inUse, stage: "remove", subject: nameOrID, detail)
    }
    return try await remove([image], stage: "remove")
  }

  /// Removes one name; the image goes with its last one.
  package func untag(_ name: String) async throws(ImageError) -> ImageRemoval? {
    guard var image = find(name), let reference = try? ImageReference(name) else { return nil }
    guard let tag = reference.tagged?.description, image.repoTags.count > 1, image.repoTags.contains(tag) else {
      return try await remove(name)
    }
    image.repoTags.remove(tag)
    do { try write(image) } catch { throw ImageError(error, stage: "untag", subject: name) }
    return ImageRemoval(images: [], untagged: [tag], layers: [], bytes: 0)
  }

  /// Removes images that nothing holds (`all`), or only those without a tag, then layers and blobs that no image needs.
  package func prune(all: Bool) async throws(ImageError) -> ImageRemoval {
    let unused = stored.values.filter { image in
      !isPinned(image) && holders(image.id).isEmpty && (all || image.repoTags.isEmpty)
    }
    return try await remove(unused.sorted { $0.id < $1.id }, stage: "prune")
  }

  private func remove(_ images: [StoredImage], stage: String) async throws(ImageError) -> ImageRemoval {
    var removal = ImageRemoval(images: [], untagged: [], layers: [], bytes: 0)
    do {
      for image in images {
        // The record first: what is left without one is rubbish that the next start removes as well.
        try Files.remove(files.record(image.id))
        stored[image.id] = nil
        try await forgetImplied(image.id)
        removal.images.append(image.id)
        removal.untagged += image.repoTags.sorted()
      }
      let (layers, bytes) = try await removeUnused()
      removal.layers = layers
      removal.bytes = bytes
      return removal
    } catch {
      throw .wrap(error, stage: stage, subject: images.map(\.id.description).joined(separator: ", "))
    }
  }

  /// Removes layers and blobs that no image, and no pull under way, needs.
  /// - Parameter pullsFailing: pulls still counted that have nothing more to write.
  @discardableResult
  func removeUnused(pullsFailing: Int = 0) async throws -> (layers: [Digest], bytes: Int64) {
    let needed = Set(stored.values.flatMap(\.config.diffIDs))
    var doomed: [String] = []
    var removed: [Digest] = []
    var bytes: Int64 = 0
    for diffID in layers.keys.sorted() where !needed.contains(diffID) && busyLayers[diffID] == nil {
      let name = "\(files.layers)/\(StoreFiles.temporaryName())"
      try Files.remove(files.layerRecord(diffID))
      try Files.rename(files.layer(diffID), to: name)
      try Files.remove(files.skeleton(diffID))
      bytes += layers[diffID]?.diskBytes ?? 0
      layers[diffID] = nil
      doomed.append(name)
      removed.append(diffID)
    }
    try removeUnusedFiles(pullsFailing)
    for name in doomed { try await Self.removeTree(name) }
    return (removed, bytes)
  }

  private func removeUnusedFiles(_ pullsFailing: Int) throws {
    // A pull under way has its blobs on disk before its record; the next removal takes what it may leave.
    guard busyLayers.isEmpty, flights.isEmpty, pullsUnderWay == pullsFailing else { return }
    var needed: Set<String> = []
    for image in stored.values {
      needed.insert(image.id.hex)
      needed.insert(image.manifest.digest.hex)
      needed.formUnion(keptBlobs(image).map(\.hex))
    }
    for entry in try Directory(path: files.blobs).list() where !needed.contains(entry.name) {
      try Files.remove("\(files.blobs)/\(entry.name)")
    }
    for entry in try Directory(path: files.skeletons).list()
    where Digest(sha256Hex: entry.name).map({ layers[$0] == nil }) ?? true {
      try Files.remove("\(files.skeletons)/\(entry.name)")
    }
  }

  /// Digests of the layer blobs that the image's manifest names; which of them are kept is an option of the store.
  private func keptBlobs(_ image: StoredImage) -> [Digest] {
    guard options.keepBlobs, let bytes = try? Files.read(files.blob(image.manifest.digest)),
      case .manifest(let manifest) = try? ImageDocument.parse(bytes, mediaType: nil, in: "manifest")
    else { return [] }
    return manifest.layers.map(\.digest)
  }
}
