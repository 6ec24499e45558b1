internal import KubeClient
internal import KubeModel
internal import Logging
internal import PodTranslation

/// Mirrors of the pods of files: what an API server shows of them.
extension NodeAgent {
  /// The pod of a file that has this name, and is not gone.
  private func ownPod(_ key: ObjectKey) -> PodReport? {
    let own = (holders["\(key)"] ?? []).compactMap { reports[$0] }.filter { !$0.isServed }
    // Of two of one name the older one is on its way out.
    return own.first { !$0.machine.isDeleting } ?? own.first
  }

  /// The mirror that shows this pod of a file; nil where there is none (yet).
  func mirror(of report: PodReport) -> Pod? {
    guard let cluster, !report.isServed, let shown = cluster.pods.get(ObjectKey(report.pod)),
      MirrorPod.step(own: report.pod.metadata.uid, shown: shown) == .report
    else { return nil }
    return shown
  }

  /// By which uid the API server knows a pod of this node.
  func servedUID(_ uid: String) -> String? {
    guard let report = reports[uid] else { return nil }
    return report.isServed ? uid : mirror(of: report)?.metadata.uid
  }

  /// Brings the mirror of one name to what runs here.
  func keepMirror(_ key: ObjectKey, _ shown: Pod?, _ cluster: Cluster) async throws -> WorkOutcome {
    let own = ownPod(key)
    switch MirrorPod.step(own: own?.pod.metadata.uid, shown: shown) {
    case .nothing: return .done
    case .report:
      if let own { tellMirror(own) }
      return .done
    case .delete:
      // Its going is an event, which has another one made where the pod still runs.
      if let shown { cluster.statuses.remove(shown) }
      return .done
    case .create:
      guard let own, !own.machine.isDeleting else { return .done }
      if let hindrance = MirrorPod.hindrance(own.pod) {
        tools.logger.info("pod \(key): the API server is not shown it, for it refers to \(hindrance) of this node")
        return .done
      }
      return try await makeMirror(of: own.pod, key, cluster)
    }
  }

  private func makeMirror(of pod: Pod, _ key: ObjectKey, _ cluster: Cluster) async throws -> WorkOutcome {
    do throws(KubeError) {
      let node = try await cluster.client.get(Node.self, name: tools.facts.nodeName)
      _ = try await cluster.client.create(MirrorPod.make(of: pod, node: node))
      tools.logger.info("pod \(key): the API server shows it")
      return .done
    } catch {
      // Its event is on the way, or a pod of this name runs elsewhere.
      if error.isAlreadyExists { return .retry }
      throw error
    }
  }

  /// Tells the server how a pod of a file is.
  func tellMirror(_ report: PodReport) {
    guard let cluster else { return }
    guard !report.machine.isGone, let shown = mirror(of: report) else {
      cluster.queue.add(ObjectKey(report.pod))
      return
    }
    var told = report
    (told.pod, told.isServed) = (shown, true)
    cluster.statuses.report(told)
  }
}
