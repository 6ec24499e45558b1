package import JSON

/// What a document points at: media type, digest and size of a blob.
/// - SeeAlso: OCI image-spec, descriptor.md.
package struct Descriptor: Hashable, Sendable {
  package var mediaType: String
  package var digest: Digest
  /// Bytes.
  package var size: Int64
  /// Only in an index.
  package var platform: Platform?
  package var annotations: [String: String]
  /// Foreign layers name other places to fetch from; they are never fetched.
  package var urls: [String]

  package init(
    mediaType: String, digest: Digest, size: Int64, platform: Platform? = nil, annotations: [String: String] = [:],
    urls: [String] = []
  ) {
    self.mediaType = mediaType
    self.digest = digest
    self.size = size
    self.platform = platform
    self.annotations = annotations
    self.urls = urls
  }

  package init(json: JSONValue, in subject: String) throws(ImageSpecError) {
    let reader = try ImageDocumentReader(json, subject)
    mediaType = try reader.requiredString("mediaType")
    do {
      digest = try Digest(try reader.requiredString("digest"))
    } catch {
      throw ImageSpecError(error.code, subject, error.description)
    }
    guard let size = try reader.integer("size") else { throw reader.refused("size", "is missing") }
    guard size >= 0 else { throw reader.refused("size", "is negative (\(size))") }
    self.size = size
    platform = try reader.member("platform").map { value throws(ImageSpecError) in
      try Platform(json: value, in: "\(subject): platform")
    }
    annotations = try reader.strings("annotations")
    urls = try reader.stringArray("urls")
  }

  package var json: JSONValue {
    var object = JSONObject()
    object["mediaType"] = .string(mediaType)
    object["digest"] = .string(digest.description)
    object["size"] = .integer(size)
    if let platform { object["platform"] = platform.json }
    if !annotations.isEmpty { object["annotations"] = ImageDocumentReader.json(annotations) }
    if !urls.isEmpty { object["urls"] = .array(urls.map { .string($0) }) }
    return .object(object)
  }
}
