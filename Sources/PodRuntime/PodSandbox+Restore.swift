internal import JSON
internal import Kernel
internal import Logging

/// What a restarted daemon found of one pod.
struct FoundPod: Sendable {
  var record: SandboxRecord
  var state: SandboxState?
  var containers: [FoundContainer] = []
  var shim: Shim?
  var shimContainers: [ShimContainer] = []
}

struct FoundContainer: Sendable {
  var record: ContainerRecord
  var state: ContainerState?
}

extension PodSandbox {
  /// Takes over what was found. Running containers notice nothing; what was half made is taken down.
  func restore(_ found: FoundPod, _ recovery: SandboxRecovery) async {
    environment.madeGroups.note(record.madeGroups)
    addresses = found.state?.addresses ?? SandboxAddresses()
    shimPID = found.state?.shimPID ?? 0
    var lost: [String] = []
    for container in found.containers {
      let known = found.shimContainers.first { $0.containerID == container.record.id }
      if restore(container, known) { lost.append(container.record.id) }
      do {
        try await environment.hooks.holdImage(container.record.config.imageID, container.record.id)
      } catch {
        log.error(
          "the image of a container is gone", metadata: ["container": "\(container.record.id)", "error": "\(error)"])
      }
    }
    // Only now: an exit that the shim reports must find its container here.
    if let shim = found.shim { adopt(shim) } else { shimPID = 0 }
    await dropUnrecorded(found)
    changed()
    if let event = recovery.event { apply(event) }
    for id in lost { apply(.shimLost, to: id) }
  }

  /// Ends what waits for its start and was never created as far as anybody was told.
  private func dropUnrecorded(_ found: FoundPod) async {
    let recorded = Set(found.containers.map(\.record.id))
    for container in found.shimContainers where container.isPrepared && !recorded.contains(container.containerID) {
      do throws(RuntimeError) {
        var forgetting = try beginToForget(container.containerID)
        try await finish(&forgetting, container.containerID)
        try await removeGroup(try containerGroup(container.containerID))
      } catch {
        log.error(
          "a container that was never created is left",
          metadata: ["container": "\(container.containerID)", "error": "\(error)"])
      }
    }
  }

  /// - Returns: whether nobody will report its end.
  private func restore(_ container: FoundContainer, _ known: ShimContainer?) -> Bool {
    let id = container.record.id
    let places = environment.places(of: id, in: self.id)
    let exit = known?.exit.map { ContainerExit($0) } ?? Self.readExitFile(places.directory)
    let populated = (try? containerGroup(id).isPopulated()) ?? false
    let recovery = ContainerRecovery(
      state: container.state, pid: known.flatMap { $0.exit == nil && !$0.isPrepared ? $0.processID : nil },
      shimExit: exit, hasProcesses: populated, isPrepared: known?.isPrepared ?? false)
    var cell = ContainerCell(record: container.record, machine: recovery.machine)
    if recovery.machine.phase == .created {
      cell.isPrepared = known?.isPrepared ?? false
    } else {
      cell.startedAt = container.state?.startedAt ?? known?.startedAtNanoseconds ?? 0
      cell.pid = known?.processID ?? container.state?.pid ?? 0
    }
    containers[id] = cell
    names[ContainerName(name: container.record.config.name, attempt: container.record.config.attempt)] = id
    environment.board.publish(cell.snapshot)
    if recovery.needsSaving { saveContainerState(id) }
    if cell.snapshot.exit != nil { Task { await emptyGroup(of: id) } }
    return recovery.isLost
  }

  /// How the container ended, as its shim wrote it down.
  static func readExitFile(_ directory: String) -> ContainerExit? {
    guard let bytes = try? Files.read("\(directory)/exit", maxBytes: RuntimeBounds.recordBytesMax),
      let value = try? JSONValue.parse(bytes), let reader = try? RecordReader(value, path: "exit"),
      let code: Int32 = try? reader.unsigned("exitCode"), let finishedAt = try? reader.integer("finishedAtNanoseconds")
    else { return nil }
    let outOfMemory = (try? reader.bool("outOfMemory")) ?? false
    return ContainerExit(code: code, finishedAt: finishedAt, reason: ContainerExit.reason(code, outOfMemory))
  }
}
