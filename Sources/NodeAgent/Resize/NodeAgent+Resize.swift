internal import KubeClient
internal import KubeModel
internal import PodTranslation

/// Which pods may have the CPU and memory that they want.
extension NodeAgent {
  /// Looks at what a pod that runs wants, and has it done where there is room.
  func resizeServed(_ wanted: Pod, _ worker: PodWorker) async {
    let uid = worker.uid
    let allocated = worker.pod.spec
    let isOver = reports[uid].map { $0.machine.failure != nil || $0.machine.isDeleting } ?? true
    guard !isOver, ResizePlan.spec(allocated, sizedAs: wanted.spec) != allocated else {
      deferred[uid] = nil
      return await worker.dropWish()
    }
    let others = reports.filter { other, report in
      other != uid && ![.succeeded, .failed].contains(report.machine.phase)
    }
    // No waiting before the pod has what it was given: another's wish would find the same room.
    let verdict = ResizePlan.verdict(
      wanted: wanted.spec, allocated: allocated,
      others: others.values.map { workers[$0.pod.metadata.uid ?? ""]?.pod.spec ?? $0.pod.spec },
      facts: tools.facts)
    switch verdict {
    case .fits:
      deferred[uid] = nil
      await worker.resize(to: wanted.spec)
    case .waits(let pending):
      deferred[uid] = pending.reason == "Deferred" ? ObjectKey(wanted) : nil
      await worker.postpone(pending)
    }
  }

  /// There may be room now for who waits for some.
  func retryResizes() {
    for key in deferred.values { cluster?.queue.add(key) }
  }

  /// Gets on with what failed.
  func continueResizes() async {
    for worker in workers.values where reports[worker.uid]?.resize.inProgress == true { await worker.actOnResize() }
  }
}
