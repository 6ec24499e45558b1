import JSON
internal import Kernel
import Logging
import OCISpec

extension ImageStore {
  /// Writes images as one OCI image layout tar (with docker-archive's manifest.json beside it) to `path`, by rename.
  ///
  /// Layers are written uncompressed: made again from their directory and skeleton, and checked by their diff-ID, so that
  /// the image keeps its id. Where its blobs were kept, the manifest is the one it came with.
  package func export(
    _ namesOrIDs: [String], to path: String, progress: Progress? = nil
  ) async throws(ImageError) {
    let owner = "export-\(randomHex(bytes: 8))"
    let temporary = "\(path)\(StoreFiles.temporaryName())"
    do {
      var images: [StoredImage] = []
      for name in namesOrIDs {
        let image = try require(name, stage: "export")
        _ = try hold(image.id.description, for: "\(owner)-\(image.id.hex)")
        if !images.contains(where: { $0.id == image.id }) { images.append(image) }
      }
      defer { for image in images { release(owner: "\(owner)-\(image.id.hex)") } }
      try await write(images, to: temporary, progress)
      try Files.rename(temporary, to: path)
    } catch {
      do { try Files.remove(temporary) } catch { log.error("export: clean-up", metadata: ["error": "\(error)"]) }
      throw .wrap(error, stage: "export", subject: path)
    }
  }

  private func write(_ images: [StoredImage], to path: String, _ progress: Progress?) async throws {
    let tar = try TarWriter(path: path)
    try tar.add("oci-layout", Array(#"{"imageLayoutVersion":"1.0.0"}"#.utf8))
    var written: Set<Digest> = []
    var entries: [Descriptor] = []
    var dockerEntries: [JSONValue] = []
    for image in images {
      let (descriptor, manifestBytes, manifest) = try exportManifest(image)
      progress?(.resolved(image: image.id, manifest: descriptor.digest, layers: manifest.layers))
      for (layer, diffID) in zip(manifest.layers, image.config.diffIDs) where written.insert(layer.digest).inserted {
        try await write(layer, diffID, tar, progress)
      }
      let config = try Files.read(files.blob(image.id), maxBytes: ImageLimits.configBytesMax)
      for (digest, bytes) in [(image.id, config), (descriptor.digest, manifestBytes)]
      where written.insert(digest).inserted {
        try tar.add(ImageArchive.blobName(digest), bytes)
      }
      for tag in image.repoTags.sorted() {
        var named = descriptor
        named.annotations["io.containerd.image.name"] = tag
        named.annotations["org.opencontainers.image.ref.name"] = tag
        entries.append(named)
      }
      if image.repoTags.isEmpty { entries.append(descriptor) }
      dockerEntries.append([
        "Config": .string(ImageArchive.blobName(image.id)),
        "RepoTags": .array(image.repoTags.sorted().map { .string($0) }),
        "Layers": .array(manifest.layers.map { .string(ImageArchive.blobName($0.digest)) }),
      ])
      progress?(.done(image: image.id))
    }
    try tar.add("index.json", ImageIndex(manifests: entries).json.encoded())
    try tar.add("manifest.json", JSONValue.array(dockerEntries).encoded())
    try tar.finish()
  }

  /// The manifest as it came where all its blobs are kept or are the plain tars; otherwise one with plain tars.
  private func exportManifest(_ image: StoredImage) throws -> (Descriptor, [UInt8], ImageManifest) {
    let bytes = try Files.read(files.blob(image.manifest.digest), maxBytes: ImageLimits.manifestBytesMax)
    let subject = "manifest \(image.manifest.digest)"
    guard case .manifest(let original) = try ImageDocument.parse(bytes, mediaType: nil, in: subject) else {
      throw ImageSpecError(.invalid, subject, "is not a manifest")
    }
    let isWhole = zip(original.layers, image.config.diffIDs).allSatisfy { layer, diffID in
      layer.digest == diffID || Files.exists(files.blob(layer.digest))
    }
    if isWhole { return (image.manifest, bytes, original) }
    let plain = ImageManifest(
      config: Descriptor(mediaType: MediaType.ociConfig, digest: image.id, size: original.config.size),
      layers: image.config.diffIDs.map {
        Descriptor(mediaType: MediaType.ociLayer, digest: $0, size: layers[$0]?.contentBytes ?? 0)
      }, annotations: original.annotations)
    let made = plain.json.encoded()
    let digest = Digest(sha256: SHA256Hasher.hash(made))
    return (Descriptor(mediaType: MediaType.ociManifest, digest: digest, size: Int64(made.count)), made, plain)
  }

  private func write(_ layer: Descriptor, _ diffID: Digest, _ tar: TarWriter, _ progress: Progress?) async throws {
    try Task.checkCancellation()
    try tar.header(ImageArchive.blobName(layer.digest), size: layer.size)
    let kept = files.blob(layer.digest)
    if Files.exists(kept) {
      try await onFreshThread {
        var done: Int64 = 0
        while done < layer.size {
          let chunk = try ArchiveIndex.read(kept, offset: done, count: Int(min(layer.size - done, 4 << 20)))
          if chunk.isEmpty { throw ImageSpecError(.invalid, "blob \(layer.digest)", "is shorter than it was") }
          try tar.write(chunk)
          done += Int64(chunk.count)
        }
      }
    } else {
      guard layers[diffID]?.hasSkeleton == true else {
        let detail =
          "layer \(diffID) replaces its own files, so that it cannot be made again from its directory; pull the"
          + " image with keep-blobs = true to export it"
        throw ImageError(.unsupported, stage: "export", subject: "\(diffID)", detail)
      }
      let digest = try await LayerPack.run(skeletonPath: files.skeleton(diffID), directory: files.layer(diffID)) {
        try tar.write($0)
      }
      guard Digest(sha256: digest) == diffID else {
        let detail =
          "made again it has another digest: the layer's directory was changed; remove the image and pull it again"
        throw ImageError(.corrupt, stage: "export", subject: "\(diffID)", detail)
      }
    }
    try tar.pad(layer.size)
    progress?(.layerDone(layer: layer.digest))
  }
}
