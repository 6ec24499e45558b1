import JSON
import KubeValidation
import Testing
import YAML

@Suite struct KindTests {
  private static func document(_ yaml: String) throws -> JSONValue { try YAML.parse(yaml).first ?? .null }

  private static func template(_ restartPolicy: String = "Always") -> String {
    "{metadata: {labels: {app: web}}, spec: {restartPolicy: \(restartPolicy), containers: [{name: a, image: i}]}}"
  }
  private static let selector = "selector: {matchLabels: {app: web}}"
  private static let named = "metadata: {name: a, namespace: x}"

  static let workloads: [Case] = [
    Case(
      "a good stateful set",
      "{apiVersion: apps/v1, kind: StatefulSet, \(named), spec: {\(selector), serviceName: a, template: \(template())}}"
    ),
    Case(
      "a stateful set whose container mounts a claim of its template",
      """
      {apiVersion: apps/v1, kind: StatefulSet, \(named), spec: {\(selector), serviceName: a, template: {metadata: {labels: {app: web}},
       spec: {restartPolicy: Always, containers: [{name: a, image: i, volumeMounts: [{name: data, mountPath: /d}]}]}},
       volumeClaimTemplates: [{metadata: {name: data}, spec: {accessModes: [ReadWriteOnce],
        resources: {requests: {storage: 1Gi}}}}]}}
      """),
    Case(
      "a stateful set",
      """
      {apiVersion: apps/v1, kind: StatefulSet, \(named), spec: {replicas: -1, podManagementPolicy: Sometimes,
       updateStrategy: {type: OnDelete, rollingUpdate: {partition: 1}}, \(selector), template: \(template("Never"))}}
      """,
      "spec.podManagementPolicy: Invalid value: \"Sometimes\": must be 'OrderedReady' or 'Parallel'",
      "spec.updateStrategy.rollingUpdate: Invalid value: {\"partition\":1}: only allowed for updateStrategy 'RollingUpdate'",
      "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
      "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\""),
    Case(
      "a daemon set",
      """
      {apiVersion: apps/v1, kind: DaemonSet, \(named), spec: {\(selector), template: \(template()),
       updateStrategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 0, maxSurge: 0}}}}
      """, "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0"),
    Case(
      "a job that restarts forever",
      "{apiVersion: batch/v1, kind: Job, \(named), spec: {parallelism: -1, template: \(template())}}",
      "spec.parallelism: Invalid value: -1: must be greater than or equal to 0",
      "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\""),
    Case(
      "an indexed job",
      """
      {apiVersion: batch/v1, kind: Job, \(named),
       spec: {completionMode: Indexed, parallelism: 200000, template: \(template("Never"))}}
      """, "spec.completions: Required value: when completion mode is Indexed",
      """
      spec.parallelism: Invalid value: 200000: must be less than or equal to 100000 when completion mode is Indexed
      """),
    Case(
      "a cron job",
      """
      {apiVersion: batch/v1, kind: CronJob, \(named), spec: {schedule: '* * * *', concurrencyPolicy: Maybe,
       timeZone: '', jobTemplate: {spec: {manualSelector: true, template: \(template("Never"))}}}}
      """,
      "spec.schedule: Invalid value: \"* * * *\": expected exactly 5 fields, found 4: [* * * *]",
      "spec.timeZone: Invalid value: \"\": timeZone must be nil or non-empty string",
      "spec.concurrencyPolicy: Unsupported value: \"Maybe\": supported values: \"Allow\", \"Forbid\", \"Replace\"",
      "spec.jobTemplate.spec.selector: Required value",
      "spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: \"nil\", \"false\""),
    Case(
      "a good cron job",
      """
      {apiVersion: batch/v1, kind: CronJob, \(named), spec: {schedule: '*/5 0-6 1,15 jan-mar MON', timeZone: Europe/Rome,
       jobTemplate: {spec: {template: \(template("Never"))}}}}
      """),
    Case(
      "a budget",
      "{apiVersion: policy/v1, kind: PodDisruptionBudget, \(named), spec: {minAvailable: 1, maxUnavailable: 101%}}",
      "spec: Invalid value: {\"maxUnavailable\":\"101%\",\"minAvailable\":1}: minAvailable and maxUnavailable cannot be both set",
      "spec.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%"),
    Case(
      "an autoscaler",
      """
      {apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, \(named), spec: {minReplicas: 0, maxReplicas: 0,
       scaleTargetRef: {kind: Deployment, name: ''}, metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization}}}]}}
      """, "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1",
      "spec.maxReplicas: Invalid value: 0: must be greater than 0", "spec.scaleTargetRef.name: Required value",
      """
      spec.metrics[0].resource.target.averageUtilization: Required value: must set either a target raw value or a \
      target utilization
      """),
  ]

  static let others: [Case] = [
    Case(
      "a good cluster role",
      """
      {apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: 'system:node'},
       rules: [{verbs: [get], nonResourceURLs: [/healthz]}]}
      """),
    Case(
      "a role",
      """
      {apiVersion: rbac.authorization.k8s.io/v1, kind: Role, \(named),
       rules: [{verbs: [], apiGroups: [''], resources: []}, {verbs: [get], nonResourceURLs: [/x]}]}
      """, "rules[0].verbs: Required value: verbs must contain at least one value",
      "rules[0].resources: Required value: resource rules must supply at least one resource",
      "rules[1].nonResourceURLs: Invalid value: [\"/x\"]: namespaced rules cannot apply to non-resource URLs"),
    Case(
      "a binding",
      """
      {apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: a},
       roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: r},
       subjects: [{kind: ServiceAccount, name: a}, {kind: Bird, name: b}]}
      """, "roleRef.kind: Unsupported value: \"Role\": supported values: \"ClusterRole\"",
      "subjects[0].namespace: Required value",
      "subjects[1].kind: Unsupported value: \"Bird\": supported values: \"ServiceAccount\", \"User\", \"Group\""),
    Case(
      "a quota",
      "{apiVersion: v1, kind: ResourceQuota, \(named), spec: {hard: {pods: 1500m, birds: 1}, scopes: [Tall]}}",
      "spec.hard[birds]: Invalid value: \"birds\": must be a standard resource for quota",
      "spec.hard[pods]: Invalid value: \"1500m\": must be an integer",
      """
      spec.scopes[0]: Unsupported value: "Tall": supported values: "BestEffort", "CrossNamespacePodAffinity", \
      "NotBestEffort", "NotTerminating", "PriorityClass", "Terminating", "VolumeAttributesClass"
      """),
    Case(
      "a limit range",
      """
      {apiVersion: v1, kind: LimitRange, \(named), spec: {limits: [{type: Container, min: {cpu: 2}, max: {cpu: 1}},
       {type: Pod, default: {cpu: 1}}]}}
      """, "spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1",
      "spec.limits[1].default: Forbidden: may not be specified when `type` is 'Pod'"),
    Case(
      "a priority class",
      "{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: high}, value: 1000000001}",
      "value: Forbidden: maximum allowed value of a user defined priority is 1000000000"),
    Case(
      "a storage class",
      "{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: a}, provisioner: '', reclaimPolicy: Keep}",
      "provisioner: Required value",
      "reclaimPolicy: Unsupported value: \"Keep\": supported values: \"Delete\", \"Retain\""),
    Case(
      "a volume",
      "{apiVersion: v1, kind: PersistentVolume, metadata: {name: a}, spec: {capacity: {storage: 0}, local: {path: /x}}}",
      "spec.accessModes: Required value",
      "spec.capacity[storage]: Invalid value: \"0\": must be greater than zero",
      "spec.nodeAffinity: Required value: Local volume requires node affinity"),
    Case(
      "a claim",
      "{apiVersion: v1, kind: PersistentVolumeClaim, \(named), spec: {accessModes: [ReadWriteSometimes], resources: {}}}",
      """
      spec.accessModes[0]: Unsupported value: "ReadWriteSometimes": supported values: "ReadOnlyMany", "ReadWriteMany", \
      "ReadWriteOnce", "ReadWriteOncePod"
      """, "spec.resources[storage]: Required value"),
    Case(
      "an ingress",
      """
      {apiVersion: networking.k8s.io/v1, kind: Ingress, \(named), spec: {rules: [{host: 10.0.0.1, http: {paths: [
       {path: x, pathType: Prefix, backend: {service: {name: web, port: {}}}}]}}]}}
      """, "spec.rules[0].host: Invalid value: \"10.0.0.1\": must be a DNS name, not an IP address",
      "spec.rules[0].http.paths[0].path: Invalid value: \"x\": must be an absolute path",
      "spec.rules[0].http.paths[0].backend: Required value: port name or number is required"),
    Case(
      "an empty ingress", "{apiVersion: networking.k8s.io/v1, kind: Ingress, \(named), spec: {}}",
      "spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"),
    Case(
      "a network policy",
      """
      {apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, \(named), spec: {podSelector: {}, ingress: [{from: [{},
       {ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/8]}}], ports: [{port: web, endPort: 9}]}]}}
      """,
      "spec.ingress[0].ports[0].endPort: Invalid value: 9: may not be specified when `port` is non-numeric",
      "spec.ingress[0].from[0]: Required value: must specify a peer",
      "spec.ingress[0].from[1].ipBlock.except[0]: Invalid value: \"10.0.0.0/8\": must be a strict subset of `cidr`"),
    Case(
      "endpoints", "{apiVersion: v1, kind: Endpoints, \(named), subsets: [{ports: [{port: 0}]}]}",
      "subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`",
      "subsets[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"),
    Case(
      "a webhook",
      """
      {apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingWebhookConfiguration, metadata: {name: a}, webhooks: [
       {name: a.b, sideEffects: None, timeoutSeconds: 60, admissionReviewVersions: [v2], clientConfig: {url: 'http://x'}}]}
      """,
      "webhooks[0].name: Invalid value: \"a.b\": should be a domain with at least three segments separated by dots",
      "webhooks[0].timeoutSeconds: Invalid value: 60: the timeout value must be between 1 and 30 seconds",
      "webhooks[0].admissionReviewVersions: Invalid value: [\"v2\"]: must include at least one of v1, v1beta1",
      """
      webhooks[0].clientConfig.url: Invalid value: "http": 'https' is the only allowed URL scheme; desired format: \
      https://host[/path]
      """),
    Case(
      "a good definition",
      """
      {apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: wrens.birds.example.com},
       spec: {group: birds.example.com, scope: Namespaced, names: {plural: wrens, singular: wren, kind: Wren,
       listKind: WrenList}, versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object,
       properties: {spec: {type: object, x-kubernetes-preserve-unknown-fields: true}}}}}]}}
      """),
    Case(
      "a definition",
      """
      {apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: wrens},
       spec: {group: birds, scope: Everywhere, names: {plural: wrens, kind: Wren, listKind: WrenList},
       versions: [{name: v1, served: true, storage: false, schema: {openAPIV3Schema: {type: object,
       properties: {spec: {properties: {}}}}}}, {name: v2, served: true, storage: false}]}}
      """,
      "metadata.name: Invalid value: \"wrens\": must be spec.names.plural+\".\"+spec.group",
      "spec.group: Invalid value: \"birds\": should be a domain with at least one dot",
      "spec.scope: Unsupported value: \"Everywhere\": supported values: \"Cluster\", \"Namespaced\"",
      """
      spec.versions[0].schema.openAPIV3Schema.properties[spec].type: Required value: must not be empty for specified \
      object fields
      """, "spec.versions[1].schema.openAPIV3Schema: Required value: schemas are required",
      "spec.versions: Invalid value: [\"v1\",\"v2\"]: must have exactly one version marked as storage version"),
    Case(
      "a mutating policy",
      "{apiVersion: admissionregistration.k8s.io/v1, kind: MutatingAdmissionPolicy, metadata: {name: a}, spec: {}}",
      "spec: Forbidden: not supported: this server evaluates no mutating policies; use a webhook"),
    Case(
      "a policy",
      """
      {apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicy, metadata: {name: a}, spec: {
       failurePolicy: Fail, paramKind: {apiVersion: v1, kind: ConfigMap},
       matchConstraints: {resourceRules: [{apiGroups: [apps], apiVersions: [v1], operations: [CREATE], resources: [deployments]}]},
       matchConditions: [{name: not-nodes, expression: "!('system:nodes' in request.userInfo.groups)"}],
       variables: [{name: count, expression: object.spec.replicas}],
       validations: [{expression: "variables.count <= int(params.data.max)", messageExpression: "'too many: ' + string(variables.count)"}],
       auditAnnotations: [{key: count, valueExpression: string(variables.count)}]}}
      """),
    Case(
      "a policy with mistakes",
      """
      {apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicy, metadata: {name: a}, spec: {
       failurePolicy: Never, matchConditions: [{name: a, expression: "1"}, {name: a, expression: "true"}],
       variables: [{name: in, expression: "1"}], validations: [{expression: "foo"}, {expression: "", message: " "}]}}
      """,
      "spec.matchConditions[0].expression: Invalid value: \"1\": must evaluate to bool",
      "spec.matchConditions[1].name: Duplicate value: \"a\"", "spec.matchConstraints: Required value",
      "spec.failurePolicy: Unsupported value: \"Never\": supported values: \"Fail\", \"Ignore\"",
      "spec.variables[0].name: Invalid value: \"in\": name is not a valid CEL identifier",
      """
      spec.validations[0].expression: Invalid value: "foo": compilation failed: ERROR: <input>:1:1: undeclared reference \
      to 'foo' (in container '')
       | foo
       | ^
      """, "spec.validations[1].expression: Required value",
      "spec.validations[1].message: Invalid value: \" \": message must be non-empty if specified"),
    Case(
      "a binding of a policy",
      """
      {apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicyBinding, metadata: {name: a},
       spec: {paramRef: {parameterNotFoundAction: Maybe}, validationActions: [Deny, Warn, Deny]}}
      """,
      "spec.policyName: Required value", "spec.paramRef: Required value: one of name or selector must be specified",
      "spec.paramRef.parameterNotFoundAction: Unsupported value: \"Maybe\": supported values: \"Allow\", \"Deny\"",
      "spec.validationActions[2]: Duplicate value: \"Deny\"",
      """
      spec.validationActions: Invalid value: ["Deny","Warn","Deny"]: must not contain both Deny and Warn (repeating the \
      same validation failure information in the API response and headers serves no purpose)
      """),
    Case(
      "a definition with rules",
      """
      {apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: wrens.birds.example.com},
       spec: {group: birds.example.com, scope: Namespaced, names: {plural: wrens, kind: Wren, listKind: WrenList},
       versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object,
       properties: {spec: {type: object, properties: {
        size: {type: integer, x-kubernetes-validations: [{rule: self > 0}, {rule: self.foo}]},
        name: {type: string, pattern: "(", anyOf: [{pattern: "a**"}, {x-kubernetes-validations: [{rule: "true"}]}]},
        list: {type: array, items: {type: string, x-kubernetes-validations: [{rule: self == oldSelf}]}}}}}}}}]}}
      """,
      """
      spec.versions[0].schema.openAPIV3Schema.properties[spec].properties[size].x-kubernetes-validations[1].rule: Invalid \
      value: "self.foo": compilation failed: ERROR: <input>:1:5: type 'int' does not support field selection
       | self.foo
       | ....^
      """,
      """
      spec.versions[0].schema.openAPIV3Schema.properties[spec].properties[name].pattern: Invalid value: "(": must be a \
      valid regular expression, but isn't: error parsing regexp: missing closing ): `(`
      """,
      """
      spec.versions[0].schema.openAPIV3Schema.properties[spec].properties[name].anyOf[0].pattern: Invalid value: "a**": \
      must be a valid regular expression, but isn't: error parsing regexp: invalid nested repetition operator: `**`
      """,
      """
      spec.versions[0].schema.openAPIV3Schema.properties[spec].properties[name].anyOf[1].x-kubernetes-validations: \
      Forbidden: must be empty to be structural
      """,
      """
      spec.versions[0].schema.openAPIV3Schema.properties[spec].properties[list].items.x-kubernetes-validations[0].rule: \
      Invalid value: "self == oldSelf": oldSelf cannot be used on the uncorrelatable portion of the schema
      """),
    Case(
      "a driver", "{apiVersion: storage.k8s.io/v1, kind: CSIDriver, metadata: {name: A_b}}",
      """
      metadata.name: Invalid value: "A_b": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
      characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for \
      validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
      """, "spec: Required value"),
  ]

  @Test(arguments: workloads + others) func kindsAreChecked(_ each: Case) throws {
    #expect(try Validation.create(document: Self.document(each.yaml)).map(\.message) == each.messages)
  }

  static let updates: [(String, String, [String])] = [
    (
      "{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, \(named), roleRef: {kind: Role, name: a}}",
      "{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, \(named), roleRef: {kind: Role, name: b}}",
      ["roleRef: Invalid value: {\"kind\":\"Role\",\"name\":\"b\"}: cannot change roleRef"]
    ),
    (
      "{apiVersion: apps/v1, kind: StatefulSet, \(named), spec: {\(selector), serviceName: a, template: \(template())}}",
      "{apiVersion: apps/v1, kind: StatefulSet, \(named), spec: {\(selector), serviceName: b, replicas: 3, template: \(template())}}",
      [
        """
        spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
        'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are \
        forbidden
        """
      ]
    ),
    (
      "{apiVersion: batch/v1, kind: Job, \(named), spec: {completions: 1, template: \(template("Never"))}}",
      "{apiVersion: batch/v1, kind: Job, \(named), spec: {completions: 2, parallelism: 3, template: \(template("Never"))}}",
      ["spec.completions: Invalid value: 2: field is immutable"]
    ),
    (
      "{apiVersion: v1, kind: PersistentVolumeClaim, \(named), spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}",
      """
      {apiVersion: v1, kind: PersistentVolumeClaim, \(named), spec: {accessModes: [ReadWriteOnce], volumeName: pv,
       storageClassName: fast, resources: {requests: {storage: 1Gi}}}}
      """, []
    ),
    (
      "{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: a}, provisioner: a/b}",
      "{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: a}, provisioner: a/c}",
      ["provisioner: Forbidden: updates to provisioner are forbidden."]
    ),
  ]
  @Test(arguments: updates) func whatStaysIsHeld(_ old: String, _ new: String, _ messages: [String]) throws {
    let errors = try Validation.update(document: Self.document(new), old: Self.document(old))
    #expect(errors.map(\.message) == messages)
  }
}
