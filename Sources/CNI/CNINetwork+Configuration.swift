internal import Kernel
internal import Logging

extension CNINetwork {
  /// Adopts the networks of `known` sandboxes, takes down all others, reads the configuration and lets plugins collect
  /// their garbage. Call once, before `attach`.
  package func start(known: Set<String>) async throws(CNIError) -> Recovery {
    var recovery = Recovery()
    do throws(SyscallError) {
      try Files.makeDirectories(setup.recordsDirectory)
      try Files.makeDirectories(setup.namespacesDirectory)
      try readRecords(known, &recovery)
      for entry in try Directory(path: setup.namespacesDirectory).list() where records[entry.name] == nil {
        try NetworkNamespace.unpin("\(setup.namespacesDirectory)/\(entry.name)")
      }
    } catch {
      throw CNIError(.kernel, stage: "start CNI networks", error.description)
    }
    await reload()
    let unknown = records.values.filter { !known.contains($0.sandboxID) }
    await withTaskGroup { group in
      for record in unknown { group.addTask { await self.removeUnknown(record) } }
    }
    recovery.removed = unknown.map(\.sandboxID).filter { records[$0] == nil }.sorted()
    // Here alone: a pod that comes while it runs would be taken for garbage.
    if case .ready(let configuration) = state {
      let kept = records.values.filter { $0.configuration.name == configuration.name }.map(\.sandboxID).sorted()
      do throws(CNIError) { try await plugins.collect(configuration, keeping: kept) } catch {
        log.warning("collecting garbage of CNI plugins failed", metadata: ["error": "\(error)"])
      }
    }
    return recovery
  }

  private func removeUnknown(_ record: CNIRecord) async {
    do throws(CNIError) { try await takeDown(record) } catch {
      log.error(
        "a network of a pod that is gone stays; the next start tries again", metadata: ["error": "\(error)"])
    }
  }

  private func readRecords(_ known: Set<String>, _ recovery: inout Recovery) throws(SyscallError) {
    for entry in try Directory(path: setup.recordsDirectory).list() {
      let path = "\(setup.recordsDirectory)/\(entry.name)"
      // Was being written when the daemon died: the file that it replaces is whole.
      if entry.name.contains(".json.tmp.") { try Files.remove(path) }
      guard entry.name.hasSuffix(".json") else { continue }
      let sandboxID = String(entry.name.dropLast(5))
      do {
        try Self.checkID(sandboxID)
        let record = try CNIRecord.parse(try Files.read(path, maxBytes: CNIRecord.bytesMax), file: path)
        guard record.sandboxID == sandboxID else {
          throw CNIError(.configuration, stage: "read \(path)", "is of sandbox \(record.sandboxID)")
        }
        records[sandboxID] = record
        guard known.contains(sandboxID) else { continue }
        if record.result == nil {
          recovery.lost[sandboxID] = "its CNI plugins were cut off"
        } else if (try? NetworkNamespace.open(record.namespacePath)) == nil {
          recovery.lost[sandboxID] = "no network namespace is pinned at \(record.namespacePath)"
        } else {
          recovery.adopted.insert(sandboxID)
        }
      } catch {
        log.error("a CNI record is set aside as .damaged", metadata: ["record": "\(path)", "error": "\(error)"])
        try Files.rename(path, to: "\(path).damaged")
        if known.contains(sandboxID) { recovery.lost[sandboxID] = "its record is damaged: \(error)" }
      }
    }
  }

  /// Reads the directory anew. The first file by name that can be used is taken; those before it are told of.
  package func reload() async {
    await enter("")
    defer { leave("") }
    let found = await read()
    if found == state { return }
    forgetStatus()
    switch found {
    case .ready(let configuration):
      log.info(
        "CNI configuration read",
        metadata: [
          "network": "\(configuration.name)", "version": "\(configuration.version.rawValue)",
          "plugins": "\(configuration.plugins.map(\.type).joined(separator: ","))",
        ])
    case .broken(let problem): log.error("no CNI configuration can be used", metadata: ["error": "\(problem)"])
    case .none: log.info("no CNI configuration", metadata: ["directory": "\(setup.configurationDirectory)"])
    }
    state = found
  }

  private func read() async -> State {
    let names: [String]
    do throws(SyscallError) {
      names = try Directory(path: setup.configurationDirectory).list().map(\.name)
        .filter { name in CNIConfiguration.fileEnds.contains { name.hasSuffix($0) } }.sorted()
    } catch {
      return error.errno == Errno.noEntry ? .none : .broken(error.description)
    }
    var first: String?
    for name in names.prefix(CNIBounds.filesMax) {
      do {
        let path = "\(setup.configurationDirectory)/\(name)"
        let configuration = try CNIConfiguration.parse(
          try Files.read(path, maxBytes: CNIBounds.fileBytesMax), file: name)
        try await plugins.checkVersions(configuration)
        return .ready(configuration)
      } catch {
        log.warning("a CNI configuration is passed over", metadata: ["file": "\(name)", "error": "\(error)"])
        first = first ?? "\(error)"
      }
    }
    return first.map { .broken($0) } ?? .none
  }

  /// Asks after the pods that were adopted, and follows the directory until cancelled. It need not exist yet.
  package func run() async {
    await checkAdopted()
    while !Task.isCancelled {
      let directory = Self.nearest(setup.configurationDirectory)
      do throws(SyscallError) {
        let watch = try InotifyWatch(directory: directory)
        // What changed before the watch was there is seen now.
        if Self.nearest(setup.configurationDirectory) != directory { continue }
        await reload()
        let failure = await withTaskCancellationHandler {
          await onFreshThread { () -> SyscallError? in
            do throws(SyscallError) { _ = try watch.wait(timeoutMilliseconds: -1) } catch { return error }
            return nil
          }
        } onCancel: {
          watch.interrupt()
        }
        if let failure { throw failure }
      } catch {
        log.error(
          "following a directory failed; it is read again in \(Self.rereadSeconds) s", metadata: ["error": "\(error)"])
        await reload()
        try? await Task.sleep(for: .seconds(Self.rereadSeconds))
      }
    }
  }

  /// Between two looks where the kernel tells of no changes.
  private static let rereadSeconds = 30

  /// The directory, or the closest one above it that is there.
  private static func nearest(_ path: String) -> String {
    var path = path
    while path != "/", path != ".", !Files.exists(path) { path = Files.parent(of: path) }
    return path
  }

  /// A network that its plugins no longer find whole is told of; its pod runs, and only whoever owns it may end it.
  private func checkAdopted() async {
    await withTaskGroup { group in
      for sandboxID in records.keys.sorted() { group.addTask { await self.checkAdopted(sandboxID) } }
    }
  }

  private func checkAdopted(_ sandboxID: String) async {
    if Task.isCancelled { return }
    do throws(CNIError) { try await check(sandboxID) } catch {
      log.warning("a pod's network is not what it was", metadata: ["pod": "\(sandboxID)", "error": "\(error)"])
    }
  }
}
