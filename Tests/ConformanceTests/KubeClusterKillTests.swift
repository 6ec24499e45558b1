import Kernel
import TestSupport
import Testing

extension KubeTests {
  /// Each part of a node is killed while pods are asked by their Service: what serves goes on, and what was asked for is
  /// still what there is.
  @Suite(.cluster) struct ClusterKills {
    private static let web = """
      apiVersion: apps/v1
      kind: Deployment
      metadata: {name: web}
      spec:
        replicas: 2
        selector: {matchLabels: {app: web}}
        template:
          metadata: {labels: {app: web}}
          spec:
            terminationGracePeriodSeconds: 1
            containers:
            - name: c
              image: localhost/busybox:1
              command: [sh, -c, "mkdir /www; echo hello >/www/index.html; exec httpd -f -p 8080 -h /www"]
              readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
      ---
      apiVersion: v1
      kind: Service
      metadata: {name: web}
      spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
      """

    /// Asks without an end, and counts.
    private static func asker(_ address: String) -> String {
      KubeManifests.pod(
        "asker",
        "while :; do if printf \"GET / HTTP/1.0\\r\\n\\r\\n\" | timeout 2 nc \(address) 80 | grep -q hello; then echo ok; else echo lost; fi; done"
      )
    }

    private struct Count: Equatable {
      var answered: Int
      var lost: Int
    }

    private static func count(_ shell: KubeShell) async throws -> Count {
      let output = try await shell("kubectl logs asker | sort | uniq -c").output
      var count = Count(answered: 0, lost: 0)
      for line in output.split(separator: "\n") {
        let words = line.split(separator: " ")
        guard words.count == 2, let number = Int(words[0]) else { continue }
        if words[1] == "ok" { count.answered = number } else { count.lost = number }
      }
      return count
    }

    /// Kills the processes whose command line has both words in it; how many there were.
    private static func kill(_ shell: KubeShell, _ program: String, _ place: String) async throws -> Int {
      let output = try await shell(
        """
        for process in /proc/[0-9]*; do
          line=$(tr '\\0' ' ' < $process/cmdline) || continue
          case "$line" in
          sh\\ *) ;;
          *'\(program) '*'\(place)'*) kill -KILL ${process#/proc/} && echo killed;;
          esac
        done 2>/dev/null
        """
      ).output
      return output.split(separator: "\n").count
    }

    /// The API answers, the node says that it is well, and both pods are ready.
    private static func isWhole(_ shell: KubeShell) async throws {
      try await shell.eventually("kubectl get --raw /readyz", seconds: 20) { $0 == "ok" }
      try await shell.eventually("kubectl get deploy web -o jsonpath='{.status.readyReplicas}'", seconds: 30) {
        $0 == "2"
      }
      try await shell.eventually("kubectl get node node1 --no-headers", seconds: 20) { $0.contains(" Ready ") }
      try await shell.eventually("kubectl exec asker -- echo there", seconds: 20) { $0 == "there\n" }
    }

    @Test func everyPartIsKilledInTurnWhilePodsAreAsked() async throws {
      let shell = try await KubeShell.make("kills")
      try shell.write("web.yaml", Self.web)
      try await shell.shows(
        "kubectl apply -f web.yaml && kubectl rollout status deploy/web --timeout=60s", "successfully rolled out")
      let address = try await shell("kubectl get svc web -o jsonpath={.spec.clusterIP}").output
      try shell.write("asker.yaml", Self.asker(address))
      try await shell.shows(
        "kubectl apply -f asker.yaml && kubectl wait pod/asker --for=condition=Ready --timeout=30s", "met")
      let before = try await shell("kubectl get pods -l app=web -o jsonpath='{.items[*].metadata.uid}'").output
      for part in ["martlet server", "martlet node", "martletd"] {
        let start = try await Self.count(shell)
        #expect(try await Self.kill(shell, part, "\(shell.node.path)/run") == 1, "\(part)")
        try await Self.isWhole(shell)
        let end = try await Self.count(shell)
        #expect(end.answered > start.answered, "\(part): nothing was answered meanwhile")
        #expect(end.lost == start.lost, "\(part): \(end.lost - start.lost) requests were lost")
      }
      let after = try await shell("kubectl get pods -l app=web -o jsonpath='{.items[*].metadata.uid}'").output
      #expect(after == before)
      try await shell.says(
        "kubectl get pods -o jsonpath='{.items[*].status.containerStatuses[0].restartCount}' && echo", "0 0 0")
      // All three at once.
      for part in ["martlet server", "martlet node", "martletd"] {
        _ = try await Self.kill(shell, part, "\(shell.node.path)/run")
      }
      try await Self.isWhole(shell)
      try await Self.killAShim(shell)
      // What is asked for now is done.
      try await shell.says("kubectl scale deploy/web --replicas=3", "deployment.apps/web scaled")
      try await shell.shows("kubectl rollout status deploy/web --timeout=60s", "successfully rolled out")
      try await shell.shows("kubectl delete -f web.yaml -f asker.yaml --timeout=60s", "deleted")
      try await shell.eventually("kubectl get pods -o name | wc -l") { $0 == "0\n" }
    }

    /// With its shim a pod dies; the node says so and makes it anew, and the Service leads to the other meanwhile.
    private static func killAShim(_ shell: KubeShell) async throws {
      let found = try await shell(
        "kubectl get pods -l app=web -o jsonpath='{.items[0].metadata.name} {.items[0].metadata.uid}'"
      ).output.split(separator: " ").map(String.init)
      let (name, uid) = (try #require(found.first), try #require(found.last))
      let shims = try ChaosProcesses.shims(of: shell.node.directory.token).filter { id in
        (try? Files.readText("/proc/\(id)/cgroup"))??.contains(uid) == true
      }
      #expect(shims.count == 1, "\(shims)")
      for shim in shims { try await ChaosProcesses.kill(shim) }
      try await shell.eventually(
        "kubectl get pod \(name) -o jsonpath='{.status.containerStatuses[0].restartCount}'", seconds: 30
      ) { (Int($0) ?? 0) > 0 }
      try await isWhole(shell)
    }
  }
}
