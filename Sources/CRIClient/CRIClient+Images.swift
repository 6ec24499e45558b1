package import CRIModel
internal import GRPCCore
internal import SwiftProtobuf
internal import Synchronization

/// ImageService of CRI v1, and `martlet.v1.Images`, which streams progress.
extension CRIClient {
  private typealias Method = CRIImageService.Method

  package func listImages(_ filter: CRIImageFilter = CRIImageFilter()) async throws(CRIError) -> [CRIImage] {
    let response: CRIListImagesResponse = try await call(
      Method.ListImages.descriptor, CRIListImagesRequest.with { $0.filter = filter }, timeout: options.queryTimeout)
    return response.images
  }

  /// - Returns: what the server knows; `hasImage` is false where it has no such image (that is no error in CRI).
  package func imageStatus(
    _ reference: String, verbose: Bool = false
  ) async throws(CRIError) -> CRIImageStatusResponse {
    try await call(
      Method.ImageStatus.descriptor,
      CRIImageStatusRequest.with {
        $0.image.image = reference
        $0.verbose = verbose
      }, timeout: options.queryTimeout)
  }

  /// The pull that every CRI server has, without progress.
  ///
  /// - Returns: the reference under which containers can use it.
  package func pullImage(
    _ reference: String, auth: CRIAuthConfig? = nil, sandboxConfig: CRIPodSandboxConfig? = nil
  ) async throws(CRIError) -> String {
    let response: CRIPullImageResponse = try await call(
      Method.PullImage.descriptor,
      CRIPullImageRequest.with {
        $0.image.image = reference
        if let auth { $0.auth = auth }
        if let sandboxConfig { $0.sandboxConfig = sandboxConfig }
      }, timeout: options.imageTimeout)
    return response.imageRef
  }

  /// Removing an image that is not there is a success.
  package func removeImage(_ reference: String) async throws(CRIError) {
    let _: CRIRemoveImageResponse = try await call(
      Method.RemoveImage.descriptor, CRIRemoveImageRequest.with { $0.image.image = reference },
      timeout: options.changeTimeout)
  }

  package func imageFilesystemInfo() async throws(CRIError) -> CRIImageFsInfoResponse {
    try await call(Method.ImageFsInfo.descriptor, CRIImageFsInfoRequest(), timeout: options.queryTimeout)
  }

  // MARK: martlet.v1.Images

  /// Pulls and reports each step.
  ///
  /// - Returns: the last step, which carries the image's ids and names.
  package func pullImage(
    _ request: MartletPullImageRequest, onProgress: @Sendable @escaping (MartletImageProgress) -> Void
  ) async throws(CRIError) -> MartletImageProgress {
    try await progress(MartletImages.Method.Pull.descriptor, request, onProgress)
  }

  /// Imports an archive or layout that lies on the node.
  ///
  /// - Returns: the last step, which carries the images' ids and names.
  package func importImage(
    _ request: MartletImportImageRequest, onProgress: @Sendable @escaping (MartletImageProgress) -> Void
  ) async throws(CRIError) -> MartletImageProgress {
    try await progress(MartletImages.Method.ImportArchive.descriptor, request, onProgress)
  }

  /// Writes images to a new tar on the node.
  ///
  /// - Returns: the last step.
  package func exportImages(
    _ request: MartletExportImageRequest, onProgress: @Sendable @escaping (MartletImageProgress) -> Void
  ) async throws(CRIError) -> MartletImageProgress {
    try await progress(MartletImages.Method.ExportArchive.descriptor, request, onProgress)
  }

  /// - Parameter all: also images that have a name, where no container uses them.
  package func pruneImages(all: Bool = false) async throws(CRIError) -> MartletPruneImagesResponse {
    try await call(
      MartletImages.Method.Prune.descriptor, MartletPruneImagesRequest.with { $0.all = all },
      timeout: options.changeTimeout)
  }

  private func progress(
    _ method: MethodDescriptor, _ request: some Message,
    _ onProgress: @Sendable @escaping (MartletImageProgress) -> Void
  ) async throws(CRIError) -> MartletImageProgress {
    let last = LastProgress()
    try await stream(method, request, timeout: options.imageTimeout) { (step: MartletImageProgress) in
      last.step.withLock { $0 = step }
      onProgress(step)
    }
    guard let step = last.step.withLock({ $0 }), step.stage == .done else {
      throw CRIError(code: .dataLoss, message: "the progress stream ended before it said done", call: method.method)
    }
    return step
  }
}

private final class LastProgress: Sendable {
  let step = Mutex<MartletImageProgress?>(nil)
}
