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
    default:
      if !createOther(object, &errors) {
        let isNamespaced = (type(of: object) as? any KubeResource.Type)?.resource.isNamespaced ?? true
        errors.metadata(object.metadata, isNamespaced ? .bySubdomain : .clusterBySubdomain)
      }
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
    default: if !updateOther(new, old, &errors) { errors.metadataUpdate(new.metadata, old.metadata) }
    }
    errors.finish()
    return errors.list.uniqued
  }

  /// Kinds whose rules came later; false: it is none of them.
  private static func createOther(_ object: any KubeKind, _ errors: inout FieldErrors) -> Bool {
    switch object {
    case let set as StatefulSet: errors.statefulSet(set)
    case let set as DaemonSet: errors.daemonSet(set)
    case let controller as ReplicationController: errors.replicationController(controller)
    case let template as PodTemplate: errors.podTemplateObject(template)
    case let revision as ControllerRevision: errors.controllerRevision(revision)
    case let job as Job: errors.job(job)
    case let cronJob as CronJob: errors.cronJob(cronJob)
    case let budget as PodDisruptionBudget: errors.disruptionBudget(budget)
    case let autoscaler as HorizontalPodAutoscaler: errors.autoscaler(autoscaler)
    case let priority as PriorityClass: errors.priorityClass(priority)
    case let runtime as RuntimeClass: errors.runtimeClass(runtime)
    case let role as Role: errors.role(role)
    case let role as ClusterRole: errors.clusterRole(role)
    case let binding as RoleBinding: errors.roleBinding(binding)
    case let binding as ClusterRoleBinding: errors.clusterRoleBinding(binding)
    case let request as CertificateSigningRequest: errors.certificateRequest(request)
    case let quota as ResourceQuota: errors.resourceQuota(quota)
    case let range as LimitRange: errors.limitRange(range)
    case let storage as StorageClass: errors.storageClass(storage)
    case let volume as PersistentVolume: errors.persistentVolume(volume)
    case let claim as PersistentVolumeClaim: errors.claim(claim)
    case let ingress as Ingress: errors.createIngress(ingress)
    case let ingress as IngressClass: errors.ingressClass(ingress)
    case let policy as NetworkPolicy: errors.networkPolicy(policy)
    case let endpoints as Endpoints: errors.endpoints(endpoints)
    case let hooks as MutatingWebhookConfiguration: errors.mutatingWebhooks(hooks)
    case let hooks as ValidatingWebhookConfiguration: errors.validatingWebhooks(hooks)
    default: return false
    }
    return true
  }

  private static func updateOther(_ new: any KubeKind, _ old: any KubeKind, _ errors: inout FieldErrors) -> Bool {
    switch (new, old) {
    case (let new as StatefulSet, let old as StatefulSet): errors.updateStatefulSet(new, old)
    case (let new as DaemonSet, let old as DaemonSet): errors.updateDaemonSet(new, old)
    case (let new as ControllerRevision, let old as ControllerRevision): errors.updateControllerRevision(new, old)
    case (let new as Job, let old as Job): errors.updateJob(new, old)
    case (let new as CronJob, let old as CronJob): errors.updateCronJob(new, old)
    case (let new as PodDisruptionBudget, let old as PodDisruptionBudget): errors.updateDisruptionBudget(new, old)
    case (let new as HorizontalPodAutoscaler, let old as HorizontalPodAutoscaler): errors.updateAutoscaler(new, old)
    case (let new as PriorityClass, let old as PriorityClass): errors.updatePriorityClass(new, old)
    case (let new as RuntimeClass, let old as RuntimeClass): errors.updateRuntimeClass(new, old)
    case (let new as Role, let old as Role): errors.updateRole(new, old)
    case (let new as ClusterRole, let old as ClusterRole): errors.updateClusterRole(new, old)
    case (let new as RoleBinding, let old as RoleBinding): errors.updateRoleBinding(new, old)
    case (let new as ClusterRoleBinding, let old as ClusterRoleBinding): errors.updateClusterRoleBinding(new, old)
    case (let new as CertificateSigningRequest, let old as CertificateSigningRequest):
      errors.updateCertificateRequest(new, old)
    case (let new as ResourceQuota, let old as ResourceQuota): errors.updateResourceQuota(new, old)
    case (let new as LimitRange, let old as LimitRange): errors.updateLimitRange(new, old)
    case (let new as StorageClass, let old as StorageClass): errors.updateStorageClass(new, old)
    case (let new as PersistentVolume, let old as PersistentVolume): errors.updatePersistentVolume(new, old)
    case (let new as PersistentVolumeClaim, let old as PersistentVolumeClaim): errors.updateClaim(new, old)
    case (let new as Ingress, let old as Ingress): errors.updateIngress(new, old)
    case (let new as IngressClass, let old as IngressClass): errors.updateIngressClass(new, old)
    case (let new as NetworkPolicy, let old as NetworkPolicy): errors.updateNetworkPolicy(new, old)
    case (let new as Endpoints, let old as Endpoints): errors.updateEndpoints(new, old)
    case (let new as ReplicationController, _):
      errors.metadataUpdate(new.metadata, old.metadata)
      errors.replicationController(new)
    case (let new as PodTemplate, _):
      errors.metadataUpdate(new.metadata, old.metadata)
      errors.podTemplateObject(new)
    case (let new as MutatingWebhookConfiguration, _):
      errors.metadataUpdate(new.metadata, old.metadata)
      errors.mutatingWebhooks(new)
    case (let new as ValidatingWebhookConfiguration, _):
      errors.metadataUpdate(new.metadata, old.metadata)
      errors.validatingWebhooks(new)
    default: return false
    }
    return true
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
    case (let new as StatefulSet, let old as StatefulSet): errors.updateStatefulSetStatus(new, old)
    case (let new as DaemonSet, let old as DaemonSet): errors.updateDaemonSetStatus(new, old)
    case (let new as Job, let old as Job): errors.updateJobStatus(new, old)
    case (let new as ResourceQuota, let old as ResourceQuota): errors.updateResourceQuotaStatus(new, old)
    case (let new as PersistentVolumeClaim, let old as PersistentVolumeClaim): errors.updateClaimStatus(new, old)
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
