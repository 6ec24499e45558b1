internal import JSON
internal import KubeClient
internal import KubeModel
internal import Logging
internal import Synchronization

/// Deletes what has lost its owners, in the order that foreground deletion asks for, and frees what is to be orphaned.
final class GarbageCollector: Sendable {
  /// Uids of owners that are known to be gone; beyond this many they are asked for anew.
  private static let absentMax = 4096
  /// Before an owner of a kind that is not known is looked for again.
  private static let foreignSeconds: Int64 = 30

  private struct State {
    var graph = OwnerGraph()
    var absent: Set<String> = []
  }
  private let context: ControllerContext
  private let handles: ResourceHandles
  private let queue: WorkQueue<String>
  private let state = Mutex(State())

  init(_ context: ControllerContext, _ handles: ResourceHandles) {
    self.context = context
    self.handles = handles
    queue = context.queue("garbage")
    for handle in handles.byKind.values where handle.resource.kind != Event.kind {
      let resource = handle.resource
      handle.onChange(context.informers) { [self] metadata, isGone in noticed(resource, metadata, isGone) }
    }
    handles.custom.onChange { [self] resource, metadata, isGone in noticed(resource, metadata, isGone) }
  }

  private func noticed(_ resource: ResourceType, _ metadata: ObjectMeta, _ isGone: Bool) {
    let open = state.withLock { state in
      isGone
        ? state.graph.remove(uid: metadata.uid ?? "")
        : state.graph.put(metadata, apiVersion: resource.apiVersion, kind: resource.kind)
    }
    for uid in open { queue.add(uid) }
  }

  func run() async throws {
    try await withThrowingDiscardingTaskGroup { group in
      group.addTask { [self] in try await handles.custom.run(context.logger) }
      group.addTask { [self] in
        try await context.run("garbage-collector", queue) { [self] uid in try await pass(uid) }
      }
    }
  }

  private func pass(_ uid: String) async throws -> WorkOutcome {
    let (verdict, item) = state.withLock { ($0.graph.verdict(on: uid, absent: $0.absent), $0.graph.items[uid]) }
    guard verdict != .nothing, let item else { return .done }
    guard let handle = handles[item.place.apiVersion, item.place.kind] else { return .done }
    if case .lookUp(let owners) = verdict { return try await lookUp(owners, of: item, uid) }
    if case .waitFor(let dependents) = verdict {
      for dependent in dependents { queue.add(dependent) }
      return .done
    }
    let fresh: ObjectMeta
    do throws(KubeError) {
      fresh = try await handle.get(name: item.place.name, namespace: namespace(of: item))
    } catch {
      // Its own event will tell the graph.
      if error.isNotFound { return .done }
      throw error
    }
    guard fresh.uid == uid else { return .done }
    // What was decided on must be what is there.
    guard fresh.ownerReferences == item.owners, fresh.isDeleting == item.isDeleting,
      Set(fresh.finalizers) == Set(item.finalizers)
    else { return .retry }
    return try await perform(verdict, handle, fresh)
  }

  private func namespace(of item: OwnerGraph.Item) -> String? {
    item.place.namespace.isEmpty ? nil : item.place.namespace
  }

  private func perform(
    _ verdict: OwnerGraph.Verdict, _ handle: any ResourceHandle, _ fresh: ObjectMeta
  ) async throws(KubeError) -> WorkOutcome {
    switch verdict {
    case .nothing, .lookUp, .waitFor: break
    case .delete(let policy):
      context.logger.info(
        "collecting \(handle.resource.kind) \(fresh.key): its owners are gone", metadata: ["policy": "\(policy)"])
      let propagation: DeletePropagation =
        switch policy {
        case .background: .background
        case .foreground: .foreground
        case .orphan: .orphan
        }
      try await tolerating { () throws(KubeError) in try await handle.delete(fresh, propagation: propagation) }
    case .forgetOwners(let uids):
      let left = fresh.ownerReferences.filter { !uids.contains($0.uid) }
      try await handle.patch(fresh, MetadataPatch.owners(left, of: fresh))
    case .unblockAndDelete:
      let owners = fresh.ownerReferences.map { owner in
        var owner = owner
        owner.blockOwnerDeletion = false
        return owner
      }
      try await handle.patch(fresh, MetadataPatch.owners(owners, of: fresh))
      var unversioned = fresh
      unversioned.resourceVersion = nil
      let target = unversioned
      try await tolerating { () throws(KubeError) in try await handle.delete(target, propagation: .foreground) }
    case .finishForeground:
      try await remove(OwnerGraph.foregroundFinalizer, from: fresh, handle)
    case .orphan(let dependents):
      for uid in dependents { try await free(uid, of: fresh.uid ?? "") }
      try await remove(OwnerGraph.orphanFinalizer, from: fresh, handle)
    }
    return .done
  }

  private func remove(
    _ finalizer: String, from fresh: ObjectMeta, _ handle: any ResourceHandle
  ) async throws(KubeError) {
    let left = fresh.finalizers.filter { $0 != finalizer }
    try await tolerating { () throws(KubeError) in
      try await handle.patch(fresh, MetadataPatch.finalizers(left, of: fresh))
    }
  }

  /// Takes an owner from an object. One that went meanwhile is free.
  private func free(_ uid: String, of owner: String) async throws(KubeError) {
    guard let item = state.withLock({ $0.graph.items[uid] }),
      let handle = handles[item.place.apiVersion, item.place.kind]
    else { return }
    try await tolerating { [namespace = namespace(of: item)] () throws(KubeError) in
      let fresh = try await handle.get(name: item.place.name, namespace: namespace)
      guard fresh.uid == uid, fresh.ownerReferences.contains(where: { $0.uid == owner }) else { return }
      let left = fresh.ownerReferences.filter { $0.uid != owner }
      try await handle.patch(fresh, MetadataPatch.owners(left, of: fresh))
    }
  }

  private func tolerating(_ body: () async throws(KubeError) -> Void) async throws(KubeError) {
    do throws(KubeError) { try await body() } catch { guard error.isNotFound else { throw error } }
  }

  // MARK: owners that are not in the graph

  private func lookUp(_ owners: [OwnerReference], of item: OwnerGraph.Item, _ uid: String) async throws -> WorkOutcome {
    var isKnown = true
    var isForeign = false
    for owner in owners {
      guard let handle = handles[owner.apiVersion, owner.kind] else {
        // A kind that is not served here may be served elsewhere: its objects are nobody's to judge.
        context.logger.debug("\(item.place): owner \(owner.kind) of \(owner.apiVersion) is of no kind known here")
        isKnown = false
        isForeign = true
        continue
      }
      let namespace = handle.resource.isNamespaced ? item.place.namespace : nil
      do throws(KubeError) {
        if try await handle.get(name: owner.name, namespace: namespace).uid == owner.uid {
          isKnown = false
          // The watch will show it in a moment.
          if owners.count == 1 { return .after(.seconds(1)) }
          continue
        }
      } catch {
        guard error.isNotFound else { throw error }
      }
      state.withLock { state in
        if state.absent.count >= Self.absentMax { state.absent = [] }
        state.absent.insert(owner.uid)
      }
    }
    // A definition may come, and the owner's kind with it.
    if isForeign { return .after(.seconds(Self.foreignSeconds)) }
    return isKnown ? .after(.zero) : .done
  }
}
