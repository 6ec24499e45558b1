// swift-format-ignore-file: a line is a sentence.

/// The kinds beyond pods, services and deployments.
extension DescriptionTable {
  static let kinds = #"""
    StatefulSet: Pods with names and volumes of their own, made and removed in order.
    StatefulSetSpec.replicas: How many pods are wanted.
    StatefulSetSpec.serviceName: The headless Service that gives the pods their names in DNS.
    StatefulSetSpec.selector: Which pods belong to the set. Cannot be changed.
    StatefulSetSpec.template: What each pod is made from.
    StatefulSetSpec.volumeClaimTemplates: Claims that each pod gets for itself; they outlive the pod.
    StatefulSetSpec.podManagementPolicy: OrderedReady: one after the other, each once the one before is ready; Parallel: all at once.
    StatefulSetSpec.updateStrategy: How pods are replaced when the template changes.
    StatefulSetSpec.persistentVolumeClaimRetentionPolicy: What becomes of the claims when the set shrinks or goes.
    DaemonSet: One pod on every node that it fits.
    DaemonSetSpec.selector: Which pods belong to the set. Cannot be changed.
    DaemonSetSpec.template: What each pod is made from; its node selector says which nodes.
    DaemonSetSpec.updateStrategy: How pods are replaced when the template changes.
    ReplicationController: A number of equal pods. Deployments do this better.
    ReplicationControllerSpec.replicas: How many pods are wanted.
    ReplicationControllerSpec.selector: Labels of the pods that belong to the controller.
    ReplicationControllerSpec.template: What each pod is made from.
    PodTemplate: A template that pods can be made from.
    ControllerRevision: A state of a workload, kept so that it can be gone back to.
    ControllerRevision.data: The state.
    ControllerRevision.revision: A higher number is newer.
    Job: Pods that run until enough of them have succeeded.
    JobSpec.completions: How many pods must succeed.
    JobSpec.parallelism: How many pods may run at a time.
    JobSpec.backoffLimit: How often failed pods are tried again before the job has failed.
    JobSpec.activeDeadlineSeconds: How long the job may run.
    JobSpec.ttlSecondsAfterFinished: How long the job is kept after it ended.
    JobSpec.suspend: If true, no pods run for now.
    JobSpec.completionMode: NonIndexed: pods are alike; Indexed: each has a number of its own.
    JobSpec.template: What each pod is made from.
    JobSpec.podFailurePolicy: Which failures count, end the job, or mean nothing.
    CronJob: Jobs that are made again and again.
    CronJobSpec.schedule: When, as five fields: minute, hour, day, month, day of the week.
    CronJobSpec.timeZone: Where the schedule's clock stands; the server's own zone where it is absent.
    CronJobSpec.suspend: If true, no jobs are made for now.
    CronJobSpec.concurrencyPolicy: Allow, Forbid or Replace a job that still runs when the next is due.
    CronJobSpec.jobTemplate: What each job is made from.
    CronJobSpec.startingDeadlineSeconds: How late a job may still be made.
    PodDisruptionBudget: How many pods of an application may be away at a time by somebody's will.
    PodDisruptionBudgetSpec.minAvailable: How many pods must stay, as a number or in percent.
    PodDisruptionBudgetSpec.maxUnavailable: How many pods may be away, as a number or in percent.
    PodDisruptionBudgetSpec.selector: The pods that the budget is for.
    HorizontalPodAutoscaler: Sets the number of a workload's pods by what they use.
    HorizontalPodAutoscalerSpec.scaleTargetRef: The workload.
    HorizontalPodAutoscalerSpec.minReplicas: The fewest pods.
    HorizontalPodAutoscalerSpec.maxReplicas: The most pods.
    HorizontalPodAutoscalerSpec.metrics: What is measured, and what is aimed at; the largest wish wins.
    HorizontalPodAutoscalerSpec.behavior: How fast the number may change.
    Role: What may be done in a namespace.
    Role.rules: All that is allowed.
    ClusterRole: What may be done in all namespaces, or to objects of the cluster.
    ClusterRole.rules: All that is allowed.
    ClusterRole.aggregationRule: The role has the rules of others, chosen by their labels.
    PolicyRule.verbs: What may be done: get, list, watch, create, update, patch, delete, * for all.
    PolicyRule.apiGroups: To objects of which groups.
    PolicyRule.resources: To which resources; * for all.
    PolicyRule.resourceNames: To objects of which names; empty for all.
    PolicyRule.nonResourceURLs: To which paths that are no resources.
    RoleBinding: Who has a role, in one namespace.
    RoleBinding.roleRef: The role. Cannot be changed.
    RoleBinding.subjects: Who has it.
    ClusterRoleBinding: Who has a role, everywhere.
    ClusterRoleBinding.roleRef: The role. Cannot be changed.
    ClusterRoleBinding.subjects: Who has it.
    Subject.kind: User, Group or ServiceAccount.
    Subject.name: The name of the subject.
    Subject.namespace: Of a service account.
    ResourceQuota: How much the objects of a namespace may use together.
    ResourceQuotaSpec.hard: The most of each resource.
    ResourceQuotaSpec.scopes: Which objects count.
    ResourceQuotaStatus.used: How much is used now.
    LimitRange: What each object of a namespace may ask for, and gets where it does not ask.
    LimitRangeSpec.limits: The limits, by the type of object.
    LimitRangeItem.max: The most of each resource.
    LimitRangeItem.min: The least of each resource.
    LimitRangeItem.default: The limit of containers that say none.
    LimitRangeItem.defaultRequest: The request of containers that say none.
    PriorityClass: A priority with a name, for pods to ask for.
    PriorityClass.value: Higher goes first, and may push lower away.
    PriorityClass.globalDefault: Pods that name no class get this one.
    PriorityClass.preemptionPolicy: Never: its pods wait, but push no others away.
    RuntimeClass: A way of running pods that nodes offer.
    RuntimeClass.handler: What nodes call it. Cannot be changed.
    StorageClass: A kind of storage that claims can ask for.
    StorageClass.provisioner: Who makes the volumes.
    StorageClass.parameters: What the provisioner is told.
    StorageClass.reclaimPolicy: What becomes of volumes that nobody claims any more.
    StorageClass.volumeBindingMode: Immediate, or WaitForFirstConsumer: once a pod needs the volume.
    StorageClass.allowVolumeExpansion: Whether claims may grow.
    PersistentVolume: A piece of storage of the cluster.
    PersistentVolumeSpec.capacity: How much fits.
    PersistentVolumeSpec.accessModes: How it may be mounted.
    PersistentVolumeSpec.claimRef: The claim that has it.
    PersistentVolumeSpec.persistentVolumeReclaimPolicy: What becomes of it after its claim: Retain or Delete.
    PersistentVolumeSpec.storageClassName: The class that it belongs to.
    PersistentVolumeClaim: A wish for storage.
    PersistentVolumeClaimSpec.accessModes: How it shall be mounted.
    PersistentVolumeClaimSpec.resources: How much is needed.
    PersistentVolumeClaimSpec.storageClassName: The class of storage; the default one where it is absent, none where it is empty.
    PersistentVolumeClaimSpec.volumeName: The volume that it has.
    Ingress: Which Services requests from outside lead to, by host and path.
    IngressSpec.rules: The hosts and paths.
    IngressSpec.tls: Hosts that are served with TLS, and the Secrets with their certificates.
    IngressSpec.ingressClassName: Who serves it.
    IngressSpec.defaultBackend: Where requests go that no rule is for.
    IngressClass: Something that serves Ingresses.
    NetworkPolicy: Who may talk to pods, and whom they may talk to.
    NetworkPolicySpec.podSelector: The pods that the policy is for; an empty one is for all of the namespace.
    NetworkPolicySpec.ingress: What is let in; nothing else is, if the policy is for ingress.
    NetworkPolicySpec.egress: What is let out; nothing else is, if the policy is for egress.
    NetworkPolicySpec.policyTypes: Ingress, Egress or both.
    Endpoints: The addresses that serve a Service. EndpointSlices do this better.
    Endpoints.subsets: Addresses with the same ports.
    CertificateSigningRequest: A wish for a certificate.
    CertificateSigningRequestSpec.request: The request in PEM, as base64.
    CertificateSigningRequestSpec.signerName: Who shall sign.
    CertificateSigningRequestSpec.usages: What the certificate is for.
    MutatingWebhookConfiguration: Who is asked, and may change objects, before they are stored.
    ValidatingWebhookConfiguration: Who is asked, and may refuse objects, before they are stored.
    CustomResourceDefinition: A kind of object that the cluster did not have.
    CustomResourceDefinitionSpec.group: The group that the kind belongs to.
    CustomResourceDefinitionSpec.names: What the kind and its resource are called.
    CustomResourceDefinitionSpec.scope: Namespaced or Cluster.
    CustomResourceDefinitionSpec.versions: The versions of the kind, each with its schema; one of them is stored.
    """#
}
