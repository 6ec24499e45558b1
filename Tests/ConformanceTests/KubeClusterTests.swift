import Testing

extension KubeTests {
  /// The workloads that are no Deployments, as their users drive them.
  @Suite(.cluster) struct ClusterWorkloads {
    /// `$body` is what stands below `spec` but for the template.
    private func workload(_ kind: String, _ name: String, _ body: String) -> String {
      """
      apiVersion: apps/v1
      kind: \(kind)
      metadata: {name: \(name)}
      spec:
        selector: {matchLabels: {app: \(name)}}
        template:
          metadata: {labels: {app: \(name)}}
          spec:
            terminationGracePeriodSeconds: 1
            containers:
            - name: c
              image: localhost/busybox:1
              command: [sh, -c, "hostname; trap exit TERM; sleep 1000 & wait"]
      \(body)
      """
    }

    private let claims = """
        serviceName: db
        replicas: 2
        volumeClaimTemplates:
        - metadata: {name: data}
          spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 10Mi}}}
      """

    @Test func aStatefulSetHasNamesAndClaimsAndIsRolledBack() async throws {
      let shell = try await KubeShell.make("stateful")
      try shell.write("db.yaml", workload("StatefulSet", "db", claims))
      try await shell.shows("kubectl apply -f db.yaml && kubectl rollout status sts/db --timeout=60s", "created")
      try await shell.says("kubectl get pods -o jsonpath='{.items[*].metadata.name}' && echo", "db-0 db-1")
      try await shell.says("kubectl logs db-1", "db-1")
      try await shell.says(
        "kubectl get pvc -o jsonpath='{range .items[*]}{.metadata.name}={.status.phase} {end}' && echo",
        "data-db-0=Bound data-db-1=Bound ")
      try await shell.says("kubectl set env sts/db A=2", "statefulset.apps/db env updated")
      let done = "partitioned roll out complete: 2 new pods have been updated..."
      try await shell.shows("kubectl rollout status sts/db --timeout=60s", done)
      try await shell.shows("kubectl rollout history sts/db", "1         <none>\n2         <none>\n")
      try await shell.shows("kubectl rollout undo sts/db 2>/dev/null", "statefulset.apps/db rolled back")
      try await shell.shows("kubectl rollout status sts/db --timeout=60s", done)
      try await shell.shows("kubectl rollout history sts/db", "2         <none>\n3         <none>\n")
      try await shell.says("kubectl scale sts/db --replicas=1", "statefulset.apps/db scaled")
      // Gone already, it says nothing.
      try await shell.shows("kubectl wait --for=delete pod/db-1 --timeout=30s", "")
      // What was kept is there for the next pod of the name.
      try await shell.says(
        "kubectl get pvc data-db-1 -o jsonpath='{.status.phase}' && echo", "Bound")
    }

    @Test func aDaemonSetIsOnEveryNodeAndIsRolledBack() async throws {
      let shell = try await KubeShell.make("daemons")
      try shell.write("agent.yaml", workload("DaemonSet", "agent", ""))
      let done = "daemon set \"agent\" successfully rolled out"
      try await shell.shows("kubectl apply -f agent.yaml && kubectl rollout status ds/agent --timeout=60s", done)
      try await shell.tabulates("kubectl get ds agent", "agent 1 1 1 1 1 <none> AGE")
      try await shell.says("kubectl set env ds/agent A=2", "daemonset.apps/agent env updated")
      try await shell.shows("kubectl rollout status ds/agent --timeout=60s", done)
      try await shell.shows("kubectl rollout undo ds/agent 2>/dev/null", "daemonset.apps/agent rolled back")
      try await shell.shows("kubectl rollout status ds/agent --timeout=60s", done)
      try await shell.shows("kubectl rollout history ds/agent", "2         <none>\n3         <none>\n")
    }

    @Test func jobsRunToTheirEnd() async throws {
      let shell = try await KubeShell.make("jobs")
      try shell.write(
        "job.yaml",
        """
        apiVersion: batch/v1
        kind: Job
        metadata: {name: count}
        spec:
          completions: 3
          parallelism: 2
          completionMode: Indexed
          template:
            spec:
              restartPolicy: Never
              containers:
              - {name: c, image: "localhost/busybox:1", command: [sh, -c, "echo index $JOB_COMPLETION_INDEX"]}
        """)
      try await shell.shows(
        "kubectl apply -f job.yaml && kubectl wait --for=condition=Complete job/count --timeout=60s", "condition met")
      try await shell.says(
        "kubectl get job count -o jsonpath='{.status.succeeded} {.status.completedIndexes}' && echo", "3 0-2")
      try await shell.says(
        "kubectl logs -l job-name=count --tail=-1 | sort", "index 0\nindex 1\nindex 2")
      try await shell.says(
        "kubectl create cronjob tick --image=localhost/busybox:1 --schedule='0 0 1 1 *' -- echo tock",
        "cronjob.batch/tick created")
      try await shell.says("kubectl create job now --from=cronjob/tick", "job.batch/now created")
      try await shell.shows("kubectl wait --for=condition=Complete job/now --timeout=60s", "condition met")
      try await shell.says("kubectl logs job/now", "tock")
      try await shell.says(
        "kubectl create job bad --image=localhost/busybox:1 -- sh -c 'exit 3'", "job.batch/bad created")
      try await shell.says("kubectl patch job bad -p '{\"spec\":{\"backoffLimit\":0}}'", "job.batch/bad patched")
      try await shell.shows("kubectl wait --for=condition=Failed job/bad --timeout=60s", "condition met")
      try await shell.says(
        "kubectl delete job --all --timeout=30s && kubectl get pods -o name | wc -l",
        "job.batch \"bad\" deleted from jobs namespace\njob.batch \"count\" deleted from jobs namespace\n"
          + "job.batch \"now\" deleted from jobs namespace\n0")
    }

    @Test func aBudgetHoldsADrainBackUntilItIsGone() async throws {
      let shell = try await KubeShell.make("drained")
      try shell.write("db.yaml", workload("Deployment", "db", "  replicas: 2"))
      try await shell.shows("kubectl apply -f db.yaml && kubectl rollout status deploy/db --timeout=60s", "rolled out")
      try await shell.says(
        "kubectl create pdb db --selector=app=db --min-available=2", "poddisruptionbudget.policy/db created")
      try await shell.eventually(
        "kubectl get pdb db -o jsonpath='{.status.currentHealthy} {.status.disruptionsAllowed}'"
      ) {
        $0 == "2 0"
      }
      let selection = "--pod-selector=app=db --force --ignore-daemonsets"
      let held = try await shell("kubectl drain node1 \(selection) --timeout=4s")
      #expect(held.code == 1)
      #expect(held.errors.contains("Cannot evict pod as it would violate the pod's disruption budget."), "\(held)")
      try await shell.tabulates("kubectl get deploy db", "db 2/2 2 2 AGE")
      try await shell.says("kubectl delete pdb db", "poddisruptionbudget.policy \"db\" deleted from drained namespace")
      try await shell.shows("kubectl drain node1 \(selection) --timeout=40s", "node/node1 drained")
      try await shell.says("kubectl uncordon node1", "node/node1 uncordoned")
      try await shell.shows("kubectl rollout status deploy/db --timeout=60s", "rolled out")
    }
  }
}
