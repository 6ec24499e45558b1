/// Objects as a server would list them, for the golden file.
enum Samples {
  static let text = """
    resource: pods
    objects:
    - metadata: {name: web-1, creationTimestamp: '2026-01-01T00:59:00Z'}
      spec: {nodeName: node1, containers: [{name: a}], readinessGates: [{conditionType: a.b/c}]}
      status: {phase: Running, podIP: 10.0.0.2, conditions: [{type: a.b/c, status: 'True'}], containerStatuses: [{name: a, ready: true, state: {running: {}}}]}
    - metadata: {name: web-2, creationTimestamp: '2026-01-01T00:30:00Z'}
      spec: {containers: [{name: a}]}
      status: {phase: Pending}
    ---
    resource: nodes
    objects:
    - metadata: {name: node1, creationTimestamp: '2025-12-31T00:00:00Z', labels: {node-role.kubernetes.io/control-plane: '', kubernetes.io/role: web}}
      spec: {unschedulable: true}
      status:
        conditions: [{type: MemoryPressure, status: 'False'}, {type: Ready, status: 'True'}]
        addresses: [{type: Hostname, address: node1}, {type: InternalIP, address: 10.1.0.1}]
        nodeInfo: {kubeletVersion: v1.36.0+martlet, osImage: Debian GNU/Linux 12 (bookworm), kernelVersion: 6.1.0, architecture: amd64, containerRuntimeVersion: 'martlet://0.1'}
    - metadata: {name: node2, creationTimestamp: '2025-01-01T00:00:00Z'}
      status: {conditions: [{type: Ready, status: Unknown}]}
    - metadata: {name: node3}
    ---
    resource: services
    objects:
    - metadata: {name: web, creationTimestamp: '2026-01-01T00:00:00Z'}
      spec: {type: ClusterIP, clusterIP: 10.96.0.10, ports: [{port: 80, protocol: TCP}, {port: 53, protocol: UDP}], selector: {b: c, app: web}}
    - metadata: {name: node, creationTimestamp: '2026-01-01T00:00:00Z'}
      spec: {type: NodePort, clusterIPs: [10.96.0.11], externalIPs: [192.0.2.1], ports: [{port: 80, nodePort: 30080, protocol: TCP}]}
    - metadata: {name: balanced, creationTimestamp: '2026-01-01T00:00:00Z'}
      spec: {type: LoadBalancer, clusterIP: 10.96.0.12, ports: [{port: 443}]}
    - metadata: {name: balanced-2, creationTimestamp: '2026-01-01T00:00:00Z'}
      spec: {type: LoadBalancer, clusterIP: 10.96.0.13, ports: [{port: 443}]}
      status: {loadBalancer: {ingress: [{ip: 192.0.2.7}, {hostname: lb.example}]}}
    - metadata: {name: elsewhere, creationTimestamp: '2026-01-01T00:00:00Z'}
      spec: {type: ExternalName, externalName: example.com}
    - metadata: {name: headless, creationTimestamp: '2026-01-01T00:00:00Z'}
      spec: {type: ClusterIP, clusterIP: None}
    ---
    resource: deployments
    group: apps
    objects:
    - metadata: {name: web, creationTimestamp: '2026-01-01T00:00:00Z'}
      spec:
        replicas: 3
        selector: {matchLabels: {app: web}, matchExpressions: [{key: tier, operator: In, values: [b, a]}, {key: x, operator: Exists}, {key: z, operator: DoesNotExist}]}
        template: {spec: {containers: [{name: web, image: 'nginx:1'}, {name: log, image: log}]}}
      status: {replicas: 4, readyReplicas: 2, updatedReplicas: 1, availableReplicas: 2}
    - metadata: {name: idle}
      spec: {replicas: 0, selector: {}}
    ---
    resource: replicasets
    group: apps
    objects:
    - metadata: {name: web-abc, creationTimestamp: '2026-01-01T00:00:00Z'}
      spec: {replicas: 2, selector: {matchLabels: {app: web, pod-template-hash: abc}}, template: {spec: {containers: [{name: web, image: 'nginx:1'}]}}}
      status: {replicas: 2, readyReplicas: 1}
    ---
    resource: namespaces
    objects:
    - metadata: {name: default, creationTimestamp: '2026-01-01T00:00:00Z'}
      status: {phase: Active}
    ---
    resource: configmaps
    objects:
    - metadata: {name: settings, creationTimestamp: '2026-01-01T00:00:00Z'}
      data: {a: b, c: d}
      binaryData: {e: Zg==}
    ---
    resource: secrets
    objects:
    - metadata: {name: password, creationTimestamp: '2026-01-01T00:00:00Z'}
      type: Opaque
      data: {a: Yg==}
    ---
    resource: serviceaccounts
    objects:
    - metadata: {name: default, creationTimestamp: '2026-01-01T00:00:00Z'}
    ---
    resource: events
    objects:
    - metadata: {name: web.1}
      involvedObject: {kind: Pod, name: web-1, fieldPath: 'spec.containers{a}'}
      type: Warning
      reason: BackOff
      message: "  Back-off restarting failed container\\n"
      source: {component: kubelet, host: node1}
      firstTimestamp: '2026-01-01T00:00:00Z'
      lastTimestamp: '2026-01-01T00:59:30Z'
      count: 12
    - metadata: {name: web.2}
      involvedObject: {kind: Deployment, name: web}
      type: Normal
      reason: Scaled
      message: one more
      eventTime: '2026-01-01T00:10:00.123456Z'
      reportingComponent: martlet/deployments
      reportingInstance: server
      series: {count: 3, lastObservedTime: '2026-01-01T00:50:00.000000Z'}
    - metadata: {name: web.3}
      involvedObject: {kind: Node}
      type: Normal
      reason: Odd
      message: without a time
    ---
    resource: leases
    group: coordination.k8s.io
    objects:
    - metadata: {name: node1, creationTimestamp: '2026-01-01T00:00:00Z'}
      spec: {holderIdentity: node1}
    ---
    resource: endpointslices
    group: discovery.k8s.io
    objects:
    - metadata: {name: web-x, creationTimestamp: '2026-01-01T00:00:00Z'}
      addressType: IPv4
      ports: [{name: http, port: 80}, {name: any}]
      endpoints: [{addresses: [10.0.0.2]}, {addresses: [10.0.0.3]}, {addresses: [10.0.0.4]}, {addresses: [10.0.0.5]}, {addresses: [10.0.0.6]}]
    - metadata: {name: web-y, creationTimestamp: '2026-01-01T00:00:00Z'}
      addressType: IPv4
    ---
    resource: statefulsets
    group: apps
    objects:
    - metadata: {name: web, creationTimestamp: '2026-01-01T00:00:00Z'}
      spec: {replicas: 3, template: {spec: {containers: [{name: a, image: i}]}}}
      status: {readyReplicas: 2}
    ---
    resource: daemonsets
    group: apps
    objects:
    - metadata: {name: web, creationTimestamp: '2026-01-01T00:00:00Z'}
      spec: {selector: {matchLabels: {app: web}}, template: {spec: {nodeSelector: {disk: fast}, containers: [{name: a, image: i}]}}}
      status: {desiredNumberScheduled: 3, currentNumberScheduled: 2, numberReady: 1, updatedNumberScheduled: 2, numberAvailable: 1}
    ---
    resource: jobs
    group: batch
    objects:
    - metadata: {name: done, creationTimestamp: '2026-01-01T00:00:00Z'}
      spec: {completions: 2, selector: {matchLabels: {a: b}}, template: {spec: {containers: [{name: a, image: i}]}}}
      status: {succeeded: 2, startTime: '2026-01-01T00:00:00Z', completionTime: '2026-01-01T00:00:42Z', conditions: [{type: Complete, status: 'True'}]}
    - metadata: {name: open, creationTimestamp: '2026-01-01T00:00:00Z'}
      spec: {parallelism: 4, template: {spec: {containers: [{name: a, image: i}]}}}
    ---
    resource: cronjobs
    group: batch
    objects:
    - metadata: {name: nightly, creationTimestamp: '2026-01-01T00:00:00Z'}
      spec: {schedule: 0 3 * * *, suspend: false, jobTemplate: {spec: {template: {spec: {containers: [{name: a, image: i}]}}}}}
      status: {lastScheduleTime: '2026-01-01T00:30:00Z', active: [{name: x}]}
    ---
    resource: horizontalpodautoscalers
    group: autoscaling
    objects:
    - metadata: {name: web, creationTimestamp: '2026-01-01T00:00:00Z'}
      spec: {scaleTargetRef: {kind: Deployment, name: web}, minReplicas: 1, maxReplicas: 5, metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}]}
    - apiVersion: autoscaling/v1
      kind: HorizontalPodAutoscaler
      metadata: {name: old, creationTimestamp: '2026-01-01T00:00:00Z'}
      spec: {scaleTargetRef: {kind: Deployment, name: web}, maxReplicas: 5, targetCPUUtilizationPercentage: 50}
      status: {currentReplicas: 2, currentCPUUtilizationPercentage: 10}
    ---
    resource: persistentvolumes
    objects:
    - metadata: {name: pv, creationTimestamp: '2026-01-01T00:00:00Z'}
      spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce, ReadOnlyMany], persistentVolumeReclaimPolicy: Delete, claimRef: {namespace: x, name: data}, storageClassName: fast, volumeMode: Filesystem}
      status: {phase: Bound}
    ---
    resource: persistentvolumeclaims
    objects:
    - metadata: {name: data, creationTimestamp: '2026-01-01T00:00:00Z'}
      spec: {volumeName: pv, storageClassName: fast, volumeMode: Filesystem}
      status: {phase: Bound, capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce]}
    - metadata: {name: waits, creationTimestamp: '2026-01-01T00:00:00Z'}
      status: {phase: Pending}
    ---
    resource: storageclasses
    group: storage.k8s.io
    objects:
    - metadata: {name: fast, creationTimestamp: '2026-01-01T00:00:00Z', annotations: {storageclass.kubernetes.io/is-default-class: 'true'}}
      provisioner: martlet/local
      reclaimPolicy: Delete
      volumeBindingMode: WaitForFirstConsumer
    ---
    resource: ingresses
    group: networking.k8s.io
    objects:
    - metadata: {name: web, creationTimestamp: '2026-01-01T00:00:00Z'}
      spec: {rules: [{host: a.example}, {host: b.example}, {}], tls: [{hosts: [a.example]}]}
      status: {loadBalancer: {ingress: [{ip: 10.0.0.1}]}}
    ---
    resource: endpoints
    objects:
    - metadata: {name: web, creationTimestamp: '2026-01-01T00:00:00Z'}
      subsets: [{addresses: [{ip: 10.0.0.2}, {ip: 10.0.0.3}], ports: [{port: 80}, {port: 443}]}]
    ---
    resource: resourcequotas
    objects:
    - metadata: {name: q, creationTimestamp: '2026-01-01T00:00:00Z'}
      status: {hard: {pods: '5', limits.cpu: '2'}, used: {pods: '1', limits.cpu: 500m}}
    ---
    resource: rolebindings
    group: rbac.authorization.k8s.io
    objects:
    - metadata: {name: b, creationTimestamp: '2026-01-01T00:00:00Z'}
      roleRef: {kind: Role, name: r}
      subjects: [{kind: User, name: u}, {kind: ServiceAccount, namespace: x, name: s}]
    ---
    resource: certificatesigningrequests
    group: certificates.k8s.io
    objects:
    - metadata: {name: c, creationTimestamp: '2026-01-01T00:00:00Z'}
      spec: {signerName: kubernetes.io/kube-apiserver-client, username: bird, expirationSeconds: 3600}
      status: {certificate: YQ==, conditions: [{type: Approved, status: 'True'}]}
    """
}
