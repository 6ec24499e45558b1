package import KubeModel

/// Whether an object may be stored: https://kubernetes.io/docs/reference/kubernetes-api/
///
/// Objects come decoded and with their defaults; a field that is absent although it has a default is taken as good.
/// Everything that is wrong is found in one go, in the order of the fields: required fields and choices, too, so that
/// objects are best decoded leniently. Pure.
package enum Validation {
  /// What is wrong with an object that is to be created; its name has been generated where that was asked for.
  /// A kind that has no rules of its own is held to those of its metadata.
  package static func create(_ object: any KubeKind) -> [FieldError] {
    var errors = FieldErrors()
    switch object {
    case let pod as Pod: errors.createPod(pod)
    case let map as ConfigMap: errors.configMap(map)
    case let secret as Secret: errors.secret(secret)
    case let service as Service: errors.service(service)
    case let event as Event: errors.event(event)
    case let lease as Lease:
      errors.metadata(lease.metadata, .bySubdomain)
      errors.leaseSpec(lease.spec)
    case let slice as EndpointSlice: errors.endpointSlice(slice)
    case let deployment as Deployment: errors.deployment(deployment)
    case let replicaSet as ReplicaSet: errors.replicaSet(replicaSet)
    case let scale as Scale: errors.scale(scale)
    case let binding as Binding: errors.binding(binding)
    case let namespace as Namespace: errors.namespace(namespace)
    case let node as Node: errors.node(node)
    default: errors.metadata(object.metadata, .bySubdomain)
    }
    errors.finish()
    return errors.list
  }

  /// What is wrong with replacing `old` by `new`; both are of one kind. Metadata that is absent in `new` and that only
  /// the server sets is taken as unchanged.
  package static func update(_ new: any KubeKind, old: any KubeKind) -> [FieldError] {
    var errors = FieldErrors()
    switch (new, old) {
    case (let new as Pod, let old as Pod): errors.updatePod(new, old)
    case (let new as ConfigMap, let old as ConfigMap): errors.updateConfigMap(new, old)
    case (let new as Secret, let old as Secret): errors.updateSecret(new, old)
    case (let new as Service, let old as Service): errors.updateService(new, old)
    case (let new as Event, _): errors.event(new)
    case (let new as Lease, _):
      errors.metadataUpdate(new.metadata, old.metadata)
      errors.leaseSpec(new.spec)
    case (let new as EndpointSlice, let old as EndpointSlice):
      errors.metadataUpdate(new.metadata, old.metadata)
      errors.endpointSlice(new)
      errors.immutable(FieldPath("addressType"), new.addressType, old.addressType)
    case (let new as Deployment, let old as Deployment): errors.updateDeployment(new, old)
    case (let new as ReplicaSet, let old as ReplicaSet): errors.updateReplicaSet(new, old)
    case (let new as Scale, _): errors.scale(new)
    case (let new as Node, let old as Node): errors.updateNode(new, old)
    default: errors.metadataUpdate(new.metadata, old.metadata)
    }
    errors.finish()
    return errors.list.uniqued
  }

  /// What is wrong with a new status. The caller has taken everything but the status from the stored object.
  package static func statusUpdate(_ new: any KubeKind, old: any KubeKind) -> [FieldError] {
    var errors = FieldErrors()
    switch (new, old) {
    case (let new as Pod, let old as Pod): errors.updatePodStatus(new, old)
    case (let new as Namespace, let old as Namespace): errors.updateNamespaceStatus(new, old)
    case (let new as Node, let old as Node): errors.updateNode(new, old)
    case (let new as Service, let old as Service): errors.updateServiceStatus(new, old)
    case (let new as Deployment, let old as Deployment): errors.updateDeploymentStatus(new, old)
    case (let new as ReplicaSet, let old as ReplicaSet): errors.updateReplicaSetStatus(new, old)
    default: errors.metadataUpdate(new.metadata, old.metadata)
    }
    errors.finish()
    return errors.list
  }
}

extension [FieldError] {
  /// An update is held to the rules of creation, too: what both find is told once.
  fileprivate var uniqued: [FieldError] {
    var seen: Set<FieldError> = []
    return filter { seen.insert($0).inserted }
  }
}
