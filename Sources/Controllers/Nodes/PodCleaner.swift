internal import KubeClient
internal import KubeModel
internal import Logging

/// Removes pods that nobody else will remove.
final class PodCleaner: Sendable {
  /// Time between two looks: that a node stays away is no event.
  private static let period: Duration = .seconds(20)

  private let context: ControllerContext
  private let pods: Informer<Pod>
  private let nodes: Informer<Node>

  init(_ context: ControllerContext) {
    self.context = context
    pods = context.informers.informer()
    nodes = context.informers.informer()
  }

  func run() async throws {
    var cleanup = PodCleanup(finishedMax: context.configuration.finishedPodsMax)
    while true {
      let removals = cleanup.plan(
        pods: pods.list(), nodes: Set(nodes.list().compactMap(\.metadata.name)), now: context.now)
      for (pod, reason) in removals {
        do throws(KubeError) {
          try await remove(pod, reason)
        } catch {
          if error.isCancelled { throw CancellationError() }
          context.logger.warning(
            "pod \(pod.metadata.key), \(reason), could not be removed, will be tried again: \(error)")
        }
      }
      try await context.client.clock.sleep(for: Self.period)
    }
  }

  private func remove(_ pod: Pod, _ reason: PodCleanup.Reason) async throws(KubeError) {
    if reason == .orphaned {
      do throws(KubeError) {
        let _: Node = try await context.client.get(name: pod.spec.nodeName ?? "")
        return
      } catch {
        guard error.isNotFound else { throw error }
      }
    }
    let now = context.now
    do throws(KubeError) {
      if reason == .orphaned {
        _ = try await context.client.updateStatus(retrying: pod) { fresh in
          guard let status = PodCleanup.orphanedStatus(of: fresh, now: now) else { return false }
          fresh.status = status
          return true
        }
      }
      context.logger.info("removing pod \(pod.metadata.key): \(reason)")
      try await context.client.delete(
        Pod.self, name: pod.metadata.name ?? "", namespace: pod.metadata.namespace, graceSeconds: 0,
        uid: pod.metadata.uid)
    } catch {
      guard error.isNotFound || error.isConflict else { throw error }
    }
  }
}
