import JSON
internal import Kernel
import Logging
package import OCISpec

/// A layer being fetched and unpacked, for everybody who waits for it.
final class LayerFlight: Sendable {
  let task: Task<Void, any Error>
  init(_ task: Task<Void, any Error>) { self.task = task }
}

/// Where the bytes of one layer are.
enum LayerOrigin: Sendable {
  case source(ContentSource, ImageReference)
  case file(path: String, offset: Int64)
}

/// A layer that an image needs.
struct WantedLayer: Sendable {
  var diffID: Digest
  /// Digest and size of the blob. Where the digest is that of the layer itself, the blob is not compressed, or is
  /// checked by its diff-ID alone (docker-archive).
  var blob: Descriptor
  var compression: LayerCompression
  var isBlobDigestKnown = true
  var origin: LayerOrigin
}

/// An image whose layers are to be there, and what to record then.
struct WantedImage: Sendable {
  var config: ImageConfig
  var configBytes: [UInt8]
  var id: Digest
  var layers: [WantedLayer]
  var repoTags: [String]
  var repoDigests: [String]
  /// Nil makes one from the layers (docker-archive has none).
  var manifest: (descriptor: Descriptor, bytes: [UInt8])?
}

extension ImageStore {
  package typealias Progress = @Sendable (ImageProgress) -> Void

  /// Fetches, verifies and unpacks an image, or finds that it is already here. Pulls of the same content share their work;
  /// a cancelled or failed pull leaves nothing.
  package func pull(
    _ reference: ImageReference, from source: ContentSource, platform: Platform = .host, progress: Progress? = nil
  ) async throws(ImageError) -> ImageRecord {
    let subject = reference.description
    do {
      return try await pullSlots.with {
        pullsUnderWay += 1
        defer { pullsUnderWay -= 1 }
        let wanted = try await resolve(reference, source, platform, progress)
        return try await install(wanted, subject: subject, progress: progress)
      }
    } catch {
      throw .wrap(error, stage: "pull", subject: subject)
    }
  }

  private func resolve(
    _ reference: ImageReference, _ source: ContentSource, _ platform: Platform, _ progress: Progress?
  ) async throws -> WantedImage {
    let subject = reference.description
    let resolved: ResolvedImage
    do { resolved = try await source.resolve(reference, platform) } catch {
      throw ImageError.wrap(error, stage: "resolve", subject: subject)
    }
    let manifest = try Self.checkedManifest(resolved, subject: subject)
    progress?(.resolved(image: manifest.config.digest, manifest: resolved.descriptor.digest, layers: manifest.layers))
    let configBytes = try await config(manifest.config, reference, source)
    let config = try Self.checkedConfig(configBytes, manifest, platform, subject: subject)
    var wantedLayers: [WantedLayer] = []
    for (diffID, blob) in zip(config.diffIDs, manifest.layers) {
      let compression = try MediaType.compression(ofLayer: blob.mediaType, in: subject)
      wantedLayers.append(
        WantedLayer(diffID: diffID, blob: blob, compression: compression, origin: .source(source, reference)))
    }
    return WantedImage(
      config: config, configBytes: configBytes, id: manifest.config.digest, layers: wantedLayers,
      repoTags: [reference.tagged?.description].compactMap { $0 },
      repoDigests: [reference.pinned(to: resolved.targetDigest).description],
      manifest: (resolved.descriptor, resolved.manifestBytes))
  }

  /// What a source says is checked again here: the store believes digests only.
  static func checkedManifest(_ resolved: ResolvedImage, subject: String) throws(ImageError) -> ImageManifest {
    let (descriptor, bytes) = (resolved.descriptor, resolved.manifestBytes)
    let digest = Digest(sha256: SHA256Hasher.hash(bytes))
    guard digest == descriptor.digest, Int64(bytes.count) == descriptor.size else {
      let detail = "manifest \(descriptor.digest) of \(descriptor.size) bytes came as \(digest) of \(bytes.count)"
      throw ImageError(.corrupt, stage: "verify manifest", subject: subject, detail)
    }
    do {
      let document = try ImageDocument.parse(bytes, mediaType: descriptor.mediaType, in: "manifest \(digest)")
      guard case .manifest(let manifest) = document else {
        throw ImageSpecError(.unsupported, "manifest \(digest)", "is an index inside an index")
      }
      return manifest
    } catch {
      throw ImageError(error, stage: "read manifest", subject: subject)
    }
  }

  static func checkedConfig(
    _ bytes: [UInt8], _ manifest: ImageManifest, _ platform: Platform, subject: String
  ) throws(ImageError) -> ImageConfig {
    let digest = manifest.config.digest
    let found = Digest(sha256: SHA256Hasher.hash(bytes))
    guard found == digest, Int64(bytes.count) == manifest.config.size else {
      let detail = "configuration \(digest) of \(manifest.config.size) bytes came as \(found) of \(bytes.count)"
      throw ImageError(.corrupt, stage: "verify configuration", subject: subject, detail)
    }
    let config: ImageConfig
    do { config = try ImageConfig(parsing: bytes, in: "configuration \(digest)") } catch {
      throw ImageError(error, stage: "read configuration", subject: subject)
    }
    guard config.diffIDs.count == manifest.layers.count else {
      let detail = "the manifest has \(manifest.layers.count) layers, the configuration \(config.diffIDs.count)"
      throw ImageError(.invalid, stage: "read configuration", subject: subject, detail)
    }
    guard config.platform.rank(for: platform) != nil else {
      let detail = "is for \(config.platform), not for \(platform)"
      throw ImageError(.unsupported, stage: "choose platform", subject: subject, detail)
    }
    return config
  }

  /// The configuration's bytes, from the store where the image is here already.
  private func config(_ blob: Descriptor, _ reference: ImageReference, _ source: ContentSource) async throws -> [UInt8]
  {
    if stored[blob.digest] != nil, let bytes = try? Files.read(files.blob(blob.digest)) { return bytes }
    let collected = Collected(bytesMax: Int(blob.size))
    do {
      try await source.openBlob(reference, blob, 0) { try await collected.append($0) }
    } catch {
      throw ImageError.wrap(error, stage: "fetch configuration \(blob.digest)", subject: reference.description)
    }
    return await collected.bytes
  }

  // MARK: Layers

  /// Gets every layer, in parallel, then records the image. Only the record makes it visible.
  func install(_ wanted: WantedImage, subject: String, progress: Progress?) async throws -> ImageRecord {
    let distinct = Dictionary(wanted.layers.map { ($0.diffID, $0) }, uniquingKeysWith: { first, _ in first })
    for diffID in distinct.keys { busyLayers[diffID, default: 0] += 1 }
    do {
      // The largest first, so that it does not end alone.
      try await withThrowingTaskGroup(of: Void.self) { group in
        for layer in distinct.values.sorted(by: { $0.blob.size > $1.blob.size }) {
          group.addTask { try await self.ensure(layer, subject: subject, progress: progress) }
        }
        try await group.waitForAll()
      }
      var seen: Set<Digest> = []
      try await makeImplied(wanted.id, wanted.config.diffIDs.reversed().filter { seen.insert($0).inserted })
      let record = try add(wanted)
      unbusy(distinct.keys)
      scheduleSync()
      progress?(.done(image: wanted.id))
      return record
    } catch {
      unbusy(distinct.keys)
      // Layers that did finish are of no use to anybody now.
      do { try await removeUnused(pullsFailing: 1) } catch {
        log.error("image store: clean-up", metadata: ["error": "\(error)"])
      }
      throw error
    }
  }

  private func unbusy(_ diffIDs: some Sequence<Digest>) {
    for diffID in diffIDs {
      let count = busyLayers[diffID, default: 1] - 1
      busyLayers[diffID] = count > 0 ? count : nil
    }
  }

  /// Tries of a layer whose shared fetch failed for somebody else's reasons, such as their cancellation.
  private static let layerTriesMax = 3

  private func ensure(_ layer: WantedLayer, subject: String, progress: Progress?) async throws {
    let diffID = layer.diffID
    for attempt in 1...Self.layerTriesMax {
      if layers[diffID] != nil {
        progress?(.layerShared(layer: layer.blob.digest))
        return
      }
      if let flight = flights[diffID] {
        progress?(.layerShared(layer: layer.blob.digest))
        do { return try await flight.task.value } catch {
          if attempt == Self.layerTriesMax { throw error }
          try Task.checkCancellation()
          continue
        }
      }
      // Without a parent, because others may wait for it too; its maker's cancellation is passed on.
      let flight = LayerFlight(
        Task {
          defer { self.flights[diffID] = nil }
          try await self.unpack(layer, subject: subject, progress: progress)
        })
      flights[diffID] = flight
      return try await withTaskCancellationHandler {
        try await flight.task.value
      } onCancel: {
        flight.task.cancel()
      }
    }
  }

  private func unpack(_ layer: WantedLayer, subject: String, progress: Progress?) async throws {
    let digest = layer.blob.digest
    let isFile = if case .file = layer.origin { true } else { false }
    try await (isFile ? unpackSlots : fetchSlots).with {
      let temporary = "\(files.layers)/\(StoreFiles.temporaryName())"
      let skeleton = "\(files.skeletons)/\(StoreFiles.temporaryName())"
      let blob = options.keepBlobs ? "\(files.blobs)/\(StoreFiles.temporaryName())" : nil
      do {
        // The mode of a container's root directory where no layer says another.
        try Files.makeDirectories(temporary, mode: 0o755)
        try Files.chmod(temporary, mode: 0o755)
        let result = try await stream(layer, temporary, skeleton, blob, progress)
        try verify(result, layer)
        if result.hasSkeleton { try Files.rename(skeleton, to: files.skeleton(layer.diffID)) }
        if let blob { try Files.rename(blob, to: files.blob(digest)) }
        try addLayer(layer.diffID, result)
        do { try Files.rename(temporary, to: files.layer(layer.diffID)) } catch {
          layers[layer.diffID] = nil
          throw error
        }
        for warning in result.warnings { log.warning("layer \(digest): \(warning)") }
        progress?(.layerDone(layer: digest))
      } catch {
        for path in [temporary, skeleton] + [blob].compactMap({ $0 }) {
          do { try await Self.removeTree(path) } catch {
            log.error("image store: clean-up", metadata: ["path": "\(path)", "error": "\(error)"])
          }
        }
        throw ImageError.wrap(error, stage: "unpack layer \(digest)", subject: subject)
      }
    }
  }

  private func verify(_ result: LayerUnpackResult, _ layer: WantedLayer) throws(ImageError) {
    let stage = "verify layer \(layer.blob.digest)"
    let blob = Digest(sha256: result.blobDigest)
    if layer.isBlobDigestKnown, blob != layer.blob.digest {
      let detail = "its bytes have digest \(blob); the source sent something else, or it was damaged on the way"
      throw ImageError(.corrupt, stage: stage, subject: layer.diffID.description, detail)
    }
    let content = Digest(sha256: result.contentDigest)
    guard content == layer.diffID else {
      let detail = "unpacked it has digest \(content), the configuration says \(layer.diffID)"
      throw ImageError(.corrupt, stage: stage, subject: layer.diffID.description, detail)
    }
  }

  /// Runs the bytes of the layer through the unpacker, fetching and unpacking at the same time.
  private nonisolated func stream(
    _ layer: WantedLayer, _ directory: String, _ skeleton: String, _ keptBlob: String?, _ progress: Progress?
  ) async throws -> LayerUnpackResult {
    let (digest, size) = (layer.blob.digest, layer.blob.size)
    let compression: ArchiveCompression =
      switch layer.compression {
      case .none: .none
      case .gzip: .gzip
      case .zstd: .zstd
      }
    let stop = StopFlag()
    let report: @Sendable (Int64) -> Void = { progress?(.layer(layer: digest, bytes: $0, total: size)) }
    switch layer.origin {
    case .file(let path, let offset):
      if let keptBlob { try await Self.copy(path, offset, size, to: keptBlob) }
      return try await withTaskCancellationHandler {
        try await LayerUnpack.run(
          .file(path: path, offset: offset), compression: compression, declaredBytes: size, into: directory,
          skeletonPath: skeleton, stop: stop, progress: report)
      } onCancel: {
        stop.stop()
      }
    case .source(let source, let reference):
      let channel = ByteChannel()
      let keeper = try keptBlob.map { try BlobKeeper($0) }
      return try await withTaskCancellationHandler {
        async let fetched: Void = Self.fetch(source, reference, layer.blob, channel, keeper)
        let result = try await LayerUnpack.run(
          .channel(channel), compression: compression, declaredBytes: size, into: directory, skeletonPath: skeleton,
          stop: stop, progress: report)
        try await fetched
        return result
      } onCancel: {
        stop.stop()
        channel.finish(CancellationError())
      }
    }
  }

  private static func fetch(
    _ source: ContentSource, _ reference: ImageReference, _ blob: Descriptor, _ channel: ByteChannel,
    _ keeper: BlobKeeper?
  ) async throws {
    do {
      try await source.openBlob(reference, blob, 0) { chunk in
        try keeper?.write(chunk)
        try await channel.send(chunk)
      }
      channel.finish()
    } catch {
      channel.finish(error)
      throw error
    }
  }

  private static func copy(_ path: String, _ offset: Int64, _ size: Int64, to output: String) async throws {
    try await onFreshThread {
      let keeper = try BlobKeeper(output)
      var done: Int64 = 0
      while done < size {
        let chunk = try ArchiveIndex.read(path, offset: offset + done, count: Int(min(size - done, 4 << 20)))
        if chunk.isEmpty { break }
        try keeper.write(chunk)
        done += Int64(chunk.count)
      }
    }
  }

  // MARK: The record

  private func add(_ wanted: WantedImage) throws -> ImageRecord {
    let manifest = wanted.manifest ?? Self.madeManifest(wanted, layers)
    try Files.writeAtomically(files.blob(wanted.id), wanted.configBytes)
    try Files.writeAtomically(files.blob(manifest.descriptor.digest), manifest.bytes)
    // A name is of one image: whoever had it loses it.
    for var other in stored.values where other.id != wanted.id && !other.repoTags.isDisjoint(with: wanted.repoTags) {
      other.repoTags.subtract(wanted.repoTags)
      try write(other)
    }
    let before = stored[wanted.id]
    let image = StoredImage(
      id: wanted.id, manifest: manifest.descriptor,
      repoTags: (before?.repoTags ?? []).union(wanted.repoTags),
      repoDigests: (before?.repoDigests ?? []).union(wanted.repoDigests), pinned: before?.pinned ?? false,
      pulledAt: SystemClock.wallNanoseconds, config: wanted.config)
    if let before, before.repoTags == image.repoTags, before.repoDigests == image.repoDigests { return record(before) }
    try write(image)
    return record(image)
  }

  /// For images from archives without one: its layers are the uncompressed tars, which their diff-IDs name.
  private static func madeManifest(
    _ wanted: WantedImage, _ layers: [Digest: LayerRecord]
  ) -> (descriptor: Descriptor, bytes: [UInt8]) {
    let manifest = ImageManifest(
      config: Descriptor(mediaType: MediaType.ociConfig, digest: wanted.id, size: Int64(wanted.configBytes.count)),
      layers: wanted.config.diffIDs.map {
        Descriptor(mediaType: MediaType.ociLayer, digest: $0, size: layers[$0]?.contentBytes ?? 0)
      })
    let bytes = manifest.json.encoded()
    let digest = Digest(sha256: SHA256Hasher.hash(bytes))
    return (Descriptor(mediaType: MediaType.ociManifest, digest: digest, size: Int64(bytes.count)), bytes)
  }
}

/// A blob small enough for memory, never more than it declared.
private actor Collected {
  private(set) var bytes: [UInt8] = []
  private let bytesMax: Int
  init(bytesMax: Int) { self.bytesMax = bytesMax }

  func append(_ chunk: [UInt8]) throws(ImageSpecError) {
    guard bytes.count + chunk.count <= bytesMax else {
      throw ImageSpecError(.tooLarge, "configuration", "has more than the \(bytesMax) bytes that were declared")
    }
    bytes += chunk
  }
}

/// A file that takes the bytes of a blob as they pass.
private final class BlobKeeper: Sendable {
  private let file: SharedFD
  private let path: String

  init(_ path: String) throws {
    self.path = path
    file = SharedFD(
      try Files.open(path, flags: OpenFlags.writeOnly | OpenFlags.create | OpenFlags.exclusive, mode: 0o600))
  }

  func write(_ bytes: [UInt8]) throws(SyscallError) { try file.write(bytes, to: path) }
}
