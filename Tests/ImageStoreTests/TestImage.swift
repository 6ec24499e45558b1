import ImageStore
import JSON
import Kernel
import Logging
import OCISpec
import Synchronization
import TestSupport

func digest(_ bytes: [UInt8]) -> Digest { Digest(sha256: SHA256Hasher.hash(bytes)) }

/// An image made in memory, and a source that serves it.
struct TestImage {
  var manifest: [UInt8]
  var manifestDescriptor: Descriptor
  var config: [UInt8]
  var blobs: [Digest: [UInt8]]
  var layerDigests: [Digest]
  var id: Digest { digest(config) }

  /// - Parameter compress: gives the blob and the suffix of its media type for a layer's tar.
  init(
    layers tars: [[UInt8]], configMember: JSONValue = ["Cmd": ["/bin/true"]],
    compress: (([UInt8]) async throws -> (blob: [UInt8], suffix: String))? = nil,
    architecture: String = Platform.host.architecture
  ) async throws {
    var layers: [(bytes: [UInt8], suffix: String)] = []
    for tar in tars { layers.append(try await compress?(tar) ?? (tar, "")) }
    let config: JSONValue = [
      "os": "linux", "architecture": .string(architecture), "config": configMember,
      "rootfs": ["type": "layers", "diff_ids": .array(tars.map { .string(digest($0).description) })],
    ]
    self.config = config.encoded()
    blobs = [digest(self.config): self.config]
    var descriptors: [Descriptor] = []
    for layer in layers {
      blobs[digest(layer.bytes)] = layer.bytes
      descriptors.append(
        Descriptor(
          mediaType: MediaType.ociLayer + layer.suffix, digest: digest(layer.bytes), size: Int64(layer.bytes.count)))
    }
    layerDigests = descriptors.map(\.digest)
    let manifest = ImageManifest(
      config: Descriptor(mediaType: MediaType.ociConfig, digest: digest(self.config), size: Int64(self.config.count)),
      layers: descriptors)
    self.manifest = manifest.json.encoded()
    manifestDescriptor = Descriptor(
      mediaType: MediaType.ociManifest, digest: digest(self.manifest), size: Int64(self.manifest.count))
  }

  static func gzip(_ bytes: [UInt8]) async throws -> (blob: [UInt8], suffix: String) {
    (try await ChildProcess.run("/usr/bin/gzip", arguments: ["gzip", "-nc"], input: bytes).output, "+gzip")
  }

  static func zstd(_ bytes: [UInt8]) async throws -> (blob: [UInt8], suffix: String) {
    (try await ChildProcess.run("/usr/bin/zstd", arguments: ["zstd", "-qc"], input: bytes).output, "+zstd")
  }
}

/// A source in memory that counts what it is asked for and can be told to misbehave.
final class MemorySource: Sendable {
  struct State {
    var image: TestImage
    var fetches: [Digest: Int] = [:]
    var resolves = 0
    /// What is sent instead of a blob.
    var instead: [Digest: [UInt8]] = [:]
    var failAfterBytes: Int?
    var chunkBytes = 10_000
    /// Awaited before the first byte of each layer.
    var gate: (@Sendable () async throws -> Void)?
  }
  let state: Mutex<State>

  init(_ image: TestImage) { state = Mutex(State(image: image)) }

  struct Broken: ImageSourceFailure, CustomStringConvertible {
    let failureKind = ImageSourceFailureKind.unavailable
    let description = "the line went dead"
  }

  func configure(_ body: (inout State) -> Void) { state.withLock { body(&$0) } }
  func fetches(_ digest: Digest) -> Int { state.withLock { $0.fetches[digest] ?? 0 } }

  var source: ContentSource {
    ContentSource(
      name: "memory",
      resolve: { _, _ in
        self.state.withLock {
          $0.resolves += 1
          return ResolvedImage(
            descriptor: $0.image.manifestDescriptor, manifestBytes: $0.image.manifest,
            targetDigest: $0.image.manifestDescriptor.digest)
        }
      },
      openBlob: { _, blob, offset, receive in
        let state = self.state.withLock {
          $0.fetches[blob.digest, default: 0] += 1
          return $0
        }
        guard let bytes = state.instead[blob.digest] ?? state.image.blobs[blob.digest] else { throw Broken() }
        if blob.digest != state.image.id { try await state.gate?() }
        var sent = Int(offset)
        while sent < bytes.count {
          if let limit = state.failAfterBytes, blob.digest != state.image.id, sent >= limit { throw Broken() }
          let end = min(bytes.count, sent + state.chunkBytes)
          try await receive(Array(bytes[sent..<end]))
          sent = end
        }
      })
  }
}

/// A store in a directory of its own, and a look at what is left in it.
struct StoreFixture {
  let directory: TestDirectory
  let store: ImageStore

  init(options: ImageStoreOptions = ImageStoreOptions(), in existing: TestDirectory? = nil) async throws {
    directory = try existing ?? TestDirectory()
    store = ImageStore(root: directory.path, options: options, log: quiet)
    _ = try await store.start()
  }

  func close() async throws {
    await store.shutdown()
    try directory.remove()
  }

  /// Every file and directory below the store's own, but its lock.
  func contents() throws -> [String] { try Self.contents(directory.path) }

  static func contents(_ root: String) throws -> [String] {
    var found: [String] = []
    for part in ["images/records", "images/blobs", "images/layers", "images/skeletons", "images/set-aside", "layers"] {
      found += try Directory(path: "\(root)/\(part)").list().map { "\(part)/\($0.name)" }
    }
    return found.sorted()
  }
}

let reference = try! ImageReference("example.test/app:1")
let quiet = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
