// swift-format-ignore-file: a line is a sentence.

extension DescriptionTable {
  static let core = #"""
    Namespace: A space for names, and for what belongs together.
    NamespaceSpec.finalizers: Who still has to clean up before the namespace is gone.
    NamespaceStatus.phase: Active or Terminating.
    ConfigMap: Settings for programs, as keys and values.
    ConfigMap.data: Values that are text, by key.
    ConfigMap.binaryData: Values that are bytes, by key.
    ConfigMap.immutable: If true, the data cannot be changed any more.
    Secret: Passwords, keys and the like, as keys and values.
    Secret.data: Values as base64, by key.
    Secret.stringData: Values as plain text, by key; stored in data. Only for writing.
    Secret.immutable: If true, the data cannot be changed any more.
    Secret.type: What the data is for, and so which keys there must be. Cannot be changed.
    ServiceAccount: Who a pod is towards the API.
    ServiceAccount.automountServiceAccountToken: Whether pods get a token of the account.
    ServiceAccount.imagePullSecrets: Secrets with which pods of the account pull images.
    ServiceAccount.secrets: Secrets that pods of the account may use.
    Binding: Ties a pod to a node.
    Binding.target: The node.
    Event: Something that happened to an object.
    Event.count: How often it happened.
    Event.firstTimestamp: When it first happened.
    Event.involvedObject: What it happened to.
    Event.lastTimestamp: When it last happened.
    Event.message: What happened, for people.
    Event.reason: What happened, in a word.
    Event.reportingComponent: Who reported it.
    Event.source: Who reported it, in the older form.
    Event.type: Normal or Warning.
    Service: A lasting address and name for the pods that a selector chooses.
    ServiceSpec.clusterIP: The address of the service within the cluster; chosen by the server. None: no address of its own, clients find the pods by DNS.
    ServiceSpec.clusterIPs: The addresses of the service, one of each family.
    ServiceSpec.externalIPs: Further addresses at which nodes take traffic for the service.
    ServiceSpec.externalName: For the type ExternalName: the name that the service stands for.
    ServiceSpec.externalTrafficPolicy: Whether traffic from outside may go to pods of other nodes (Cluster) or not (Local).
    ServiceSpec.internalTrafficPolicy: Whether traffic from within may go to pods of other nodes (Cluster) or not (Local).
    ServiceSpec.ipFamilies: IPv4, IPv6 or both.
    ServiceSpec.ipFamilyPolicy: Whether the service has one family or two.
    ServiceSpec.loadBalancerSourceRanges: Who may reach a load balancer.
    ServiceSpec.ports: The ports of the service.
    ServiceSpec.publishNotReadyAddresses: If true, pods are named before they are ready.
    ServiceSpec.selector: Labels of the pods that serve. Without it, endpoints are made by hand.
    ServiceSpec.sessionAffinity: ClientIP sends a client to the same pod each time; None does not.
    ServiceSpec.sessionAffinityConfig: For how long a client stays with its pod.
    ServiceSpec.type: ClusterIP, NodePort, LoadBalancer or ExternalName.
    ServicePort: A port of a service, and where it leads.
    ServicePort.name: The name of the port; needed where there are several.
    ServicePort.nodePort: The port of every node that leads here.
    ServicePort.port: The port at the address of the service.
    ServicePort.protocol: TCP, UDP or SCTP.
    ServicePort.targetPort: The port of the pods, by number or by name.
    Node: A machine that runs pods.
    NodeSpec.podCIDR: The range of addresses for pods of the node.
    NodeSpec.podCIDRs: The ranges of addresses for pods of the node, one of each family.
    NodeSpec.providerID: What the machine is called by whoever runs it.
    NodeSpec.taints: Keeps away pods that do not tolerate them.
    NodeSpec.unschedulable: If true, no new pods are placed here.
    NodeStatus.addresses: How the node is reached.
    NodeStatus.allocatable: What pods may use.
    NodeStatus.capacity: What the machine has.
    NodeStatus.images: Images that are on the node.
    NodeStatus.nodeInfo: System and versions.
    Taint: Keeps away, or drives out, pods that do not tolerate it.
    Taint.effect: NoSchedule, PreferNoSchedule or NoExecute.
    Toleration: Lets a pod onto nodes with taints.
    Toleration.effect: Which effect is tolerated; all, where empty.
    Toleration.key: Which taint is tolerated; all, where empty and the operator is Exists.
    Toleration.operator: Exists or Equal.
    Toleration.tolerationSeconds: For how long a NoExecute taint is tolerated; without it, for good.
    Pod: Containers that run together on one node, with one address.
    PodSpec.activeDeadlineSeconds: For how long the pod may run before it is ended and marked as failed.
    PodSpec.affinity: Where the pod may or should be placed, by nodes and by other pods.
    PodSpec.automountServiceAccountToken: Whether containers get a token for the API.
    PodSpec.containers: The containers; at least one.
    PodSpec.dnsConfig: Settings of name resolution, added to those of dnsPolicy.
    PodSpec.dnsPolicy: Where names are looked up: ClusterFirst, ClusterFirstWithHostNet, Default or None.
    PodSpec.enableServiceLinks: Whether services are told to containers by environment variables.
    PodSpec.ephemeralContainers: Containers added to a running pod, for looking into it.
    PodSpec.hostAliases: Lines for /etc/hosts.
    PodSpec.hostIPC: Share the IPC namespace of the machine.
    PodSpec.hostNetwork: Share the network of the machine.
    PodSpec.hostPID: See the processes of the machine.
    PodSpec.hostUsers: If false, the pod has a user namespace of its own.
    PodSpec.hostname: The host name within the pod; the pod's name, where it is not set.
    PodSpec.imagePullSecrets: Secrets with which images are pulled.
    PodSpec.initContainers: Containers that run one after another before the others start.
    PodSpec.nodeName: The node that the pod runs on; set by the scheduler.
    PodSpec.nodeSelector: Labels that the node must have.
    PodSpec.os: The system that the pod is for.
    PodSpec.overhead: What the pod needs beyond its containers.
    PodSpec.priority: How important the pod is among others; higher is more.
    PodSpec.priorityClassName: The class that the priority comes from.
    PodSpec.readinessGates: Conditions that must be true, too, before the pod is ready.
    PodSpec.restartPolicy: When containers that ended run again: Always, OnFailure or Never. Always, where it is not set.
    PodSpec.runtimeClassName: Which class of runtime runs the pod.
    PodSpec.schedulerName: Who chooses the node.
    PodSpec.securityContext: Rights of the pod; containers may say otherwise for themselves.
    PodSpec.serviceAccountName: The account that the pod runs under.
    PodSpec.serviceAccount: Older name of serviceAccountName.
    PodSpec.shareProcessNamespace: If true, containers of the pod see each other's processes.
    PodSpec.subdomain: With it, the pod's full name is hostname.subdomain.namespace.svc and the cluster's domain.
    PodSpec.terminationGracePeriodSeconds: Seconds that processes have to end before they are killed. 30, where it is not set.
    PodSpec.tolerations: Taints that do not keep the pod away.
    PodSpec.topologySpreadConstraints: How pods are spread over zones, nodes and the like.
    PodSpec.volumes: Storage that containers may mount.
    PodStatus.containerStatuses: The state of each container.
    PodStatus.initContainerStatuses: The state of each init container.
    PodStatus.hostIP: The address of the node.
    PodStatus.message: Why the pod is in this state, for people.
    PodStatus.nominatedNodeName: Where room is being made for the pod.
    PodStatus.phase: Pending, Running, Succeeded, Failed or Unknown.
    PodStatus.podIP: The address of the pod.
    PodStatus.podIPs: The addresses of the pod, one of each family.
    PodStatus.qosClass: How the pod fares when memory is short: Guaranteed, Burstable or BestEffort.
    PodStatus.reason: Why the pod is in this state, in a word.
    PodStatus.startTime: When the node took the pod.
    Container: A program to run, from an image.
    Container.args: Arguments of the command; those of the image, where they are not set.
    Container.command: What to run; what the image says, where it is not set.
    Container.env: Environment variables.
    Container.envFrom: Objects all of whose keys become environment variables.
    Container.image: The image.
    Container.imagePullPolicy: When the image is pulled: Always, IfNotPresent or Never.
    Container.lifecycle: What to do after the start and before the end.
    Container.livenessProbe: Tells whether the container still works; if not, it is started again.
    Container.name: The name of the container, unique within the pod.
    Container.ports: Ports that the container serves.
    Container.readinessProbe: Tells whether the container may be sent traffic.
    Container.resources: What the container needs, and what it may use at most.
    Container.restartPolicy: Always: an init container that goes on running beside the others.
    Container.securityContext: Rights of the container.
    Container.startupProbe: Tells whether the container has started; before that, the other probes wait.
    Container.stdin: Keep standard input open.
    Container.stdinOnce: Close standard input when the first client leaves.
    Container.terminationMessagePath: A file whose text becomes the message of the container's end.
    Container.terminationMessagePolicy: Where that message comes from: File or FallbackToLogsOnError.
    Container.tty: Give the container a terminal.
    Container.volumeDevices: Block devices in the container.
    Container.volumeMounts: Where volumes are mounted.
    Container.workingDir: Where the command starts; where the image says, if it is not set.
    ContainerPort: A port that a container serves.
    ContainerPort.containerPort: The number of the port in the pod.
    ContainerPort.hostIP: The address of the node at which the port is taken.
    ContainerPort.hostPort: The port of the node that leads here.
    ContainerPort.name: A name by which services may find the port.
    ContainerPort.protocol: TCP, UDP or SCTP.
    EnvVar: An environment variable.
    EnvVar.name: The name of the variable.
    EnvVar.value: The value; $(NAME) stands for a variable named before.
    EnvVar.valueFrom: Where the value comes from instead.
    EnvVarSource.configMapKeyRef: A key of a ConfigMap.
    EnvVarSource.fieldRef: A field of the pod.
    EnvVarSource.resourceFieldRef: A request or a limit of a container.
    EnvVarSource.secretKeyRef: A key of a Secret.
    ResourceRequirements: What is needed, and what may be used at most.
    ResourceRequirements.limits: What may be used at most.
    ResourceRequirements.requests: What must be free on a node; the limits, where it is not set.
    VolumeMount: Where a volume is mounted.
    VolumeMount.mountPath: The directory in the container.
    VolumeMount.mountPropagation: Whether mounts made later are seen on the other side.
    VolumeMount.name: The name of the volume.
    VolumeMount.readOnly: If true, nothing can be written.
    VolumeMount.subPath: A path within the volume to mount instead of its root.
    Volume: Storage that containers may mount. Exactly one source is set.
    Volume.configMap: Files made from a ConfigMap.
    Volume.downwardAPI: Files made from fields of the pod.
    Volume.emptyDir: An empty directory that lives as long as the pod.
    Volume.hostPath: A file or directory of the node.
    Volume.image: The content of an image.
    Volume.name: The name of the volume, unique within the pod.
    Volume.nfs: A directory of an NFS server.
    Volume.persistentVolumeClaim: Storage that was claimed.
    Volume.projected: Several sources in one directory.
    Volume.secret: Files made from a Secret.
    Probe: How to find out about a container.
    Probe.exec: Run a command; 0 is good.
    Probe.failureThreshold: How many failures in a row count.
    Probe.grpc: Ask the health service of a gRPC server.
    Probe.httpGet: Ask a web server; codes from 200 to 399 are good.
    Probe.initialDelaySeconds: Seconds to wait after the start.
    Probe.periodSeconds: Seconds from one try to the next.
    Probe.successThreshold: How many successes in a row count, after a failure.
    Probe.tcpSocket: Connect to a port.
    Probe.terminationGracePeriodSeconds: Seconds that the container has to end when the probe failed.
    Probe.timeoutSeconds: Seconds after which a try has failed.
    Lifecycle.postStart: Runs right after the start.
    Lifecycle.preStop: Runs before the container is ended.
    SecurityContext: Rights of a container.
    SecurityContext.allowPrivilegeEscalation: Whether a process may get more rights than its parent.
    SecurityContext.capabilities: Capabilities to add or to drop.
    SecurityContext.privileged: All rights of the machine.
    SecurityContext.readOnlyRootFilesystem: If true, the image's files cannot be changed.
    SecurityContext.runAsGroup: The group that processes run as.
    SecurityContext.runAsNonRoot: If true, the container must not run as user 0.
    SecurityContext.runAsUser: The user that processes run as.
    SecurityContext.seccompProfile: Which system calls are allowed.
    PodSecurityContext: Rights of all containers of a pod.
    PodSecurityContext.fsGroup: A group that owns the pod's volumes.
    PodSecurityContext.runAsUser: The user that processes run as.
    PodSecurityContext.runAsGroup: The group that processes run as.
    PodSecurityContext.runAsNonRoot: If true, containers must not run as user 0.
    PodSecurityContext.seccompProfile: Which system calls are allowed.
    PodSecurityContext.supplementalGroups: Further groups of all processes.
    PodSecurityContext.sysctls: Settings of the kernel for the pod.
    """#
}
