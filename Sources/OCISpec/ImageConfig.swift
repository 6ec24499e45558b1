import JSON

/// The configuration of an image: what to run by default, for whom it was built, and which layers it needs.
///
/// Everything in it was chosen by the image's author: none of it is trusted to name anything on the host.
/// - SeeAlso: OCI image-spec, config.md.
package struct ImageConfig: Hashable, Sendable {
  package var platform: Platform
  /// RFC 3339, as the author wrote it.
  package var created: String?
  package var author: String?
  /// "user", "uid", "user:group", "uid:gid"; empty is root. `ImageUser` parses and checks it.
  package var user: String
  /// "80/tcp", sorted.
  package var exposedPorts: [String]
  /// "NAME=value", in order.
  package var environment: [String]
  package var entrypoint: [String]
  package var command: [String]
  /// Paths inside the container, sorted.
  package var volumes: [String]
  package var workingDirectory: String
  package var labels: [String: String]
  /// "SIGTERM", "15"; nil where the author gave none.
  package var stopSignal: String?
  /// Digests of the uncompressed layers, lowest first.
  package var diffIDs: [Digest]

  /// Parses the bytes of a configuration blob; unknown members are ignored, as the specification asks.
  /// - Throws: `ImageSpecError` that names the member.
  package init(parsing bytes: [UInt8], in subject: String) throws(ImageSpecError) {
    let value = try ImageDocumentReader.parse(bytes, bytesMax: ImageLimits.configBytesMax, subject)
    let reader = try ImageDocumentReader(value, subject)
    platform = try Platform(json: value, in: subject)
    created = try reader.string("created")
    author = try reader.string("author")
    let run = try ImageDocumentReader(reader.member("config") ?? .object(JSONObject()), "\(subject): config")
    user = try run.string("User") ?? ""
    exposedPorts = try run.set("ExposedPorts")
    environment = try run.stringArray("Env")
    entrypoint = try run.stringArray("Entrypoint")
    command = try run.stringArray("Cmd")
    volumes = try run.set("Volumes")
    workingDirectory = try run.string("WorkingDir") ?? ""
    labels = try run.strings("Labels")
    stopSignal = try run.string("StopSignal").flatMap { $0.isEmpty ? nil : $0 }
    guard let root = reader.member("rootfs") else { throw reader.refused("rootfs", "is missing") }
    let rootReader = try ImageDocumentReader(root, "\(subject): rootfs")
    let type = try rootReader.requiredString("type")
    guard type == "layers" else { throw rootReader.refused("type", "\(ImageReference.shown(type)) is not \"layers\"") }
    var diffIDs: [Digest] = []
    for text in try rootReader.stringArray("diff_ids") {
      do { diffIDs.append(try Digest(text)) } catch { throw rootReader.refused("diff_ids", error.description) }
    }
    guard diffIDs.count <= ImageLimits.layersMax else {
      let problem = "has \(diffIDs.count) layers, at most \(ImageLimits.layersMax) can be stacked"
      throw ImageSpecError(.tooLarge, subject, problem)
    }
    self.diffIDs = diffIDs
  }
}

/// `USER` of an image: a name or number for user and, optionally, group.
///
/// Numbers are plain decimals up to 2147483647, which is what Kubernetes takes for runAsUser; anything that another reader
/// could take for a number ("+0", "0x0", 4294967296) is refused, not looked up as a name: it could come out as root.
package struct ImageUser: Hashable, Sendable {
  package enum Principal: Hashable, Sendable {
    case id(UInt32)
    case name(String)
  }
  package var user: Principal
  package var group: Principal?

  /// Largest uid or gid.
  package static let idMax: UInt32 = 2_147_483_647
  /// Bytes of a user or group name.
  package static let nameBytesMax = 256

  /// An empty text is uid 0.
  package init(_ text: String) throws(ImageSpecError) {
    guard !text.isEmpty else {
      user = .id(0)
      group = nil
      return
    }
    let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    user = try Self.principal(parts[0], "user", text)
    group = parts.count == 2 ? try Self.principal(parts[1], "group", text) : nil
  }

  private static func principal(_ part: Substring, _ role: String, _ text: String) throws(ImageSpecError) -> Principal {
    let subject = "user \(ImageReference.shown(text))"
    guard let first = part.utf8.first else { throw ImageSpecError(.invalid, subject, "its \(role) is empty") }
    let isDigits = part.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
    if isDigits {
      guard part.utf8.count <= 10, let id = UInt64(part), id <= UInt64(idMax) else {
        throw ImageSpecError(.invalid, subject, "its \(role) id is larger than \(idMax)")
      }
      return .id(UInt32(id))
    }
    guard part.utf8.count <= nameBytesMax else {
      throw ImageSpecError(.invalid, subject, "its \(role) name is longer than \(nameBytesMax) bytes")
    }
    let isLetter = { (byte: UInt8) in
      (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20) || byte == UInt8(ascii: "_")
    }
    guard isLetter(first) else {
      throw ImageSpecError(
        .invalid, subject, "its \(role) is neither a decimal number nor a name that begins with a letter or _")
    }
    let forbidden = part.utf8.first {
      $0 <= 0x20 || $0 == 0x7F || $0 == UInt8(ascii: ":") || $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: ",")
    }
    guard forbidden == nil else {
      throw ImageSpecError(.invalid, subject, "its \(role) name has a character that no account name can have")
    }
    return .name(String(part))
  }
}
