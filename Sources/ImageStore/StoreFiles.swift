import JSON
internal import Kernel
import OCISpec

/// Where the store keeps what, below its root.
///
/// `layers/` holds the unpacked layers and nothing else; all books are in `images/`, so that a layer's directory contains
/// exactly what the layer does.
struct StoreFiles: Sendable {
  let root: String

  var images: String { "\(root)/images" }
  var records: String { "\(images)/records" }
  var blobs: String { "\(images)/blobs" }
  var layerRecords: String { "\(images)/layers" }
  var skeletons: String { "\(images)/skeletons" }
  /// Records that could not be read, kept for whoever wants to know why.
  var setAside: String { "\(images)/set-aside" }
  /// An empty file for each image that a container has as a volume, named ID.OWNER.
  var volumeHolds: String { "\(images)/volume-holds" }
  /// A directory with nothing in it, the second layer of overlays that have only one.
  var empty: String { "\(images)/empty" }
  /// Top layers of images whose layers imply directories, named ID.BOOT: made again in every boot, so that none was half
  /// on the disk when the machine went down.
  var implied: String { "\(images)/implied" }
  var layers: String { "\(root)/layers" }
  var lock: String { "\(images)/lock" }

  func record(_ id: Digest) -> String { "\(records)/\(id.hex).json" }
  /// Manifests and configurations, and layers where blobs are kept.
  func blob(_ digest: Digest) -> String { "\(blobs)/\(digest.hex)" }
  func layerRecord(_ diffID: Digest) -> String { "\(layerRecords)/\(diffID.hex).json" }
  func skeleton(_ diffID: Digest) -> String { "\(skeletons)/\(diffID.hex)" }
  func volumeHold(_ id: Digest, _ owner: String) -> String { "\(volumeHolds)/\(id.hex).\(owner)" }
  func implied(_ id: Digest, bootID: String) -> String { "\(implied)/\(id.hex).\(bootID)" }
  func layer(_ diffID: Digest) -> String { "\(layers)/\(diffID.hex)" }

  /// Names that begin so are half-made, and removed at start.
  static let temporaryPrefix = ".tmp-"
  static func temporaryName() -> String { temporaryPrefix + randomHex(bytes: 8) }
}

/// A layer that is unpacked, as recorded beside it.
struct LayerRecord: Hashable, Sendable {
  /// Bytes of its tar, and of the files in it.
  var contentBytes: Int64
  var fileBytes: Int64
  /// Estimate of its use of the disk.
  var diskBytes: Int64
  var inodes: Int64
  var hasSkeleton: Bool
  /// Known to be on the disk; otherwise good only until this boot ends.
  var isDurable: Bool
  var bootID: String
  /// As `LayerUnpackResult` has them.
  var impliedDirectories: [String]

  var json: JSONValue {
    [
      "version": 1, "contentBytes": .integer(contentBytes), "fileBytes": .integer(fileBytes),
      "diskBytes": .integer(diskBytes), "inodes": .integer(inodes), "hasSkeleton": .bool(hasSkeleton),
      "isDurable": .bool(isDurable), "bootID": .string(bootID),
      "impliedDirectories": .array(impliedDirectories.map { .string($0) }),
    ]
  }
}

extension LayerRecord {
  init(json: JSONValue) throws(ImageSpecError) {
    let reader = RecordReader(value: json, subject: "layer record")
    try reader.requireVersion(1)
    contentBytes = try reader.integer("contentBytes")
    fileBytes = try reader.integer("fileBytes")
    diskBytes = try reader.integer("diskBytes")
    inodes = try reader.integer("inodes")
    hasSkeleton = try reader.bool("hasSkeleton")
    isDurable = try reader.bool("isDurable")
    bootID = try reader.string("bootID")
    // Records of earlier versions have none.
    impliedDirectories = json["impliedDirectories"] == nil ? [] : try reader.strings("impliedDirectories")
  }
}

/// An image as the store keeps it.
struct StoredImage: Hashable, Sendable {
  var id: Digest
  /// Of the manifest blob in the store.
  var manifest: Descriptor
  var repoTags: Set<String>
  var repoDigests: Set<String>
  var pinned: Bool
  /// Wall clock, nanoseconds since 1970.
  var pulledAt: Int64
  /// Read from its own blob.
  var config: ImageConfig

  var json: JSONValue {
    [
      "version": 1, "id": .string(id.description), "manifest": manifest.json,
      "repoTags": .array(repoTags.sorted().map { .string($0) }),
      "repoDigests": .array(repoDigests.sorted().map { .string($0) }),
      "pinned": .bool(pinned), "pulledAt": .integer(pulledAt),
    ]
  }

  init(
    id: Digest, manifest: Descriptor, repoTags: Set<String>, repoDigests: Set<String>, pinned: Bool, pulledAt: Int64,
    config: ImageConfig
  ) {
    self.id = id
    self.manifest = manifest
    self.repoTags = repoTags
    self.repoDigests = repoDigests
    self.pinned = pinned
    self.pulledAt = pulledAt
    self.config = config
  }

  init(json: JSONValue, config: (Digest) throws(ImageSpecError) -> ImageConfig) throws(ImageSpecError) {
    let reader = RecordReader(value: json, subject: "image record")
    try reader.requireVersion(1)
    id = try Digest(try reader.string("id"))
    guard let manifest = json["manifest"] else { throw reader.missing("manifest") }
    self.manifest = try Descriptor(json: manifest, in: "image record: manifest")
    repoTags = Set(try reader.strings("repoTags"))
    repoDigests = Set(try reader.strings("repoDigests"))
    pinned = try reader.bool("pinned")
    pulledAt = try reader.integer("pulledAt")
    self.config = try config(id)
  }

  /// Distinct layers, top first. A layer that comes twice counts where it is on top: everything it says, it says there
  /// again, and overlayfs refuses the same directory twice.
  var layersTopFirst: [Digest] {
    var seen: Set<Digest> = []
    return config.diffIDs.reversed().filter { seen.insert($0).inserted }
  }
}

/// Strict reads of our own records.
struct RecordReader {
  let value: JSONValue
  let subject: String

  func missing(_ key: String) -> ImageSpecError {
    ImageSpecError(.invalid, subject, "\(key) is missing or of a wrong type")
  }

  func requireVersion(_ wanted: Int64) throws(ImageSpecError) {
    let version = try integer("version")
    guard version == wanted else {
      throw ImageSpecError(.unsupported, subject, "has version \(version), this program reads \(wanted)")
    }
  }

  func integer(_ key: String) throws(ImageSpecError) -> Int64 {
    guard let integer = value[key]?.integer else { throw missing(key) }
    return integer
  }

  func bool(_ key: String) throws(ImageSpecError) -> Bool {
    guard let bool = value[key]?.bool else { throw missing(key) }
    return bool
  }

  func string(_ key: String) throws(ImageSpecError) -> String {
    guard let string = value[key]?.string else { throw missing(key) }
    return string
  }

  func strings(_ key: String) throws(ImageSpecError) -> [String] {
    guard let array = value[key]?.array else { throw missing(key) }
    var strings: [String] = []
    for element in array {
      guard let string = element.string else { throw missing(key) }
      strings.append(string)
    }
    return strings
  }
}
