package import OCISpec

/// An image that is unpacked and ready to run.
package struct ImageRecord: Hashable, Sendable {
  /// Digest of the image's configuration: what CRI and people call the image id.
  package var id: Digest
  /// Canonical names with tag, sorted; empty where the image was only named by digest or lost its tags.
  package var repoTags: [String]
  /// `registry/repository@sha256:…`, sorted.
  package var repoDigests: [String]
  /// Bytes of all layers, unpacked, as declared by their archives.
  package var sizeBytes: Int64
  package var config: ImageConfig
  /// Absolute paths, top layer first: the order of overlayfs's lower directories.
  package var layerDirectories: [String]
  /// Never removed by `prune`.
  package var pinned: Bool
  /// Wall clock, nanoseconds since 1970.
  package var pulledAt: Int64
}

/// A step of a pull or import, for a progress display. Events of different layers interleave.
package enum ImageProgress: Hashable, Sendable {
  /// The name led to this manifest; `layers` are its layers, lowest first.
  case resolved(image: Digest, manifest: Digest, layers: [Descriptor])
  /// The layer is already unpacked, or being unpacked by another pull.
  case layerShared(layer: Digest)
  /// `bytes` of `total` compressed bytes of the layer were fetched and unpacked so far.
  case layer(layer: Digest, bytes: Int64, total: Int64)
  case layerDone(layer: Digest)
  case done(image: Digest)
}

/// Where images come from. `Registry` gives one for registries; the store has its own for archives.
package struct ContentSource: Sendable {
  /// Names the source in errors: "registry", "archive /tmp/x.tar".
  package var name: String
  /// The manifest that a name leads to on a platform, digests checked.
  package var resolve: @Sendable (ImageReference, Platform) async throws -> ResolvedImage
  /// Sends the bytes of a blob from an offset on, in order, and returns after the last; awaits each `receive`, which is
  /// the back-pressure. What it sends is verified by the store.
  package var openBlob:
    @Sendable (
      _ reference: ImageReference, _ blob: Descriptor, _ offset: Int64,
      _ receive: @escaping @Sendable ([UInt8]) async throws -> Void
    ) async throws -> Void

  package init(
    name: String,
    resolve: @escaping @Sendable (ImageReference, Platform) async throws -> ResolvedImage,
    openBlob:
      @escaping @Sendable (
        _ reference: ImageReference, _ blob: Descriptor, _ offset: Int64,
        _ receive: @escaping @Sendable ([UInt8]) async throws -> Void
      ) async throws -> Void
  ) {
    self.name = name
    self.resolve = resolve
    self.openBlob = openBlob
  }
}

/// A failure of the image store. `code` is what machines branch on; `stage` and `subject` say where.
package struct ImageError: Error, Sendable, CustomStringConvertible {
  package enum Code: Hashable, Sendable {
    /// A name, document or layer is malformed or breaks a rule.
    case invalid
    /// Well formed, and not supported.
    case unsupported
    case notFound
    /// In use by a container.
    case inUse
    /// Bytes are not what their digest or size says.
    case corrupt
    /// The registry wants (other) credentials.
    case denied
    /// The registry cannot be reached, or kept failing; a later try may succeed.
    case unavailable
    /// No space or inodes left, or a cap reached.
    case exhausted
    case cancelled
    case internalError
  }

  package var code: Code
  /// "resolve", "fetch config", "unpack layer", "write record", …
  package var stage: String
  /// The reference, digest or path.
  package var subject: String
  /// What happened, and what to do where that is known.
  package var detail: String
  package var cause: (any Error)?

  package init(_ code: Code, stage: String, subject: String, _ detail: String, cause: (any Error)? = nil) {
    self.code = code
    self.stage = stage
    self.subject = subject
    self.detail = detail
    self.cause = cause
  }

  package var description: String { "\(subject): \(stage): \(detail)" }
}

package struct ImageStoreOptions: Hashable, Sendable {
  /// Keep the compressed blobs of layers after unpacking them (twice the disk).
  package var keepBlobs: Bool
  /// Layers unpacked at the same time, over all pulls; 0 takes the number of processors (and at least three at a time
  /// where layers come over a network).
  package var unpackThreadsMax: Int
  /// Pulls that may run at the same time; more wait in order.
  package var pullsMax: Int
  /// Names of images that `prune` leaves alone even where nothing uses them.
  package var pinnedNames: [String]

  package init(keepBlobs: Bool = false, unpackThreadsMax: Int = 0, pullsMax: Int = 16, pinnedNames: [String] = []) {
    self.keepBlobs = keepBlobs
    self.unpackThreadsMax = unpackThreadsMax
    self.pullsMax = pullsMax
    self.pinnedNames = pinnedNames
  }
}

/// Disk use of the store.
package struct ImageStoreUsage: Hashable, Sendable {
  /// The directory that holds it.
  package var directory: String
  package var bytes: Int64
  package var inodes: Int64
  /// Wall clock, nanoseconds since 1970.
  package var measuredAt: Int64
}

/// What `prune` or `remove` took away.
package struct ImageRemoval: Hashable, Sendable {
  package var images: [Digest]
  package var untagged: [String]
  package var layers: [Digest]
  package var bytes: Int64
}

/// Something found wrong at start and set aside; the store works without it.
package struct ImageStoreProblem: Hashable, Sendable, CustomStringConvertible {
  package var path: String
  package var problem: String
  package var description: String { "\(path): \(problem)" }
}
