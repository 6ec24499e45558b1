internal import KubeClient
internal import KubeModel
internal import Synchronization

/// Makes and deletes the pods of owners, tells of it in events, and knows which caches have not seen it yet.
final class PodControl: Sendable {
  private let context: ControllerContext
  private let recorder: EventRecorder
  private let lag = Mutex(CacheLag())

  init(_ context: ControllerContext, _ recorder: EventRecorder) {
    self.context = context
    self.recorder = recorder
  }

  /// Whether the cache shows all that was done for the owner. Where it does not, its next event brings the key again.
  func isCaughtUp(_ owner: ObjectKey, _ pods: Informer<Pod>) -> Bool {
    let (revision, now) = (pods.resourceVersion, context.now)
    return lag.withLock { $0.isCaughtUp(owner, at: revision, now: now) }
  }

  func forget(_ owner: ObjectKey) { lag.withLock { $0.forget(owner) } }

  func wrote(_ revision: String?, for owner: ObjectKey) {
    lag.withLock { [now = context.now] in $0.wrote(revision, for: owner, now: now) }
  }

  /// Makes pods in batches of 1, 2, 4 and so on; the first batch that fails ends the row.
  /// - Returns: what went wrong; nil also where the namespace is going.
  func create<Owner: KubeResource>(_ pods: [Pod], for owner: Owner) async -> KubeError? {
    let problem = Mutex<KubeError?>(nil)
    var rest = pods[...]
    for size in ReplicaSetPlan.batches(of: pods.count) {
      await context.forEach(Array(rest.prefix(size))) { [self] pod in
        if let error = await create(pod, for: owner) { problem.withLock { $0 = error } }
      }
      rest = rest.dropFirst(size)
      if problem.withLock({ $0 != nil }) { break }
    }
    return problem.withLock { problem in
      guard let problem, !problem.isNamespaceTerminating else { return nil }
      return problem
    }
  }

  private func create<Owner: KubeResource>(_ pod: Pod, for owner: Owner) async -> KubeError? {
    do throws(KubeError) {
      let made = try await context.client.create(pod)
      wrote(made.metadata.resourceVersion, for: owner.metadata.key)
      recorder.record(owner, .normal, reason: "SuccessfulCreate", "Created pod: \(made.metadata.name ?? "")")
      return nil
    } catch {
      if !error.isNamespaceTerminating, !error.isCancelled {
        recorder.record(owner, .warning, reason: "FailedCreate", "Error creating: \(error.message)")
      }
      return error
    }
  }

  /// - Returns: what went wrong.
  func delete<Owner: KubeResource>(_ pods: [Pod], of owner: Owner) async -> KubeError? {
    let problem = Mutex<KubeError?>(nil)
    await context.forEach(pods) { [self] pod in
      let name = pod.metadata.name ?? ""
      do throws(KubeError) {
        let revision = try await context.client.delete(
          Pod.self, name: name, namespace: pod.metadata.namespace, uid: pod.metadata.uid)
        wrote(revision, for: owner.metadata.key)
        recorder.record(owner, .normal, reason: "SuccessfulDelete", "Deleted pod: \(name)")
      } catch {
        // Gone already, or another pod by now: what was to go is gone.
        if error.isNotFound || error.isConflict { return }
        problem.withLock { $0 = error }
        if !error.isCancelled {
          recorder.record(owner, .warning, reason: "FailedDelete", "Error deleting: \(error.message)")
        }
      }
    }
    return problem.withLock { $0 }
  }

  /// Takes a finalizer from a pod that may have changed meanwhile.
  func remove(finalizer: String, from pod: Pod, for owner: ObjectKey?) async throws(KubeError) {
    var current = pod
    for attempt in 1...KubeClient.conflictTriesMax {
      guard current.metadata.finalizers.contains(finalizer) else { return }
      do throws(KubeError) {
        let written: Pod = try await context.client.patch(
          name: current.metadata.name ?? "", namespace: current.metadata.namespace,
          .merge(
            MetadataPatch.finalizers(current.metadata.finalizers.filter { $0 != finalizer }, of: current.metadata)))
        if let owner { wrote(written.metadata.resourceVersion, for: owner) }
        return
      } catch {
        if error.isNotFound { return }
        guard error.isConflict, attempt < KubeClient.conflictTriesMax else { throw error }
      }
      do throws(KubeError) {
        let fresh: Pod = try await context.client.get(
          name: pod.metadata.name ?? "", namespace: pod.metadata.namespace)
        guard fresh.metadata.uid == pod.metadata.uid else { return }
        current = fresh
      } catch {
        if error.isNotFound { return }
        throw error
      }
    }
  }
}
