internal import KubeClient
internal import KubeModel

/// The owners of pods of one kind: brings an owner's key to its queue when the owner or a pod of its changes.
final class PodOwners<Owner: KubeResource>: Sendable {
  let owners: Informer<Owner>
  let pods: Informer<Pod>
  let queue: WorkQueue<ObjectKey>
  private let selector: @Sendable (Owner) -> LabelSelector

  /// - Parameter selector: of the pods that an owner may take; an empty one takes none.
  init(_ context: ControllerContext, _ name: String, selector: @escaping @Sendable (Owner) -> LabelSelector) {
    self.selector = selector
    owners = context.informers.informer()
    pods = context.informers.informer()
    queue = context.queue(name)
    Index.addNamespace(to: owners)
    Index.addOwners(to: pods)
    owners.onChange { [queue] event in queue.add(event.object.metadata.key) }
    pods.onChange { [self] event in noticed(event) }
  }

  /// The owner of this kind that controls the pod, by its name.
  func owner(of pod: Pod) -> ObjectKey? {
    guard let reference = pod.metadata.controllerReference, reference.kind == Owner.kind,
      reference.apiVersion == Owner.apiVersion
    else { return nil }
    return ObjectKey(namespace: pod.metadata.namespace ?? "", name: reference.name)
  }

  private func noticed(_ event: InformerEvent<Pod>) {
    if case .updated(let old, let new) = event, let before = owner(of: old), before != owner(of: new) {
      queue.add(before)
    }
    let pod = event.object
    if pod.metadata.controllerReference != nil {
      if let key = owner(of: pod) { queue.add(key) }
      return
    }
    guard pod.isActive else { return }
    for owner in owners.list(index: Index.namespace, pod.metadata.namespace ?? "") {
      let wanted = selector(owner)
      if !wanted.isEmpty, wanted.matches(pod.metadata.labels) { queue.add(owner.metadata.key) }
    }
  }

  /// What the owner controls, and what it may adopt.
  func claims(of owner: Owner) -> Claims<Pod> {
    let wanted = selector(owner)
    let near =
      pods.list(index: Index.controller, owner.metadata.uid ?? "")
      + (wanted.isEmpty ? [] : pods.list(index: Index.orphan, owner.metadata.namespace ?? ""))
    return Claims(of: owner.metadata, selector: wanted, among: near)
  }
}
