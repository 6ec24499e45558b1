package import JSON

/// One image for one platform: its configuration and its layers.
/// - SeeAlso: OCI image-spec, manifest.md.
package struct ImageManifest: Hashable, Sendable {
  package var mediaType: String
  package var config: Descriptor
  /// Lowest layer first.
  package var layers: [Descriptor]
  package var annotations: [String: String]

  package init(
    mediaType: String = MediaType.ociManifest, config: Descriptor, layers: [Descriptor],
    annotations: [String: String] = [:]
  ) {
    self.mediaType = mediaType
    self.config = config
    self.layers = layers
    self.annotations = annotations
  }

  package var json: JSONValue {
    var object = JSONObject()
    object["schemaVersion"] = .integer(2)
    object["mediaType"] = .string(mediaType)
    object["config"] = config.json
    object["layers"] = .array(layers.map(\.json))
    if !annotations.isEmpty { object["annotations"] = ImageDocumentReader.json(annotations) }
    return .object(object)
  }
}

/// The images of one name, by platform.
/// - SeeAlso: OCI image-spec, image-index.md.
package struct ImageIndex: Hashable, Sendable {
  package var mediaType: String
  package var manifests: [Descriptor]
  package var annotations: [String: String]

  package init(mediaType: String = MediaType.ociIndex, manifests: [Descriptor], annotations: [String: String] = [:]) {
    self.mediaType = mediaType
    self.manifests = manifests
    self.annotations = annotations
  }

  package var json: JSONValue {
    var object = JSONObject()
    object["schemaVersion"] = .integer(2)
    object["mediaType"] = .string(mediaType)
    object["manifests"] = .array(manifests.map(\.json))
    if !annotations.isEmpty { object["annotations"] = ImageDocumentReader.json(annotations) }
    return .object(object)
  }

  /// The manifest that fits `platform` best; the first of equals.
  ///
  /// An entry without a platform, and one for "unknown" (attestations), is taken only where it is the only entry.
  /// - Throws: `ImageSpecError` with code `noMatch` that lists what there is.
  package func select(_ platform: Platform, in subject: String) throws(ImageSpecError) -> Descriptor {
    var best: (rank: Int, descriptor: Descriptor)?
    for descriptor in manifests where MediaType.document(descriptor.mediaType) != nil {
      guard let offered = descriptor.platform, let rank = offered.rank(for: platform) else { continue }
      if best.map({ rank < $0.rank }) ?? true { best = (rank, descriptor) }
    }
    if let best { return best.descriptor }
    if manifests.count == 1, let only = manifests.first, only.platform == nil,
      MediaType.document(only.mediaType) != nil
    {
      return only
    }
    let offered = manifests.compactMap(\.platform?.description).filter { !$0.hasPrefix("unknown") }
    let list = offered.isEmpty ? "names no platform" : "has \(offered.joined(separator: ", "))"
    throw ImageSpecError(.noMatch, subject, "no image for \(platform); the index \(list)")
  }
}

/// A manifest or an index, told apart by what it contains and not only by what it says it is.
package enum ImageDocument: Hashable, Sendable {
  case manifest(ImageManifest)
  case index(ImageIndex)

  /// Parses the bytes of a manifest or index.
  ///
  /// A document with members of both, or that contradicts its media type, is refused: two readers could understand it in
  /// two ways, and one of them would run what the other never checked. Docker's schema 1 is refused by name.
  /// - Parameters:
  ///   - mediaType: of the descriptor or the Content-Type header; nil where there is none.
  ///   - subject: names the document in errors.
  package static func parse(
    _ bytes: [UInt8], mediaType: String?, in subject: String
  ) throws(ImageSpecError) -> ImageDocument {
    let value = try ImageDocumentReader.parse(bytes, bytesMax: ImageLimits.manifestBytesMax, subject)
    let reader = try ImageDocumentReader(value, subject)
    let version = try reader.integer("schemaVersion")
    let schema1 = [MediaType.dockerSchema1, MediaType.dockerSchema1Signed]
    if version == 1 || mediaType.map(schema1.contains) ?? false {
      let problem = "is a Docker schema 1 manifest, which is not supported; push the image again with a current tool"
      throw ImageSpecError(.unsupported, subject, problem)
    }
    guard version == 2 else { throw reader.refused("schemaVersion", "is not 2") }
    let inner = try reader.string("mediaType")
    if let mediaType, let inner, mediaType != inner {
      throw reader.refused("mediaType", "\(ImageReference.shown(inner)) contradicts \(ImageReference.shown(mediaType))")
    }
    let hasIndexMembers = reader.member("manifests") != nil
    let hasManifestMembers = reader.member("config") != nil || reader.member("layers") != nil
    if reader.member("fsLayers") != nil || (hasIndexMembers && hasManifestMembers) {
      throw ImageSpecError(.invalid, subject, "is ambiguous: it has the members of an index and of a manifest")
    }
    guard
      let type = mediaType ?? inner
        ?? (hasIndexMembers ? MediaType.ociIndex : hasManifestMembers ? MediaType.ociManifest : nil),
      let kind = MediaType.document(type)
    else {
      let named = (mediaType ?? inner).map(ImageReference.shown) ?? "none"
      throw ImageSpecError(.unsupported, subject, "media type \(named) is neither an image manifest nor an index")
    }
    switch kind {
    case .index:
      guard hasIndexMembers else { throw reader.refused("manifests", "is missing") }
      return .index(try index(reader, type))
    case .manifest:
      guard hasManifestMembers else { throw reader.refused("config", "is missing") }
      return .manifest(try manifest(reader, type))
    }
  }

  private static func index(_ reader: ImageDocumentReader, _ type: String) throws(ImageSpecError) -> ImageIndex {
    let entries = try reader.array("manifests")
    guard entries.count <= ImageLimits.indexEntriesMax else {
      let problem = "lists \(entries.count) manifests, at most \(ImageLimits.indexEntriesMax) are read"
      throw ImageSpecError(.tooLarge, reader.subject, problem)
    }
    var manifests: [Descriptor] = []
    for (number, entry) in entries.enumerated() {
      manifests.append(try Descriptor(json: entry, in: "\(reader.subject): manifests[\(number)]"))
    }
    return ImageIndex(mediaType: type, manifests: manifests, annotations: try reader.strings("annotations"))
  }

  private static func manifest(_ reader: ImageDocumentReader, _ type: String) throws(ImageSpecError) -> ImageManifest {
    let subject = reader.subject
    guard let configValue = reader.member("config") else { throw reader.refused("config", "is missing") }
    let config = try Descriptor(json: configValue, in: "\(subject): config")
    guard MediaType.isImageConfig(config.mediaType) else {
      let problem = "is not a container image: its config has media type \(ImageReference.shown(config.mediaType))"
      throw ImageSpecError(.unsupported, subject, problem)
    }
    guard config.size <= Int64(ImageLimits.configBytesMax) else {
      let problem = "its config declares \(config.size) bytes, at most \(ImageLimits.configBytesMax) are read"
      throw ImageSpecError(.tooLarge, subject, problem)
    }
    let entries = try reader.array("layers")
    guard entries.count <= ImageLimits.layersMax else {
      let problem = "has \(entries.count) layers, at most \(ImageLimits.layersMax) can be stacked"
      throw ImageSpecError(.tooLarge, subject, problem)
    }
    var layers: [Descriptor] = []
    for (number, entry) in entries.enumerated() {
      let layer = try Descriptor(json: entry, in: "\(subject): layers[\(number)]")
      _ = try MediaType.compression(ofLayer: layer.mediaType, in: "\(subject): layers[\(number)]")
      guard layer.size <= ImageLimits.layerBytesMax else {
        let problem = "layers[\(number)] declares \(layer.size) bytes, at most \(ImageLimits.layerBytesMax) are fetched"
        throw ImageSpecError(.tooLarge, subject, problem)
      }
      layers.append(layer)
    }
    let annotations = try reader.strings("annotations")
    return ImageManifest(mediaType: type, config: config, layers: layers, annotations: annotations)
  }
}

/// What a name led to: a manifest for one platform, and the index above it where there was one.
package struct ResolvedImage: Hashable, Sendable {
  /// Of the manifest; its size and digest were checked against `manifestBytes`.
  package var descriptor: Descriptor
  package var manifestBytes: [UInt8]
  /// Digest of what the name itself points at: the index where there is one, else the manifest.
  package var targetDigest: Digest

  package init(descriptor: Descriptor, manifestBytes: [UInt8], targetDigest: Digest) {
    self.descriptor = descriptor
    self.manifestBytes = manifestBytes
    self.targetDigest = targetDigest
  }
}
