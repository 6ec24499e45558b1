import Kernel
import TestSupport
import Testing

extension KubeTests {
  /// The application of oci/demo/shop.yaml, of every kind of workload, through a day of its life.
  @Suite(.cluster, .serialized) struct Application {
    @Test func anApplicationLivesThroughADay() async throws {
      let shell = try await KubeShell.make("shop")
      try await importRedis(shell)
      try await starts(shell)
      try await answersAndReplicates(shell)
      try await runsBatches(shell)
      try await rollsUnderLoad(shell)
      try await keepsItsDataAndNames(shell)
      try await scalesToAHundredAndBack(shell)
      try await isDrained(shell)
      try await endsWithItsNamespace(shell)
    }

    private func importRedis(_ shell: KubeShell) async throws {
      let package = Files.parent(of: Files.parent(of: Files.parent(of: #filePath)))
      let images = environmentVariable("MARTLET_IMAGES") ?? "\(package)/.build/images"
      let martlet = try BuiltPrograms.path("martlet")
      try await shell.shows(
        "\(martlet) --run \(shell.node.path)/run image import --reference 127.0.0.1:5000/redis:7 \(images)/redis-debian"
      )
      try shell.write("app.yaml", try #require(try Files.readText("\(package)/oci/demo/shop.yaml")))
    }

    private func starts(_ shell: KubeShell) async throws {
      try await shell.shows("kubectl apply -f app.yaml", "statefulset.apps/store created", "cronjob.batch/tidy created")
      try await shell.shows("kubectl rollout status statefulset/store --timeout=60s", "roll out complete: 3 new pods")
      try await shell.shows("kubectl rollout status deployment/front --timeout=60s", "successfully rolled out")
      try await shell.shows("kubectl rollout status daemonset/watch --timeout=30s", "successfully rolled out")
      try await shell.says(
        "kubectl get pvc -o jsonpath='{range .items[*]}{.metadata.name} {.status.phase}{\"\\n\"}{end}'",
        "data-store-0 Bound\ndata-store-1 Bound\ndata-store-2 Bound")
    }

    /// Every front end answers at the Service's address and counts in the same store; its replicas follow.
    private func answersAndReplicates(_ shell: KubeShell) async throws {
      let answers = try await shell.shows(
        "\(Self.address); for n in $(seq 24); do curl -sf --max-time 5 http://$address/cgi-bin/hits; done")
      let lines = answers.split(separator: "\n").map { $0.split(separator: " ") }
      let counts = lines.compactMap { $0.count == 2 ? Int($0[1]) : nil }
      #expect(counts.count == 24 && counts == counts.sorted() && Set(counts).count == 24, "\(answers)")
      #expect(Set(lines.compactMap(\.first)).count == 3, "not every front end answered: \(answers)")
      try await shell.eventually("kubectl exec store-2 -- redis-cli info replication") {
        $0.contains("role:slave") && $0.contains("master_link_status:up")
      }
    }

    private func runsBatches(_ shell: KubeShell) async throws {
      try await shell.shows("kubectl wait job/fill --for=condition=Complete --timeout=90s", "condition met")
      try await shell.says(
        "kubectl get job fill -o jsonpath='{.status.succeeded} {.status.completedIndexes}{\"\\n\"}'", "4 0-3")
      try await shell.eventually("kubectl exec store-1 -- redis-cli --raw keys 'item:*' | sort | tr '\\n' ' '") {
        $0 == "item:0 item:1 item:2 item:3 "
      }
      try await shell.says("kubectl create job --from=cronjob/tidy now", "job.batch/now created")
      try await shell.shows("kubectl wait job/now --for=condition=Complete --timeout=60s", "condition met")
    }

    private func rollsUnderLoad(_ shell: KubeShell) async throws {
      // Asks until it is told that it is enough; a request that fails is written down.
      let asking = """
        \(Self.address); rm -f enough lost served
        (while [ ! -e enough ]; do
          curl -sf --max-time 5 "http://$address/cgi-bin/hits" >>served 2>>lost || echo "exit code $?" >>lost
        done) &
        """
      for change in ["kubectl set env deployment/front RELEASE=2", "kubectl rollout undo deployment/front 2>/dev/null"]
      {
        try await shell.says(
          """
          \(asking)
          { \(change); kubectl rollout status deployment/front --timeout=60s; } >rollout 2>&1; code=$?
          touch enough; wait; cat lost 2>/dev/null; [ -s served ] || echo nothing was served
          [ $code = 0 ] || cat rollout
          """, "")
      }
    }

    /// A member of the store that is deleted comes back under its name, with its data.
    private func keepsItsDataAndNames(_ shell: KubeShell) async throws {
      let before = try await shell("kubectl get pod store-0 -o jsonpath='{.metadata.uid}'").output
      try await shell.shows("kubectl delete pod store-0", "deleted")
      try await shell.shows("kubectl rollout status statefulset/store --timeout=60s", "roll out complete: 3 new pods")
      let after = try await shell("kubectl get pod store-0 -o jsonpath='{.metadata.uid}'").output
      #expect(!before.isEmpty && !after.isEmpty && before != after)
      try await shell.shows("kubectl exec store-0 -- redis-cli --raw get item:2", "fill-2")
    }

    private func scalesToAHundredAndBack(_ shell: KubeShell) async throws {
      try await shell.shows(
        "kubectl create deployment many --image=localhost/busybox:1 --replicas=1 -- sh -c 'trap exit TERM; sleep 1000 & wait'",
        "created")
      try await shell.shows("kubectl scale deployment/many --replicas=100", "scaled")
      try await shell.shows(
        "kubectl wait deployment/many --for=jsonpath='{.status.readyReplicas}'=100 --timeout=55s", "condition met")
      try await shell.shows("kubectl scale deployment/many --replicas=1", "scaled")
      try await shell.eventually("kubectl get pods -l app=many -o name | wc -l") { $0 == "1\n" }
      try await shell.shows("kubectl delete deployment many", "deleted")
    }

    private func isDrained(_ shell: KubeShell) async throws {
      let answer = try await shell(
        "kubectl drain \(KubeNode.name) --ignore-daemonsets --delete-emptydir-data --force --timeout=50s")
      #expect(answer.code == 0, "\(answer.output)\(answer.errors)")
      try await shell.says(
        "kubectl get pods --field-selector=status.phase=Running -o jsonpath='{.items[*].metadata.labels.app}{\"\\n\"}'",
        "watch")
      try await shell.shows("kubectl get node \(KubeNode.name)", "SchedulingDisabled")
      try await shell.shows("kubectl uncordon \(KubeNode.name)", "uncordoned")
      try await shell.shows("kubectl rollout status statefulset/store --timeout=60s", "roll out complete: 3 new pods")
      try await shell.shows("kubectl rollout status deployment/front --timeout=60s", "successfully rolled out")
      try await shell.shows("kubectl exec store-0 -- redis-cli --raw get item:3", "fill-3")
    }

    private func endsWithItsNamespace(_ shell: KubeShell) async throws {
      let answer = try await shell("kubectl delete namespace shop --timeout=60s", seconds: 90)
      #expect(answer.code == 0, "\(answer.output)\(answer.errors)")
      try await shell.eventually("kubectl get pv -o name") { $0.isEmpty }
      try await shell.eventually("ls \(shell.node.path)/root/volumes") { $0.isEmpty }
      let directories = try await shell("find \(shell.node.path)/root -name '*store*' -path '*local*'").output
      #expect(directories.isEmpty, "claims' directories are left: \(directories)")
    }

    private static let address = "address=$(kubectl get service front -o jsonpath='{.spec.clusterIP}')"
  }
}
