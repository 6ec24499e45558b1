import KubeValidation
import Testing

@Suite struct PodTests {
  @Test(arguments: containers) func containersAreChecked(_ each: Case) throws {
    #expect(try createErrors(each.yaml) == each.messages)
  }

  static let containers: [Case] = [
    Case("a good one", pod("restartPolicy: Never")),
    Case("no containers", pod("containers: []"), "spec.containers: Required value"),
    Case(
      "no name and no image", pod("containers: [{}]"), "spec.containers[0].name: Required value",
      "spec.containers[0].image: Required value"),
    Case(
      "two of one name", pod("containers: [{name: a, image: x}, {name: a, image: x}]"),
      "spec.containers[1].name: Duplicate value: \"a\""),
    Case(
      "an init container of the same name",
      pod("containers: [{name: a, image: x}]\ninitContainers: [{name: a, image: x}]"),
      "spec.initContainers[0].name: Duplicate value: \"a\""),
    Case(
      "padded image", pod("containers: [{name: a, image: ' x'}]"),
      "spec.containers[0].image: Invalid value: \" x\": must not have leading or trailing whitespace"),
    Case(
      "choices",
      container("imagePullPolicy: Sometimes\nterminationMessagePolicy: Shout"),
      """
      spec.containers[0].terminationMessagePolicy: Unsupported value: "Shout": supported values: "File", \
      "FallbackToLogsOnError"
      """,
      """
      spec.containers[0].imagePullPolicy: Unsupported value: "Sometimes": supported values: "Always", "IfNotPresent", \
      "Never"
      """),
    Case(
      "ports",
      container(
        """
        ports:
        - {containerPort: 0}
        - {containerPort: 70000, protocol: ICMP}
        - {containerPort: 80, name: web, hostPort: 80}
        - {containerPort: 81, name: web, hostPort: 80}
        - {containerPort: 82, name: much-too-long-name}
        - {containerPort: 83, name: '80'}
        - {containerPort: 84, name: a--b-}
        """),
      "spec.containers[0].ports[0].containerPort: Required value",
      "spec.containers[0].ports[1].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
      "spec.containers[0].ports[1].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
      "spec.containers[0].ports[3].name: Duplicate value: \"web\"",
      "spec.containers[0].ports[4].name: Invalid value: \"much-too-long-name\": must be no more than 15 characters",
      "spec.containers[0].ports[5].name: Invalid value: \"80\": must contain at least one letter (a-z)",
      "spec.containers[0].ports[6].name: Invalid value: \"a--b-\": must not contain consecutive hyphens",
      "spec.containers[0].ports[6].name: Invalid value: \"a--b-\": must not begin or end with a hyphen",
      "spec.containers[0].ports[3].hostPort: Duplicate value: \"TCP//80\""),
    Case(
      "environment",
      container(
        """
        env:
        - {value: x}
        - {name: A=B}
        - {name: A, valueFrom: {}}
        - {name: B, value: x, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: C, valueFrom: {fieldRef: {fieldPath: metadata.name}, secretKeyRef: {name: s, key: k}}}
        - {name: D, valueFrom: {fieldRef: {fieldPath: metadata.nane}}}
        - {name: E, valueFrom: {configMapKeyRef: {name: m, key: 'a/b'}}}
        - {name: F, valueFrom: {resourceFieldRef: {resource: limits.gold}}}
        - {name: G, valueFrom: {fieldRef: {fieldPath: "metadata.labels['app']"}}}
        envFrom:
        - {}
        - {prefix: P_, configMapRef: {name: m}, secretRef: {name: ''}}
        """),
      "spec.containers[0].env[0].name: Required value",
      """
      spec.containers[0].env[1].name: Invalid value: "A=B": a valid environment variable name must consist only of \
      printable ASCII characters other than '='
      """,
      """
      spec.containers[0].env[2].valueFrom: Invalid value: "": must specify one of: `fieldRef`, `resourceFieldRef`, \
      `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`
      """,
      "spec.containers[0].env[3].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty",
      "spec.containers[0].env[4].valueFrom: Invalid value: \"\": may not have more than one field specified at a time",
      """
      spec.containers[0].env[5].valueFrom.fieldRef.fieldPath: Invalid value: "metadata.nane": error converting \
      fieldPath: field label not supported: metadata.nane
      """,
      """
      spec.containers[0].env[6].valueFrom.configMapKeyRef.key: Invalid value: "a/b": a valid config key must consist of \
      alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for \
      validation is '[-._a-zA-Z0-9]+')
      """,
      """
      spec.containers[0].env[7].valueFrom.resourceFieldRef.resource: Unsupported value: "limits.gold": supported values: \
      "limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", \
      "requests.memory"
      """,
      "spec.containers[0].envFrom: Invalid value: \"\": must specify one of: `configMapRef` or `secretRef`",
      "spec.containers[0].envFrom[1].secretRef.name: Required value",
      "spec.containers[0].envFrom: Invalid value: \"\": may not have more than one field specified at a time"),
    Case(
      "mounts",
      container(
        """
        volumeMounts:
        - {name: data, mountPath: /data}
        - {name: data, mountPath: /data, subPath: ../etc}
        - {name: nothing, mountPath: /x}
        - {name: data, mountPath: ''}
        - {name: data, mountPath: /p, mountPropagation: Bidirectional}
        """, volumes: "volumes: [{name: data, emptyDir: {}}]"),
      "spec.containers[0].volumeMounts[1].mountPath: Invalid value: \"/data\": must be unique",
      "spec.containers[0].volumeMounts.subPath: Invalid value: \"../etc\": must not contain '..'",
      "spec.containers[0].volumeMounts[2].name: Not found: \"nothing\"",
      "spec.containers[0].volumeMounts[3].mountPath: Required value",
      """
      spec.containers[0].volumeMounts.mountPropagation: Forbidden: Bidirectional mount propagation is available only to \
      privileged containers
      """),
    Case(
      "probes",
      container(
        """
        livenessProbe: {httpGet: {path: /, port: 0}, successThreshold: 2, periodSeconds: -1}
        readinessProbe: {exec: {command: []}, tcpSocket: {port: web}, terminationGracePeriodSeconds: 5}
        startupProbe: {failureThreshold: 3}
        lifecycle: {preStop: {sleep: {seconds: 60}}}
        """, volumes: "terminationGracePeriodSeconds: 30"),
      """
      spec.containers[0].lifecycle.preStop.sleep: Invalid value: 60: must be non-negative and less than \
      terminationGracePeriodSeconds (30)
      """,
      "spec.containers[0].livenessProbe.httpGet.port: Invalid value: 0: must be between 1 and 65535, inclusive",
      "spec.containers[0].livenessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0",
      "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
      "spec.containers[0].readinessProbe.exec.command: Required value",
      "spec.containers[0].readinessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type",
      """
      spec.containers[0].readinessProbe.terminationGracePeriodSeconds: Invalid value: 5: must not be set for \
      readinessProbes
      """,
      "spec.containers[0].startupProbe: Required value: must specify a handler type"),
    Case(
      "init containers do not stay",
      pod("initContainers: [{name: a, image: x, livenessProbe: {tcpSocket: {port: 1}}, lifecycle: {}}]"),
      "spec.initContainers[0].lifecycle: Forbidden: may not be set for init containers without restartPolicy=Always",
      """
      spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always
      """),
    Case(
      "an init container that stays",
      pod("initContainers: [{name: a, image: x, restartPolicy: Always, livenessProbe: {tcpSocket: {port: 1}}}]")),
    Case(
      "resources",
      container(
        "resources: {requests: {cpu: 2, memory: 1Gi, gold: 1}, limits: {cpu: 1500m, memory: -1, example.com/gpu: 500m}}"
      ),
      """
      spec.containers[0].resources.limits[example.com/gpu]: Invalid value: "500m": must be an integer
      """,
      "spec.containers[0].resources.limits[memory]: Invalid value: \"-1\": must be greater than or equal to 0",
      "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1500m",
      """
      spec.containers[0].resources.requests[gold]: Invalid value: "gold": must be a standard resource type or fully \
      qualified
      """,
      "spec.containers[0].resources.requests[gold]: Invalid value: \"gold\": must be a standard resource for containers",
      "spec.containers[0].resources.requests: Invalid value: \"1Gi\": must be less than or equal to memory limit of -1"),
    Case(
      "more than there can be",
      container("resources: {requests: {memory: 12Pi}, limits: {memory: 11Pi, cpu: 9223372036854775807E}}"),
      "spec.containers[0].resources.limits[cpu]: Invalid value: \"9223372036854775807E\": must be less than 2^63",
      """
      spec.containers[0].resources.requests: Invalid value: "12Pi": must be less than or equal to memory limit of 11Pi
      """),
    Case(
      "rights",
      container(
        """
        securityContext: {runAsUser: -1, allowPrivilegeEscalation: false, privileged: true, procMount: Unmasked,
          seccompProfile: {type: Localhost}, appArmorProfile: {type: Loud}}
        """),
      "spec.containers[0].securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
      """
      spec.containers[0].securityContext.procMount: Invalid value: "Unmasked": `hostUsers` must be false to use `Unmasked`
      """,
      """
      spec.containers[0].securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type \
      is Localhost
      """,
      """
      spec.containers[0].securityContext: Invalid value: {"allowPrivilegeEscalation":false,"appArmorProfile":\
      {"type":"Loud"},"privileged":true,"procMount":"Unmasked","runAsUser":-1,"seccompProfile":{"type":"Localhost"}}: \
      cannot set `allowPrivilegeEscalation` to false and `privileged` to true
      """,
      """
      spec.containers[0].securityContext.appArmorProfile.type: Unsupported value: "Loud": supported values: \
      "Localhost", "RuntimeDefault", "Unconfined"
      """),
  ]

  @Test(arguments: specs) func specsAreChecked(_ each: Case) throws {
    #expect(try createErrors(each.yaml) == each.messages)
  }

  static let specs: [Case] = [
    Case(
      "volumes",
      pod(
        """
        volumes:
        - {name: a}
        - {name: b, emptyDir: {}, hostPath: {path: /x}}
        - {name: c, hostPath: {path: ''}}
        - {name: d, hostPath: {path: /a/../b}}
        - {name: D, emptyDir: {}}
        - {name: e, emptyDir: {}}
        - {name: e, emptyDir: {}}
        - {name: f, configMap: {name: '', defaultMode: 512, items: [{key: '', path: ../x}]}}
        - {name: g, secret: {}}
        - {name: h, projected: {sources: [{}]}}
        - {name: i, downwardAPI: {items: [{path: a}]}}
        """),
      "spec.volumes[0]: Required value: must specify a volume type",
      "spec.volumes[1].hostPath: Forbidden: may not specify more than 1 volume type",
      "spec.volumes[2].hostPath.path: Required value",
      "spec.volumes[3].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'",
      """
      spec.volumes[4].name: Invalid value: "D": a lowercase RFC 1123 label must consist of lower case alphanumeric \
      characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex \
      used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
      """,
      "spec.volumes[6].name: Duplicate value: \"e\"",
      "spec.volumes[7].configMap.name: Required value",
      """
      spec.volumes[7].configMap.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both \
      inclusive
      """,
      "spec.volumes[7].configMap.items[0].key: Required value",
      "spec.volumes[7].configMap.items[0].path: Invalid value: \"../x\": must not contain '..'",
      "spec.volumes[8].secret.secretName: Required value",
      """
      spec.volumes[9].projected.sources[0]: Required value: must specify one of: `secret`, `configMap`, `downwardAPI`, \
      `serviceAccountToken`
      """,
      "spec.volumes[10].downwardAPI: Required value: one of fieldRef and resourceFieldRef is required"),
    Case(
      "choices and ranges",
      pod(
        """
        restartPolicy: Sometimes
        dnsPolicy: Guess
        preemptionPolicy: Maybe
        activeDeadlineSeconds: 0
        terminationGracePeriodSeconds: -1
        nodeName: Node_1
        """),
      """
      spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"
      """,
      """
      spec.dnsPolicy: Unsupported value: "Guess": supported values: "ClusterFirstWithHostNet", "ClusterFirst", \
      "Default", "None"
      """,
      """
      spec.nodeName: Invalid value: "Node_1": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
      characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for \
      validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
      """,
      "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive",
      "spec.terminationGracePeriodSeconds: Invalid value: -1: must be greater than or equal to 0",
      "spec.preemptionPolicy: Unsupported value: \"Maybe\": supported values: \"PreemptLowerPriority\", \"Never\""),
    Case(
      "the machine's network",
      pod("hostNetwork: true\ncontainers: [{name: a, image: x, ports: [{containerPort: 80, hostPort: 81}]}]"),
      """
      spec.containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true
      """),
    Case(
      "settings of the kernel",
      pod(
        """
        hostNetwork: true
        hostIPC: true
        securityContext: {sysctls: [{name: net.ipv4.x, value: '1'}, {name: kernel.shmmax, value: '1'},
          {name: 'A B', value: '1'}, {name: vm.x, value: '1'}, {name: vm.x, value: '1'}]}
        """),
      """
      spec.securityContext.sysctls[0].name: Invalid value: "net.ipv4.x": may not be specified when 'hostNetwork' is true
      """,
      """
      spec.securityContext.sysctls[1].name: Invalid value: "kernel.shmmax": may not be specified when 'hostIPC' is true
      """,
      """
      spec.securityContext.sysctls[2].name: Invalid value: "A B": must have at most 253 characters and match regex \
      ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$
      """,
      "spec.securityContext.sysctls[4].name: Duplicate value: \"vm.x\""),
    Case(
      "tolerations",
      pod(
        """
        tolerations:
        - {operator: Exists}
        - {operator: Equal}
        - {key: a, operator: Exists, value: x}
        - {key: a, operator: Like}
        - {key: a, value: x, effect: Never}
        - {key: a, value: x, effect: NoSchedule, tolerationSeconds: 5}
        """),
      """
      spec.tolerations[1].operator: Invalid value: "Equal": operator must be Exists when `key` is empty, which means \
      "match all values and all keys"
      """,
      "spec.tolerations[2].operator: Invalid value: \"x\": value must be empty when `operator` is 'Exists'",
      """
      spec.tolerations[3].operator: Unsupported value: "Like": supported values: "Equal", "Exists", "Lt", "Gt"
      """,
      """
      spec.tolerations[4].effect: Unsupported value: "Never": supported values: "NoSchedule", "PreferNoSchedule", \
      "NoExecute"
      """,
      "spec.tolerations[5].effect: Invalid value: \"NoSchedule\": effect must be 'NoExecute' when `tolerationSeconds` is set"
    ),
    Case(
      "affinity",
      pod(
        """
        affinity:
          nodeAffinity:
            requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: []}
            preferredDuringSchedulingIgnoredDuringExecution: [{weight: 0, preference: {matchExpressions: [{key: a, operator: In}]}}]
          podAntiAffinity:
            requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: zone, labelSelector: {matchExpressions: [{key: a, operator: Is}]}}]
        """),
      """
      spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: must \
      have at least one node selector term
      """,
      """
      spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 0: must be in \
      the range 1-100
      """,
      """
      spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].values: \
      Required value: must be specified when `operator` is 'In' or 'NotIn'
      """,
      """
      spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector.matchExpressions[0]\
      .operator: Invalid value: "Is": not a valid selector operator
      """),
    Case(
      "spread",
      pod("topologySpreadConstraints: [{maxSkew: 0, topologyKey: '', whenUnsatisfiable: Cry}]"),
      "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
      "spec.topologySpreadConstraints[0].topologyKey: Required value: can not be empty",
      """
      spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: "Cry": supported values: "DoNotSchedule", \
      "ScheduleAnyway"
      """),
    Case(
      "name resolution", pod("dnsPolicy: None\nhostAliases: [{ip: 10.0.0.256, hostnames: [ok]}]"),
      "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None",
      """
      spec.hostAliases[0].ip: Invalid value: "10.0.0.256": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
      """),
    Case(
      "a user namespace stands alone", pod("hostUsers: false\nhostNetwork: true\nhostPID: true"),
      "spec.hostNetwork: Forbidden: when `pod.Spec.HostUsers` is false",
      "spec.hostPID: Forbidden: when `pod.Spec.HostUsers` is false"),
    Case(
      "debugging comes later", pod("ephemeralContainers: [{name: d, image: x}]"),
      "spec.ephemeralContainers: Forbidden: cannot be set on create"),
  ]
}
