/// Why an image document, digest or reference was refused.
///
/// `subject` names what was read ("manifest sha256:…", "reference alpine:%"), `problem` says what is wrong with it in
/// words that can be shown to the person who typed it.
package struct ImageSpecError: Error, Hashable, Sendable, CustomStringConvertible {
  package enum Code: Hashable, Sendable {
    /// The text or document is malformed.
    case invalid
    /// It is well formed, and asks for what is not supported.
    case unsupported
    /// A cap was exceeded.
    case tooLarge
    /// Nothing in it fits what was asked for, such as a platform.
    case noMatch
  }

  package var code: Code
  package var subject: String
  package var problem: String

  package init(_ code: Code, _ subject: String, _ problem: String) {
    self.code = code
    self.subject = subject
    self.problem = problem
  }

  package var description: String { "\(subject): \(problem)" }
}

/// Caps on the documents of an image; each is checked before a byte of the document is parsed.
package enum ImageLimits {
  /// Bytes of a manifest or index (the distribution specification asks registries to take 4 MiB).
  package static let manifestBytesMax = 4 << 20
  /// Bytes of an image configuration.
  package static let configBytesMax = 8 << 20
  /// Bytes of `oci-layout`, and of docker-archive's `manifest.json`.
  package static let layoutBytesMax = 1 << 20
  /// Nesting of any of these documents.
  package static let jsonDepthMax = 32
  /// Layers of one image; overlayfs stacks at most 500 lower directories.
  package static let layersMax = 500
  /// Manifests of one index.
  package static let indexEntriesMax = 4096
  /// Bytes of one compressed layer.
  package static let layerBytesMax: Int64 = 64 << 30
}
