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
    """
}
