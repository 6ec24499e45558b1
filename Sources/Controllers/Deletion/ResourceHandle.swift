internal import JSON
internal import KubeClient
internal import KubeModel

/// The metadata of the objects of one kind, whichever it is.
protocol ResourceHandle: Sendable {
  var resource: ResourceType { get }
  /// Calls `handler` for each object that is there and for every change. Owner and namespace of what is deleted are as
  /// last seen.
  func onChange(_ informers: Informers, _ handler: @escaping @Sendable (_ metadata: ObjectMeta, _ isGone: Bool) -> Void)
  func get(name: String, namespace: String?) async throws(KubeError) -> ObjectMeta
  func list(namespace: String) async throws(KubeError) -> [ObjectMeta]
  func patch(_ metadata: ObjectMeta, _ change: JSONValue) async throws(KubeError)
  func delete(_ metadata: ObjectMeta, propagation: DeletePropagation) async throws(KubeError)
  func deleteAll(namespace: String) async throws(KubeError)
}

struct TypedHandle<T: KubeResource>: ResourceHandle {
  let client: KubeClient
  /// Whether other controllers watch the kind anyway: then their copy is read, and no second one is made.
  let isSharedWhole: Bool

  var resource: ResourceType { T.resource }

  func onChange(_ informers: Informers, _ handler: @escaping @Sendable (ObjectMeta, Bool) -> Void) {
    if isSharedWhole {
      follow(informers.informer(T.self), handler)
    } else {
      follow(informers.informer(MetadataOnly<T>.self), handler)
    }
  }

  private func follow<U: KubeResource>(
    _ informer: Informer<U>, _ handler: @escaping @Sendable (ObjectMeta, Bool) -> Void
  ) {
    informer.onChange { event in
      if case .deleted(let object) = event {
        handler(object.metadata, true)
      } else {
        handler(event.object.metadata, false)
      }
    }
  }

  func get(name: String, namespace: String?) async throws(KubeError) -> ObjectMeta {
    try await client.get(MetadataOnly<T>.self, name: name, namespace: namespace).metadata
  }

  func list(namespace: String) async throws(KubeError) -> [ObjectMeta] {
    try await client.listAll(MetadataOnly<T>.self, namespace: namespace).items.map(\.metadata)
  }

  func patch(_ metadata: ObjectMeta, _ change: JSONValue) async throws(KubeError) {
    _ = try await client.patch(
      MetadataOnly<T>.self, name: metadata.name ?? "", namespace: metadata.namespace, .merge(change))
  }

  func delete(_ metadata: ObjectMeta, propagation: DeletePropagation) async throws(KubeError) {
    try await client.delete(
      T.self, name: metadata.name ?? "", namespace: metadata.namespace, propagation: propagation, uid: metadata.uid,
      resourceVersion: metadata.resourceVersion)
  }

  func deleteAll(namespace: String) async throws(KubeError) {
    do throws(KubeError) {
      try await client.deleteCollection(T.self, namespace: namespace, propagation: .background)
    } catch {
      // Some kinds are deleted one by one.
      guard error.code == 405 else { throw error }
      for metadata in try await list(namespace: namespace) where !metadata.isDeleting {
        do throws(KubeError) {
          try await client.delete(
            T.self, name: metadata.name ?? "", namespace: namespace, propagation: .background, uid: metadata.uid)
        } catch {
          guard error.isNotFound || error.isConflict else { throw error }
        }
      }
    }
  }
}

/// A handle for each kind that the API serves, custom ones as they come.
struct ResourceHandles: Sendable {
  /// Those that the API has itself, by `apiVersion/kind`.
  let byKind: [String: any ResourceHandle]

  /// Those that definitions describe.
  let custom: CustomKinds

  private static let sharedWhole: Set<String> = [
    Deployment.kind, ReplicaSet.kind, Pod.kind, Service.kind, EndpointSlice.kind, Node.kind, Lease.kind, Namespace.kind,
    StatefulSet.kind, DaemonSet.kind, Job.kind, CronJob.kind, ReplicationController.kind, ControllerRevision.kind,
    PersistentVolumeClaim.kind, PersistentVolume.kind, StorageClass.kind, PodDisruptionBudget.kind, ResourceQuota.kind,
    Endpoints.kind, HorizontalPodAutoscaler.kind,
  ]

  init(client: KubeClient) {
    var handles: [String: any ResourceHandle] = [:]
    for (name, type) in AnyKind.kinds {
      guard let resource = type as? any KubeResource.Type else { continue }
      handles[name] = Self.handle(resource, client)
    }
    byKind = handles
    custom = CustomKinds(client: client)
  }

  private static func handle<T: KubeResource>(_ type: T.Type, _ client: KubeClient) -> any ResourceHandle {
    TypedHandle<T>(client: client, isSharedWhole: sharedWhole.contains(T.kind))
  }

  var namespaced: [any ResourceHandle] {
    byKind.values.filter(\.resource.isNamespaced).sorted { $0.resource.plural < $1.resource.plural }
  }

  subscript(apiVersion: String, kind: String) -> (any ResourceHandle)? {
    byKind["\(apiVersion)/\(kind)"] ?? custom.handle(apiVersion, kind)
  }
}
