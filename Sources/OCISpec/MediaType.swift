/// The media types of image documents and layers that are understood, and what each is.
/// - SeeAlso: OCI image-spec, media-types.md; Docker image manifest version 2, schema 2.
package enum MediaType {
  package static let ociManifest = "application/vnd.oci.image.manifest.v1+json"
  package static let ociIndex = "application/vnd.oci.image.index.v1+json"
  package static let ociConfig = "application/vnd.oci.image.config.v1+json"
  package static let ociLayer = "application/vnd.oci.image.layer.v1.tar"
  package static let dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
  package static let dockerManifestList = "application/vnd.docker.distribution.manifest.list.v2+json"
  package static let dockerConfig = "application/vnd.docker.container.image.v1+json"
  package static let dockerLayer = "application/vnd.docker.image.rootfs.diff.tar"
  package static let dockerSchema1 = "application/vnd.docker.distribution.manifest.v1+json"
  package static let dockerSchema1Signed = "application/vnd.docker.distribution.manifest.v1+prettyjws"

  /// What a registry is asked to send for a tag or digest, in order of preference.
  package static let acceptedManifests = [ociIndex, dockerManifestList, ociManifest, dockerManifest]

  package enum Document: Hashable, Sendable { case manifest, index }

  /// What `type` names; nil where it names neither.
  package static func document(_ type: String) -> Document? {
    switch type {
    case ociManifest, dockerManifest: .manifest
    case ociIndex, dockerManifestList: .index
    default: nil
    }
  }

  /// `type` is that of an image's configuration: an artifact (a chart, a signature) has another one.
  package static func isImageConfig(_ type: String) -> Bool { type == ociConfig || type == dockerConfig }

  /// How the layer type `type` is compressed.
  /// - Throws: `ImageSpecError` for types that are no layer, and for layers that cannot be fetched or read.
  package static func compression(ofLayer type: String, in subject: String) throws(ImageSpecError) -> LayerCompression {
    switch type {
    case ociLayer, dockerLayer, "application/vnd.oci.image.layer.nondistributable.v1.tar": return .none
    case ociLayer + "+gzip", dockerLayer + ".gzip", "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
      "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip":
      return .gzip
    case ociLayer + "+zstd", dockerLayer + ".zstd", "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd":
      return .zstd
    default:
      let problem =
        "layer media type \(ImageReference.shown(type)) is not supported; layers are tar, tar+gzip or tar+zstd"
      throw ImageSpecError(.unsupported, subject, problem)
    }
  }
}

/// How the bytes of a layer blob are compressed.
package enum LayerCompression: String, Hashable, Sendable { case none, gzip, zstd }
