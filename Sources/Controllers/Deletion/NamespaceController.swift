internal import JSON
internal import KubeClient
internal import KubeModel

/// Empties namespaces that are to be deleted, and then lets them go.
final class NamespaceController: Sendable {
  /// Seconds until a namespace with content is looked at again even if nothing of it is seen to go.
  private static let waitSecondsMax: Int64 = 15

  private let context: ControllerContext
  private let handles: ResourceHandles
  private let namespaces: Informer<Namespace>
  private let queue: WorkQueue<String>

  init(_ context: ControllerContext, _ handles: ResourceHandles) {
    self.context = context
    self.handles = handles
    namespaces = context.informers.informer()
    queue = context.queue("namespaces")
    namespaces.onChange { [queue] event in
      if event.object.metadata.isDeleting { queue.add(event.object.metadata.name ?? "") }
    }
    for handle in handles.namespaced where handle.resource.kind != Event.kind {
      handle.onChange(context.informers) { [queue, namespaces] metadata, isGone in
        guard isGone, let name = metadata.namespace, namespaces.get(name: name)?.metadata.isDeleting == true else {
          return
        }
        queue.add(name)
      }
    }
    handles.custom.onChange { [queue, namespaces] _, metadata, isGone in
      guard isGone, let name = metadata.namespace, namespaces.get(name: name)?.metadata.isDeleting == true else {
        return
      }
      queue.add(name)
    }
  }

  func run() async throws {
    try await context.run("namespace", queue) { [self] name in try await pass(name) }
  }

  private func pass(_ name: String) async throws -> WorkOutcome {
    guard let namespace = namespaces.get(name: name), namespace.metadata.isDeleting,
      namespace.spec.finalizers.contains(NamespaceContent.kubernetesFinalizer)
    else { return .done }
    var content = NamespaceContent()
    for handle in handles.namespaced + handles.custom.handles.filter(\.resource.isNamespaced) {
      do throws(KubeError) {
        guard try await !handle.list(namespace: name).isEmpty else { continue }
        try await handle.deleteAll(namespace: name)
        content.note(handle.resource, try await handle.list(namespace: name))
      } catch {
        if error.isCancelled { throw error }
        content.failures.append("\(handle.resource.plural).\(handle.resource.group): \(error.message)")
      }
    }
    let now = context.now
    let found = content
    let current = try await context.client.updateStatus(retrying: namespace) { fresh in
      let before = fresh.status
      fresh.status.phase = "Terminating"
      fresh.status.conditions = found.conditions(after: before.conditions, now: now)
      return fresh.status != before
    }
    if !content.failures.isEmpty { return .retry }
    guard content.isEmpty else {
      return .after(.seconds(min(Self.waitSecondsMax, content.graceSeconds / 2 + 1)))
    }
    do throws(KubeError) {
      try await finalize(current)
    } catch {
      // Something is there that was not seen; the server looks once more.
      guard error.isConflict else { throw error }
      return .after(.seconds(1))
    }
    return .done
  }

  private func finalize(_ namespace: Namespace) async throws(KubeError) {
    var final = namespace
    final.spec.finalizers.removeAll { $0 == NamespaceContent.kubernetesFinalizer }
    let path = "\(Namespace.resource.path(namespace: nil))/\(namespace.metadata.name ?? "")/finalize"
    do throws(KubeError) {
      _ = try await context.client.raw(KubeRequest(.put, path, body: final.json.encoded()))
    } catch {
      guard error.isNotFound else { throw error }
    }
  }
}
