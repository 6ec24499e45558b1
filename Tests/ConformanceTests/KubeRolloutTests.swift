import Testing

extension KubeTests {
  /// Deployments as their users drive them.
  @Suite(.cluster) struct Rollout {
    @Test func aDeploymentIsRolledOutAndBack() async throws {
      let shell = try await KubeShell.make("rolls")
      try shell.write("app.yaml", KubeManifests.app())
      try shell.write("app2.yaml", KubeManifests.app(replicas: 3, greeting: "second"))
      let done = "deployment \"app\" successfully rolled out\n"
      let wait = "kubectl rollout status deploy/app --timeout=40s"
      try await shell.shows("kubectl apply -f app.yaml && \(wait)", "service/app created\n", done)
      try await shell.shows("kubectl apply -f app2.yaml && \(wait)", "deployment.apps/app configured\n", done)
      try await shell.says(
        "kubectl rollout history deploy/app",
        "deployment.apps/app \nREVISION  CHANGE-CAUSE\n1         <none>\n2         <none>\n")
      try await shell.shows("kubectl rollout history deploy/app --revision=2", "echo second; exec httpd")
      try await shell.says("kubectl logs -l app=app --tail=1", "second\nsecond\nsecond")
      try await shell.says("kubectl rollout undo deploy/app 2>undo", "deployment.apps/app rolled back")
      try await shell.shows("cat undo && \(wait)", "Warning: resource deployments/app was previously managed", done)
      try await shell.says("kubectl logs -l app=app --tail=1", "started\nstarted\nstarted")
      try await shell.shows("kubectl rollout history deploy/app", "2         <none>\n3         <none>\n")
      let missing = try await shell("kubectl rollout undo deploy/app --to-revision=9")
      #expect(missing.code == 1)
      #expect(missing.errors.hasSuffix("error: unable to find specified revision 9 in history\n"))

      try await shell.says("kubectl rollout restart deploy/app", "deployment.apps/app restarted")
      try await shell.shows(wait, done)
      try await shell.says("kubectl rollout pause deploy/app", "deployment.apps/app paused")
      try await shell.fails("kubectl rollout pause deploy/app", "error: deployments.apps \"app\" is already paused")
      try await shell.says("kubectl set image deploy/app c=localhost/busybox:2", "deployment.apps/app image updated")
      try await shell.says(
        "kubectl get pods -o jsonpath='{.items[*].spec.containers[0].image}' | tr ' ' '\\n' | sort -u",
        "localhost/busybox:1")
      try await shell.says("kubectl rollout resume deploy/app", "deployment.apps/app resumed")
      try await shell.shows(wait, done)
      try await shell.eventually("kubectl get pods -o jsonpath='{.items[*].spec.containers[0].image}'") { images in
        images == Array(repeating: "localhost/busybox:2", count: 3).joined(separator: " ")
      }
    }

    @Test func scalingGoesUpAndDownAndToNothing() async throws {
      let shell = try await KubeShell.make("scales")
      try await shell.says(
        "kubectl create deployment d --image=localhost/busybox:1 --replicas=2 -- sh -c 'trap exit TERM; sleep 1000 & wait'",
        "deployment.apps/d created")
      try await shell.says("kubectl scale deploy/d --replicas=3", "deployment.apps/d scaled")
      try await shell.says(
        "kubectl wait --for=jsonpath='{.status.readyReplicas}'=3 deploy/d --timeout=30s",
        "deployment.apps/d condition met")
      try await shell.says(
        "kubectl wait --for=condition=Available deploy/d --timeout=30s", "deployment.apps/d condition met")
      try await shell.fails(
        "kubectl scale deploy/d --current-replicas=7 --replicas=1", "error: Expected replicas to be 7, was 3")
      try await shell.says("kubectl scale deploy/d --replicas=0", "deployment.apps/d scaled")
      try await shell.shows(
        "kubectl delete pods --all --grace-period=0 --force 2>/dev/null; kubectl wait pods -l app=d --for=delete --timeout=30s && kubectl get deploy d",
        "0/0")
      try await shell.fails(
        "kubectl scale deploy/nope --replicas=1", "Error from server (NotFound): deployments.apps \"nope\" not found")
      try await shell.fails(
        "kubectl wait --for=condition=Nothing deploy/d --timeout=1s",
        "error: timed out waiting for the condition on deployments/d")
    }

    @Test func aPodThatIsDeletedIsReplaced() async throws {
      let shell = try await KubeShell.make("heals")
      try await shell.says(
        "kubectl create deployment d --image=localhost/busybox:1 -- sh -c 'trap exit TERM; sleep 1000 & wait'",
        "deployment.apps/d created")
      try await shell.shows("kubectl rollout status deploy/d --timeout=30s", "rolled out")
      let first = try await shell("kubectl get pods -o name").output
      try await shell.shows("kubectl delete \(first.dropLast()) --grace-period=0 --force", "force deleted")
      try await shell.shows("kubectl rollout status deploy/d --timeout=30s", "rolled out")
      try await shell.eventually("kubectl get pods -o name") { $0 != first && $0.hasPrefix("pod/d-") }
    }
  }
}
