import KubeValidation
import Testing

@Suite struct WorkloadTests {
  static let deployments: [Case] = [
    Case("a good one", deployment("replicas: 3")),
    Case(
      "fewer than none", deployment("replicas: -1"),
      "spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
    Case(
      "no selector", deployment("replicas: 1", selector: "{}"), "spec.selector: Required value",
      "spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`"),
    Case(
      "a selector for others", deployment("replicas: 1", labels: "{app: x}"),
      "spec.template.metadata.labels: Invalid value: {\"app\":\"x\"}: `selector` does not match template `labels`"),
    Case(
      "no progress possible",
      deployment("strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 0, maxUnavailable: 0%}}"),
      "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"0%\": may not be 0 when `maxSurge` is 0"),
    Case(
      "more than all", deployment("strategy: {rollingUpdate: {maxUnavailable: 101%, maxSurge: half}}"),
      """
      spec.strategy.rollingUpdate.maxSurge: Invalid value: "half": a valid percent string must be a numeric string \
      followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')
      """,
      "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%"),
    Case(
      "recreate has no limits", deployment("strategy: {type: Recreate, rollingUpdate: {maxSurge: 1}}"),
      "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"),
    Case(
      "an unknown strategy", deployment("strategy: {type: Hope}"),
      "spec.strategy: Unsupported value: {\"type\":\"Hope\"}: supported values: \"Recreate\", \"RollingUpdate\""),
    Case(
      "impatience", deployment("minReadySeconds: 10\nprogressDeadlineSeconds: 10\nrevisionHistoryLimit: -1"),
      "spec.revisionHistoryLimit: Invalid value: -1: must be greater than or equal to 0",
      "spec.progressDeadlineSeconds: Invalid value: 10: must be greater than minReadySeconds"),
    Case(
      "a replica set",
      """
      {apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: web, namespace: default}, spec: {replicas: -1,
       selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {restartPolicy: Never,
       containers: [{name: a}]}}}}
      """,
      "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
      "spec.template.spec.containers[0].image: Required value",
      "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\""),
    Case(
      "a scale",
      "{apiVersion: autoscaling/v1, kind: Scale, metadata: {name: web, namespace: default}, spec: {replicas: -2}}",
      "spec.replicas: Invalid value: -2: must be greater than or equal to 0"),
  ]
  @Test(arguments: deployments) func workloadsAreChecked(_ each: Case) throws {
    #expect(try createErrors(each.yaml) == each.messages)
  }

  @Test func whatAWorkloadSelectsDoesNotChange() throws {
    let new = deployment("replicas: 1", labels: "{app: x}", selector: "{matchLabels: {app: x}}")
    #expect(
      try updateErrors(new, old: deployment("replicas: 1")) == [
        "spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"x\"}}: field is immutable"
      ])
    #expect(try updateErrors(deployment("replicas: 5"), old: deployment("replicas: 1")) == [])
  }

  @Test func countsOfAStatusAgree() throws {
    let new =
      deployment("replicas: 1") + "\nstatus: {replicas: 1, readyReplicas: 2, availableReplicas: 3, updatedReplicas: -1}"
    let old = deployment("replicas: 1") + "\nstatus: {collisionCount: 1}"
    #expect(
      try statusErrors(new, old: old) == [
        "status.updatedReplicas: Invalid value: -1: must be greater than or equal to 0",
        "status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas",
        "status.availableReplicas: Invalid value: 3: cannot be greater than status.replicas",
        "status.availableReplicas: Invalid value: 3: cannot be greater than readyReplicas",
        "status.collisionCount: Invalid value: null: cannot be decremented",
      ])
  }
}
