import JSON
import Testing

extension KubeTests {
  /// What admission says to kubectl: limits, quotas, priorities, security levels, rules and policies in CEL.
  @Suite(.cluster) struct Admission {
    @Test func limitsQuotasPrioritiesAndAccountsAreHeld() async throws {
      let shell = try await KubeShell.make("admission")
      try shell.write(
        "policy.yaml",
        """
        {apiVersion: v1, kind: LimitRange, metadata: {name: l}, spec: {limits: [
          {type: Container, default: {cpu: 500m}, defaultRequest: {cpu: 100m}, max: {cpu: "1"}}]}}
        ---
        {apiVersion: v1, kind: ResourceQuota, metadata: {name: q}, spec: {hard: {pods: "2", configmaps: "2"}}}
        ---
        {apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: kubectl-high}, value: 1000}
        """)
      try await shell.says(
        "kubectl apply -f policy.yaml",
        "limitrange/l created\nresourcequota/q created\npriorityclass.scheduling.k8s.io/kubectl-high created")
      try await shell.says("kubectl run a --image=none.invalid/i", "pod/a created")
      try await shell.says(
        "kubectl get pod a -o jsonpath='{.spec.containers[0].resources} {.spec.serviceAccountName}{\"\\n\"}'",
        #"{"limits":{"cpu":"500m"},"requests":{"cpu":"100m"}} default"#)
      func overrides(_ spec: String) -> String { "--image=none.invalid/i --overrides='{\"spec\":\(spec)}'" }
      try await shell.fails(
        "kubectl run big "
          + overrides(#"{"containers":[{"name":"big","image":"i","resources":{"limits":{"cpu":"2"}}}]}"#),
        #"Error from server (Forbidden): pods "big" is forbidden: [maximum cpu usage per Container is 1, but limit is 2, "#
          + "maximum cpu usage per Container is 1, but request is 2]")
      try await shell.fails(
        "kubectl run n " + overrides(#"{"priorityClassName":"none"}"#),
        #"Error from server (Forbidden): pods "n" is forbidden: no PriorityClass with name none was found"#)
      try await shell.fails(
        "kubectl run n " + overrides(#"{"serviceAccountName":"none"}"#),
        #"Error from server (Forbidden): pods "n" is forbidden: error looking up service account admission/none: "#
          + #"serviceaccount "none" not found"#)
      try await shell.says("kubectl run b " + overrides(#"{"priorityClassName":"kubectl-high"}"#), "pod/b created")
      try await shell.says(
        "kubectl get pod b -o jsonpath='{.spec.priority} {.spec.preemptionPolicy}{\"\\n\"}'",
        "1000 PreemptLowerPriority")
      try await shell.fails(
        "kubectl run c --image=none.invalid/i",
        #"Error from server (Forbidden): pods "c" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, "#
          + "limited: pods=2")
      // The root certificate is one.
      try await shell.says("kubectl create cm one", "configmap/one created")
      try await shell.fails(
        "kubectl create cm two",
        #"error: failed to create configmap: configmaps "two" is forbidden: exceeded quota: q, requested: configmaps=1, "#
          + "used: configmaps=2, limited: configmaps=2")
      try shell.write(
        "claim.yaml",
        """
        {apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: kubectl-class, annotations: {
          storageclass.kubernetes.io/is-default-class: "true"}}, provisioner: example.com/none}
        ---
        {apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: p}, spec: {accessModes: [ReadWriteOnce],
          resources: {requests: {storage: 1Gi}}}}
        """)
      try await shell.shows("kubectl apply -f claim.yaml", "persistentvolumeclaim/p created")
      try await shell.says("kubectl get pvc p -o jsonpath='{.spec.storageClassName}{\"\\n\"}'", "kubectl-class")
      try await shell.shows("kubectl delete --wait=false -f claim.yaml", "deleted")
      try await shell.shows("kubectl delete pod a b --now --wait=false", "deleted")
      try await shell.shows("kubectl delete -f policy.yaml", "deleted")
    }

    @Test func securityLevelsRefuseAndWarn() async throws {
      let shell = try await KubeShell.make("levels")
      try await shell.shows(
        "kubectl label ns levels pod-security.kubernetes.io/enforce=baseline pod-security.kubernetes.io/warn=restricted",
        "labeled")
      try await shell.fails(
        "kubectl run r --image=none.invalid/i --privileged",
        #"Error from server (Forbidden): pods "r" is forbidden: violates PodSecurity "baseline:latest": privileged "#
          + #"(container "r" must not set securityContext.privileged=true)"#)
      try await shell.shows(
        "kubectl create deploy d --image=none.invalid/i --replicas=0 2>&1", "deployment.apps/d created",
        #"Warning: would violate PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container "i" must"#
      )
      try await shell.fails(
        "kubectl label ns levels pod-security.kubernetes.io/enforce=none --overwrite",
        #"The Namespace "levels" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "none": "#
          + "must be one of privileged, baseline, restricted")
      try await shell.shows("kubectl delete deploy d", "deleted")
    }

    @Test func rulesAndPoliciesAreHeld() async throws {
      let shell = try await KubeShell.make("rules")
      try shell.write("crd.yaml", Self.definition)
      try await shell.shows(
        "kubectl apply -f crd.yaml && kubectl wait --for=condition=Established crd/gadgets.rules.example.com",
        "condition met")
      func make(_ name: String, _ spec: String) -> String {
        "echo '{apiVersion: rules.example.com/v1, kind: Gadget, metadata: {name: \(name)}, spec: {\(spec)}}'"
          + " | kubectl create -f - 2>&1; true"
      }
      try await shell.says(make("g", "least: 1, most: 2"), "gadget.rules.example.com/g created")
      try await shell.shows(
        make("h", "least: 3, most: 2"),
        #"The Gadget "h" is invalid: spec: Invalid value: "object": least is above most"#)
      try await shell.shows("kubectl explain gadget.spec.least", "How few.")
      try await shell.shows("kubectl-1.20 explain gadget.spec.least", "FIELD:    least <integer>", "How few.")
      try shell.write("policy.yaml", Self.policy)
      try await shell.shows("kubectl apply -f policy.yaml", "few-replicas created", "few-replicas-rules created")
      try await shell.fails(
        "kubectl create deploy d --image=none.invalid/i --replicas=6",
        "error: failed to create deployment: deployments.apps \"d\" is forbidden: ValidatingAdmissionPolicy "
          + "'few-replicas' with binding 'few-replicas-rules' denied request: failed expression: object.spec.replicas <= 5"
      )
      try await shell.says(
        "kubectl create deploy d --image=none.invalid/i --replicas=0", "deployment.apps/d created")
      try await shell.shows("kubectl delete deploy d && kubectl delete -f policy.yaml -f crd.yaml", "deleted")
    }

    private static let definition = """
      apiVersion: apiextensions.k8s.io/v1
      kind: CustomResourceDefinition
      metadata: {name: gadgets.rules.example.com}
      spec:
        group: rules.example.com
        scope: Namespaced
        names: {plural: gadgets, singular: gadget, kind: Gadget}
        versions:
        - name: v1
          served: true
          storage: true
          schema:
            openAPIV3Schema:
              type: object
              properties:
                spec:
                  type: object
                  x-kubernetes-validations:
                  - {rule: self.least <= self.most, message: least is above most}
                  properties:
                    least: {type: integer, description: How few.}
                    most: {type: integer}
      """

    private static let policy = """
      apiVersion: admissionregistration.k8s.io/v1
      kind: ValidatingAdmissionPolicy
      metadata: {name: few-replicas}
      spec:
        failurePolicy: Fail
        matchConstraints:
          resourceRules:
          - {apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}
        validations:
        - expression: object.spec.replicas <= 5
      ---
      apiVersion: admissionregistration.k8s.io/v1
      kind: ValidatingAdmissionPolicyBinding
      metadata: {name: few-replicas-rules}
      spec:
        policyName: few-replicas
        validationActions: [Deny]
        matchResources: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: rules}}}
      """
  }
}
