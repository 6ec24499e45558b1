internal import Kernel
package import OCISpec

extension ImageStore {
  /// Bytes that a compressed archive may decompress to.
  private static let archiveBytesMax: Int64 = 256 << 30

  /// Imports an OCI image layout (directory or tar) or a docker-archive tar; gzip and zstd around the tar are undone.
  /// - Parameters:
  ///   - path: of the caller's choice, read with this process's rights.
  ///   - names: names for the image instead of the archive's own (one image only); empty takes the archive's.
  package func importArchive(
    path: String, names: [ImageReference] = [], platform: Platform = .host, progress: Progress? = nil
  ) async throws(ImageError) -> [ImageRecord] {
    do {
      return try await pullSlots.with {
        pullsUnderWay += 1
        defer { pullsUnderWay -= 1 }
        let (archive, temporary) = try await openArchive(path)
        let result: Result<[ImageRecord], any Error>
        do { result = .success(try await importAll(archive, names, platform, progress)) } catch {
          result = .failure(error)
        }
        if let temporary { try Files.remove(temporary) }
        return try result.get()
      }
    } catch {
      throw .wrap(error, stage: "import", subject: path)
    }
  }

  private func importAll(
    _ archive: ImageArchive, _ names: [ImageReference], _ platform: Platform, _ progress: Progress?
  ) async throws -> [ImageRecord] {
    let path = archive.path
    let isLayout = try archive.part("oci-layout") != nil && archive.part("index.json") != nil
    guard try isLayout || archive.part("manifest.json") != nil else {
      throw ImageSpecError(
        .unsupported, path, "has neither oci-layout and index.json nor manifest.json: no image archive")
    }
    var images = try isLayout ? archive.layoutImages(platform) : archive.dockerImages(platform)
    guard !images.isEmpty else { throw ImageSpecError(.invalid, path, "has no image in it") }
    if !names.isEmpty {
      guard images.count == 1 else {
        throw ImageSpecError(.invalid, path, "has \(images.count) images; a name can only be given for one")
      }
      images[0].repoTags = names.compactMap { $0.tagged?.description }
      if let digest = images[0].manifest?.descriptor.digest {
        images[0].repoDigests = Set(names.map { $0.pinned(to: digest).description }).sorted()
      }
    }
    var records: [ImageRecord] = []
    for image in images {
      let layers = image.layers.map(\.blob)
      progress?(.resolved(image: image.id, manifest: image.manifest?.descriptor.digest ?? image.id, layers: layers))
      records.append(try await install(image, subject: path, progress: progress))
    }
    return records
  }

  /// - Returns: the archive, and a temporary file to remove afterwards.
  private func openArchive(_ path: String) async throws -> (ImageArchive, String?) {
    guard let status = try Files.status(path, follow: true) else {
      throw ImageError(.notFound, stage: "open", subject: path, "no such file or directory")
    }
    if status.kind == .directory { return (ImageArchive(place: .directory(path), path: path), nil) }
    guard status.kind == .file else {
      throw ImageError(.invalid, stage: "open", subject: path, "is neither a file nor a directory")
    }
    let compression = ArchiveCompression(sniffing: try ArchiveIndex.read(path, offset: 0, count: 4))
    guard compression != .none else { return (try await Self.indexed(path, shownAs: path), nil) }
    let temporary = "\(files.blobs)/\(StoreFiles.temporaryName())"
    let stop = StopFlag()
    do {
      try await withTaskCancellationHandler {
        try await ArchiveIndex.decompress(path, compression, to: temporary, bytesMax: Self.archiveBytesMax, stop: stop)
      } onCancel: {
        stop.stop()
      }
      return (try await Self.indexed(temporary, shownAs: path), temporary)
    } catch {
      try Files.remove(temporary)
      throw error
    }
  }

  private static func indexed(_ file: String, shownAs path: String) async throws -> ImageArchive {
    let members = try await onFreshThread { try ArchiveIndex.list(file) }
    // A later member of the same name replaces an earlier one, as in every tar.
    let byName = Dictionary(members.map { ($0.name, $0) }, uniquingKeysWith: { _, last in last })
    return ImageArchive(place: .tar(file, byName), path: path)
  }
}
