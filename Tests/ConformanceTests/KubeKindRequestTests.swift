import Testing

extension KubeTests {
  /// Requests of kubectl that no other suite makes.
  @Suite(.cluster) struct Requests {
    @Test func autoscalersAreMadeAndOthersAreAskedFor() async throws {
      let shell = try await KubeShell.make("requests")
      try await shell.says(
        "kubectl create deploy app --image=none.invalid/i --replicas=0", "deployment.apps/app created")
      try await shell.says(
        "kubectl autoscale deploy/app --min=1 --max=2 --cpu=80%", "horizontalpodautoscaler.autoscaling/app autoscaled")
      try await shell.says(
        "kubectl get hpa app -o jsonpath='{.spec.maxReplicas} {.spec.metrics[0].resource.target.averageUtilization}{\"\\n\"}'",
        "2 80")
      let answer = try await shell("kubectl auth can-i get pods --as=system:serviceaccount:requests:default")
      #expect((answer.code, answer.output) == (1, "no\n"))
      try await shell.shows("kubectl explain crd --api-version=apiextensions.k8s.io/v1", "CustomResourceDefinition")
      try await shell.shows("kubectl delete hpa/app deploy/app", "deleted")
    }

    @Test func onlyChangesAreWatchedAndAllIsDeleted() async throws {
      let shell = try await KubeShell.make("changes")
      try await shell.says("kubectl create cm before", "configmap/before created")
      let watched = try await shell(
        """
        kubectl get cm --watch-only -o name > names & watch=$!
        trap 'kill $watch' EXIT
        for number in $(seq 100); do
          kubectl create cm "after-$number" > made
          grep -q after names && break
        done
        grep -c before names
        """)
      #expect(watched.output == "0\n", "\(watched.errors)")
      try await shell.shows("kubectl delete cm --all", "configmap \"before\" deleted")
    }

    @Test func aProxyPassesRequestsOn() async throws {
      let shell = try await KubeShell.make("proxied")
      let answer = try await shell(
        """
        kubectl proxy --port=18001 > proxy & proxy=$!
        trap 'kill $proxy' EXIT
        for _ in $(seq 100); do grep -q Starting proxy && break; sleep 0.1; done
        python3 -c 'import urllib.request as u; print(u.urlopen("http://127.0.0.1:18001/readyz").read().decode())'
        """)
      #expect(answer.output == "ok\n", "\(answer.errors)")
    }
  }
}
