internal import CRIModel
internal import GRPCCore
internal import ImageStore
internal import Kernel
internal import OCISpec
internal import Registry

/// martlet.v1.Images: images in and out of the node, with progress.
struct MartletImageCalls: MartletImages.SimpleServiceProtocol {
  let images: ImageStore
  let registry: RegistrySource
  let calls: CallLog

  /// Progress messages that wait for a slow client; beyond that the oldest go, and totals stay right.
  private static let progressMax = 256

  func pull(
    request: MartletPullImageRequest, response: RPCWriter<MartletImageProgress>, context: ServerContext
  ) async throws {
    try await calls.answer("Images.Pull", request.reference) {
      let reference = try ImageReference(request.reference)
      let platform = request.platform.isEmpty ? Platform.host : try Platform(request.platform)
      let credential = request.credential
      let credentials =
        request.hasCredential
        ? RegistryCredentials(
          username: credential.username, password: credential.password,
          identityToken: credential.identityToken.isEmpty ? nil : credential.identityToken,
          registryToken: credential.registryToken.isEmpty ? nil : credential.registryToken)
        : nil
      let source = registry.source(credentials)
      try await stream(response) { progress in
        [try await images.pull(reference, from: source, platform: platform, progress: progress)]
      }
    }
  }

  func importArchive(
    request: MartletImportImageRequest, response: RPCWriter<MartletImageProgress>, context: ServerContext
  ) async throws {
    try await calls.answer("Images.Import", request.path) {
      guard request.path.hasPrefix("/") else {
        throw RequestRefusal.invalid("path", "\(request.path): must be absolute")
      }
      let names = request.reference.isEmpty ? [] : [try ImageReference(request.reference)]
      try await stream(response) { progress in
        try await images.importArchive(path: request.path, names: names, progress: progress)
      }
    }
  }

  func exportArchive(
    request: MartletExportImageRequest, response: RPCWriter<MartletImageProgress>, context: ServerContext
  ) async throws {
    try await calls.answer("Images.Export", request.path) {
      guard request.path.hasPrefix("/") else {
        throw RequestRefusal.invalid("path", "\(request.path): must be absolute")
      }
      guard !request.references.isEmpty else { throw RequestRefusal.invalid("references", "are empty") }
      guard !Files.exists(request.path) else { throw RequestRefusal.invalid("path", "\(request.path): exists already") }
      try await stream(response, stage: .exporting) { progress in
        try await images.export(request.references, to: request.path, progress: progress)
        var records: [ImageRecord] = []
        for name in request.references { if let record = await images.image(name) { records.append(record) } }
        return records
      }
    }
  }

  func prune(request: MartletPruneImagesRequest, context: ServerContext) async throws -> MartletPruneImagesResponse {
    try await calls.answer("Images.Prune") {
      let removal = try await images.prune(all: request.all)
      var response = MartletPruneImagesResponse()
      response.removedImageIds = removal.images.map(\.description)
      response.freedBytes = UInt64(max(0, removal.bytes))
      return response
    }
  }

  /// Runs the work and sends its progress as it comes; the last message carries the images.
  private func stream(
    _ response: RPCWriter<MartletImageProgress>, stage: MartletImageProgress.Stage = .downloading,
    _ work: @escaping @Sendable (@escaping @Sendable (ImageProgress) -> Void) async throws -> [ImageRecord]
  ) async throws {
    let (events, continuation) = AsyncStream.makeStream(
      of: ImageProgress.self, bufferingPolicy: .bufferingNewest(Self.progressMax))
    let records = try await withThrowingTaskGroup(of: [ImageRecord]?.self) { group in
      group.addTask {
        defer { continuation.finish() }
        return try await work { continuation.yield($0) }
      }
      group.addTask {
        for await event in events {
          if let message = Self.message(event, stage) { try await response.write(message) }
        }
        return nil
      }
      var records: [ImageRecord] = []
      while let result = try await group.next() { if let result { records = result } }
      return records
    }
    var last = MartletImageProgress()
    last.stage = .done
    last.imageIds = records.map(\.id.description)
    last.references = records.flatMap { $0.repoTags.isEmpty ? $0.repoDigests : $0.repoTags }
    try await response.write(last)
  }

  private static func message(_ event: ImageProgress, _ stage: MartletImageProgress.Stage) -> MartletImageProgress? {
    var message = MartletImageProgress()
    switch event {
    case .resolved(_, let manifest, let layers):
      message.stage = .resolving
      message.digest = manifest.description
      message.totalBytes = UInt64(max(0, layers.reduce(0) { $0 + $1.size }))
    case .layerShared(let layer), .layerDone(let layer):
      message.stage = .layerDone
      message.digest = layer.description
    case .layer(let layer, let bytes, let total):
      message.stage = stage
      message.digest = layer.description
      message.doneBytes = UInt64(max(0, bytes))
      message.totalBytes = UInt64(max(0, total))
    case .done: return nil
    }
    return message
  }
}
