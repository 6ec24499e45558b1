package import Logging
package import OCISpec

/// Images on disk: records, configurations and unpacked layers below one root.
///
/// Every method may be called from anywhere; long work runs on threads of its own and the actor only keeps the books.
/// - Requires: root (layers hold device nodes and other users' files).
package actor ImageStore {
  package let root: String
  package let options: ImageStoreOptions
  let log: Logger

  /// Does nothing on disk; call `start`.
  package init(root: String, options: ImageStoreOptions = ImageStoreOptions(), log: Logger) {
    self.root = root
    self.options = options
    self.log = log
  }

  /// Makes the directories (0700), clears what an interrupted pull left, and loads the records. A record that cannot be
  /// used is set aside and reported, never an error.
  package func start() async throws(ImageError) -> [ImageStoreProblem] { fatalError() }

  /// Fetches, verifies and unpacks an image, or finds that it is already here. Pulls of the same content share their work;
  /// a cancelled or failed pull leaves nothing.
  package func pull(
    _ reference: ImageReference, from source: ContentSource, platform: Platform = .host,
    progress: (@Sendable (ImageProgress) -> Void)? = nil
  ) async throws(ImageError) -> ImageRecord { fatalError() }

  /// Imports an OCI image layout (directory or tar) or a docker-archive tar; gzip and zstd around the tar are undone.
  /// - Parameter names: names for the image where the archive has none, or instead of those (one image only); empty takes
  ///   the archive's.
  package func importArchive(
    path: String, names: [ImageReference] = [], platform: Platform = .host,
    progress: (@Sendable (ImageProgress) -> Void)? = nil
  ) async throws(ImageError) -> [ImageRecord] { fatalError() }

  /// Writes images as one OCI image layout tar (with docker-archive's manifest.json beside it) to `path`, by rename.
  package func export(
    _ namesOrIDs: [String], to path: String, progress: (@Sendable (ImageProgress) -> Void)? = nil
  ) async throws(ImageError) { fatalError() }

  /// By id (with or without sha256:, any unambiguous prefix of 4 digits or more), canonical or short name, or name@digest.
  package func image(_ nameOrID: String) -> ImageRecord? { fatalError() }

  /// All, ordered by id.
  package func images() -> [ImageRecord] { fatalError() }

  /// Removes the image with all its names (CRI RemoveImage). Removing what is not there succeeds and gives nil.
  /// - Throws: `inUse` while a container holds it.
  package func remove(_ nameOrID: String) async throws(ImageError) -> ImageRemoval? { fatalError() }

  /// Removes one name; the image goes with its last one.
  package func untag(_ name: String) async throws(ImageError) -> ImageRemoval? { fatalError() }

  /// Removes images that nothing holds (`all`), or only those without a tag, then layers and blobs that no image needs.
  package func prune(all: Bool) async throws(ImageError) -> ImageRemoval { fatalError() }

  package func usage() -> ImageStoreUsage { fatalError() }

  package func setPinned(_ nameOrID: String, _ pinned: Bool) throws(ImageError) { fatalError() }

  /// Keeps an image from being removed until `release` of the same owner (a container id). Holding twice is one hold. Holds
  /// are not written to disk: after a restart the runtime holds again for the containers it finds, before it serves.
  package func hold(_ nameOrID: String, for owner: String) throws(ImageError) -> ImageRecord { fatalError() }

  /// Idempotent.
  package func release(owner: String) { fatalError() }
}
