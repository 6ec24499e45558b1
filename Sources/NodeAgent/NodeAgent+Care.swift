internal import CRIClient
internal import CRIModel
internal import Kernel
internal import KubeModel
internal import Logging
internal import PodTranslation
internal import SwiftProtobuf
internal import Volumes

/// What the agent found of an earlier one, and what it measures.
extension NodeAgent {
  /// Fails pods that hold more on disk than they may.
  func measureLoop() async {
    while !Task.isCancelled {
      try? await Task.sleep(for: settings.measure)
      await weighClasses()
      await continueResizes()
      await measureStorage()
      for (uid, report) in reports where report.machine.failure == nil && !report.machine.isDeleting {
        for volume in report.pod.spec.volumes {
          guard let empty = volume.emptyDir, empty.medium != "Memory", let limit = empty.sizeLimit?.value, limit > 0
          else {
            continue
          }
          let (store, name) = (tools.volumes, volume.name)
          let used = await onFreshThread { (try? store.usedBytes(name, pod: uid)) ?? 0 }
          guard used > limit else { continue }
          let message = "Usage of EmptyDir volume \"\(name)\" exceeds the limit \"\(empty.sizeLimit?.text ?? "")\". "
          workers[uid]?.deliver(.failed(reason: "Evicted", message: message))
        }
      }
    }
  }

  /// Containers whose writable layers and logs are larger than their limits of ephemeral storage.
  private func measureStorage() async {
    let name = "ephemeral-storage"
    let limited = reports.filter { _, report in
      report.machine.failure == nil && !report.machine.isDeleting
        && report.pod.spec.containers.contains { $0.resources.limits[name] != nil }
    }
    guard !limited.isEmpty else { return }
    let stats: [CRIPodSandboxStats]
    do throws(CRIError) {
      stats = try await tools.runtime.listPodSandboxStats(CRIPodSandboxStatsFilter())
    } catch {
      tools.logger.warning("what containers hold: \(error)")
      return
    }
    for pod in stats {
      let uid = pod.attributes.metadata.uid
      guard let report = limited[uid] else { continue }
      for container in pod.linux.containers {
        let container = (name: container.attributes.metadata.name, layer: container.writableLayer.usedBytes.value)
        let spec = report.pod.spec.containers.first { $0.name == container.name }
        guard let limit = spec?.resources.limits[name] else { continue }
        let logs = "\(workers[uid]?.translation.logDirectory ?? "")/\(container.name)"
        let logged = await onFreshThread { (try? VolumeStore.bytes(below: logs)) ?? 0 }
        guard Int64(clamping: container.layer) + logged > limit.value else { continue }
        let message = "Container \(container.name) exceeded its local ephemeral storage limit \"\(limit.text)\". "
        workers[uid]?.deliver(.failed(reason: PodReport.evictedReason, message: message))
        break
      }
    }
  }

  // MARK: logs and images

  /// Begins logs anew that have become long.
  func rotateLoop() async {
    while !Task.isCancelled {
      try? await Task.sleep(for: settings.rotate)
      for (uid, report) in reports where report.machine.sandboxID != nil {
        guard let directory = workers[uid]?.translation.logDirectory else { continue }
        for container in report.machine.containers {
          guard let (id, attempt) = container.current else { continue }
          await rotate("\(directory)/\(container.rule.name)", "\(attempt).log", id)
        }
      }
    }
  }

  private func rotate(_ directory: String, _ log: String, _ id: String) async {
    let (rule, path) = (settings.logRotation, "\(directory)/\(log)")
    let moved = LogRotation.name(of: path, at: SystemClock.wallNanoseconds)
    let isMoved = await onFreshThread { () -> Bool in
      guard let status = try? Files.status(path), status.kind == .file, status.sizeBytes > rule.bytesMax else {
        return false
      }
      let names = (try? Directory(path: directory).list().map(\.name)) ?? []
      for name in rule.surplus(of: log, among: names) { try? Files.remove("\(directory)/\(name)") }
      return (try? Files.rename(path, to: moved)) != nil
    }
    guard isMoved else { return }
    do throws(CRIError) {
      try await tools.runtime.reopenContainerLog(id)
    } catch {
      // Whoever writes goes on in the old file: it gets its name back, so that nobody reads past it.
      tools.logger.warning("log \(path): \(error)")
      await onFreshThread { if !Files.exists(path) { try? Files.rename(moved, to: path) } }
    }
  }

  /// Removes images that nobody uses when the disk is full.
  func tidyLoop() async {
    while !Task.isCancelled {
      try? await Task.sleep(for: settings.tidy)
      let (care, place) = (settings.imageCare, tools.volumes.root)
      let excess = await onFreshThread { () -> UInt64 in
        guard let space = try? Files.space(Files.parent(of: place)) else { return 0 }
        return care.excess(totalBytes: space.totalBytes, availableBytes: space.availableBytes)
      }
      guard excess > 0, !Task.isCancelled else { continue }
      do throws(CRIError) {
        let images = try await tools.runtime.listImages(CRIImageFilter())
        let containers = try await tools.runtime.listContainers(CRIContainerFilter())
        for image in care.removable(images, usedBy: containers, bytes: excess) {
          tools.logger.info("the disk is full: image \(image.repoTags.first ?? image.id) goes, nobody uses it")
          try await tools.runtime.removeImage(image.id)
        }
      } catch {
        tools.logger.warning("images: \(error)")
      }
    }
  }

  // MARK: taking over

  func adopt() async {
    let found: FoundNode
    do throws(CRIError) {
      found = try await FoundNode.look(tools, readyBefore: NodeStatus.readyContainers(in: settings.statusFile))
    } catch {
      setRuntimeProblem(error.description)
      return
    }
    let wanted = Dictionary(manifests.pods.map { ($0.object.metadata.uid ?? "", $0) }) { first, _ in first }
    let unreadable = Set(errors.map(\.place.file))
    for (uid, stranger) in found.pods.sorted(by: { $0.key < $1.key }) {
      if let placed = wanted[uid] {
        let rules = PodRules(placed.object, backoff: tools.backoff)
        tools.logger.info("pod \(placed.key): taken over")
        start(
          placed.object, place: placed.place, machine: PodMachine(rules, adopting: stranger.found, now: tools.now()))
      } else if stranger.isServed {
        // With a server its list decides; without one nobody here may.
        arrivals[uid] = Arrival(since: tools.now(), stranger: stranger)
        if cluster == nil { kept.append(uid) }
      } else if unreadable.contains(stranger.manifest) {
        kept.append(uid)
        tools.logger.warning("pod \(stranger.namespace)/\(stranger.name): left as it is; mend \(stranger.manifest)")
      } else {
        tools.logger.info("pod \(stranger.namespace)/\(stranger.name): no manifest asks for it any more")
        takeDown(stranger)
      }
    }
    // With a server, when its list has come.
    if cluster == nil { await removeLeftVolumes(known: Set(wanted.keys)) }
  }

  func takeDown(_ stranger: Stranger) {
    let machine = PodMachine(stranger.rules(tools.backoff), adopting: stranger.found, now: tools.now())
    start(
      stranger.pod, place: nil, machine: machine, first: .deletionRequested(graceSeconds: stranger.graceSeconds))
  }

  /// Removes the volumes of pods that no sandbox is left of.
  func removeLeftVolumes(known wanted: Set<String>) async {
    let store = tools.volumes
    let known = Set(workers.keys).union(kept).union(arrivals.keys).union(wanted)
    let left = await onFreshThread { (try? store.pods()) ?? [] }
    for uid in left where !known.contains(uid) {
      do throws(VolumeError) {
        try await onFreshThread { () throws(VolumeError) in try store.remove(pod: uid) }
      } catch {
        tools.logger.warning("\(error)")
      }
    }
  }
}
