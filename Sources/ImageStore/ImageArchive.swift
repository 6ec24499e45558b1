import JSON
internal import Kernel
import OCISpec

/// The files of an image archive: an OCI image layout (directory or tar) or a docker-archive tar.
///
/// Nothing in it chooses a path of the host: members are found by name in the tar's index, and in a directory only
/// `oci-layout`, `index.json` and blobs by their digest are opened.
struct ImageArchive: Sendable {
  enum Place: Sendable {
    case directory(String)
    /// Members by name.
    case tar(String, [String: ArchiveMember])
  }
  let place: Place
  /// For errors.
  let path: String

  struct Part: Sendable {
    var path: String
    var offset: Int64
    var size: Int64
  }

  /// Symbolic links followed from one member to another: docker-archives share layers so.
  private static let linksMax = 4

  /// Where a member's bytes are; nil where there is none.
  func part(_ name: String) throws -> Part? {
    switch place {
    case .directory(let directory):
      guard let status = try Files.status("\(directory)/\(name)") else { return nil }
      guard status.kind == .file else { throw ImageSpecError(.invalid, "\(path): \(name)", "is not a regular file") }
      return Part(path: "\(directory)/\(name)", offset: 0, size: status.sizeBytes)
    case .tar(let file, let members):
      var name = name
      for _ in 0...Self.linksMax {
        guard let member = members[name] else { return nil }
        guard let target = member.linkTarget else { return Part(path: file, offset: member.offset, size: member.size) }
        name = Self.resolve(target, from: name)
      }
      throw ImageSpecError(.invalid, "\(path): \(name)", "leads through more than \(Self.linksMax) links")
    }
  }

  private static func resolve(_ target: String, from name: String) -> String {
    var components = name.split(separator: "/").dropLast().map(String.init)
    for component in target.split(separator: "/") where component != "." {
      if component == ".." { _ = components.popLast() } else { components.append(String(component)) }
    }
    return components.joined(separator: "/")
  }

  /// A small member, whole.
  func read(_ name: String, bytesMax: Int) throws -> [UInt8]? {
    guard let part = try part(name) else { return nil }
    guard part.size <= Int64(bytesMax) else {
      throw ImageSpecError(.tooLarge, "\(path): \(name)", "has \(part.size) bytes, at most \(bytesMax) are read")
    }
    let bytes = try ArchiveIndex.read(part.path, offset: part.offset, count: Int(part.size))
    guard bytes.count == Int(part.size) else { throw ImageSpecError(.invalid, "\(path): \(name)", "is cut short") }
    return bytes
  }

  func json(_ name: String) throws -> JSONValue? {
    guard let bytes = try read(name, bytesMax: ImageLimits.layoutBytesMax) else { return nil }
    do {
      return try JSONValue.parse(
        bytes, limits: JSONLimits(maxBytes: ImageLimits.layoutBytesMax, maxDepth: ImageLimits.jsonDepthMax))
    } catch {
      throw ImageSpecError(.invalid, "\(path): \(name)", "is not acceptable JSON: \(error)")
    }
  }

  static func blobName(_ digest: Digest) -> String { "blobs/sha256/\(digest.hex)" }

  /// A blob that the layout must have, whole and verified.
  func blob(_ descriptor: Descriptor, bytesMax: Int) throws -> [UInt8] {
    guard let bytes = try read(Self.blobName(descriptor.digest), bytesMax: bytesMax) else {
      throw missing(descriptor.digest)
    }
    let found = Digest(sha256: SHA256Hasher.hash(bytes))
    guard found == descriptor.digest, Int64(bytes.count) == descriptor.size else {
      let detail = "has digest \(found) and \(bytes.count) bytes, not the \(descriptor.size) bytes declared"
      throw ImageError(.corrupt, stage: "verify blob \(descriptor.digest)", subject: path, detail)
    }
    return bytes
  }

  func missing(_ digest: Digest) -> ImageError {
    ImageError(.notFound, stage: "read", subject: path, "the archive has no blob \(digest); it is incomplete")
  }
}

// MARK: OCI image layout

extension ImageArchive {
  /// The images of an OCI layout for one platform, with the names its annotations give.
  func layoutImages(_ platform: Platform) throws -> [WantedImage] {
    guard let layout = try json("oci-layout"), layout["imageLayoutVersion"]?.string?.hasPrefix("1.") == true else {
      throw ImageSpecError(.unsupported, "\(path): oci-layout", "does not say imageLayoutVersion 1")
    }
    guard let bytes = try read("index.json", bytesMax: ImageLimits.manifestBytesMax) else {
      throw ImageSpecError(.invalid, path, "has no index.json")
    }
    guard case .index(let index) = try ImageDocument.parse(bytes, mediaType: nil, in: "\(path): index.json") else {
      throw ImageSpecError(.invalid, "\(path): index.json", "is not an index")
    }
    var images: [WantedImage] = []
    var lastMismatch: (any Error)?
    for entry in index.manifests {
      do {
        images.append(try image(entry, platform))
      } catch let error as ImageError where error.code == .unsupported && index.manifests.count > 1 {
        lastMismatch = error
      } catch let error as ImageSpecError where error.code == .noMatch && index.manifests.count > 1 {
        lastMismatch = error
      }
    }
    if images.isEmpty, let lastMismatch { throw lastMismatch }
    return images
  }

  private func image(_ entry: Descriptor, _ platform: Platform) throws -> WantedImage {
    var descriptor = entry
    var bytes = try blob(descriptor, bytesMax: ImageLimits.manifestBytesMax)
    var document = try ImageDocument.parse(bytes, mediaType: entry.mediaType, in: "\(path): \(entry.digest)")
    if case .index(let inner) = document {
      descriptor = try inner.select(platform, in: "\(path): index \(entry.digest)")
      bytes = try blob(descriptor, bytesMax: ImageLimits.manifestBytesMax)
      document = try ImageDocument.parse(bytes, mediaType: descriptor.mediaType, in: "\(path): \(descriptor.digest)")
    }
    let resolved = ResolvedImage(descriptor: descriptor, manifestBytes: bytes, targetDigest: entry.digest)
    let manifest = try ImageStore.checkedManifest(resolved, subject: path)
    let configBytes = try blob(manifest.config, bytesMax: ImageLimits.configBytesMax)
    let config = try ImageStore.checkedConfig(configBytes, manifest, platform, subject: path)
    var layers: [WantedLayer] = []
    for (diffID, layer) in zip(config.diffIDs, manifest.layers) {
      guard let part = try part(Self.blobName(layer.digest)) else { throw missing(layer.digest) }
      guard part.size == layer.size else {
        let detail = "has \(part.size) bytes, the manifest says \(layer.size)"
        throw ImageError(.corrupt, stage: "verify layer \(layer.digest)", subject: path, detail)
      }
      let compression = try MediaType.compression(ofLayer: layer.mediaType, in: path)
      layers.append(
        WantedLayer(
          diffID: diffID, blob: layer, compression: compression, origin: .file(path: part.path, offset: part.offset)))
    }
    let name = Self.name(entry.annotations)
    return WantedImage(
      config: config, configBytes: configBytes, id: manifest.config.digest, layers: layers,
      repoTags: [name?.tagged?.description].compactMap { $0 },
      repoDigests: [name?.pinned(to: entry.digest).description].compactMap { $0 }, manifest: (descriptor, bytes))
  }

  /// A whole name only: a bare "latest", which is a tag without a repository, names nothing.
  private static func name(_ annotations: [String: String]) -> ImageReference? {
    for key in ["io.containerd.image.name", "org.opencontainers.image.ref.name"] {
      guard let text = annotations[key], text.contains("/") || text.contains(":") else { continue }
      if let reference = try? ImageReference(text) { return reference }
    }
    return nil
  }
}

// MARK: docker-archive

extension ImageArchive {
  /// The images of a docker-archive: `manifest.json` with one object an image.
  func dockerImages(_ platform: Platform) throws -> [WantedImage] {
    guard let entries = try json("manifest.json")?.array else {
      throw ImageSpecError(.invalid, "\(path): manifest.json", "is not an array")
    }
    return try entries.enumerated().map { number, entry in
      let subject = "\(path): manifest.json[\(number)]"
      guard let configName = entry["Config"]?.string, let layerNames = entry["Layers"]?.array?.compactMap(\.string)
      else {
        throw ImageSpecError(.invalid, subject, "has no Config or Layers")
      }
      guard let configBytes = try read(configName, bytesMax: ImageLimits.configBytesMax) else {
        throw ImageSpecError(.invalid, subject, "its Config \(ImageReference.shown(configName)) is not in the archive")
      }
      let config = try ImageConfig(parsing: configBytes, in: "\(subject): Config")
      guard config.diffIDs.count == layerNames.count else {
        throw ImageSpecError(.invalid, subject, "names \(layerNames.count) layers, its Config \(config.diffIDs.count)")
      }
      guard config.platform.rank(for: platform) != nil else {
        throw ImageSpecError(.noMatch, subject, "is for \(config.platform), not for \(platform)")
      }
      let layers = try zip(config.diffIDs, layerNames).map { try dockerLayer($0, $1, subject) }
      var tags: [String] = []
      for tag in entry["RepoTags"]?.array?.compactMap(\.string) ?? [] {
        tags.append(try ImageReference(tag).description)
      }
      return WantedImage(
        config: config, configBytes: configBytes, id: Digest(sha256: SHA256Hasher.hash(configBytes)), layers: layers,
        repoTags: tags, repoDigests: [], manifest: nil)
    }
  }

  private func dockerLayer(_ diffID: Digest, _ name: String, _ subject: String) throws -> WantedLayer {
    guard let part = try part(name) else {
      throw ImageSpecError(.invalid, subject, "its layer \(ImageReference.shown(name)) is not in the archive")
    }
    let first = try ArchiveIndex.read(part.path, offset: part.offset, count: 4)
    let compression: LayerCompression =
      switch ArchiveCompression(sniffing: first) {
      case .none: .none
      case .gzip: .gzip
      case .zstd: .zstd
      }
    // The archive does not say what its layers' bytes hash to; the diff-ID checks what they unpack to.
    let blob = Descriptor(mediaType: MediaType.ociLayer, digest: diffID, size: part.size)
    return WantedLayer(
      diffID: diffID, blob: blob, compression: compression, isBlobDigestKnown: compression == .none,
      origin: .file(path: part.path, offset: part.offset))
  }
}
