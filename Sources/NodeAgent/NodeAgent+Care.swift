internal import CRIClient
internal import Kernel
internal import KubeModel
internal import Logging
internal import PodTranslation
internal import Volumes

/// What the agent found of an earlier one, and what it measures.
extension NodeAgent {
  /// Fails pods whose emptyDirs hold more than they may.
  func measureLoop() async {
    while !Task.isCancelled {
      try? await Task.sleep(for: settings.measure)
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
