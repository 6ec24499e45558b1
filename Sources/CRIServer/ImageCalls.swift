internal import CRIModel
internal import GRPCCore
package import ImageStore
internal import JSON
internal import Kernel
internal import Logging
internal import OCISpec
internal import PodRuntime
package import Registry
internal import SwiftProtobuf

/// runtime.v1.ImageService over the image store.
struct ImageCalls: CRIImageService.SimpleServiceProtocol {
  let images: ImageStore
  let registry: RegistrySource
  let calls: CallLog
  let facts: ServerFacts
  let figures: ResourceFigures

  static func message(_ record: ImageRecord) -> CRIImage {
    var message = CRIImage()
    message.id = record.id.description
    message.repoTags = record.repoTags
    message.repoDigests = record.repoDigests
    message.size = UInt64(max(0, record.sizeBytes))
    message.pinned = record.pinned
    message.spec.image = record.id.description
    // The user of the image as CRI splits it; a text that no container could start with is left out.
    if let user = try? ImageUser(record.config.user) {
      switch user.user {
      case .id(let id): message.uid.value = Int64(id)
      case .name(let name): message.username = name
      }
    }
    return message
  }

  func listImages(request: CRIListImagesRequest, context: ServerContext) async throws -> CRIListImagesResponse {
    try await calls.answer("ListImages") {
      var response = CRIListImagesResponse()
      response.images = await list(request.filter)
      return response
    }
  }

  func streamImages(
    request: CRIStreamImagesRequest, response: RPCWriter<CRIStreamImagesResponse>, context: ServerContext
  ) async throws {
    for part in ListParts.parts(await list(request.filter)) {
      try await response.write(CRIStreamImagesResponse.with { $0.images = Array(part) })
    }
  }

  private func list(_ filter: CRIImageFilter) async -> [CRIImage] {
    let wanted = filter.image.image
    if wanted.isEmpty { return await images.images().map(Self.message) }
    return await images.image(wanted).map { [Self.message($0)] } ?? []
  }

  func imageStatus(request: CRIImageStatusRequest, context: ServerContext) async throws -> CRIImageStatusResponse {
    try await calls.answer("ImageStatus", request.image.image) {
      guard !request.image.image.isEmpty else { throw RequestRefusal.invalid("image.image", "is empty") }
      var response = CRIImageStatusResponse()
      if let record = await images.image(request.image.image) {
        response.image = Self.message(record)
        if request.verbose { response.info = Self.info(record) }
      }
      return response
    }
  }

  /// What `crictl inspecti` shows beside the image, as the image specification names it.
  private static func info(_ record: ImageRecord) -> [String: String] {
    let config = record.config
    let info: JSONValue = [
      "imageSpec": [
        "os": .string(config.platform.os), "architecture": .string(config.platform.architecture),
        "created": config.created.map { .string($0) } ?? .null,
        "config": [
          "User": .string(config.user), "Env": JSONValue(config.environment),
          "Entrypoint": JSONValue(config.entrypoint), "Cmd": JSONValue(config.command),
          "WorkingDir": .string(config.workingDirectory), "Labels": JSONValue(config.labels),
          "Volumes": JSONValue(config.volumes), "ExposedPorts": JSONValue(config.exposedPorts),
          "StopSignal": config.stopSignal.map { .string($0) } ?? .null,
        ],
        "rootfs": ["type": "layers", "diff_ids": JSONValue(config.diffIDs.map(\.description))],
      ],
      "layerDirectories": JSONValue(record.layerDirectories), "pulledAt": .integer(record.pulledAt),
    ]
    return ["info": info.encodedString()]
  }

  func pullImage(request: CRIPullImageRequest, context: ServerContext) async throws -> CRIPullImageResponse {
    try await calls.answer("PullImage", request.image.image) {
      let reference = try ImageReference(request.image.image)
      let credentials = try credentials(request.auth, for: reference)
      let record = try await images.pull(reference, from: registry.source(credentials))
      var response = CRIPullImageResponse()
      response.imageRef = record.id.description
      return response
    }
  }

  /// Those of another server stay here.
  private func credentials(
    _ auth: CRIAuthConfig, for reference: ImageReference
  ) throws(RequestRefusal) -> RegistryCredentials? {
    let credentials = try Self.credentials(auth)
    let server = auth.serverAddress
    guard credentials != nil, !server.isEmpty, !RegistryCredentials.areMeant(by: server, for: reference.registry) else {
      return credentials
    }
    calls.log.warning(
      "credentials of another server are not used",
      metadata: ["server": "\(CallLog.cut(server))", "registry": "\(reference.registry)"])
    return nil
  }

  /// `auth` is base64 of name:password, as a docker config file has it.
  private static func credentials(_ auth: CRIAuthConfig) throws(RequestRefusal) -> RegistryCredentials? {
    var username = auth.username
    var password = auth.password
    if !auth.auth.isEmpty {
      guard let decoded = Base64.decode(auth.auth),
        let colon = decoded.firstIndex(of: UInt8(ascii: ":"))
      else { throw .invalid("auth.auth", "is not base64 of name:password") }
      username = String(decoding: decoded[..<colon], as: UTF8.self)
      password = String(decoding: decoded[(colon + 1)...].prefix { $0 != 0 }, as: UTF8.self)
    }
    if [username, password, auth.identityToken, auth.registryToken].allSatisfy(\.isEmpty) { return nil }
    return RegistryCredentials(
      username: username, password: password, identityToken: auth.identityToken.isEmpty ? nil : auth.identityToken,
      registryToken: auth.registryToken.isEmpty ? nil : auth.registryToken)
  }

  func removeImage(request: CRIRemoveImageRequest, context: ServerContext) async throws -> CRIRemoveImageResponse {
    try await calls.answer("RemoveImage", request.image.image) {
      guard !request.image.image.isEmpty else { throw RequestRefusal.invalid("image.image", "is empty") }
      _ = try await images.remove(request.image.image)
      return CRIRemoveImageResponse()
    }
  }

  func imageFsInfo(request: CRIImageFsInfoRequest, context: ServerContext) async throws -> CRIImageFsInfoResponse {
    try await calls.answer("ImageFsInfo") {
      let usage = await images.usage()
      var filesystem = CRIFilesystemUsage()
      filesystem.timestamp = usage.measuredAt
      filesystem.fsID.mountpoint = usage.directory
      filesystem.usedBytes.value = UInt64(max(0, usage.bytes))
      filesystem.inodesUsed.value = UInt64(max(0, usage.inodes))
      var response = CRIImageFsInfoResponse()
      response.imageFilesystems = [filesystem]
      response.containerFilesystems = [try await figures.layersElsewhere(than: usage.directory) ?? filesystem]
      return response
    }
  }
}

/// Registries as the image store's source of content, with the credentials of one request.
package struct RegistrySource: Sendable {
  package var source: @Sendable (RegistryCredentials?) -> ContentSource

  package init(client: RegistryClient) {
    source = { credentials in
      ContentSource(
        name: "registry",
        resolve: { reference, platform in
          try await client.resolve(reference, platform: platform, credentials: credentials)
        },
        openBlob: { reference, blob, offset, receive in
          try await client.openBlob(reference, blob, offset: offset, credentials: credentials, receive: receive)
        })
    }
  }
}

/// RFC 4648, standard alphabet, padding optional.
enum Base64 {
  static func decode(_ text: String) -> [UInt8]? {
    var bytes: [UInt8] = []
    var bits: UInt32 = 0
    var count = 0
    for byte in text.utf8.reversed().drop(while: { $0 == UInt8(ascii: "=") }).reversed() {
      let value: UInt8
      switch byte {
      case UInt8(ascii: "A")...UInt8(ascii: "Z"): value = byte - 65
      case UInt8(ascii: "a")...UInt8(ascii: "z"): value = byte - 71
      case UInt8(ascii: "0")...UInt8(ascii: "9"): value = byte + 4
      case UInt8(ascii: "+"): value = 62
      case UInt8(ascii: "/"): value = 63
      default: return nil
      }
      bits = bits << 6 | UInt32(value)
      count += 6
      if count >= 8 {
        count -= 8
        bytes.append(UInt8(truncatingIfNeeded: bits >> UInt32(count)))
      }
    }
    return bytes
  }
}
