import JSON
internal import Kernel
package import Logging
import OCISpec

/// Images on disk: records, configurations and unpacked layers below one root.
///
/// Every method may be called from anywhere; long work runs on threads of its own and the actor only keeps the books.
/// - Requires: root (layers hold device nodes and other users' files).
package actor ImageStore {
  package nonisolated let root: String
  package nonisolated let options: ImageStoreOptions
  nonisolated let log: Logger
  nonisolated let files: StoreFiles
  /// Layers being unpacked from files: no more threads than processors.
  nonisolated let unpackSlots: Slots
  /// Layers being fetched and unpacked: their threads mostly wait for the network.
  nonisolated let fetchSlots: Slots
  nonisolated let pullSlots: Slots

  var stored: [Digest: StoredImage] = [:]
  var layers: [Digest: LayerRecord] = [:]
  var flights: [Digest: LayerFlight] = [:]
  /// Images whose layers imply directories, and whether a layer of their own shows those.
  private var implied: [Digest: Bool] = [:]
  /// Layers that a pull under way counts on, and how many pulls do.
  var busyLayers: [Digest: Int] = [:]
  /// Pulls and imports that have begun and not ended.
  var pullsUnderWay = 0
  /// Images by owner.
  private var holds: [String: Set<Digest>] = [:]
  private var syncTask: Task<Void, Never>?
  private var bootID = ""
  /// Held as long as the store lives: two daemons on one root would remove each other's layers.
  private var lock: SharedFD?

  /// Layers fetched at the same time even where there are fewer processors.
  private static let fetchesMin = 3
  /// Bytes of one of our own records.
  private static let recordBytesMax = 4 << 20

  /// Does nothing on disk; call `start`.
  package init(root: String, options: ImageStoreOptions = ImageStoreOptions(), log: Logger) {
    self.root = root
    self.options = options
    self.log = log
    files = StoreFiles(root: root)
    let asked = options.unpackThreadsMax
    unpackSlots = Slots(asked > 0 ? asked : LayerUnpack.processors)
    fetchSlots = Slots(asked > 0 ? asked : max(Self.fetchesMin, LayerUnpack.processors))
    pullSlots = Slots(max(1, options.pullsMax))
  }

  // MARK: Start

  /// Makes the directories (0700), clears what an interrupted pull left, and loads the records. A record that cannot be
  /// used is set aside and reported, never an error.
  package func start() async throws(ImageError) -> [ImageStoreProblem] {
    do {
      for path in [
        root, files.images, files.layers, files.records, files.blobs, files.layerRecords, files.skeletons,
        files.setAside, files.implied,
      ] {
        try Files.makeDirectories(path, mode: 0o700)
        if path != root { try Files.chmod(path, mode: 0o700) }
      }
      lock = try Self.lock(files.lock)
      bootID = try Kernel.bootID()
      var problems: [ImageStoreProblem] = []
      try await clearTemporary()
      try await loadLayers(&problems)
      try loadImages(&problems)
      try await loadImplied()
      try loadVolumeHolds()
      try await removeUnused()
      for problem in problems { log.warning("image store: set aside", metadata: ["problem": "\(problem)"]) }
      return problems
    } catch {
      throw .wrap(error, stage: "start the image store", subject: root)
    }
  }

  private static func lock(_ path: String) throws -> SharedFD {
    let file = try Files.open(path, flags: OpenFlags.readWrite | OpenFlags.create, mode: 0o600)
    do {
      try file.lockExclusively(path)
    } catch {
      let detail = "another process uses this store; stop it, or give this one a --root of its own"
      throw ImageError(.inUse, stage: "lock", subject: path, detail, cause: error)
    }
    return SharedFD(file)
  }

  private func clearTemporary() async throws {
    for path in [files.layers, files.records, files.blobs, files.layerRecords, files.skeletons] {
      for entry in try Directory(path: path).list() where entry.name.contains(".tmp") {
        try await Self.removeTree("\(path)/\(entry.name)")
      }
    }
  }

  private func loadLayers(_ problems: inout [ImageStoreProblem]) async throws {
    var unpacked = Set(try Directory(path: files.layers).list().map(\.name))
    for entry in try Directory(path: files.layerRecords).list() {
      let path = "\(files.layerRecords)/\(entry.name)"
      guard let diffID = Digest(sha256Hex: String(entry.name.dropLast(5))), unpacked.remove(diffID.hex) != nil else {
        try Files.remove(path)
        continue
      }
      do {
        let record = try LayerRecord(json: try Self.readJSON(path))
        if record.isDurable || record.bootID == bootID {
          layers[diffID] = record
          if !record.isDurable { scheduleSync() }
          continue
        }
        problems.append(
          ImageStoreProblem(
            path: path, problem: "the machine went down before this layer was on disk; pull its image again"))
      } catch {
        problems.append(ImageStoreProblem(path: path, problem: "\(error)"))
      }
      try Files.rename(path, to: "\(files.setAside)/layer-\(entry.name)")
      try await Self.removeTree("\(files.layers)/\(diffID.hex)")
    }
    for name in unpacked { try await Self.removeTree("\(files.layers)/\(name)") }
  }

  private func loadImages(_ problems: inout [ImageStoreProblem]) throws {
    for entry in try Directory(path: files.records).list() {
      let path = "\(files.records)/\(entry.name)"
      do {
        let image = try StoredImage(json: try Self.readJSON(path)) { id throws(ImageSpecError) in
          try Self.readConfig(files, id)
        }
        guard entry.name == "\(image.id.hex).json" else {
          throw ImageSpecError(.invalid, path, "is a record of \(image.id)")
        }
        let manifest = try Files.read(files.blob(image.manifest.digest), maxBytes: ImageLimits.manifestBytesMax)
        guard Digest(sha256: SHA256Hasher.hash(manifest)) == image.manifest.digest else {
          throw ImageSpecError(.invalid, path, "the bytes of its manifest changed; pull or import the image again")
        }
        if let missing = image.config.diffIDs.first(where: { layers[$0] == nil }) {
          throw ImageSpecError(.invalid, path, "layer \(missing) is not there; pull or import the image again")
        }
        stored[image.id] = image
      } catch {
        problems.append(ImageStoreProblem(path: path, problem: "\(error)"))
        try Files.rename(path, to: "\(files.setAside)/\(entry.name)")
      }
    }
  }

  private func loadImplied() async throws {
    for entry in try Directory(path: files.implied).list() {
      let id = Digest(sha256Hex: String(entry.name.prefix { $0 != "." }))
      let isOurs = id.map { stored[$0] != nil && entry.name == "\($0.hex).\(bootID)" } ?? false
      if isOurs, let id { implied[id] = true } else { try await Self.removeTree("\(files.implied)/\(entry.name)") }
    }
    for image in stored.values { try await makeImplied(image.id, image.layersTopFirst) }
  }

  /// Makes the layer that shows directories as the image has them which some layer only implies, where there are any.
  func makeImplied(_ id: Digest, _ topFirst: [Digest]) async throws {
    let known = topFirst.map { ImpliedDirectories.Layer(directory: files.layer($0), implied: impliedDirectories($0)) }
    guard implied[id] == nil, known.contains(where: { !$0.implied.isEmpty }) else { return }
    let temporary = "\(files.implied)/\(StoreFiles.temporaryName())"
    do {
      try Files.makeDirectories(temporary, mode: 0o755)
      try Files.chmod(temporary, mode: 0o755)
      let isNeeded = try await onFreshThread { () throws(SyscallError) in
        try ImpliedDirectories.make(known, in: temporary)
      }
      // Another pull of the same image may have been faster.
      if isNeeded, implied[id] != true {
        try Files.rename(temporary, to: files.implied(id, bootID: bootID))
      } else {
        try await Self.removeTree(temporary)
      }
      implied[id] = isNeeded
    } catch {
      try? await Self.removeTree(temporary)
      throw error
    }
  }

  private func impliedDirectories(_ diffID: Digest) -> Set<String> { Set(layers[diffID]?.impliedDirectories ?? []) }

  func forgetImplied(_ id: Digest) async throws(SyscallError) {
    guard implied.removeValue(forKey: id) == true else { return }
    try await Self.removeTree(files.implied(id, bootID: bootID))
  }

  private static func readJSON(_ path: String) throws -> JSONValue {
    try JSONValue.parse(
      try Files.read(path, maxBytes: recordBytesMax), limits: JSONLimits(maxBytes: recordBytesMax, maxDepth: 16))
  }

  private static func readConfig(_ files: StoreFiles, _ id: Digest) throws(ImageSpecError) -> ImageConfig {
    let subject = "configuration \(id)"
    let bytes: [UInt8]
    do { bytes = try Files.read(files.blob(id), maxBytes: ImageLimits.configBytesMax) } catch {
      throw ImageSpecError(.invalid, subject, "\(error)")
    }
    guard Digest(sha256: SHA256Hasher.hash(bytes)) == id else {
      throw ImageSpecError(.invalid, subject, "its bytes changed")
    }
    return try ImageConfig(parsing: bytes, in: subject)
  }

  static func removeTree(_ path: String) async throws(SyscallError) {
    try await onFreshThread { () throws(SyscallError) in try LayerUnpack.remove(path) }
  }

  // MARK: Books

  func write(_ image: StoredImage) throws(SyscallError) {
    try Files.writeAtomically(files.record(image.id), image.json.encoded(pretty: true))
    stored[image.id] = image
  }

  func addLayer(_ diffID: Digest, _ result: LayerUnpackResult) throws(SyscallError) {
    let record = LayerRecord(
      contentBytes: result.contentBytes, fileBytes: result.fileBytes, diskBytes: result.diskBytes,
      inodes: Int64(result.entries), hasSkeleton: result.hasSkeleton, isDurable: false, bootID: bootID,
      impliedDirectories: result.impliedDirectories)
    try Files.writeAtomically(files.layerRecord(diffID), record.json.encoded(pretty: true))
    layers[diffID] = record
  }

  /// Brings everything to the disk, off the path of whoever waits for an image. Until that is done a layer is only good for
  /// this boot: files that were not written before a power cut come back empty.
  func scheduleSync() {
    guard syncTask == nil else { return }
    // Without a parent, because the pull that made it ends first; `shutdown` waits for it.
    syncTask = Task { await self.sync() }
  }

  private func sync() async {
    let unsynced = layers.filter { !$0.value.isDurable }
    do {
      try await LayerUnpack.sync(files.layers)
      for (diffID, record) in unsynced where layers[diffID] == record {
        var durable = record
        durable.isDurable = true
        try Files.writeAtomically(files.layerRecord(diffID), durable.json.encoded(pretty: true))
        layers[diffID] = durable
      }
    } catch {
      log.error("image store: layers are not on disk yet", metadata: ["error": "\(error)"])
    }
    syncTask = nil
    if layers.contains(where: { !$0.value.isDurable && unsynced[$0.key] == nil }) { scheduleSync() }
  }

  /// Waits until everything is on disk. Nothing may be called afterwards.
  package func shutdown() async {
    while let task = syncTask { await task.value }
  }

  // MARK: Reading

  /// By id (with or without sha256:, any unambiguous prefix of 4 digits or more), canonical or short name, or name@digest.
  package func image(_ nameOrID: String) -> ImageRecord? { find(nameOrID).map(record) }

  /// All, ordered by id.
  package func images() -> [ImageRecord] { stored.values.sorted { $0.id < $1.id }.map(record) }

  func find(_ nameOrID: String) -> StoredImage? {
    let hex = nameOrID.hasPrefix("sha256:") ? String(nameOrID.dropFirst(7)) : nameOrID
    if let id = Digest(sha256Hex: hex) {
      // A manifest's digest names the image as well: kubelet has seen both.
      return stored[id] ?? stored.values.first { $0.manifest.digest == id }
    }
    if let reference = try? ImageReference(nameOrID) {
      if let digest = reference.digest {
        let wanted = reference.pinned(to: digest).description
        if let image = stored.values.first(where: { $0.repoDigests.contains(wanted) }) { return image }
        if let image = stored[digest] { return image }
      } else if let image = stored.values.first(where: { $0.repoTags.contains(reference.description) }) {
        return image
      }
    }
    guard hex.utf8.count >= 4 else { return nil }
    let matches = stored.keys.filter { $0.hex.hasPrefix(hex) }
    return matches.count == 1 ? matches.first.flatMap { stored[$0] } : nil
  }

  func record(_ image: StoredImage) -> ImageRecord {
    ImageRecord(
      id: image.id, repoTags: image.repoTags.sorted(), repoDigests: image.repoDigests.sorted(),
      sizeBytes: image.layersTopFirst.reduce(0) { $0 + (layers[$1]?.fileBytes ?? 0) }, config: image.config,
      layerDirectories: (isImpliedShown(image) ? [files.implied(image.id, bootID: bootID)] : [])
        + image.layersTopFirst.map(files.layer), pinned: isPinned(image), pulledAt: image.pulledAt)
  }

  /// Not where there is no room left among the directories that an overlay takes.
  private func isImpliedShown(_ image: StoredImage) -> Bool {
    implied[image.id] == true && image.layersTopFirst.count < ImageLimits.layersMax
  }

  func isPinned(_ image: StoredImage) -> Bool {
    image.pinned
      || options.pinnedNames.contains { name in
        (try? ImageReference(name)).map { image.repoTags.contains($0.description) } ?? false
      }
  }

  package func usage() -> ImageStoreUsage {
    ImageStoreUsage(
      directory: files.layers, bytes: layers.values.reduce(0) { $0 + $1.diskBytes },
      inodes: layers.values.reduce(0) { $0 + $1.inodes + 1 } + Int64(stored.count) * 3,
      measuredAt: SystemClock.wallNanoseconds)
  }

  // MARK: Holding

  package func setPinned(_ nameOrID: String, _ pinned: Bool) throws(ImageError) {
    var image = try require(nameOrID, stage: "pin")
    image.pinned = pinned
    do { try write(image) } catch { throw ImageError(error, stage: "pin", subject: nameOrID) }
  }

  /// Keeps an image from being removed until `release` of the same owner (a container id). An owner may
  /// hold several. These holds are not written to disk: after a restart the runtime holds again for the containers that it
  /// finds, before it serves.
  package func hold(_ nameOrID: String, for owner: String) throws(ImageError) -> ImageRecord {
    let image = try require(nameOrID, stage: "hold")
    addHold(image.id, for: owner)
    return record(image)
  }

  func addHold(_ id: Digest, for owner: String) { holds[owner, default: []].insert(id) }

  /// Lets go of every image of the owner. Idempotent.
  package func release(owner: String) {
    for id in holds.removeValue(forKey: owner) ?? [] {
      do { try Files.remove(files.volumeHold(id, owner)) } catch {
        log.error("image store: release", metadata: ["owner": "\(owner)", "error": "\(error)"])
      }
    }
  }

  var heldOwners: [String] { Array(holds.keys) }

  /// Owners that hold the image, sorted.
  func holders(_ id: Digest) -> [String] { holds.filter { $0.value.contains(id) }.keys.sorted() }

  func require(_ nameOrID: String, stage: String) throws(ImageError) -> StoredImage {
    guard let image = find(nameOrID) else {
      throw ImageError(.notFound, stage: stage, subject: nameOrID, "no such image here; pull or import it first")
    }
    return image
  }
}
