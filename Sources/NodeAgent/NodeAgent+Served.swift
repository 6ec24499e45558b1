internal import KubeClient
internal import KubeModel
internal import Logging
internal import PodTranslation

/// Pods of an API server.
extension NodeAgent {
  /// What is known of a served pod that does not run (yet), by uid.
  struct Arrival {
    /// When it was seen first: what it is made from is waited for so long and no longer.
    var since: Milliseconds
    /// What an earlier agent has left of it.
    var stranger: Stranger?
  }

  /// Follows the API server until cancelled.
  func serve(_ cluster: Cluster) async {
    await withDiscardingTaskGroup { group in
      group.addTask { await cluster.run() }
      group.addTask {
        // Without the list nobody knows which of the pods that run here are still wanted: they go on as they are.
        while await !cluster.pods.waitForSync(), !Task.isCancelled {}
        await self.settleStrangers(cluster)
        await cluster.services.waitForSync(timeout: Cluster.servicesMax)
        try? await cluster.queue.run { key in try await self.look(at: key, cluster) }
      }
    }
  }

  /// After the first list: ends what an earlier agent left and the server does not know any more.
  private func settleStrangers(_ cluster: Cluster) async {
    guard !Task.isCancelled else { return }
    let known = Set(cluster.pods.list().compactMap(\.metadata.uid))
    for (uid, arrival) in arrivals where !known.contains(uid) {
      guard let stranger = arrival.stranger else { continue }
      arrivals[uid] = nil
      tools.logger.info("pod \(stranger.namespace)/\(stranger.name): the API server does not know it any more")
      takeDown(stranger)
    }
    await removeLeftVolumes(known: known)
  }

  /// Brings one pod to what the server says of it.
  private func look(at key: ObjectKey, _ cluster: Cluster) async throws -> WorkOutcome {
    let pod = cluster.pods.get(key)
    let uid = pod?.metadata.uid ?? ""
    for other in holders["\(key)"] ?? [] where other != uid && reports[other]?.isServed == true {
      // Taken out of the API by force, perhaps with another in its place.
      workers[other]?.deliver(.deletionRequested(graceSeconds: Self.forcedGraceSeconds))
      if workers[other] == nil {
        dropServed(other, cluster)
        cluster.statuses.forget(other)
      }
    }
    guard let pod, !MirrorPod.isMirror(pod) else { return try await keepMirror(key, pod, cluster) }
    if let worker = workers[uid] {
      await worker.revise(pod)
      guard pod.metadata.deletionTimestamp != nil else {
        cluster.contents.use(ContentReference.all(of: pod), by: uid, key)
        await worker.update(cluster.contents.objects(for: uid))
        await resizeServed(pod, worker)
        return .done
      }
      worker.deliver(.deletionRequested(graceSeconds: pod.metadata.deletionGracePeriodSeconds))
      return .done
    }
    let stranger = arrivals[uid]?.stranger
    if pod.metadata.deletionTimestamp != nil {
      guard let stranger else {
        dropServed(uid, cluster)
        cluster.statuses.remove(pod)
        return .done
      }
      // Nothing is made any more for a pod that goes.
      startServed(
        pod, stranger, cluster, first: .deletionRequested(graceSeconds: pod.metadata.deletionGracePeriodSeconds))
      return .done
    }
    let isOver = pod.status.phase == "Succeeded" || pod.status.phase == "Failed"
    if isOver, stranger == nil { return .done }
    return admit(pod, key, stranger, cluster)
  }

  /// Seconds between the stop signal and the kill for a pod that was taken out of the API by force.
  private static let forcedGraceSeconds: Int64 = 1

  private func admit(_ pod: Pod, _ key: ObjectKey, _ stranger: Stranger?, _ cluster: Cluster) -> WorkOutcome {
    let uid = pod.metadata.uid ?? ""
    // Another pod of this name is still on its way out; its end has this one looked at again.
    if holders["\(key)"]?.contains(where: { workers[$0] != nil }) == true { return .done }
    let problems = PodValidation.problems(inServed: pod)
    guard problems.isEmpty else {
      refuse(pod, problems.map(\.description).joined(separator: "; "), cluster)
      return .done
    }
    if stranger == nil, let why = pressureRefusal(pod) {
      reject(pod, why, cluster)
      return .done
    }
    let since = arrivals[uid]?.since ?? tools.now()
    arrivals[uid] = Arrival(since: since, stranger: stranger)
    cluster.contents.use(ContentReference.all(of: pod), by: uid, key)
    let waited = Duration.milliseconds(tools.now() - since)
    if !cluster.contents.isReady(uid), waited < Cluster.lookupMax { return .after(Cluster.lookupMax - waited) }
    startServed(pod, stranger, cluster)
    return .done
  }

  private func startServed(
    _ pod: Pod, _ stranger: Stranger?, _ cluster: Cluster, first: PodEvent = .tick
  ) {
    let uid = pod.metadata.uid ?? ""
    arrivals[uid] = nil
    let rules = PodRules(pod, backoff: tools.backoff)
    var machine = PodMachine(rules)
    var pod = pod
    if let stranger {
      // What runs has what an earlier agent let in; what is wanted beyond that is looked at next.
      pod.spec = ResizePlan.spec(pod.spec, sizedAs: pod.status)
      cluster.queue.add(ObjectKey(pod))
      tools.logger.info("pod \(ObjectKey(pod)): taken over")
      machine = PodMachine(rules, adopting: stranger.found, now: tools.now())
      if ["Succeeded", "Failed"].contains(pod.status.phase) {
        machine.stayOver(pod.status.reason ?? "Error", pod.status.message ?? "")
      }
    }
    start(
      pod, place: nil, isServed: true, machine: machine, objects: cluster.contents.objects(for: uid), first: first)
  }

  /// A pod that asks for what this node does not do waits, and says why; nothing of it runs.
  private func refuse(_ pod: Pod, _ why: String, _ cluster: Cluster) {
    let uid = pod.metadata.uid ?? ""
    var machine = PodMachine(PodRules(pod, backoff: tools.backoff))
    machine.waiting = Waiting(PodReport.refusalReason, why)
    let report = PodReport(pod: pod, isServed: true, machine: machine.report)
    guard reports[uid]?.machine.waiting?.message != why else { return }
    reports[uid] = report
    holders["\(ObjectKey(pod))", default: []].insert(uid)
    tools.logger.error("pod \(ObjectKey(pod)): \(why)")
    cluster.record(pod, .warning("Failed", "Error: \(why)"))
    cluster.statuses.report(report)
  }

  /// A pod that comes to a node which has no room for it fails at once.
  private func reject(_ pod: Pod, _ why: String, _ cluster: Cluster) {
    var machine = PodMachine(PodRules(pod, backoff: tools.backoff))
    machine.failure = Waiting(PodReport.evictedReason, "Pod was rejected: \(why)")
    let report = PodReport(pod: pod, isServed: true, machine: machine.report)
    reports[pod.metadata.uid ?? ""] = report
    holders["\(ObjectKey(pod))", default: []].insert(pod.metadata.uid ?? "")
    tools.logger.warning("pod \(ObjectKey(pod)) is rejected: \(why)")
    cluster.record(pod, .warning(PodReport.evictedReason, why))
    cluster.statuses.report(report)
  }

  /// Nothing of the pod is on this node any more.
  func dropServed(_ uid: String, _ cluster: Cluster) {
    if let pod = reports[uid]?.pod { release("\(ObjectKey(pod))", uid) }
    reports[uid] = nil
    arrivals[uid] = nil
    cluster.contents.release(uid)
  }

  /// Tells the server of a change of a pod of its own, and takes the pod away there when it is gone here.
  func tellServed(_ report: PodReport) {
    guard let cluster else { return }
    let key = ObjectKey(report.pod)
    let uid = report.pod.metadata.uid ?? ""
    cluster.statuses.report(report)
    guard report.machine.isGone else { return }
    dropServed(uid, cluster)
    if let pod = cluster.pods.get(key), pod.metadata.uid == uid {
      cluster.statuses.remove(pod)
    } else {
      cluster.statuses.forget(uid)
      // Perhaps another pod waits for the name.
      cluster.queue.add(key)
    }
  }

  /// Takes the pod out of every Service and has the server know that it is not ready.
  func withdrawServed(_ uid: String) async {
    guard let cluster, let served = servedUID(uid) else { return }
    async let told = cluster.statuses.flush(served, atMost: Cluster.withdrawalMax)
    await cluster.withdraw(served)
    if await !told { tools.logger.warning("pod \(uid): the API server was not told in time that it stops") }
  }
}
