// swift-format-ignore-file: a line is a sentence.

/// A line for each type (`Pod`) or field (`PodSpec.nodeName`, or `*.kind` where it means the same in every type), a colon,
/// and what it means, for `kubectl explain`. Workloads and what all kinds share; the rest is in DescriptionTable+Core.swift.
enum DescriptionTable {
  static let shared = #"""
    *.apiVersion: The version of the schema that this object is written in, such as v1 or apps/v1.
    *.kind: What kind of object this is.
    *.metadata: The name, labels and other facts that every object has.
    *.spec: What is wanted.
    *.status: What is, as the system last saw it. Written by the system.
    *.items: The objects of the list.
    *.conditions: The latest observations of the object's state, one of each type.
    ObjectMeta: Facts that every object has: how it is called, how it is labelled, and how it came to be.
    ObjectMeta.annotations: Free text by name, for tools. Not used to select objects.
    ObjectMeta.creationTimestamp: When the server stored the object first. Set by the server.
    ObjectMeta.deletionGracePeriodSeconds: How long the object may take to end, once it is being deleted. Set by the server.
    ObjectMeta.deletionTimestamp: When the object will be gone, once deletion was asked for. Set by the server.
    ObjectMeta.finalizers: Who still has to clean up; a deleted object stays until the list is empty.
    ObjectMeta.generateName: Where name is not given: a prefix, to which the server adds characters to make a name.
    ObjectMeta.generation: Counts the changes of what is wanted. Set by the server.
    ObjectMeta.labels: Short values by name, by which objects are selected.
    ObjectMeta.managedFields: Who set which fields, and how. Set by the server.
    ObjectMeta.name: The name of the object, unique among its kind in a namespace. Cannot be changed.
    ObjectMeta.namespace: The space within which the name is unique. Empty for objects of the cluster.
    ObjectMeta.ownerReferences: The objects that this one depends on; when all are gone, it is deleted.
    ObjectMeta.resourceVersion: The revision in which the object last changed. Sent back with an update, it makes sure that nothing came between.
    ObjectMeta.selfLink: No longer set.
    ObjectMeta.uid: Tells this object from all others, also from later ones of the same name. Set by the server.
    OwnerReference: An object that another one depends on, in the same namespace or of the cluster.
    OwnerReference.blockOwnerDeletion: If true, the owner cannot be deleted in the foreground before this object is gone.
    OwnerReference.controller: True for the one owner that manages the object.
    OwnerReference.name: The name of the owner.
    OwnerReference.uid: The uid of the owner.
    ListMeta: Facts about a list.
    ListMeta.continue: Where there is more: what to ask for to get the next part.
    ListMeta.remainingItemCount: How many objects are not in this part, where that is known.
    ListMeta.resourceVersion: The revision at which the list was read.
    LabelSelector: Chooses objects by their labels; all that it says must hold. An empty one chooses everything.
    LabelSelector.matchLabels: Labels with exactly these values.
    LabelSelector.matchExpressions: Conditions on labels.
    LabelSelectorRequirement: A condition on one label.
    LabelSelectorRequirement.key: The name of the label.
    LabelSelectorRequirement.operator: In, NotIn, Exists or DoesNotExist.
    LabelSelectorRequirement.values: The values to compare with; for In and NotIn only.
    LocalObjectReference: An object in the same namespace, by its name.
    LocalObjectReference.name: The name of the object.
    ObjectReference: An object, wherever it is.
    Quantity: An amount: a number with an optional suffix, such as 500m, 1.5, 128Mi or 2G.
    IntOrString: A whole number or text: a port by number or name, a count or a percentage.
    Time: A time in RFC 3339, such as 2026-01-31T12:00:00Z.
    MicroTime: A time in RFC 3339 with microseconds.
    DeleteOptions: How an object is to be deleted.
    DeleteOptions.dryRun: All: do everything but delete.
    DeleteOptions.gracePeriodSeconds: Seconds the object has to end; 0 ends it at once.
    DeleteOptions.preconditions: Delete only where these hold.
    DeleteOptions.propagationPolicy: What becomes of what the object owns: Orphan, Background or Foreground.
    Preconditions: What must be true of an object before something is done to it.
    Status: The answer to a call that returns no object: that it succeeded, or why not.
    Status.code: The code of the answer in HTTP.
    Status.details: More about the reason.
    Status.message: What happened, for people.
    Status.reason: What happened, for programs: NotFound, Conflict, Invalid and so on.
    Status.status: Success or Failure.
    WatchEvent: A change that a watch tells.
    WatchEvent.object: The object after the change; before it where it was deleted.
    WatchEvent.type: ADDED, MODIFIED, DELETED, BOOKMARK or ERROR.
    Scale: How many copies of something there are to be.
    ScaleSpec.replicas: How many are wanted.
    ScaleStatus.replicas: How many there are.
    ScaleStatus.selector: Which pods are counted, as text.
    Deployment: Keeps a number of pods of one template running, and replaces them step by step when the template changes.
    DeploymentSpec.minReadySeconds: For how long a new pod must be ready before it counts as available.
    DeploymentSpec.paused: If true, changes of the template do not start a rollout.
    DeploymentSpec.progressDeadlineSeconds: After so many seconds without progress, a rollout is reported as failed.
    DeploymentSpec.replicas: How many pods are wanted. One, where it is not set.
    DeploymentSpec.revisionHistoryLimit: How many old ReplicaSets are kept to go back to.
    DeploymentSpec.selector: Which pods belong to the deployment. Must match the labels of the template; cannot be changed.
    DeploymentSpec.strategy: How old pods are replaced by new ones.
    DeploymentSpec.template: What the pods are made from.
    DeploymentStatus.availableReplicas: Pods that have been ready for at least minReadySeconds.
    DeploymentStatus.collisionCount: How often the name of a ReplicaSet was taken already.
    DeploymentStatus.observedGeneration: The generation that this status is about.
    DeploymentStatus.readyReplicas: Pods that are ready.
    DeploymentStatus.replicas: Pods that there are.
    DeploymentStatus.unavailableReplicas: Pods that are still missing.
    DeploymentStatus.updatedReplicas: Pods that are made from the present template.
    DeploymentStrategy: How old pods are replaced by new ones.
    DeploymentStrategy.rollingUpdate: Limits of a rolling update.
    DeploymentStrategy.type: Recreate ends all old pods first; RollingUpdate replaces them step by step.
    RollingUpdateDeployment.maxSurge: How many pods there may be beyond the wanted number: a count or a percentage, rounded up.
    RollingUpdateDeployment.maxUnavailable: How many pods may be missing: a count or a percentage, rounded down.
    ReplicaSet: Keeps a number of equal pods running.
    ReplicaSetSpec.minReadySeconds: For how long a new pod must be ready before it counts as available.
    ReplicaSetSpec.replicas: How many pods are wanted. One, where it is not set.
    ReplicaSetSpec.selector: Which pods are counted. Must match the labels of the template; cannot be changed.
    ReplicaSetSpec.template: What new pods are made from.
    ReplicaSetStatus.replicas: Pods that there are.
    ReplicaSetStatus.readyReplicas: Pods that are ready.
    ReplicaSetStatus.availableReplicas: Pods that have been ready for long enough.
    PodTemplateSpec: What pods are made from.
    PodTemplateSpec.metadata: Labels and annotations of the pods.
    PodTemplateSpec.spec: What the pods run.
    Lease: A claim that has to be renewed: who leads, or whether a node is alive.
    LeaseSpec.acquireTime: Since when the holder has the lease.
    LeaseSpec.holderIdentity: Who holds the lease.
    LeaseSpec.leaseDurationSeconds: For how long after its renewal the lease holds.
    LeaseSpec.leaseTransitions: How often the holder changed.
    LeaseSpec.renewTime: When the holder last renewed it.
    EndpointSlice: Some of the addresses that serve a Service.
    EndpointSlice.addressType: The family of all addresses in the slice: IPv4, IPv6 or FQDN. Cannot be changed.
    EndpointSlice.endpoints: Who serves; at most 1000.
    EndpointSlice.ports: The ports that every endpoint serves.
    Endpoint: One server behind a service.
    Endpoint.addresses: The addresses of the endpoint; the first is used.
    Endpoint.conditions: Whether the endpoint may be sent traffic.
    Endpoint.hostname: The name of the endpoint within the service.
    Endpoint.nodeName: The node that it runs on.
    Endpoint.targetRef: The object that the endpoint stands for, such as a pod.
    Endpoint.zone: The zone that it is in.
    EndpointConditions.ready: Traffic may be sent to it.
    EndpointConditions.serving: It answers, though it may be ending.
    EndpointConditions.terminating: It is ending.
    EndpointPort.port: The number of the port.
    EndpointPort.name: The name of the port, as the service has it.
    """#
}
